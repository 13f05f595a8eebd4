"""docs/spec.md says what the config classes say."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import attrs

from rgb2act_core import Component, Kind
from rgb2act_core.interfaces import fields
from rgb2act_core.spec import reference


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


def test_page_is_current() -> None:
    assert reference.PLACE.read_text(encoding="utf-8") == reference.document(), (
        "run python -m rgb2act_core.spec.reference"
    )


def test_field_is_described_by_docstring_or_comment() -> None:
    component = Component(name="sepia", config=Sepia, build=print, tiny=Sepia())
    page = "\n".join(reference._part(Kind.BACKBONE, component))
    assert '### Backbone `use = "sepia"`' in page
    assert "In `[[backbone]]`. Tint patches." in page
    assert '| `tone` | `"warm"`, `"cold"` | `"warm"` | Which `tint`, in two lines. |' in page
    assert "| `weights` | path | left out | a file |" in page
    assert "| `layers` | list of: int | `[1, 2]` |  |" in page
    assert "| `threads` | int | `0` | Threads. *Runtime.* |" in page
