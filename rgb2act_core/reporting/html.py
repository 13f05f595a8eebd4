"""Build pieces of the report's HTML; everything that is passed in as text comes out escaped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ..errors import UserError

_ODD = (KeyError, TypeError, ValueError, AttributeError, IndexError, ZeroDivisionError, OSError)


def guarded(show: Callable[[], str]) -> str:
    """Return what ``show`` returns, or a note when the run's files lack the form it needs."""
    try:
        return show()
    except UserError as err:
        return note(str(err))
    except _ODD as err:
        return note(f"not shown, the files have an unexpected form: {type(err).__name__}: {err}")


def section(title: str, show: Callable[[], str]) -> str:
    """Return a titled section of the page."""
    return f"<section><h2>{escape(title)}</h2>{guarded(show)}</section>"


def note(text: str) -> str:
    """Return a note that stands out."""
    return f'<p class="note">{escape(text)}</p>'


def muted(text: str) -> str:
    """Return a paragraph in the background, nothing for no text."""
    return f'<p class="muted">{escape(text)}</p>' if text else ""


def fact(value: str, text: str, *, main: bool = False) -> str:
    """Return a box with one number and what it is."""
    style = "fact main" if main else "fact"
    return f'<div class="{style}"><b>{escape(value)}</b><span>{escape(text)}</span></div>'


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], style: str = "wide") -> str:
    """Return a table of cells that are HTML already; ``#`` before a heading aligns right."""
    kinds = [' class="n"' if heading.startswith("#") else "" for heading in headings]
    head = "".join(
        f"<th{kind}>{escape(heading.removeprefix('#'))}</th>"
        for kind, heading in zip(kinds, headings, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(f"<td{k}>{c}</td>" for k, c in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    top = f"<thead><tr>{head}</tr></thead>" if any(headings) else ""
    return f'<div class="{style}"><table>{top}<tbody>{body}</tbody></table></div>'


def mark(success: object) -> str:
    """Return the mark of an episode that succeeded or failed."""
    yes = '<span class="yes">\u2713 success</span>'
    return yes if success is True else '<span class="no">\u2717 failed</span>'


def percent(share: float) -> str:
    """Return a share as text."""
    return f"{100 * share:.0f} %"


def number(value: float | None) -> str:
    """Return a measure as text."""
    return "-" if value is None else f"{value:.4g}" if abs(value) < 1 else f"{value:,.2f}"


def duration(seconds: float | None) -> str:
    """Return a time as text."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def toml(table: Mapping[str, Any], at: str = "") -> str:
    """Return nested mappings as TOML; empty values are left out."""
    tables = {k: v for k, v in table.items() if _tables(v)}
    lines = [f"{k} = {_value(v)}" for k, v in table.items() if k not in tables and v is not None]
    for key, value in tables.items():
        path = f"{at}{key}"
        parts = [value] if isinstance(value, Mapping) else value
        name = f"[{path}]" if isinstance(value, Mapping) else f"[[{path}]]"
        lines += [f"\n{name}\n{toml(part, f'{path}.')}".rstrip() for part in parts]
    return "\n".join(lines)


def _tables(value: Any) -> bool:
    rows = isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value)
    return isinstance(value, Mapping) or bool(rows)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{k} = {_value(v)}' for k, v in value.items())} }}"
    return json.dumps(value, ensure_ascii=False)
