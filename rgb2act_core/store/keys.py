"""Content keys: digests of everything that a stored result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ..errors import UserError
from ..interfaces.fields import Mark, is_marked
from ..spec import Choice
from .file_digests import file_digest

KEY_LENGTH = 16  # hex digits (64 bits): no collisions among the stages of one store


def canonical(value: Any) -> Any:
    """Return ``value`` as JSON data that contains only what can change a result.

    ``fields.runtime`` fields are omitted, and so are ``fields.added_later`` fields at their
    default. Files are represented by the digest of their content, and chosen components by name,
    version and config. Raises UserError if such a file does not exist.
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
        raise TypeError(
            f"{value}: the path of a file is not part of a cache key; declare the config's field"
            " with fields.file() or fields.runtime()"
        )
    return value


def _unused(config: Any, field: attrs.Attribute[Any]) -> bool:
    """Return whether a field was added later and has its default, as before it existed."""
    if not is_marked(field, Mark.ADDED_LATER):
        return False
    default: Any = field.default
    return bool(getattr(config, field.name) == getattr(default, "factory", lambda: default)())


def _field(config: Any, field: attrs.Attribute[Any]) -> Any:
    value = getattr(config, field.name)
    if is_marked(field, Mark.WEIGHTS) and value == "hub":
        official = config.official
        return {"hub": f"{official.source}/{official.filename}", "sha256": official.sha256}
    if is_marked(field, Mark.WEIGHTS) and value == "package":
        official = config.official
        return {"package": official.package, "sha256": official.sha256}
    if is_marked(field, Mark.WEIGHTS) and value != "random":
        value = Path(value)
    elif not is_marked(field, Mark.FILE):
        return canonical(value)
    if isinstance(value, tuple):
        return [_content(item, field.name) for item in value]
    return _content(value, field.name)


def _content(value: Any, name: str) -> Any:
    """Return the digest of a file or folder; other values of a file's field as they are."""
    if not isinstance(value, Path):
        return canonical(value)
    if not value.exists():
        raise UserError(
            f"{name}: there is no file {str(value)!r}, whose content is part of the cache key;"
            " restore it"
        )
    return {"sha256": file_digest(value)}


def key_of(inputs: Any) -> str:
    """Return the key of canonical data: hex digits of its BLAKE2b digest."""
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=KEY_LENGTH // 2).hexdigest()


def difference(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the differences between two canonical inputs as ``name: old -> new`` lines.

    A key that only one of them has is at its default in the other.
    """
    found = []
    for name in sorted({*old, *new}):
        path = f"{prefix}.{name}" if prefix else name
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += difference(before, after, path)
        elif before != after:
            texts = (_short(inputs[name]) if name in inputs else "default" for inputs in (old, new))
            found.append(f"{path}: {' -> '.join(texts)}")
    return found


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
