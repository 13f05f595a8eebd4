"""Write docs/spec.md from the config classes: ``python -m rgb2act_core.spec.reference``."""

from __future__ import annotations

import ast
import inspect
import json
import sys
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import attrs

from ..interfaces.fields import Mark, is_marked
from ..plugins import registry
from ..plugins.components import Component, Kind
from . import CHOICES, Spec
from .reader import unstructure

PLACE = Path(__file__).parents[2] / "docs" / "spec.md"
HEAD = """\
# What a spec may say

Generated from the config classes by `python -m rgb2act_core.spec.reference`; edit those.

A spec is one TOML file. It is read strictly: unknown keys, wrong types and values out of range are
errors with their line, and nothing is converted (`"20"` is not 20, but 20 is a float too). Paths
start at the spec's folder; `~` is the home folder. `rgb2act check SPEC` reads a spec and says what
a run would do.

Where a table has `use`, its other keys are those of the component it names. `rgb2act plugins`
lists the components that are installed; those of the core are described below, those of a plugin
in its README. Keys marked *runtime* change no result, so changing them does not repeat a stage.
"""
TAIL = """
## Components of the core

The other components come with plugins.
"""
WHERE = {
    Kind.BACKBONE: "[[backbone]]",
    Kind.TEACHER: "[teacher]",
    Kind.FUSION: "align.fusion",
    Kind.POLICY_HEAD: "policy.head",
    Kind.ENVIRONMENT: "[environment]",
}


def document() -> str:
    """Return the whole page."""
    parts = [HEAD, "## The top of the file\n", *_section(Spec, "")]
    parts += [
        TAIL,
        *(line for part in registry.collect_hooks(registry.BUILTIN)[0] for line in _part(*part)),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _section(cls: type, path: str, level: int = 2) -> Iterator[str]:
    """Yield a class's table, then a section for each table below it."""
    hints, texts = typing.get_type_hints(cls), docstrings(cls)
    if path:
        name = f"`{path}`" if path.startswith(("policy.head", "align.fusion")) else f"`[{path}]`"
        yield f"{'#' * level} {name}\n"
        yield f"{_paragraphs(cls)}\n"
    fields = attrs.fields(cls)
    if fields:
        yield "| key | type | default | meaning |\n|---|---|---|---|"
    for field in fields:
        runtime = " *Runtime.*" if is_marked(field, Mark.RUNTIME) else ""
        meaning = f"{texts.get(field.name, '')}{runtime}".strip().replace("|", "\\|")
        yield f"| `{field.name}` | {_type(hints[field.name])} | {_default(field)} | {meaning} |"
    yield ""
    for field in fields:
        if (inner := _table(hints[field.name])) is not None:
            yield from _section(inner, f"{path}.{field.name}".removeprefix("."), level)


def _part(kind: Kind, component: Component) -> Iterator[str]:
    yield f'### {kind.label.capitalize()} `use = "{component.name}"`\n'
    yield f"In `{WHERE[kind]}`. {_paragraphs(component.config)}\n"
    place = WHERE[kind].strip("[]")
    for i, line in enumerate(_section(component.config, place, 4)):
        if i > 1:  # its heading and first paragraph are above
            yield line


def _paragraphs(cls: type) -> str:
    return inspect.cleandoc(cls.__doc__ or "").replace("``", "`")


def _table(hint: Any) -> type | None:
    """Return the attrs class that a key's table holds, if it is no component."""
    found = [arg for arg in (hint, *typing.get_args(hint)) if isinstance(arg, type)]
    return next((t for t in found if attrs.has(t) and t not in CHOICES), None)


def _type(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint in CHOICES:
        return f"table with `use`: {CHOICES[hint].label}"
    if origin is Literal:
        return ", ".join(f"`{json.dumps(arg)}`" for arg in args)
    if origin is tuple and args[-1] is not Ellipsis:
        return f"list of {len(args)}: {', '.join(map(_type, args))}"
    if origin is tuple and args[0] in CHOICES:
        return f"list of tables with `use`: {CHOICES[args[0]].label}s"
    if origin is tuple:
        return f"list of: {_type(args[0])}"
    if origin is dict:
        return f"table of: {_type(args[1])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(arg) for arg in args if arg is not type(None))
    if isinstance(hint, type) and attrs.has(hint):
        return "table"
    return "path" if hint is Path else str(hint.__name__)


def _default(field: attrs.Attribute[Any]) -> str:
    default = field.default
    if default is attrs.NOTHING:
        return "**required**"
    if (factory := getattr(default, "factory", None)) is not None:
        default = factory()
    if default is None:
        return "left out"
    if attrs.has(type(default)):
        return "as below"
    return f"`{json.dumps(unstructure(default))}`"


def docstrings(cls: type) -> dict[str, str]:
    """Return the text below, or the comment behind, each field of a class in its source."""
    source = textwrap.dedent(inspect.getsource(cls))
    lines, found = source.splitlines(), {}
    body = typing.cast(ast.ClassDef, ast.parse(source).body[0]).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        text = lines[(node.end_lineno or 1) - 1].partition("  # ")[2]
        if (
            isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            text = after.value.value
        found[node.target.id] = " ".join(text.split()).replace("``", "`")
    return found


if __name__ == "__main__":
    PLACE.write_text(document(), encoding="utf-8")
    print(PLACE, file=sys.stderr)
