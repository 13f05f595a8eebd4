"""docs/spec.md is generated from the current config classes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Literal

import attrs
import pytest

from rgb2act_core import Component, Kind
from rgb2act_core.interfaces import fields

SCRIPT = Path(__file__).parents[2] / "docs" / "generate_spec_reference.py"


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@attrs.frozen(kw_only=True)
class Sepia:
    """Tint patches."""

    tone: Literal["warm", "cold"] = "warm"
    """Which ``tint``,
    in two lines."""
    weights: Path | None = None  # a file
    layers: tuple[int, ...] = (1, 2)
    threads: int = fields.runtime(default=0)
    """Threads."""


def test_page_is_current(reference: ModuleType) -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.document(), (
        "run python docs/generate_spec_reference.py"
    )


def test_check_compares_the_page_and_writes_nothing(
    reference: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "spec.md"
    monkeypatch.setattr(reference, "PAGE", page)
    page.write_text("old")
    assert reference.main(["--check"]) == 1
    assert page.read_text() == "old"
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0


def test_field_is_described_by_docstring_or_comment(reference: ModuleType) -> None:
    component = Component(name="sepia", config=Sepia, build=print, tiny=Sepia())
    page = "\n".join(reference._part(Kind.BACKBONE, component))
    assert '### Backbone `use = "sepia"`' in page
    assert "In `[[backbone]]`. Tint patches." in page
    assert '| `tone` | `"warm"`, `"cold"` | `"warm"` | Which `tint`, in two lines. |' in page
    assert "| `weights` | path | none | a file |" in page
    assert "| `layers` | list of: int | `[1, 2]` |  |" in page
    assert "| `threads` | int | `0` | Threads. *Runtime.* |" in page
