"""Writes the parameter table into README.md, between its two markers; `make fix` runs it."""

import re
from pathlib import Path

from ltx_live.listing import params_markdown

readme = Path(__file__).parents[1] / "README.md"
text = readme.read_text(encoding="utf-8")
table = f"<!-- parameters -->\n{params_markdown()}\n<!-- /parameters -->"
text = re.sub("<!-- parameters -->.*<!-- /parameters -->", lambda _: table, text, flags=re.S)
readme.write_text(text, encoding="utf-8")
