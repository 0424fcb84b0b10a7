"""Finds the files of a model, whatever layout they come in; only headers are read.

Files are known by the names of their tensors and by their metadata, never by their own names (reference/model.md 0, 7).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ltx_live.errors import CheckpointError
from ltx_live.weights.header_json import summary
from ltx_live.weights.headers import INDEX_SUFFIX, Bundle, Entry, find_bundles, read_bundle, read_shards
from ltx_live.weights.parts import (
    CONNECTORS,
    PARTS,
    TEXT_ENCODER,
    TEXT_PROJECTION,
    TRANSFORMER,
    VIDEO_VAE,
    Found,
    Part,
    Source,
    is_diffusers,
    is_lora,
    parts_of,
)

SPIECE_MODEL = "spiece_model"
DOWNLOAD = "`ltx-live models download ltx-2.3` gets the whole set"
TRANSFORMER_FOLDERS = ("checkpoints", "diffusion_models", "unet", "transformer")
"""Of ComfyUI/models and of diffusers; the folders beside these hold the other parts."""


@dataclass(frozen=True)
class ModelFiles:
    """Everything that one model needs; `layout` is "split files", "single file" or "diffusers"."""

    name: str
    layout: str
    transformer: Source
    text_projection: Source
    text_encoder: Source
    video_vae: Source
    audio_vae: Source
    vocoder: Source
    tokenizer: Entry | Path


def find_model(path: Path, text_encoder: Path | None = None) -> ModelFiles:
    """The files of a model: `path` is a folder, or the transformer's file with the other parts in its folder or below.

    `text_encoder` names Gemma's file or folder where it is elsewhere. Parts of different layouts go together. Raises
    CheckpointError for a part that is missing, damaged, held twice or of another model.
    """
    path = Path(path)
    named = _named_bundle(path)
    bundles, faults = find_bundles(path if named is None else _search_folder(path))
    if named is not None:
        bundles = [named, *(bundle for bundle in bundles if not bundle.paths & named.paths)]
    found = [part for bundle in bundles for part in parts_of(bundle)]
    if text_encoder is not None:
        found = [each for each in found if each.part is not TEXT_ENCODER] + _text_encoders(Path(text_encoder))
    transformer = _choose_transformer(path, found, faults) if named is None else _named_transformer(named)
    chosen = {TRANSFORMER: transformer}
    for part in PARTS:
        if part is not TRANSFORMER and not (part is CONNECTORS and _has_connectors(transformer)):
            chosen[part] = _choose(part, found, transformer.bundle, path)
    missing = [part for part, best in chosen.items() if best is None]
    if missing:
        raise _missing(path, missing, faults)
    return _model_files(path, chosen, found)


def _named_bundle(path: Path) -> Bundle | None:
    """The file that `path` is, or all shards where it is one of several; None for a folder."""
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or folder; {DOWNLOAD}")
    if path.is_dir():
        return None
    for index in sorted(path.parent.glob("*" + INDEX_SUFFIX)):
        bundle = read_shards(index)
        if path in bundle.paths:
            return bundle
    return read_bundle(path)


def _search_folder(path: Path) -> Path:
    """Where the other parts are looked for: in the file's folder, or beside it where it is only for transformers."""
    return next((parent.parent for parent in path.parents[:2] if parent.name in TRANSFORMER_FOLDERS), path.parent)


def _text_encoders(path: Path) -> list[Found]:
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or folder; give Gemma's")
    bundles, faults = find_bundles(path) if path.is_dir() else ([_named_bundle(path)], [])
    found = [each for bundle in bundles for each in parts_of(bundle) if each.part is TEXT_ENCODER]
    if not found:
        raise next(iter(faults), CheckpointError(f"{path}: holds no Gemma 3; {TEXT_ENCODER.advice}"))
    return found


def _named_transformer(named: Bundle) -> Found:
    """The transformer of the file that was named."""
    held = parts_of(named)
    transformer = next((each for each in held if each.part is TRANSFORMER), None)
    if transformer is not None and isinstance(transformer.source, Source):
        return transformer
    if transformer is not None:
        raise transformer.source
    if is_lora(named):
        raise CheckpointError(f"{named.where}: a LoRA, not a model; load it with --lora beside a model")
    titles = " and the ".join(each.part.title for each in held)
    what = f"the {titles}" if held else f"nothing of LTX-2.3 (but {summary(sorted(named.entries))})"
    raise CheckpointError(f"{named.where}: holds {what}; name the transformer's file, or the folder of all files")


def _choose_transformer(path: Path, found: Sequence[Found], faults: Sequence[CheckpointError]) -> Found:
    candidates = [each for each in found if each.part is TRANSFORMER]
    usable = [each for each in candidates if isinstance(each.source, Source)]
    if len(usable) == 1:
        return usable[0]
    if usable:
        several = _listed(path, usable)
        raise CheckpointError(f"{path}: several files hold the transformer: {several}; name one of them with --model")
    if not candidates:
        held = {each.part for each in found}
        raise _missing(path, [part for part in PARTS if part not in held], faults)
    raise candidates[0].source


def _choose(part: Part, found: Sequence[Found], main: Bundle, path: Path) -> Found | None:
    """The one to use: of the transformer's own file first, then of files without a transformer, then of the others."""
    candidates = [each for each in found if each.part is part]
    usable = [each for each in candidates if isinstance(each.source, Source)]
    whole = [each.bundle for each in found if each.part is TRANSFORMER]
    own = [each for each in usable if each.bundle is main]
    dedicated = [each for each in usable if each.bundle not in whole]
    best = own or dedicated or usable
    if len(best) > 1:
        best = [each for each in best if each.is_documented] or best  # not LTX-2.0's, not a smaller Gemma
    if len(best) > 1:
        advice = "keep one, or name it with --text-encoder" if part is TEXT_ENCODER else "keep one"
        raise CheckpointError(f"{path}: several files hold the {part.title}: {_listed(path, best)}; {advice}")
    if candidates and not usable:
        raise candidates[0].source
    return best[0] if best else None


def _listed(path: Path, found: Sequence[Found]) -> str:
    wheres = [each.bundle.where for each in found]
    return ", ".join(str(where.relative_to(path) if where.is_relative_to(path) else where) for where in wheres)


def _missing(path: Path, parts: Sequence[Part], faults: Sequence[CheckpointError]) -> CheckpointError:
    named = [part for part in parts if part is not CONNECTORS] or parts  # they come with the transformer
    if faults:
        return CheckpointError(f"{faults[0]}; without it there is {', '.join(f'no {part.title}' for part in named)}")
    if len(parts) == len(PARTS):
        return CheckpointError(f"{path}: nothing of LTX-2.3 here or below; {DOWNLOAD}")
    lacking = ", ".join(f"no {part.title} ({part.advice})" for part in named)
    return CheckpointError(f"{path}: {lacking} here or below; {DOWNLOAD}")


def _has_connectors(transformer: Found) -> bool:
    return all(sign in transformer.source.entries for sign in CONNECTORS.signs)


def _model_files(path: Path, chosen: dict[Part, Found], found: Sequence[Found]) -> ModelFiles:
    main = chosen[TRANSFORMER].bundle
    sources = {part.field: each.source for part, each in chosen.items()}
    connectors = sources.pop(CONNECTORS.field, None)
    if connectors is not None:
        transformer = sources[TRANSFORMER.field]
        sources[TRANSFORMER.field] = replace(
            transformer,
            entries={**transformer.entries, **connectors.entries},
            config={**connectors.config, **transformer.config},
        )
    _check_widths(sources[TEXT_ENCODER.field], sources[TEXT_PROJECTION.field])
    name = main.metadata.get("name", path.name if path.is_dir() else path.stem)
    is_whole = any(each.bundle is main and each.part is VIDEO_VAE for each in found)
    layout = "diffusers" if is_diffusers(main) else "single file" if is_whole else "split files"
    return ModelFiles(name, layout, tokenizer=_tokenizer(chosen[TEXT_ENCODER].bundle), **sources)


def _check_widths(encoder: Source, projection: Source) -> None:
    """Raises CheckpointError where the projection was made for another text encoder."""
    num_layers = len({name.split(".")[1] for name in encoder.entries if name.startswith("layers.")})
    made = _num_columns(encoder, "embed_tokens.weight") * (num_layers + 1)
    taken = _num_columns(projection, "video_aggregate_embed.weight")
    if made != taken:
        raise CheckpointError(
            f"{encoder.where}: the text encoder makes {made} values a token, the text projection ({projection.where}) "
            f"takes {taken}; they do not belong together: {TEXT_ENCODER.advice}"
        )


def _num_columns(source: Source, name: str) -> int:
    shape = source.entries[name].shape
    if len(shape) != 2:
        raise CheckpointError(
            f"{source.where}: {source.title}: {name} is {shape}, must be a matrix; the file is damaged: use another one"
        )
    return shape[1]


def _tokenizer(bundle: Bundle) -> Entry | Path:
    """Gemma's SentencePiece model: a tensor in its file, or a file beside it or in diffusers' folder for it."""
    if SPIECE_MODEL in bundle.entries:
        return bundle.entries[SPIECE_MODEL]
    for folder in (bundle.folder, bundle.folder.parent / "tokenizer"):
        if (folder / "tokenizer.model").is_file():
            return folder / "tokenizer.model"
    raise CheckpointError(
        f"{bundle.where}: the text encoder has no tokenizer (a tensor {SPIECE_MODEL}, or a file tokenizer.model beside "
        "it); add tokenizer.model from google/gemma-3-12b-it"
    )
