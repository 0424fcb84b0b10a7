"""The rules of structure, checked by reading the source: who imports what, how long things are, where faults are held.

The table of imports is docs/decisions/0001 to 0004 put into one place; a new package or library gets its line here.
"""

import ast
import fnmatch
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ltx_live"
SOURCES = {path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}

CORE = {"errors", "config", "parameter", "params", "chunk"}
MAY_IMPORT = {  # what each package may import of ours; what is not listed (session, app, cli, bench) may import all
    "core": {"core"},
    "media": {"core", "media"},
    "control": {"core", "control"},
    "stage": {"core", "media", "stage"},
    "model": {"model"},
    "weights": {"errors", "model", "weights"},
    "accel": {"model", "weights", "accel"},
    "engine": {"core", "media", "model", "weights", "accel", "engine"},
    "pocket": {"model", "weights", "pocket"},
}
OWNERS = {  # the files that may import an outside library; numpy may be anywhere
    "numpy": ["*"],
    "torch": ["model/*", "weights/*", "accel/*", "engine/*", "pocket/*", "bench/*", "proof/*"],
    "triton": ["accel/*"],
    "safetensors": ["weights/*", "pocket/*"],
    "huggingface_hub": ["weights/*"],
    "transformers": ["weights/text_encoder.py", "pocket/*"],
    "sentencepiece": ["weights/text_encoder.py", "pocket/*"],
    "av": ["media/*"],
    "pythonosc": ["control/osc.py"],
    "mido": ["control/midi.py", "control/midi_out.py"],
    "rtmidi": ["control/midi.py"],
    "tomlkit": ["control/learned.py", "control/toml_revise.py"],
    "aiohttp": ["control/http.py"],
    "zeroconf": ["control/oscquery.py"],
    "aalink": ["control/tempo_link.py"],
    "sounddevice": ["stage/devices.py"],
    "pyglet": ["stage/window.py", "stage/x11_drops.py", "stage/hud.py", "stage/picker_view.py", "stage/compositor.py"],
    "cyndilib": ["stage/ndi.py"],
    "SpoutGL": ["stage/spout.py"],
    "syphon": ["stage/syphon.py"],
    "rich": ["cli.py", "listing.py", "models.py", "render.py", "bench/*", "proof/*"],
}
SHOW_PROCESS = [
    "session.py",
    "app.py",
    "cli.py",
    "listing.py",
    "models.py",
    "doctor.py",
    "learning.py",
    "loras.py",
    "lora_files.py",
]
SHOW_PROCESS += ["control/*", "stage/*", "media/*"]
SHOW_PROCESS += ["engine/process.py", "engine/testcard.py"]  # these hold no torch, and nothing that imports it
HEAVY = {"torch", "transformers", "safetensors", "triton"}

BROAD_EXCEPT = {  # the four places that may hold any fault, one handler each
    "the engine's request loop": "engine/*",
    "the main tick": "app.py",
    "the guard around a control receiver's message": "control/*",
    "the audio callback": "stage/*",
}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 6


def matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def imported_names(tree: ast.AST, file: str) -> set[str]:
    """Every module that a piece of code names in an import, absolute; `from a import b` gives a and a.b."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parent = ["ltx_live", *Path(file).parts[:-1]]
            base = ".".join([*parent[: len(parent) + 1 - node.level], node.module or ""]) if node.level else node.module
            base = base.strip(".")
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names


def at_import(tree: ast.Module) -> ast.Module:
    """The code without its function bodies and type-checking blocks: what runs when the module is imported."""

    class Pruner(ast.NodeTransformer):
        def visit_FunctionDef(self, node):
            return None

        visit_AsyncFunctionDef = visit_FunctionDef

        def visit_If(self, node):
            return None if "TYPE_CHECKING" in ast.unparse(node.test) else self.generic_visit(node)

    return Pruner().visit(tree)


def is_module(name: str) -> bool:
    path = name.removeprefix("ltx_live").removeprefix(".").replace(".", "/")
    return f"{path}.py" in SOURCES or f"{path}/__init__.py".lstrip("/") in SOURCES


def home_of(module: str) -> set[str]:
    """The names under which the table knows one of our modules: its package, or core and its own name."""
    parts = module.split(".")
    if len(parts) == 1:
        return {"core", *MAY_IMPORT}  # the package itself, for __version__
    return {"core", parts[1]} if parts[1] in CORE else {parts[1]}


def forbidden_imports(file: str, source: str) -> list[str]:
    """Every import of a file that the two tables do not allow."""
    package = file.split("/")[0].removesuffix(".py")
    allowed = MAY_IMPORT.get("core" if package in CORE else package)
    found = []
    for name in sorted(imported_names(ast.parse(source), file)):
        top = name.split(".")[0]
        if top == "ltx_live":
            if allowed is not None and is_module(name) and not home_of(name) & allowed:
                found.append(f"{file} imports {name}")
        elif top not in sys.stdlib_module_names and not matches(file, OWNERS.get(top, [])):
            found.append(f"{file} imports {top}")
    return sorted(set(found))


def reachable(file: str) -> dict[str, str]:
    """Everything imported when `file` is imported, ours and outside, with the file that does it."""
    found: dict[str, str] = {}
    waiting = [file]
    seen = set()
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        for name in imported_names(at_import(ast.parse(SOURCES[current])), current):
            found.setdefault(name.split(".")[0], current)
            parts = name.split(".")[1:] if name.startswith("ltx_live.") else []
            for depth in range(1, len(parts) + 1):
                path = "/".join(parts[:depth])
                waiting += [each for each in (f"{path}.py", f"{path}/__init__.py") if each in SOURCES]
    return found


def functions(source: str):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def broad_handlers(source: str) -> int:
    """How many handlers of a source would catch any fault."""
    count = 0
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            caught = [node.type] if not isinstance(node.type, ast.Tuple) else node.type.elts
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            caught = node.args
        else:
            continue
        count += any(each is None or ast.unparse(each) in ("Exception", "BaseException") for each in caught)
    return count


def test_every_import_is_allowed():
    assert [line for file, source in SOURCES.items() for line in forbidden_imports(file, source)] == []


def test_the_show_process_holds_no_torch():
    heavy = []
    for file in SOURCES:
        if matches(file, SHOW_PROCESS):
            heavy += [f"{file} reaches {name} in {where}" for name, where in reachable(file).items() if name in HEAVY]
    assert heavy == []


@pytest.mark.parametrize("file", ["engine/process.py", "engine/testcard.py"])
def test_the_engine_without_torch_never_names_it(file):
    assert not imported_names(ast.parse(SOURCES[file]), file) & HEAVY


def test_files_are_about_one_screen():
    paths = [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "tools").rglob("*")]
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert {path: length for path, length in lengths.items() if length > MAX_FILE_LINES} == {}


def test_functions_are_short_and_take_few_parameters():
    found = []
    for file, source in SOURCES.items():
        for node in functions(source):
            length = node.end_lineno - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                found.append(f"{file}: {node.name} has {length} lines")
            names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            count = len([name for name in names if name not in ("self", "cls")])
            if count > MAX_PARAMETERS:
                found.append(f"{file}: {node.name} has {count} parameters")
    assert found == []


def test_any_fault_is_held_in_four_places_only():
    handlers = {file: count for file, source in SOURCES.items() if (count := broad_handlers(source))}
    for place, pattern in BROAD_EXCEPT.items():
        here = {file: count for file, count in handlers.items() if fnmatch.fnmatch(file, pattern)}
        assert sum(here.values()) <= 1, f"more than one handler for {place}: {here}"
    elsewhere = {file for file in handlers if not matches(file, list(BROAD_EXCEPT.values()))}
    assert elsewhere == set()


def test_the_reader_sees_what_it_must():
    """The checks above find what they look for, in code written to break them."""
    source = "import json, torch\nfrom ltx_live.stage import Anything\nfrom ltx_live import __version__, params\n"
    assert forbidden_imports("control/x.py", source) == [
        "control/x.py imports ltx_live.stage",
        "control/x.py imports torch",
    ]
    assert forbidden_imports("control/x.py", "from ..stage import Anything") == ["control/x.py imports ltx_live.stage"]
    assert forbidden_imports("model/x.py", "from ltx_live.errors import EngineError") == [
        "model/x.py imports ltx_live.errors"
    ]
    assert forbidden_imports("stage/x.py", "def f():\n    import mido") == ["stage/x.py imports mido"]
    assert "torch" not in imported_names(at_import(ast.parse("def f():\n    import torch\n")), "x.py")
    assert broad_handlers("try: pass\nexcept (OSError, Exception): pass\ntry: pass\nexcept OSError: pass\n") == 1
