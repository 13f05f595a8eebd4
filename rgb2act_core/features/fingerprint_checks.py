"""Prove that features are what they were: fingerprints beside a store and in a policy, made again.

``fingerprint`` says what a fingerprint is, and how much may differ.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from .._version import __version__
from ..data.dataset import EpisodeRef
from ..errors import UserError
from ..spec import BackboneChoice
from ..store.file_digests import file_digest
from ..store.files import read_json, write_json
from ..store.group_reader import read_group
from ..store.keys import key_of
from ..system.devices import processor
from ..weights.inventory import weights_of
from .encoder import Encoder, build_backbones
from .fingerprint import TOLERANCE, Fingerprint, Shape, take
from .reader import StoredFeatures


def made_with(choice: BackboneChoice, device: str) -> dict[str, str]:
    """Return what a backbone's features may depend on besides their key."""
    return {
        "torch": torch.__version__,
        "device": device_name(device),
        "weights": ", ".join(_weights(choice)),
        "component": f"{choice.component.name} version {choice.component.version}",
        "code": _code(choice),
        "rgb2act": __version__,
    }


def device_name(device: str) -> str:
    """Return the processor's or the GPU's name."""
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    return processor()


def _weights(choice: BackboneChoice) -> list[str]:
    found = []
    for need in weights_of("backbone", choice):
        if need.state == "available" and need.path:
            found.append(f"sha256 {file_digest(Path(need.path))[:16]}")
        else:
            found.append(need.state)
    return found


def _code(choice: BackboneChoice) -> str:
    """Return a digest of the plugin's source files."""
    package = choice.component.build.__module__.partition(".")[0]
    file = getattr(sys.modules.get(package), "__file__", None)
    if file is None:
        return "not known"
    path, sha = Path(file), hashlib.blake2b(digest_size=8)
    for source in sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]:
        sha.update(source.name.encode() + b"\0" + source.read_bytes())
    return sha.hexdigest()


def register_fingerprint(
    features: StoredFeatures, encoder: Encoder, shape: Shape
) -> tuple[Fingerprint, float]:
    """Return the fingerprint of stored features and how far this software is from it.

    The first to store features leaves its own. Raises UserError when new features would not be
    like those that are stored already. The folder's lock is to be held.
    """
    folder, choice = features.folder, features.choice
    made = made_with(choice, encoder.device)
    values = take(encoder, shape, choice.component.name)
    place = _place(folder, shape)
    if not place.exists():
        first = Fingerprint(shape=shape, values=values, made=made)
        write_json(place, first.plain())
    reference = _read(folder, shape)
    error = reference.error(values)
    _refuse(f"{folder}: features", reference, error, made, f"delete {folder} and run again")
    _remember(features, reference, made, error)
    return reference, error


def check_features(
    features: Sequence[StoredFeatures], sources: Sequence[EpisodeRef], device: str
) -> tuple[Fingerprint, ...]:
    """Return the fingerprints of stored features that are about to be used.

    Raises UserError when episodes have different ones, or when the backbones that are installed
    here, which would act later, give other features. What was found once is remembered beside the
    store until torch, device, weights or the plugin change.
    """
    cameras, height, width, _ = sources[0].open().rgb.shape[1:]
    found = []
    for each in features:
        folder, choice = each.folder, each.choice
        reference = _read(folder, (cameras, height, width))
        _agree(folder, reference, sources)
        made = made_with(choice, device)
        if not _memo(each, reference, made).exists():
            (backbone,) = build_backbones([choice], device)
            values = take(
                Encoder(backbone, device, each.token_format),
                reference.shape,
                choice.component.name,
            )
            error = reference.error(values)
            remedy = f"install what made them, or delete {folder} and run again"
            _refuse(f"{folder}: features", reference, error, made, remedy)
            _remember(each, reference, made, error)
        found.append(reference)
    return tuple(found)


def check_encoders(
    references: Sequence[Fingerprint], encoders: Sequence[Encoder]
) -> tuple[float, ...]:
    """Return how far each encoder is from the features that a policy was trained on.

    Raises UserError when one is too far for the policy to act on.
    """
    errors = []
    for reference, encoder in zip(references, encoders, strict=True):
        error = reference.error(take(encoder, reference.shape))
        made = {"torch": torch.__version__, "device": device_name(encoder.device)}
        remedy = "install what it was trained with, or delete the policy's folder and run again"
        what = f"policy: features of {reference.made.get('component', 'a backbone')}"
        _refuse(what, reference, error, made, remedy)
        errors.append(error)
    return tuple(errors)


def check_aligner(
    place: Path, learned: Sequence[Fingerprint], stored: Sequence[Fingerprint]
) -> None:
    """Raise UserError when an aligner learned from other features than those that are stored now.

    So it is when features were deleted and made again by other software.
    """
    for before, now in zip(learned, stored, strict=True):
        what = f"{place}: the features it learned from, of {now.made.get('component')},"
        error = before.error(now.values)
        _refuse(what, before, error, now.made, f"delete {place} and run again")


def _agree(folder: Path, reference: Fingerprint, sources: Sequence[EpisodeRef]) -> None:
    """Raise UserError when an episode's features are not of the folder's fingerprint."""
    others = []
    for source in sources:
        entry = folder / source.digest
        if entry.exists() and read_group(entry).attributes.get("fingerprint") != reference.digest:
            others.append(source)
    if others:
        names = ", ".join(source.name for source in others[:4])
        raise UserError(
            f"{folder}: the features of {len(others)} episodes ({names}"
            f"{', ...' if len(others) > 4 else ''}) have another fingerprint than the rest; delete"
            " the folder and run again"
        )


def _refuse(
    what: str, reference: Fingerprint, error: float, made: Mapping[str, str], remedy: str
) -> None:
    if error <= TOLERANCE:
        return
    changes = [
        f"{name} was {reference.made.get(name, 'not known')}, is {value}"
        for name, value in made.items()
        if reference.made.get(name) != value
    ]
    raise UserError(
        f"{what} cannot be made again: those of the probe picture differ by {error:.2g}, at most"
        f" {TOLERANCE} is allowed ({'; '.join(changes) or 'what has changed is not known'});"
        f" {remedy}"
    )


def _place(folder: Path, shape: Shape) -> Path:
    return folder / f"fingerprint-{'x'.join(map(str, shape))}.json"


def _read(folder: Path, shape: Shape) -> Fingerprint:
    place = _place(folder, shape)
    if not place.exists():
        raise UserError(f"{place}: is missing; delete {folder} and run again")
    return Fingerprint.of(read_json(place), place)


def _memo(features: StoredFeatures, reference: Fingerprint, made: Mapping[str, str]) -> Path:
    return features.passed_checks / f"{key_of([reference.digest, dict(made)])}.json"


def _remember(
    features: StoredFeatures, reference: Fingerprint, made: Mapping[str, str], error: float
) -> None:
    """Note that this software passes; a store that cannot be written is checked each time."""
    place = _memo(features, reference, made)
    with contextlib.suppress(UserError, OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_json(place, {"error": error, "made": dict(made), "digest": reference.digest})
