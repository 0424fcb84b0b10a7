"""The published LTX-2.3 files that ltx-live knows: where they are, how large, under which licence, and where they land.

The facts are second-hand, from public code and documentation that lists these files (no weights were downloaded here):
sizes and sha256 of the split files, the single files and Gemma's shards were each found in two or more independent
lists. What only one list says, or none, is marked: `size_is_known=False`, `sha256=None`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ltx_live.errors import ConfigError

HUB = "https://huggingface.co"
GB = 1e9


def size(num_bytes: int) -> str:
    """Bytes as text in decimal units, as disks and the hub count them."""
    for unit, scale in (("GB", GB), ("MB", 1e6)):
        if num_bytes >= scale:
            return f"{num_bytes / scale:.2f} {unit}"
    return f"{num_bytes / 1e3:.1f} kB"


@dataclass(frozen=True, slots=True)
class Licence:
    """What somebody who downloads the files agrees to."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of the Hugging Face Hub at one revision; a gated one asks for its terms to be accepted first."""

    name: str
    revision: str
    licence: Licence
    gated: bool = False

    @property
    def page(self) -> str:
        """Where a gated repository's terms are accepted, whatever mirror the files come from."""
        return f"{HUB}/{self.name}"


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file: `path` in its repository, `target` below the folder where it lands (default: its bare name)."""

    repository: Repository
    path: str
    num_bytes: int
    sha256: str | None = None
    target: str = ""
    size_is_known: bool = True

    @property
    def place(self) -> str:
        return self.target or self.path.rpartition("/")[2]

    def is_at(self, path: Path) -> bool:
        """Whether a file is there that has this one's size, as far as that is known."""
        return path.is_file() and (not self.size_is_known or path.stat().st_size == self.num_bytes)


@dataclass(frozen=True, slots=True)
class ModelSet:
    """Files that make one playable model, all below one folder, and the LoRAs that belong to it."""

    name: str
    about: str
    files: tuple[HubFile, ...]
    loras: tuple[HubFile, ...] = ()

    @property
    def num_bytes(self) -> int:
        return sum(file.num_bytes for file in (*self.files, *self.loras))

    def folder(self, home: Path) -> Path:
        """The folder that holds the model, the LoRAs excepted."""
        return home / "models" / self.name

    def places(self, home: Path) -> list[tuple[HubFile, Path]]:
        """Every file with its path: the model's in the set's folder, the LoRAs in the home's `loras`."""
        model = [(file, self.folder(home) / file.place) for file in self.files]
        return model + [(file, home / "loras" / file.place) for file in self.loras]

    def repositories(self) -> list[Repository]:
        """The repositories that the files come from, each once, in order."""
        return list({file.repository.name: file.repository for file in (*self.files, *self.loras)}.values())


LTX_LICENCE = Licence("LTX-2 Community License", f"{HUB}/Lightricks/LTX-2.3")
GEMMA_LICENCE = Licence("Gemma Terms of Use", "https://ai.google.dev/gemma/terms")

KIJAI = Repository("Kijai/LTX2.3_comfy", "72af6430be2ff9b6792e9bdb8b7bd8ddcc11bc8b", LTX_LICENCE)
COMFY_LTX_2 = Repository("Comfy-Org/ltx-2", "bd5f9c87fcb0360ae7112f9784562670894d9492", GEMMA_LICENCE)
COMFY_LTX_2_3 = Repository("Comfy-Org/ltx-2.3", "main", LTX_LICENCE)
LIGHTRICKS = Repository("Lightricks/LTX-2.3", "7caa482d5cd10a2eae6b34cb48f093ebc45a263e", LTX_LICENCE)
LIGHTRICKS_FP8 = Repository("Lightricks/LTX-2.3-fp8", "1d756cd27fa11c0896c4dfee093cd1bf36c7f7a1", LTX_LICENCE)
GOOGLE = Repository(
    "google/gemma-3-12b-it-qat-q4_0-unquantized",
    "68f7ee4fbd59087436ada77ed2d62f373fdd4482",
    GEMMA_LICENCE,
    gated=True,
)
DIFFUSERS = Repository("diffusers/LTX-2.3-Distilled-Diffusers", "432e0d3c2d1769aaa4d295f9243f7062bf6b47ee", LTX_LICENCE)

FP8_SCALED = HubFile(
    KIJAI,
    "diffusion_models/ltx-2.3-22b-distilled-1.1_transformer_only_fp8_scaled.safetensors",
    25_226_571_988,
    "0a1d7aac2b338e8ec7e832149f1dcf11c9323272482b1cca0673d229702370f0",
)
FP8_INPUT_SCALED = HubFile(  # distilled 1.0: there is no 1.1 of this kind; its revision, size and sha256 are not pinned
    replace(KIJAI, revision="main"),
    "diffusion_models/ltx-2.3-22b-distilled_transformer_only_fp8_input_scaled_v3.safetensors",
    25_016_398_672,
    size_is_known=False,
)
SPLIT_FILES = (  # what both transformers of the split layout go with
    HubFile(
        KIJAI,
        "text_encoders/ltx-2.3_text_projection_bf16.safetensors",
        2_312_149_072,
        "911d59bb4cb7708179c9a0045ea0fe41212ecfb77aed3a02702b7c0a8274911f",
    ),
    HubFile(
        COMFY_LTX_2,
        "split_files/text_encoders/gemma_3_12B_it_fp8_scaled.safetensors",
        13_205_434_827,
        "60216ce97c01c3a8753c2dfd0a89fc76e16fbe446d1a32ef8f1b528ac8bae466",
    ),
    HubFile(
        KIJAI,
        "vae/LTX23_video_vae_bf16.safetensors",
        1_452_258_578,
        "01ea62d09bc139f95c5dee7b5c062ad6a3e6cd8be910a1983ac02e7eb5b8ee3b",
    ),
    HubFile(
        KIJAI,
        "vae/LTX23_audio_vae_bf16.safetensors",
        364_855_188,
        "5bc10fa4adecf99dda132d916e23048cbd56797702c5fa50eb5d2079048a38c3",
    ),
)
ID_LORA = HubFile(
    COMFY_LTX_2_3,
    "split_files/loras/ltx-2.3-id-lora-talkvid-3k.safetensors",
    1_157_884_304,
    "e5af73441743b4852f228b03e444888dff3da80d2666033af2367ab7bda6d8b9",
)
SINGLE_FILE_BF16 = HubFile(
    LIGHTRICKS,
    "ltx-2.3-22b-distilled-1.1.safetensors",
    46_149_345_334,
    "b33b7fe4bbfe084f484be4aaf90b0f1d95dca20d403ac4c0e037eb8c4f0af7cc",
)
SINGLE_FILE_FP8 = HubFile(
    LIGHTRICKS_FP8,
    "ltx-2.3-22b-distilled-fp8.safetensors",
    29_531_884_062,
    "d9646b6f2d5c42d337b23671634c43bfeece6989644f51b4a3aa088465ccd3b2",
)

GEMMA_FILES = (
    ("config.json", 1_611, "72ba569f583e58bfd39e192d859bc0c0905c3d08b2d0d4e520b7f8543fc87cdc"),
    ("tokenizer.model", 4_689_074, "1299c11d7cf632ef3b4e11937501358ada021bbdf7c47638d13c0ee982f2e79c"),
    ("model.safetensors.index.json", 108_605, "788cc42a1a92835df62d9a3791f47105f63504c7c404637a73288e9b11bc7b82"),
    (
        "model-00001-of-00005.safetensors",
        4_979_902_192,
        "e6fb899db428481aafb45a20130457df6e247e7cb03b7d9f01ee4bc2a9a08138",
    ),
    (
        "model-00002-of-00005.safetensors",
        4_931_296_592,
        "d251e7fe9799d529405ddb61705a44cd700bd30a8b66a8d44ae26ddf8365dbc6",
    ),
    (
        "model-00003-of-00005.safetensors",
        4_931_296_656,
        "0684ef801385f0669a0b3e4ab160c50877efdbfa40eb97788595985de2743e78",
    ),
    (
        "model-00004-of-00005.safetensors",
        4_931_296_656,
        "b4b964e6526f81ccfa625c900b72ce92d5e0fd2debb75998763038ad06b9c541",
    ),
    (
        "model-00005-of-00005.safetensors",
        4_601_000_928,
        "4ef2de8f93e165b4e02425769fc566000b0674256ef0c3a27b23a0d45eb12088",
    ),
)
DIFFUSERS_FILES = (  # the sizes are one list's; their sum agrees with the total that it states
    ("model_index.json", 623),
    ("audio_vae/config.json", 505),
    ("audio_vae/diffusion_pytorch_model.safetensors", 106_507_972),
    ("connectors/config.json", 817),
    ("connectors/diffusion_pytorch_model-00001-of-00002.safetensors", 4_999_998_520),
    ("connectors/diffusion_pytorch_model-00002-of-00002.safetensors", 1_344_490_576),
    ("connectors/diffusion_pytorch_model.safetensors.index.json", 30_629),
    ("scheduler/scheduler_config.json", 489),
    ("text_encoder/config.json", 2_960),
    ("text_encoder/model-00001-of-00011.safetensors", 1_685_223_128),
    ("text_encoder/model-00002-of-00011.safetensors", 4_987_027_384),
    ("text_encoder/model-00003-of-00011.safetensors", 4_844_749_824),
    ("text_encoder/model-00004-of-00011.safetensors", 4_954_909_736),
    ("text_encoder/model-00005-of-00011.safetensors", 4_907_664_584),
    ("text_encoder/model-00006-of-00011.safetensors", 4_954_909_792),
    ("text_encoder/model-00007-of-00011.safetensors", 4_907_664_584),
    ("text_encoder/model-00008-of-00011.safetensors", 4_954_909_792),
    ("text_encoder/model-00009-of-00011.safetensors", 4_907_664_584),
    ("text_encoder/model-00010-of-00011.safetensors", 4_954_909_792),
    ("text_encoder/model-00011-of-00011.safetensors", 2_689_808_472),
    ("text_encoder/model.safetensors.index.json", 108_642),
    ("tokenizer/tokenizer.model", 4_689_074),
    ("transformer/config.json", 1_317),
    ("transformer/diffusion_pytorch_model-00001-of-00008.safetensors", 4_990_709_464),
    ("transformer/diffusion_pytorch_model-00002-of-00008.safetensors", 4_944_487_248),
    ("transformer/diffusion_pytorch_model-00003-of-00008.safetensors", 4_994_661_712),
    ("transformer/diffusion_pytorch_model-00004-of-00008.safetensors", 4_927_859_352),
    ("transformer/diffusion_pytorch_model-00005-of-00008.safetensors", 4_977_604_280),
    ("transformer/diffusion_pytorch_model-00006-of-00008.safetensors", 4_994_844_576),
    ("transformer/diffusion_pytorch_model-00007-of-00008.safetensors", 4_994_386_864),
    ("transformer/diffusion_pytorch_model-00008-of-00008.safetensors", 3_163_094_784),
    ("transformer/diffusion_pytorch_model.safetensors.index.json", 455_948),
    ("vae/config.json", 1_480),
    ("vae/diffusion_pytorch_model.safetensors", 1_452_233_194),
    ("vocoder/config.json", 1_478),
    ("vocoder/diffusion_pytorch_model.safetensors", 258_305_056),
)
GEMMA_FOLDER = tuple(HubFile(GOOGLE, path, size, digest, f"gemma/{path}") for path, size, digest in GEMMA_FILES)

DEFAULT = "ltx-2.3"
SETS = {
    model_set.name: model_set
    for model_set in (
        ModelSet(DEFAULT, "split files, FP8, distilled 1.1", (FP8_SCALED, *SPLIT_FILES), (ID_LORA,)),
        ModelSet(
            "ltx-2.3-input-scaled",
            "split files, FP8 and activation scales",
            (FP8_INPUT_SCALED, *SPLIT_FILES),
            (ID_LORA,),
        ),
        ModelSet("ltx-2.3-bf16", "single file, bf16, distilled 1.1", (SINGLE_FILE_BF16, *GEMMA_FOLDER), (ID_LORA,)),
        ModelSet("ltx-2.3-fp8", "single file, FP8, distilled", (SINGLE_FILE_FP8, *GEMMA_FOLDER), (ID_LORA,)),
        ModelSet(
            "ltx-2.3-diffusers",
            "diffusers layout, bf16, distilled",
            tuple(HubFile(DIFFUSERS, path, size, target=path) for path, size in DIFFUSERS_FILES),
            (ID_LORA,),
        ),
    )
}


def find(name: str) -> ModelSet:
    """The set of that name. Raises ConfigError."""
    if name not in SETS:
        raise ConfigError(f"{name}: no such model in the catalogue; choose one of {', '.join(SETS)}")
    return SETS[name]


def installed(name: str, home: Path) -> Path:
    """The folder of a set that is there as a whole. Raises ConfigError when it is not, saying how to get it."""
    model_set = find(name)
    missing = [file for file, path in model_set.places(home) if file in model_set.files and not file.is_at(path)]
    if not missing:
        return model_set.folder(home)
    what = "is not downloaded" if len(missing) == len(model_set.files) else f"lacks {missing[0].place}"
    gb = sum(file.num_bytes for file in missing) / GB
    raise ConfigError(
        f"{name} {what} in {model_set.folder(home)}: run `ltx-live models download {name} --home {home}` ({gb:.1f} GB)"
    )


def known_as(path: Path) -> HubFile | None:
    """The file of the split or single-file sets that has this path's name, if one has: their names tell them apart."""
    split = {file.place: file for file in (FP8_SCALED, FP8_INPUT_SCALED, *SPLIT_FILES, ID_LORA)}
    return (split | {file.place: file for file in (SINGLE_FILE_BF16, SINGLE_FILE_FP8)}).get(path.name)
