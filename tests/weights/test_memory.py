"""The memory plan: the fastest mode that fits, its predicted bytes, and one clear line where nothing does."""

import pytest

from ltx_live.errors import DeviceError
from ltx_live.weights.memory import GIB, MIN_STREAMED, MemoryPlan, Sizes, Workload, free_host_bytes, plan, spread

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


def test_host_memory_is_known_here():
    free = free_host_bytes()
    assert free is None or 2**26 < free < 2**50
