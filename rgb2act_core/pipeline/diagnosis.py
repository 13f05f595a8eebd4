"""What ``rgb2act doctor`` finds of one thing that a spec needs: a ``Component.diagnose``. Light."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from ..errors import UserError
from ..interfaces import Diagnostic
from ..interfaces.fields import Mark, is_marked
from ..spec import Choice, Spec


def diagnose(spec: Spec) -> Iterator[tuple[str, Diagnostic]]:
    """Yield all that the spec needs: the part of the spec, and what was found of it."""
    from ..weights.inventory import inventory

    for need in inventory(spec):
        yield f"{need.role} {need.component}", _weights(need)
    for part, choice in _choices(spec):
        for field in attrs.fields(type(choice.config)):
            value = getattr(choice.config, field.name)
            file = is_marked(field, Mark.FILE) and isinstance(value, Path)
            if part == "environment" and file:
                yield f"{part} {choice.component.name}", _file(field.name, value)
        if choice.component.diagnose is not None:
            for finding in choice.component.diagnose(choice.config):
                yield f"{part} {choice.component.name}", finding
    if spec.act.seeds is not None:
        yield "act", _file("seeds", spec.act.seeds)
    yield "compute", _device(spec)


def _choices(spec: Spec) -> Iterator[tuple[str, Choice]]:
    yield from (("environment", choice) for choice in spec.environments)
    yield from (("backbone", choice) for choice in spec.backbone)
    yield "teacher", spec.teacher
    yield "fusion", spec.align.fusion
    yield "policy head", spec.policy.head


def _weights(need: Any) -> Diagnostic:
    """Return what is found of weights, an ``inventory.Need``."""
    detail = {
        "random": "random weights: the output carries no information",
        "none": "needs no file",
        "not downloaded": f"not downloaded yet: {need.source}",
    }.get(need.state, str(need.path or need.file))
    return Diagnostic(
        name="weights",
        ok=need.state in ("available", "random", "none"),
        detail=detail,
        remedy={
            "not downloaded": "rgb2act weights SPEC --fetch",
            "missing": "set weights to a file that is there; rgb2act weights SPEC names the"
            " official one",
        }.get(need.state, ""),
    )


def _file(name: str, path: Path) -> Diagnostic:
    ok = path.exists()
    remedy = "" if ok else f"set {name} to a path that is there; paths start at the spec's folder"
    return Diagnostic(
        name=name, ok=ok, detail=f"{path}{'' if ok else ' is not there'}", remedy=remedy
    )


def _device(spec: Spec) -> Diagnostic:
    from ..system.devices import device_of

    try:
        return Diagnostic(name="device", ok=True, detail=device_of(spec.compute))
    except UserError as err:
        return Diagnostic(name="device", ok=False, detail=str(err), remedy="set device = 'auto'")
