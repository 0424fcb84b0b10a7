"""What is decided before weights are read: device, precision, memory, and the one line where it cannot be."""

import weakref
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ltx_live.chunk import LONGEST_CHUNK
from ltx_live.engine import setup
from ltx_live.engine.device import (
    allowed_bytes,
    available_bytes,
    cap,
    choose_device,
    is_out_of_memory,
    memory_guard,
    used_bytes,
)
from ltx_live.engine.settings import LtxSettings
from ltx_live.engine.setup import check_host_memory, is_small, longest_chunk, on_cpu, prepare, resident, workload
from ltx_live.errors import CheckpointError, DeviceError, EngineError
from ltx_live.model.config import TransformerConfig
from ltx_live.weights import memory
from ltx_live.weights.check import check_model
from ltx_live.weights.files import find_model
from ltx_live.weights.memory import GIB, LTX_2_3, MERGE_BYTES, MemoryPlan, Workload, plan

GPU = torch.device("cuda", 0)
CARD_GIB = 24


def settings(folder, **more) -> LtxSettings:
    return LtxSettings(folder, 64, 32, **{"device": "cpu"} | more)


@pytest.fixture
def gpu(monkeypatch):
    """A CUDA GPU as PyTorch tells of one, as far as decisions go: `gpu(GiB free)`, of 24."""

    def with_free(free_gib: float, taken_gib: float = 0.0) -> None:
        answers = {
            "is_available": True,
            "device_count": 2,
            "get_device_capability": (9, 0),
            "set_device": None,
            "mem_get_info": (round(free_gib * GIB), CARD_GIB * GIB),
            "memory_reserved": round(taken_gib * GIB),
            "memory_allocated": 0,
        }
        for name, answer in answers.items():
            monkeypatch.setattr(torch.cuda, name, lambda *args, answer=answer: answer)

    return with_free


def one_line(error: pytest.ExceptionInfo) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


# --- devices


def test_devices_have_names(gpu):
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    gpu(20)
    assert choose_device("auto") == choose_device("cuda") == GPU and choose_device("cpu") == torch.device("cpu")
    assert choose_device("cuda:1") == torch.device("cuda", 1)


@pytest.mark.parametrize("name", ["meta", "mps", "cuda:", "cuda:x", "CPU", "cuda:-1", "", "gpu\nx"])
def test_other_names_are_one_short_line(name):
    with pytest.raises(DeviceError, match="is not known; use auto, cpu, cuda or cuda:N"):
        choose_device(name)


def test_gpus_that_are_not_there(gpu):
    with pytest.raises(DeviceError, match="device 'cuda:0': PyTorch finds no CUDA GPU here"):
        choose_device("cuda:0")
    gpu(20)
    with pytest.raises(DeviceError, match="device 'cuda:2': there are only 2, counted from cuda:0"):
        choose_device("cuda:2")


# --- memory of the GPU


def test_used_is_what_is_not_free(gpu):
    assert used_bytes(torch.device("cpu")) is None
    gpu(20)
    assert used_bytes(GPU) == 4 * GIB


def test_available_is_what_is_free_less_a_reserve(gpu):
    gpu(23.5)  # CUDA has taken what it takes at first, which predictions count too
    assert available_bytes(GPU) == pytest.approx(23.5 * GIB)
    gpu(10, taken_gib=2)  # another program has the rest; what PyTorch holds unused is ours
    assert available_bytes(GPU) == pytest.approx(12 * GIB)
    gpu(0)
    assert available_bytes(GPU) == 0
    assert allowed_bytes(22.5) == pytest.approx(22.35 * GIB) and allowed_bytes(0.1) == 0


def test_a_gpu_that_cannot_be_opened_is_one_line(gpu, monkeypatch):
    def fail(*args):
        raise RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronous")

    gpu(20)
    monkeypatch.setattr(torch.cuda, "mem_get_info", fail)
    with pytest.raises(DeviceError, match="cuda:0 cannot be opened .*out of memory") as error:
        available_bytes(GPU)
    one_line(error)


def test_the_cap_leaves_room_for_cuda(gpu, monkeypatch):
    gpu(23.5)
    shares = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, where: shares.append(share))
    for limit in (22.5, 100.0, 0.5, None):
        cap(GPU, limit)
    cap(torch.device("cpu"), 22.5)
    assert shares == [pytest.approx((22.5 - 0.82) / CARD_GIB), 1.0, 0.0]


def test_the_full_model_under_a_limit_is_predicted_below_it():
    work = Workload(320, 384, 129)
    made = plan(LTX_2_3, work, allowed_bytes(22.5))
    assert made.mode == "streamed" and 21.5 * GIB < made.total_bytes <= 22.35 * GIB
    measured = {"resident": 38.83, "streamed": 6.38}  # GiB, docs/LOG.md
    for mode, gib in measured.items():
        assert plan(LTX_2_3, work, 1 << 50, mode).total_bytes == pytest.approx(gib * GIB, rel=0.05)


def test_as_many_frames_as_memory_is_left_for():
    work = Workload(320, 384, 129)
    assert longest_chunk(work, 0) == 129 and longest_chunk(work, 1 << 40) == LONGEST_CHUNK == 257
    longer = longest_chunk(work, GIB // 2)
    assert 129 < longer < 257 and longer % 8 == 1
    assert replace(work, num_frames=longer).working_bytes <= work.working_bytes + GIB // 2
    assert replace(work, num_frames=longer + 8).working_bytes > work.working_bytes + GIB // 2


def test_working_memory_is_scaled_by_the_widths(tiny_folder):
    files = find_model(tiny_folder)
    work = workload(settings(tiny_folder), files, TransformerConfig(), 7)
    assert (work.width, work.height, work.num_frames, work.adapter_bytes) == (64, 32, 129, 7)
    assert work.bytes_per_token == memory.BYTES_PER_TOKEN  # of the full model's transformer
    assert work.bytes_per_pixel == memory.BYTES_PER_PIXEL * 8 / 128  # of the tiny model's decoder
    assert work.longest_prompt_bytes == pytest.approx(memory.LONGEST_PROMPT_BYTES * 512 / 188160, rel=1e-3)
    assert work.working_bytes < Workload(64, 32, 129).working_bytes


# --- memory of the host


def test_too_little_ram_is_one_line(monkeypatch):
    check_host_memory(MemoryPlan("resident", 3, host_bytes=2**20))
    with pytest.raises(DeviceError, match="GiB of RAM are free, mode parked needs 1048576.0 GiB") as error:
        check_host_memory(MemoryPlan("parked", 3, host_bytes=2**50))
    one_line(error)
    monkeypatch.setattr(setup, "free_host_bytes", lambda: None)
    check_host_memory(MemoryPlan("parked", 3, host_bytes=2**50))


def test_weights_stay_float8_in_ram_where_they_do_not_fit_otherwise(tiny_folder, monkeypatch):
    files, wanted = find_model(tiny_folder), settings(tiny_folder)
    monkeypatch.setattr(setup, "SMALL_MODEL_BYTES", 0)  # as if it were large
    plain = on_cpu(wanted, files, ())
    assert (plain.storage.fp8, plain.storage.device.type) == ("dequantised", "cpu")
    monkeypatch.setattr(setup, "free_host_bytes", lambda: plain.plan.host_bytes - 1)
    tight = on_cpu(wanted, files, ())
    assert tight.storage.fp8 == "storage" and tight.plan.host_bytes < plain.plan.host_bytes
    monkeypatch.setattr(setup, "free_host_bytes", lambda: tight.plan.host_bytes - 1)
    with pytest.raises(DeviceError, match="of RAM are free"):
        on_cpu(wanted, files, ())


def test_a_small_model_is_judged_by_its_transformer():
    small = replace(LTX_2_3, blocks=(GIB,), scaffold=0)
    assert is_small(small) and not is_small(LTX_2_3)
    assert resident(LTX_2_3).host_bytes - resident(small).host_bytes > 3 * GIB


# --- all of it


def test_the_cpu_has_everything_in_ram(tiny_folder):
    made = prepare(settings(tiny_folder, num_frames=33))
    assert made.plan.mode == "resident" and not made.plan.device_bytes and made.max_num_frames == 257
    assert made.settings.num_frames == 33 and made.storage.fp8 == "dequantised" and "threads" in made.detail
    assert made.plan.describe().startswith("memory: everything in host memory, ")


@pytest.mark.parametrize("asked", [{"memory": "streamed"}, {"max_vram_gb": 8.0}])
def test_options_of_a_gpu_are_refused_on_the_cpu(tiny_folder, asked):
    with pytest.raises(DeviceError, match="--memory and --max-vram-gb are about a GPU"):
        prepare(settings(tiny_folder, **asked))


def test_a_gpu_is_planned_for(tiny_folder, gpu):
    gpu(20)
    made = prepare(settings(tiny_folder, device="auto"))
    assert made.storage.device == GPU and made.storage.dtype == torch.bfloat16
    assert made.plan.mode == "resident" and 0 < made.plan.total_bytes < 2 * GIB and made.max_num_frames == 257


def test_live_loras_have_what_the_longest_chunk_leaves(tiny_folder, gpu, write_lora, tmp_path):
    gpu(20)
    made = prepare(settings(tiny_folder, device="auto"))
    assert 0 < made.lora_bytes <= 20 * GIB - made.plan.total_bytes
    config = check_model(made.files).config
    work = workload(settings(tiny_folder, num_frames=made.max_num_frames), made.files, config, 0)
    others = made.plan.total_bytes - made.plan.device_bytes["working"]
    assert others + work.working_bytes + made.lora_bytes == pytest.approx(20 * GIB)
    lora = write_lora(tmp_path / "a.safetensors", {"transformer_blocks.1.attn1.to_v": (32, 32)})
    named = prepare(settings(tiny_folder, device="auto", loras=((lora, 1.0),)))
    assert named.plan.device_bytes["LoRAs"] == 2 * 2 * 64 and named.lora_bytes == made.lora_bytes
    merged = prepare(settings(tiny_folder, device="auto", loras=((lora, 1.0),), merge_loras=True))
    assert merged.plan.device_bytes["LoRAs"] == MERGE_BYTES and merged.lora_bytes == made.lora_bytes
    assert prepare(settings(tiny_folder, device="auto", merge_loras=True)).plan.device_bytes["LoRAs"] == 0
    assert prepare(settings(tiny_folder)).lora_bytes is None  # the CPU has what there is


def test_a_small_model_plays_on_the_cpu_where_the_gpu_is_full(tiny_folder, gpu):
    gpu(0.2)
    made = prepare(settings(tiny_folder, device="auto"))
    assert made.storage.device.type == "cpu"
    assert (
        "host memory" in made.plan.describe() and "(on the CPU, because of GPU memory: 0.2 GiB" in made.plan.describe()
    )
    with pytest.raises(DeviceError, match="GPU memory: 0.2 GiB are available") as error:
        prepare(settings(tiny_folder, device="cuda"))
    one_line(error)


def test_a_large_model_does_not_go_to_the_cpu_unasked(tiny_folder, gpu, monkeypatch):
    gpu(0.2)
    monkeypatch.setattr(setup, "SMALL_MODEL_BYTES", 0)
    with pytest.raises(DeviceError, match="GPU memory: 0.2 GiB are available"):
        prepare(settings(tiny_folder, device="auto"))


def test_ones_own_limit_is_named(tiny_folder, gpu):
    gpu(20)
    with pytest.raises(DeviceError, match=r"GPU memory: 0.8 GiB can be planned with \(--max-vram-gb 1\), mode"):
        prepare(settings(tiny_folder, device="cuda", max_vram_gb=1.0))


def test_damage_is_found_before_anything_is_loaded(tiny_folder, tmp_path):
    for path in tiny_folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "4.safetensors").unlink()
    tensors = load_file(tiny_folder / "4.safetensors")
    del tensors["decoder.conv_out.conv.bias"]
    save_file(tensors, tmp_path / "4.safetensors", {"config": '{"vae": {}}'})
    with pytest.raises(CheckpointError, match="4.safetensors: video VAE: the configuration lacks") as error:
        prepare(settings(tmp_path))
    one_line(error)


# --- memory that runs out


def test_memory_that_runs_out_is_one_line_and_given_back(monkeypatch):
    given_back = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: given_back.append(held[0]()))
    held = []

    def compute():
        tensor = torch.zeros(3)
        held.append(weakref.ref(tensor))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB\nsecond line")

    with (
        pytest.raises(EngineError, match="GPU memory: more is in use than when it was planned") as error,
        memory_guard(),
    ):
        compute()
    one_line(error)
    assert given_back == [None]  # the failed computation's tensors were gone by then


def test_other_faults_pass():
    assert is_out_of_memory(RuntimeError("CUDA error: out of memory\n"))
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes do not fit"), memory_guard():
        raise RuntimeError("shapes do not fit")
