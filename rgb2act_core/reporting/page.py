"""Render a report with Jinja2 templates that escape every text."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .blocks import Block, Page

TEMPLATES = Path(__file__).with_name("templates")


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_page(page: Page) -> str:
    """Return the HTML page of a report; it refers to no other file.

    The page's policy allows one script by its digest, which sorts tables.
    """
    script = (TEMPLATES / "sort.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template("report.html")
        .render(page=page, script=Markup(script), script_hash=f"sha256-{digest}")
    )


def render_blocks(blocks: Sequence[Block]) -> str:
    """Return the HTML of some blocks."""
    show = _environment().get_template("blocks.html").make_module().show  # type: ignore[attr-defined]
    return "".join(map(show, blocks))
