"""Shared by saved aligners and policies: a JSON file beside safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs
from torch import nn

from .._version import __version__
from ..errors import UserError
from ..plugins.components import Component, Kind
from ..plugins.registry import find
from ..spec.reader import structure_config
from .files import read_json, write_json
from .tensors import read_tensors, write_tensors

Module = TypeVar("Module", bound=nn.Module)


FORMAT = 2  # raise when the files of aligners or policies change


def _save(folder: Path, name: str, module: nn.Module, data: Mapping[str, Any]) -> None:
    write_tensors(folder / f"{name}.safetensors", module.state_dict(), {"format": FORMAT})
    write_json(folder / f"{name}.json", {"format": FORMAT, "rgb2act": __version__} | dict(data))


def _read(place: Path) -> dict[str, Any]:
    if not place.exists():
        raise UserError(f"{place}: not there; name the folder of a finished stage")
    data = read_json(place)
    if data.get("format") != FORMAT:
        raise UserError(
            f"{place}: has format {data.get('format')!r}, but this version of rgb2act reads format"
            f" {FORMAT}; train again"
        )
    return data


def _plain(record: Any) -> Any:
    return attrs.asdict(record)


def _structure(place: Path, kind: type, data: Any) -> Any:
    if not isinstance(data, Mapping):
        raise UserError(f"{place}: damaged; delete its folder and run again")
    try:
        return structure_config(kind, data)
    except UserError as err:
        raise UserError(*(f"{place}: {problem}" for problem in err.args)) from err


def _build(place: Path, kind: Kind, data: Any) -> Any:
    if not isinstance(data, Mapping) or not isinstance(data.get("use"), str):
        raise UserError(f"{place}: damaged; delete its folder and run again")
    component: Component = find(kind, data["use"])
    if component.version != data.get("version"):
        raise UserError(
            f"{place}: made with {component.name} version {data.get('version')!r}, version"
            f" {component.version} is installed; train again or install the older plugin"
        )
    options = {k: v for k, v in data.items() if k not in ("use", "version")}
    return component.build(_structure(place, component.config, options))


def _fill(path: Path, module: Module) -> Module:
    tensors, _ = read_tensors(path)
    try:
        module.load_state_dict(tensors)
    except RuntimeError as err:
        raise UserError(f"{path}: does not fit its JSON file ({err}); train again") from err
    return module.eval().requires_grad_(False)
