"""The README says what the program does: its parameter table, its commands, its files."""

import re
import shlex
from pathlib import Path

import pytest

from ltx_live import cli, listing, options, params

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line.split("#")[0].strip() for line in re.findall(r"^ltx-live .*$", README, flags=re.M)]
COMMANDS += re.findall(r"`(ltx-live [^`]*)`", README)


def test_the_parameter_table_is_the_generated_one():
    table = re.search(r"<!-- parameters -->\n(.*)\n<!-- /parameters -->", README, flags=re.S)
    assert table and table[1] == listing.params_markdown(), "run `make fix`, which writes the table"


def test_the_generated_table_has_a_row_of_full_width_for_every_parameter():
    lines = listing.params_markdown().splitlines()
    assert len(lines) == len(listing.ROWS) + 2
    assert {line.count("|") for line in lines} == {len(listing.HEADINGS) + 1}


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_every_command_is_understood(command):
    arguments = shlex.split(command)[1:]
    if "--help" in arguments:
        return
    args = cli.parser().parse_args(arguments)
    if args.run is cli.play:
        options.show_config(args)


def test_every_parameter_and_file_it_names_exists():
    known = {"error", *params.concrete_names()}
    for name in re.findall(r"\bltx/([a-z_0-9/]+)", README.split("<!-- parameters -->")[0]):
        assert name in known, name
    for link in re.findall(r"\]\((?!http)([^)]+)\)", re.sub(r"<!--.*?-->", "", README, flags=re.S)):
        assert (ROOT / link).exists(), link
    for file in re.findall(r"`(mappings/[^`]+)`", README):
        assert (ROOT / file).is_file(), file


def test_recipes_have_at_most_eight_lines():
    section = README.split("## Recipes\n")[1].split("\n## ")[0]
    titles = [recipe.strip().splitlines()[0] for recipe in re.split(r"\n(?=\*\*)", section) if recipe.strip()]
    words = "nanoKONTROL2", "TouchDesigner", "Feedback", "phone", "music", "prompt to another"
    words += "follows the sound", "strobe", "tape", "second screen"
    for word, title in zip(words, titles, strict=True):
        assert word in title
    for recipe in re.split(r"\n(?=\*\*)", section):
        assert len([line for line in recipe.splitlines() if line.strip()]) <= 9, recipe  # its title and eight lines


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in {"play", "test", "check", "fix", "bench"} | set(re.findall(r"`make ([a-z]+)`", README)):
        assert re.search(rf"^{target}:", makefile, flags=re.M), target
