"""Aligner and policy on disk: safetensors and JSON, whole in themselves, no path in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..alignment.saving import _empty_aligner, _fingerprints
from ..plugins.components import Kind
from ..spec import Choice, Tokens
from ..store.keys import canonical
from ..store.model_files import _build, _fill, _plain, _read, _save, _structure
from .config import PolicyConfig
from .policy import Policy


def save_policy(
    folder: Path, policy: Policy, head: Choice, fusion: Choice, backbones: tuple[Choice, ...]
) -> None:
    """Write ``policy.json`` and ``policy.safetensors``, the aligner in them."""
    data: dict[str, Any] = {"shape": _plain(policy.shape), "head": canonical(head)}
    data["backbones"] = [canonical(choice) for choice in backbones]
    data["fingerprints"] = [fingerprint.plain() for fingerprint in policy.fingerprints]
    data["tokens"] = canonical(policy.form)
    if policy.aligner is not None:
        data["aligner"] = {"shape": _plain(policy.aligner.shape), "fusion": canonical(fusion)}
    _save(folder, "policy", policy, data)


def load_policy(folder: Path) -> Policy:
    """Read a policy; raise UserError when it is damaged or a component of it is not there."""
    place = folder / "policy.json"
    data = _read(place)
    aligner = _empty_aligner(place, data["aligner"]) if "aligner" in data else None
    shape = _structure(place, PolicyConfig, data.get("shape"))
    policy = Policy(shape, _build(place, Kind.POLICY_HEAD, data.get("head")), aligner)
    policy.fingerprints = _fingerprints(place, data)
    policy.form = _structure(place, Tokens, _without_none(data.get("tokens")))
    return _fill(folder / "policy.safetensors", policy)


def _without_none(data: Any) -> Any:
    """Return a table as a spec would write it, where what is None is left out."""
    if not isinstance(data, Mapping):
        return data
    return {name: value for name, value in data.items() if value is not None}
