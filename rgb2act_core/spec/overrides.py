"""Keys of a spec that the command line sets, such as ``--set policy.steps=100``.

A key is written as in TOML, with an index for each item of a list: ``backbone.0.size``. A value is
read as TOML. A word that is not TOML, such as ``end_to_end``, is a string.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from ..errors import Problems, UserError
from .places import Places
from .toml_lines import Path

_WORD = re.compile(r"(?!\.\d)[A-Za-z_~./][A-Za-z0-9_~./:@+-]*")
_AMBIGUOUS = ("true", "false", "none", "null", "yes", "no", "on", "off")  # in another language
# keys that options of their own set
KEYS = {"--seed": "seed", "--device": "compute.device", "--engine": "compute.engine"}


@attrs.frozen
class Override:
    """A value for one key of a spec."""

    path: Path
    value: Any
    origin: str  # the option as it was given, such as ``--set policy.steps=100``


def parse_overrides(given: Iterable[tuple[str, str]]) -> tuple[Override, ...]:
    """Return the overrides of ``(option, text)`` pairs, such as ``("--set", "policy.steps=100")``.

    Raises UserError with all options that cannot be read.
    """
    problems, found = Problems(), list[Override]()
    for option, text in given:
        with problems.collected():
            found.append(_parse(option, text))
    problems.raise_any()
    return tuple(found)


def _parse(option: str, text: str) -> Override:
    origin = f"{option} {_shown(text)}"
    if option in KEYS:
        return Override(parse_key(KEYS[option], origin), parse_value(text, origin), origin)
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"{origin}: has no value; write KEY=VALUE, such as policy.steps=100")
    return Override(parse_key(key, origin), parse_value(value, origin), origin)


def parse_key(key: str, origin: str) -> Path:
    """Return the path of a dotted key; its indices stay strings, as only the spec has lists."""
    try:
        inner: Any = tomllib.loads(f"{key} = 0")
    except (ValueError, RecursionError):
        inner = None
    path: list[str] = []
    while isinstance(inner, Mapping) and len(inner) == 1:
        name, inner = next(iter(inner.items()))
        path.append(name)
    if inner != 0 or not path:
        raise UserError(
            f"{origin}: {key.strip()!r:.60} is no key of a spec; write keys with dots and items of"
            " lists by number, such as backbone.0.size"
        )
    return tuple(path)


def parse_value(text: str, origin: str) -> Any:
    """Return a value that is written as in TOML; a word that is not TOML is a string."""
    text = text.strip()
    try:
        data = tomllib.loads(f"value = {text}")
        if len(data) == 1:
            return data["value"]
    except RecursionError:
        pass
    except ValueError:
        if _WORD.fullmatch(text) and text.lower() not in _AMBIGUOUS:
            return text
    raise UserError(f"{origin}: the value is not TOML; {_hint(text)}")


def _hint(text: str) -> str:
    if text.lower() in ("true", "false"):
        return f"write {text.lower()}"
    shown = text if text.isprintable() and 0 < len(text) < 30 else "text"
    return f"""quote a string for TOML and for the shell, such as '"{shown}"'"""


def apply_overrides(
    data: dict[str, Any], overrides: Sequence[Override], places: Places
) -> dict[str, Any]:
    """Return a spec's data with the overrides, and record their origin in ``places``.

    Tables that do not exist are created. Raises UserError for an item of a list that does not
    exist and for a key of a value that is not a table.
    """
    problems = Problems()
    for override in overrides:
        with problems.collected():
            data = _put(data, override, (), places)
    problems.raise_any()
    return data


def _put(data: Any, override: Override, at: Path, places: Places) -> Any:
    """Return ``data``, which is at path ``at``, with the value of the override."""
    if len(at) == len(override.path):
        places.replace(at, override.origin)
        return override.value
    key = override.path[len(at)]
    if isinstance(data, Mapping):
        if key not in data:
            places.create((*at, key), override.origin)
        return {**data, key: _put(data.get(key, {}), override, (*at, key), places)}
    if isinstance(data, list):
        index = _index(data, key, at, override)
        path = (*at, index, *override.path[len(at) + 1 :])
        items = list(data)
        inner = attrs.evolve(override, path=path)
        items[index] = _put(items[index], inner, (*at, index), places)
        return items
    raise UserError(f"{override.origin}: {_dotted(at)} is no table and has no key {key!r}")


def _index(items: Sequence[Any], key: str | int, at: Path, override: Override) -> int:
    if isinstance(key, int) or (key.isascii() and key.isdecimal() and int(key) < len(items)):
        return int(key)
    name, last = _dotted(at), len(items) - 1
    numbers = f"from 0 to {last}, such as {name}.{last}" if items else "but it is empty"
    raise UserError(f"{override.origin}: {name} is a list; name an item by its number, {numbers}")


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))


def _shown(text: str) -> str:
    """Return an option's text for a message, on one line."""
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= 100 else f"{text[:97]}..."
