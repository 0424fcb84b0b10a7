"""A whole model in every memory mode: the same results bit for bit, and what was measured is what is loaded."""

from types import SimpleNamespace

import pytest
import torch

from ltx_live.bench import _random_model as random_model
from ltx_live.model.audio_vae import AudioVAE
from ltx_live.model.av import AV
from ltx_live.model.bandwidth import VocoderWithBWE
from ltx_live.model.text_connector import TextProjection
from ltx_live.model.transformer import Transformer
from ltx_live.model.video_vae import VideoVAE
from ltx_live.weights.checkpoint import Storage
from ltx_live.weights.files import find_model
from ltx_live.weights.headers import Entry
from ltx_live.weights.loading import Networks, load_networks, measure
from ltx_live.weights.memory import LTX_2_3, MemoryPlan
from ltx_live.weights.streaming import Unit
from ltx_live.weights.text_encoder import build_gemma

GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"))
MODES = ["storage", "dequantised"]


@pytest.fixture(scope="module")
def files(tiny, layouts, tmp_path_factory):
    return find_model(layouts.write_split(tmp_path_factory.mktemp("model"), tiny, layouts.Quantisation()))


def streaming(files, storage: Storage, streamed: tuple[int, ...]) -> MemoryPlan:
    sizes = measure(files, storage)
    return MemoryPlan(
        "streamed", len(sizes.blocks), streamed=streamed, buffer_bytes=max(*sizes.blocks, *sizes.text_units)
    )


def contexts(networks: Networks, prompt: str) -> AV[torch.Tensor]:
    hidden = networks.encoder.encode(prompt)[None].to(networks.transformer.dtype)
    return networks.transformer.connect_text(networks.projection(hidden))


def velocities(networks: Networks, inputs) -> AV[torch.Tensor]:
    from ltx_live.model.latents import VideoGeometry, audio_positions, video_positions
    from ltx_live.model.layers import TokenTimesteps
    from ltx_live.model.transformer import Modality

    network, (latents, context) = networks.transformer, inputs
    positions = AV(video_positions(VideoGeometry(9, 64, 32), 24), audio_positions(10))
    ropes = network.video_rope(positions.video), network.audio_rope(positions.audio)
    sigma = torch.tensor([0.7])
    return network(
        *(
            Modality(latent, TokenTimesteps.common(sigma), sigma, rope, text)
            for latent, rope, text in zip(latents, ropes, context, strict=True)
        )
    )


@torch.inference_mode()
@pytest.mark.parametrize("fp8", MODES)
def test_streamed_networks_compute_the_same(files, fp8):
    storage = Storage("cpu", torch.bfloat16, fp8)
    num_blocks = len(measure(files, storage).blocks)
    resident = load_networks(files, MemoryPlan("resident", num_blocks), storage)
    config = resident.transformer.config
    torch.manual_seed(0)
    latents = AV(torch.randn(1, 4, config.in_channels), torch.randn(1, 10, config.audio_in_channels))
    want_context = contexts(resident, "slow red tunnel")
    want = velocities(resident, (latents, want_context))
    for streamed in ((1,), (0, 2), tuple(range(num_blocks))):
        got = load_networks(files, streaming(files, storage, streamed), storage)
        assert got.stream is not None
        for _ in range(2):  # a prompt, a step, and again: the buffers are handed back and forth
            context = contexts(got, "slow red tunnel")
            assert all(torch.equal(a, b) for a, b in zip(context, want_context, strict=True))
            assert all(torch.equal(a, b) for a, b in zip(velocities(got, (latents, context)), want, strict=True))


def loaded_bytes(*modules: torch.nn.Module) -> int:
    tensors = (tensor for module in modules for tensor in (*module.parameters(), *module.buffers()))
    return sum(tensor.nbytes for tensor in tensors if not tensor.is_meta)


@pytest.mark.parametrize("fp8", MODES)
def test_measured_sizes_are_those_of_the_loaded_networks(files, fp8):
    storage = Storage("cpu", torch.bfloat16, fp8)
    sizes = measure(files, storage)
    networks = load_networks(files, MemoryPlan("resident", len(sizes.blocks)), storage)
    slack = 512 * len(files.transformer.entries)  # sizes are rounded up to 512 bytes a tensor

    def near(measured: int, module: torch.nn.Module) -> bool:
        return 0 <= measured - loaded_bytes(module) <= slack

    assert all(
        near(size, block) for size, block in zip(sizes.blocks, networks.transformer.transformer_blocks, strict=True)
    )
    connectors = networks.transformer.video_embeddings_connector, networks.transformer.audio_embeddings_connector
    blocks = [block for connector in connectors for block in connector.transformer_1d_blocks]
    layers = list(networks.encoder.gemma.layers)
    assert all(near(size, layer) for size, layer in zip(sizes.text_units, layers, strict=False))
    assert all(near(size, block) for size, block in zip(sizes.text_units[-len(blocks) :], blocks, strict=True))
    in_blocks = loaded_bytes(*networks.transformer.transformer_blocks, *blocks)
    assert 0 <= sizes.scaffold - (loaded_bytes(networks.transformer) - in_blocks) <= slack
    decoders = networks.video_vae, networks.audio_vae, networks.vocoder
    assert 0 <= sizes.decoders - loaded_bytes(*decoders) <= slack
    assert len(sizes.text_units) == len(layers) + networks.encoder.gemma.config.num_hidden_layers + 1 + len(blocks)


def test_units_of_the_projection_hold_its_weights(files):
    storage = Storage("cpu", torch.float32)
    resident = load_networks(files, MemoryPlan("resident", 3), storage)
    streamed = load_networks(files, streaming(files, storage, (0,)), storage)
    for unit, weights in zip(streamed.projection.units, resident.projection.layer_weights(), strict=True):
        assert isinstance(unit, Unit)
        views = unit.views(unit.host)
        assert torch.equal(views["video"], weights.video) and torch.equal(views["audio"], weights.audio)


def test_a_lora_is_merged_alike_in_every_mode(files, layouts, tmp_path):
    from ltx_live.weights.lora import read_lora
    from ltx_live.weights.save import save_network

    storage = Storage("cpu", torch.bfloat16, "storage")
    network = load_networks(files, MemoryPlan("resident", 3), storage).transformer
    layer = network.transformer_blocks[1].attn1.to_q
    torch.manual_seed(1)
    name = "diffusion_model.transformer_blocks.1.attn1.to_q"
    factors = {f"{name}.lora_A.weight": torch.randn(4, layer.in_features)}
    factors[f"{name}.lora_B.weight"] = torch.randn(layer.out_features, 4)
    save_network(tmp_path / "lora.safetensors", factors, {}, {})
    merged = [(read_lora(tmp_path / "lora.safetensors", network), 0.5)]
    resident = load_networks(files, MemoryPlan("resident", 3), storage, merged)
    streamed = load_networks(files, streaming(files, storage, (1,)), storage, merged)
    weight = resident.transformer.transformer_blocks[1].attn1.to_q.weight
    assert not torch.equal(weight.float(), layer.weight.float())
    unit = streamed.stream.slots[0].unit
    assert unit is None  # nothing was needed yet
    streamed.transformer.transformer_blocks[1].register_forward_pre_hook(
        lambda module, args: seen.append(module.attn1.to_q.weight.clone())
    )
    seen: list[torch.Tensor] = []
    with torch.inference_mode():
        config = network.config
        latents = AV(torch.randn(1, 4, config.in_channels), torch.randn(1, 10, config.audio_in_channels))
        velocities(streamed, (latents, contexts(streamed, "blue")))
    assert torch.equal(seen[0].float(), weight.float())


def test_the_documented_sizes_are_those_of_the_full_model():
    sizes = random_model.Configurations()
    with torch.device("meta"):
        networks = {
            "transformer": (Transformer(sizes.transformer), random_model.float8_in_transformer(sizes.transformer)),
            "text_projection": (TextProjection(sizes.transformer, 49), lambda name: False),
            "text_encoder": (build_gemma(sizes.gemma), lambda name: name.startswith("layers.")),
            "video_vae": (VideoVAE.from_config(sizes.video_vae), lambda name: False),
            "audio_vae": (AudioVAE.from_config(sizes.audio_vae), lambda name: False),
            "vocoder": (VocoderWithBWE.from_config(sizes.vocoder), lambda name: False),
        }

    def source(network, is_float8):
        promised = random_model.promises(network, "", None, is_float8)
        return SimpleNamespace(entries={p.name: Entry(None, p.name, p.dtype, p.shape) for p in promised})

    files = SimpleNamespace(**{part: source(*made) for part, made in networks.items()})
    assert measure(files, Storage("cpu", torch.bfloat16, "matmul")) == LTX_2_3
