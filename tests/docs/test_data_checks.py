"""The tables of docs/data-checks.md agree with the code."""

from __future__ import annotations

import re
from pathlib import Path

from rgb2act_core.linting import NAMES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "data-checks.md").read_text(encoding="utf-8")
ROBOTWIN = ROOT / "plugins/robotwin/rgb2act_robotwin/recorded/data_checks.py"


def test_page_lists_every_rule() -> None:
    rules = re.findall(r"^\| `([\w.]+)` \|", PAGE, re.MULTILINE)
    assert [rule for rule in rules if "." not in rule] == list(NAMES)
    code = ROBOTWIN.read_text(encoding="utf-8")
    own = {f"robotwin.{name}" for name in re.findall(r'_finding\(\s*[\w. ]+,\s*"(\w+)"', code)}
    own |= {f"robotwin.{name}" for name in re.findall(r'_finding\(\s*Severity[^"]*"(\w+)"', code)}
    assert {rule for rule in rules if "." in rule} == own
