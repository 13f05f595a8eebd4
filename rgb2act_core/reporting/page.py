"""Render a report with Jinja2 templates that escape every text."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

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
    """Return the HTML page of a report; it refers to no other file."""
    return _environment().get_template("report.html").render(page=page)


def render_blocks(blocks: Sequence[Block]) -> str:
    """Return the HTML of some blocks."""
    show = _environment().get_template("blocks.html").make_module().show  # type: ignore[attr-defined]
    return "".join(map(show, blocks))
