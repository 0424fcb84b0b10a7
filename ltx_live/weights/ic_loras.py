"""The published adapters of LTX-2.3 that are given more than a prompt: eleven IC-LoRAs and the ID-LoRA. Data only.

Source: `ltx_live`'s specification, IC-LoRA catalogue; the name of the second inpainting file, which the specification
mentions without it, is from public workflows that use it. A file is known by its name, and what its metadata say wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ltx_live.weights.catalogue import ID_LORA

Kind = Literal["IC", "ID"]

PREPARATIONS = {  # what is done to a reference before an adapter is given it
    "video": "the video as it is",
    "canny": "its edges, white on black (Canny)",
    "depth": "its depth map",
    "pose": "its pose skeletons",
    "tracks": "trails of circles along the wanted motion, on black",
    "mask": "the video, with the region to make anew marked in blocks of 8x8 pixels",
    "bars": "the video letterboxed with pure black where new picture is wanted",
    "voice": "about 5 s of the speaker's voice, 10 s at most",
}
"""Keys are the names that `preparations` of a KnownLora uses; the first of these is what it is given by default."""


@dataclass(frozen=True, slots=True)
class KnownLora:
    """One published file; `strengths` is the recommended range, (1, 1) where none is told."""

    title: str
    kind: Kind
    file: str
    author: str
    repository: str
    purpose: str
    preparations: tuple[str, ...] = ("video",)
    reference_downscale_factor: int = 1
    strengths: tuple[float, float] = (1.0, 1.0)
    advice: str = ""

    @property
    def strength(self) -> float:
        """Where its fader starts: the recommended strength nearest to 1."""
        low, high = self.strengths
        return min(high, max(low, 1.0))

    @property
    def page(self) -> str:
        """Where the file is got."""
        return f"https://huggingface.co/{self.repository}"


ALISSONERDX = "Alissonerdx", "Alissonerdx/LTX-LoRAs"

IC_LORAS = (
    KnownLora(
        "Union Control",
        "IC",
        "ltx-2.3-22b-ic-lora-union-control-ref0.5.safetensors",
        "Lightricks",
        "Lightricks/LTX-2.3-22b-IC-LoRA-Union-Control",
        "structure from Canny edges, a depth map or pose skeletons",
        preparations=("canny", "depth", "pose"),
        reference_downscale_factor=2,
        advice="the prompt decides on the style",
    ),
    KnownLora(
        "Motion Track Control",
        "IC",
        "ltx-2.3-22b-ic-lora-motion-track-control-ref0.5.safetensors",
        "Lightricks",
        "Lightricks/LTX-2.3-22b-IC-LoRA-Motion-Track-Control",
        "objects move along drawn paths",
        preparations=("tracks",),
        reference_downscale_factor=2,
        advice="begin with 3 to 4 points a track",
    ),
    KnownLora(
        "Anime2Real",
        "IC",
        "ltx23_anime2real_rank64_v1_4500.safetensors",
        *ALISSONERDX,
        "anime becomes photorealistic, with its motion and composition",
        advice="prompt the realistic scene",
    ),
    KnownLora(
        "Inpaint, 10000 steps",
        "IC",
        "ltx23_inpaint_masked_t2v_rank128_v1_10000steps.safetensors",
        *ALISSONERDX,
        "fills a masked region from the prompt; keeps to the mask",
        preparations=("mask",),
    ),
    KnownLora(
        "Inpaint, 2500 steps",
        "IC",
        "ltx23_inpaint_masked_t2v_rank128_v1_02500steps.safetensors",
        *ALISSONERDX,
        "fills a masked region from the prompt; keeps to the prompt",
        preparations=("mask",),
    ),
    KnownLora(
        "Edit Anything",
        "IC",
        "ltx23_edit_anything_global_rank128_v1_9000steps_adamw.safetensors",
        *ALISSONERDX,
        "adds, removes, replaces and restyles by the prompt",
        strengths=(1.1, 1.4),
        advice="prompt with Add, Remove, Replace or Convert, and where",
    ),
    KnownLora(
        "Ungrade",
        "IC",
        "ltx-2.3-22b-ic-lora-ungrade.safetensors",
        "oumoumad",
        "oumoumad/LTX-2.3-22b-IC-LoRA-Ungrade",
        "takes colour grading and contrast away",
    ),
    KnownLora(
        "Refocus",
        "IC",
        "ltx-2.3-22b-ic-lora-refocus.safetensors",
        "oumoumad",
        "oumoumad/LTX-2.3-22b-IC-LoRA-ReFocus",
        "sharpens what is out of focus or soft",
    ),
    KnownLora(
        "Uncompress",
        "IC",
        "ltx-2.3-22b-ic-lora-uncompress.safetensors",
        "oumoumad",
        "oumoumad/LTX-2.3-22b-IC-LoRA-Uncompress",
        "takes blocks, bands and noise of compression away",
    ),
    KnownLora(
        "Outpaint",
        "IC",
        "ltx-2.3-22b-ic-lora-outpaint.safetensors",
        "oumoumad",
        "oumoumad/LTX-2.3-22b-IC-LoRA-Outpaint",
        "extends the picture into its black bars",
        preparations=("bars",),
        advice="dark material: gamma 2.0 before, and its inverse on the output",
    ),
    KnownLora(
        "Cameraman",
        "IC",
        "LTX2.3-22B_IC-LoRA-Cameraman_v1_10500.safetensors",
        "Cseti",
        "Cseti/LTX2.3-22B_IC-LoRA-Cameraman_v1",
        "takes over the camera's movement, not the picture",
        strengths=(0.7, 1.0),
        advice="where the movement is too subtle, prompt it too",
    ),
)

KNOWN = (
    *IC_LORAS,
    KnownLora(
        "ID-LoRA",
        "ID",
        ID_LORA.place,
        "Comfy-Org",
        ID_LORA.repository.name,
        "speaks with the voice of a reference",
        preparations=("voice",),
        advice="prompt with [VISUAL], [SPEECH] and [SOUNDS]; `ltx-live models download` brings it",
    ),
)


def known_lora(file: str) -> KnownLora | None:
    """The published adapter whose file has this name, in whatever case."""
    return next((each for each in KNOWN if each.file.lower() == file.lower()), None)
