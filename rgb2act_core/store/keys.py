"""Content keys: canonical data of a spec or component, and its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ..interfaces.fields import Mark, is_marked
from ..spec import Choice
from .file_digests import file_digest

KEY_LENGTH = 16  # hex digits, 64 bits: enough for the stages of one store


def canonical(value: Any) -> Any:
    """Return ``value`` as plain JSON data that holds only what can change a result.

    Runtime fields are left out, and so are later ones at their default. Files enter by the digest
    of their content, and a chosen component by its name, version and config.
    """
    if isinstance(value, Choice):
        component = value.component
        return {"use": component.name, "version": component.version} | canonical(value.config)
    if attrs.has(type(value)):
        return {
            field.name: _field(value, field)
            for field in attrs.fields(type(value))
            if not is_marked(field, Mark.RUNTIME) and not _unused(value, field)
        }
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): canonical(item) for name, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    return value


def _unused(config: Any, field: attrs.Attribute[Any]) -> bool:
    """Say whether a field came after keys had been made, and holds what was so before it came."""
    if not is_marked(field, Mark.ADDED_LATER):
        return False
    before: Any = field.default
    return bool(getattr(config, field.name) == getattr(before, "factory", lambda: before)())


def _field(config: Any, field: attrs.Attribute[Any]) -> Any:
    value = getattr(config, field.name)
    if is_marked(field, Mark.WEIGHTS) and value == "hub":
        official = config.official
        return {"hub": f"{official.source}/{official.filename}", "sha256": official.sha256}
    named = is_marked(field, Mark.FILE) or (is_marked(field, Mark.WEIGHTS) and value != "random")
    if named and value is not None and Path(value).exists():
        return {"sha256": file_digest(Path(value))}
    return canonical(value)


def key_of(inputs: Any) -> str:
    """Return the key of canonical data: hex digits of its BLAKE2b digest."""
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=KEY_LENGTH // 2).hexdigest()


def difference(old: Mapping[str, Any], new: Mapping[str, Any], at: str = "") -> list[str]:
    """Return what differs between two canonical inputs, as ``place: old -> new`` lines."""
    found = []
    for name in sorted({*old, *new}):
        place = f"{at}.{name}" if at else name
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += difference(before, after, place)
        elif before != after:
            found.append(f"{place}: {_short(before)} -> {_short(after)}")
    return found


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
