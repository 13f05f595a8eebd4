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
    data = aligner_data(aligner, fusion)
    data["fingerprints"] = [fingerprint.plain() for fingerprint in aligner.fingerprints]
    _save(folder, "aligner", aligner, data)


def load_aligner(folder: Path) -> Aligner:
    """Load an aligner, frozen and in eval mode.

    Raises UserError if its files are damaged, of another format, or need a component that is not
    installed.
    """
    path = folder / "aligner.json"
    data = _read(path)
    aligner = build_aligner(path, data, read_fingerprints(path, data))
    return _fill(folder / "aligner.safetensors", aligner)


def aligner_data(aligner: Aligner, fusion: Choice) -> dict[str, Any]:
    """Return the JSON data from which ``build_aligner`` builds the aligner's network."""
    return {"config": _plain(aligner.config), "fusion": canonical(fusion)}


def build_aligner(path: Path, data: Any, fingerprints: tuple[Fingerprint, ...] = ()) -> Aligner:
    """Return an aligner without trained weights; errors name the JSON file at ``path``."""
    if not isinstance(data, Mapping):
        raise UserError(f"{path}: damaged; delete its folder and run again")
    config = _structure(path, AlignerConfig, data.get("config"))
    return Aligner(config, _build(path, Kind.FUSION, data.get("fusion")), fingerprints)


def read_fingerprints(path: Path, data: Mapping[str, Any]) -> tuple[Fingerprint, ...]:
    """Return the backbone fingerprints in a model's JSON data."""
    entries = data.get("fingerprints")
    if not isinstance(entries, list):
        raise UserError(f"{path}: fingerprints are missing; delete its folder and run again")
    return tuple(Fingerprint.of(entry, path) for entry in entries)
