"""Save and load aligners."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..features.fingerprint import Fingerprint
from ..plugins.components import Kind
from ..spec import Choice
from ..store.keys import canonical
from ..store.model_files import _build, _fill, _plain, _read, _save, _structure
from .aligner import Aligner, AlignerConfig


def save_aligner(folder: Path, aligner: Aligner, fusion: Choice) -> None:
    """Write ``aligner.json`` and ``aligner.safetensors``."""
    data = {"shape": _plain(aligner.shape), "fusion": canonical(fusion)}
    data["fingerprints"] = [fingerprint.plain() for fingerprint in aligner.fingerprints]
    _save(folder, "aligner", aligner, data)


def load_aligner(folder: Path) -> Aligner:
    """Read an aligner; raise UserError when it is damaged or a component of it is not there."""
    data = _read(folder / "aligner.json")
    aligner = _empty_aligner(folder / "aligner.json", data)
    aligner.fingerprints = _fingerprints(folder / "aligner.json", data)
    return _fill(folder / "aligner.safetensors", aligner)


def _fingerprints(place: Path, data: Mapping[str, Any]) -> tuple[Fingerprint, ...]:
    marks = data.get("fingerprints")
    return tuple(Fingerprint.of(m, place) for m in (marks if isinstance(marks, list) else [None]))


def _empty_aligner(place: Path, data: Any) -> Aligner:
    if not isinstance(data, Mapping):
        raise UserError(f"{place}: damaged; delete its folder and run again")
    shape = _structure(place, AlignerConfig, data.get("shape"))
    return Aligner(shape, _build(place, Kind.FUSION, data.get("fusion")))
