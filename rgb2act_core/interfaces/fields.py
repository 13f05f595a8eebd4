"""Config fields that need special treatment in cache keys and in specs.

A plain ``attrs.field`` is part of the cache key of every stage that depends on the component.
Declare all other fields with the functions below. Each takes the arguments of ``attrs.field``::

    @attrs.frozen(kw_only=True)
    class Gray:
        patch: int = 8
        weights: str = fields.weights()
        table: Path | None = fields.file(default=None)
        batch_size: int = fields.runtime(default=8, validator=attrs.validators.ge(1))
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import attrs

METADATA = "rgb2act"  # the only metadata key that config fields may have


class Mark(StrEnum):
    """How a field differs from a plain one."""

    RUNTIME = "runtime"
    FILE = "file"
    WEIGHTS = "weights"
    ADDED_LATER = "added later"
    EVALUATION_ONLY = "evaluation only"


def runtime(**options: Any) -> Any:
    """Return a field that cannot change a result, such as a batch size; it is in no cache key."""
    return marked(Mark.RUNTIME, **options)


def file(*, runtime: bool = False, **options: Any) -> Any:
    """Return a field for a ``Path``: a file or folder that must exist.

    A relative path starts at the spec's folder. The content enters the cache key, the path does
    not. With ``runtime=True`` neither does, as with ``fields.runtime``.
    """
    return marked(Mark.FILE, *([Mark.RUNTIME] if runtime else []), **options)


def weights(**options: Any) -> Any:
    """Return a ``str`` field for weights: ``"hub"``, ``"package"``, ``"random"`` or a path.

    The default is ``"hub"``, the official file. ``"package"`` is the file that an installed
    distribution contains, if the model's ``OfficialWeights`` names one. The config needs a
    property ``official`` that returns a ``rgb2act_core.weights.OfficialWeights``.
    """
    return marked(Mark.WEIGHTS, **{"default": "hub", **options})


def added_later(**options: Any) -> Any:
    """Return a field that an earlier release did not have.

    It enters the cache key only when it differs from its default. The default must give the
    results of the earlier release, so that these stay valid.
    """
    return marked(Mark.ADDED_LATER, **options)


def marked(*marks: Mark, **options: Any) -> Any:
    """Return an attrs field with one or more marks; ``options`` are those of ``attrs.field``."""
    return attrs.field(metadata={METADATA: frozenset(marks)}, **options)


def is_marked(field: attrs.Attribute[Any], mark: Mark) -> bool:
    """Return whether a field has a mark."""
    return mark in field.metadata.get(METADATA, frozenset())


def unknown_metadata(config: type) -> Iterator[str]:
    """Yield a message for each field of a config class whose metadata rgb2act does not know."""
    for field in attrs.fields(config):
        for key in field.metadata:
            if key != METADATA:
                yield (
                    f"{field.name}: unknown metadata key {key!r}; declare the field with a"
                    " function of rgb2act_core.interfaces.fields"
                )
