"""Components that exist only for tests of specs: their configs have keys of every type."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import attrs

from rgb2act_core import Component, Kind, UserError
from rgb2act_core.errors import did_you_mean
from rgb2act_core.interfaces import fields


@attrs.frozen(kw_only=True)
class Crop:
    size: tuple[int, int] = (8, 8)
    scale: float = 1.0


@attrs.frozen(kw_only=True)
class Gray:
    patch: int = attrs.field(default=8, validator=attrs.validators.ge(1))
    weights: Literal["hub", "random"] | Path = fields.file(default="random")
    layers: tuple[int, ...] = ()
    crop: Crop | None = None
    threads: int = fields.runtime(default=0)


@attrs.frozen(kw_only=True)
class Toy:
    task: str
    data: Path | None = fields.file(default=None)


@attrs.frozen(kw_only=True)
class Mlp:
    width: int = 8
    depth: int = 1

    def __attrs_post_init__(self) -> None:
        if self.width * self.depth > 99:
            raise UserError("mlp.width: too wide for that depth", "depth: too deep for that width")


@attrs.frozen
class Empty:
    pass


def component(name: str, config: type, tiny: Any) -> Component:
    return Component(name=name, config=config, build=print, tiny=tiny)


PARTS = {
    (Kind.BACKBONE, "gray"): component("gray", Gray, Gray()),
    (Kind.TEACHER, "shape"): component("shape", Empty, Empty()),
    (Kind.FUSION, "sum"): component("sum", Empty, Empty()),
    (Kind.POLICY_HEAD, "mlp"): component("mlp", Mlp, Mlp()),
    (Kind.ENVIRONMENT, "toy"): component("toy", Toy, Toy(task="reach")),
}


def find(kind: Kind, name: str) -> Component:
    if (kind, name) not in PARTS:
        hint = did_you_mean(name, [known for k, known in PARTS if k is kind])
        raise UserError(f"there is no {kind} {name!r}{hint}")
    return PARTS[kind, name]
