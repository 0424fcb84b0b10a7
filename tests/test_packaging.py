"""The wheel holds everything a show needs, and nothing else."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_wheel_holds_code_shaders_presets_weights_mappings_and_the_page(tmp_path):
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    wanted = set()
    for suffix in ("py", "toml", "glsl", "safetensors", "html", "css", "js", "svg"):
        wanted |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "ltx_live").rglob(f"*.{suffix}")}
    wanted |= {f"ltx_live/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "mappings").rglob("*.toml")}
    assert {"ltx_live/mappings/default.toml", "ltx_live/presets.toml", "ltx_live/cli.py"} <= wanted
    assert "ltx_live/control/page/index.html" in wanted
    assert wanted <= packed
    assert not [name for name in packed if name.startswith(("tests/", "tools/"))]


def test_every_dependency_is_pinned_for_make():
    pins = re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), flags=re.M)
    direct = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
    names = {re.match(r"[\w-]+", each)[0] for each in direct}
    assert names <= set(pins)
