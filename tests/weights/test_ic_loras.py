"""The catalogue of adapters that take a reference."""

from ltx_live.weights.catalogue import ID_LORA
from ltx_live.weights.ic_loras import IC_LORAS, KNOWN, PREPARATIONS, known_lora


def test_there_are_eleven_ic_loras_and_the_id_lora():
    assert len(IC_LORAS) == 11 and [each.kind for each in KNOWN] == ["IC"] * 11 + ["ID"]
    assert len({each.file for each in KNOWN}) == len({each.title for each in KNOWN}) == 12
    assert KNOWN[-1].file == ID_LORA.place


def test_a_file_is_known_by_its_name():
    for each in KNOWN:
        assert known_lora(each.file) is each and known_lora(each.file.upper()) is each
        assert each.file.endswith(".safetensors") and each.page == f"https://huggingface.co/{each.repository}"
    assert known_lora("style.safetensors") is None


def test_references_and_strengths():
    for each in KNOWN:
        assert each.reference_downscale_factor == (2 if "ref0.5" in each.file else 1)
        assert set(each.preparations) <= PREPARATIONS.keys()
        low, high = each.strengths
        assert 0 < low <= each.strength <= high <= 2
    strengths = {each.title: each.strength for each in KNOWN if each.strengths != (1.0, 1.0)}
    assert strengths == {"Edit Anything": 1.1, "Cameraman": 1.0}
