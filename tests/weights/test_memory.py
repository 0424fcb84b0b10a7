"""The memory plan: the fastest mode that fits, its predicted bytes, and one clear line where nothing does."""

from pathlib import Path

import pytest

from ltx_live.errors import DeviceError
from ltx_live.weights.memory import (
    GIB,
    LEAST_WORKING_BYTES,
    MIN_STREAMED,
    MemoryPlan,
    Sizes,
    Workload,
    cgroup_free_bytes,
    free_host_bytes,
    plan,
    spread,
)

MIB = 2**20
SIZES = Sizes(  # LTX-2.3 FP8, roughly
    blocks=(737 * MIB, 737 * MIB, *[369 * MIB] * 46),
    scaffold=815 * MIB,
    decoders=2000 * MIB,
    text_units=(*[214 * MIB] * 48, *[45 * MIB] * 49, *[384 * MIB] * 8, *[96 * MIB] * 8),
    text_rest=10 * MIB,
    embedding=1920 * MIB,
)
WORK = Workload(width=320, height=384, num_frames=129)


def made(available_gib: float, wanted: str = "auto", work: Workload = WORK) -> MemoryPlan:
    return plan(SIZES, work, round(available_gib * GIB), wanted)


def test_the_more_memory_the_more_stays():
    assert [made(gib).mode for gib in (140, 40, 30, 22.5, 12)] == [
        "resident", "resident", "parked", "streamed", "streamed"
    ]  # fmt: skip
    numbers = [len(made(gib).streamed) for gib in (30, 22.5, 20, 16, 12)]
    assert numbers[0] == MIN_STREAMED and numbers == sorted(numbers) and numbers[-1] < len(SIZES.blocks)


@pytest.mark.parametrize("available", [45, 30, 24, 22.5, 20, 16, 10])
def test_plan_fits_and_counts_every_part(available):
    chosen = made(available)
    assert chosen.total_bytes <= available * GIB
    staying = sum(size for i, size in enumerate(SIZES.blocks) if i not in chosen.streamed)
    text = SIZES.text if chosen.mode == "resident" else 0
    weights = staying + SIZES.scaffold + SIZES.decoders + SIZES.text_rest + text
    assert chosen.device_bytes["weights"] == pytest.approx(weights, rel=0.02)
    assert chosen.buffer_bytes == (0 if chosen.mode == "resident" else 384 * MIB)
    if chosen.mode != "resident":
        assert chosen.host_bytes >= SIZES.text + sum(SIZES.blocks[i] for i in chosen.streamed) + SIZES.embedding


def test_one_block_fewer_would_not_fit():
    chosen = made(20)
    assert chosen.total_bytes + SIZES.blocks[-1] > 20 * GIB


def test_large_blocks_stay_until_all_others_are_streamed():
    assert not {0, 1} & set(made(12).streamed)
    everything = made(22.5, "streamed")
    assert everything.streamed == tuple(range(48)) and everything.buffer_bytes == 737 * MIB


def test_longer_chunks_and_adapters_leave_less_room():
    plain, long, adapted = (
        made(22.5, work=work) for work in (WORK, Workload(320, 384, 257), Workload(320, 384, 129, adapter_bytes=GIB))
    )
    assert len(plain.streamed) < len(long.streamed) and len(plain.streamed) < len(adapted.streamed)


@pytest.mark.parametrize("wanted", ["auto", "resident", "parked", "streamed"])
def test_too_little_memory_is_one_line(wanted):
    with pytest.raises(DeviceError, match=r"GPU memory: 2.0 GiB are available, mode \w+ needs [\d.]+ GiB at 320x384"):
        made(2, wanted)


def test_streamed_blocks_are_spread_evenly():
    assert spread(range(48), 4) == (6, 18, 30, 42)
    assert spread(range(2, 48), 46) == tuple(range(2, 48))
    assert spread(range(3), 5) == (0, 1, 2)
    gaps = [b - a for a, b in zip(made(20).streamed, made(20).streamed[1:], strict=False)]
    assert max(gaps) - min(gaps) <= 1


def test_description_is_one_line_with_the_mode():
    text = made(22.5).describe()
    assert text.startswith("memory: streamed: ") and "\n" not in text and "of 48 blocks stay" in text


def test_ones_own_limit_is_named():
    with pytest.raises(DeviceError, match=r"GPU memory: 2.0 GiB can be planned with \(--max-vram-gb 2.1\), mode"):
        plan(SIZES, WORK, 2 * GIB, limit="can be planned with (--max-vram-gb 2.1)")


def test_why_the_cpu_computes_is_in_the_plan():
    made = MemoryPlan("resident", 3, host_bytes=GIB, note="on the CPU, because of x")
    assert made.describe() == "memory: everything in host memory, 1.0 GiB (on the CPU, because of x)"


def test_small_models_work_in_less_memory():
    small = Workload(288, 160, 57, bytes_per_token=10_000, bytes_per_pixel=20, longest_prompt_bytes=MIB)
    assert small.working_bytes == LEAST_WORKING_BYTES < Workload(288, 160, 57).working_bytes


def write_group(folder: Path, prefix: str, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{prefix}{name}").write_text(text)


def test_a_container_has_no_more_than_its_control_groups_allow(tmp_path):
    own = tmp_path / "own"
    own.write_text("0::/user/show\n")
    statistics = "anon 500\ninactive_file 30\nactive_file 20\n"
    write_group(tmp_path / "user", "memory.", max="1000\n", current="600\n", stat=statistics)
    write_group(tmp_path / "user" / "show", "memory.", max="max\n", current="600\n", stat=statistics)
    assert cgroup_free_bytes(tmp_path, own) == [1000 - 600 + 50]  # of the group above; files in memory give way
    own.write_text("5:cpu,memory:/box\n3:pids:/\n")
    statistics = "inactive_file 1\ntotal_inactive_file 7\n"
    write_group(tmp_path / "memory", "memory.", limit_in_bytes="100", usage_in_bytes="300", stat=statistics)
    assert cgroup_free_bytes(tmp_path, own) == [0]  # the group's own folder is not seen from inside
    assert cgroup_free_bytes(tmp_path, tmp_path / "missing") == []


def test_host_memory_is_known_here():
    free = free_host_bytes()
    assert free is None or 2**26 < free < 2**50
