"""Find, fetch and read the official weights of a model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..system.progress import say
from . import download
from .checkpoint_files import INDEX, first_line, read, shards, some
from .official import OfficialWeights

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["OfficialWeights", "cached", "load_strict", "locate", "offline", "read"]


def locate(weights: str, official: OfficialWeights, who: str) -> Path | None:
    """Return the path of the weights, fetched if need be; None for ``"random"``.

    ``weights`` is a path, ``"hub"`` for the official file, or ``"random"``, which is said aloud.
    ``who`` is the component, for messages. ``HF_HUB_OFFLINE=1`` allows no download.
    """
    if weights == "random":
        say(f"{who}: weights are random, its features mean nothing")
        return None
    if weights == "hub":
        return cached(official) or _fetch(official, who)
    path = Path(weights).expanduser()
    if not path.exists():
        raise UserError(
            f"{who}: weights {weights!r} do not exist; give a path, or 'hub' to fetch"
            f" {official.name} from {official.source}"
        )
    return path


def cached(official: OfficialWeights) -> Path | None:
    """Return the path of the official file if it is on this machine already."""
    if official.repo is None:
        there = download.place(official.url or "", official.filename)
        return there if there.exists() else None
    from huggingface_hub import try_to_load_from_cache

    def find(name: str) -> Path | None:
        found = try_to_load_from_cache(official.repo or "", name, repo_type=official.repo_type)
        return Path(found) if isinstance(found, str) else None

    path = find(official.filename)
    if path is not None and path.name.endswith(INDEX):
        return path if all(find(shard) for shard in shards(path)) else None
    return path


def offline() -> bool:
    """Tell whether the user forbids downloads, by huggingface_hub's own variable."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def load_strict(
    module: torch.nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    place: str | Path,
    dtype: torch.dtype | None = None,
) -> None:
    """Make the tensors the module's own, without a second copy where the dtype is the same.

    The module may be on the meta device. Floating tensors are cast to ``dtype``. Missing,
    unexpected and misshapen keys raise UserError, which lists them.
    """
    expected = module.state_dict()
    wrong = [
        f"{key} {_form(tensors[key])} instead of {_form(expected[key])}"
        for key in expected
        if key in tensors and _form(tensors[key]) != _form(expected[key])
    ]
    missing = [key for key in expected if key not in tensors]
    unexpected = [key for key in tensors if key not in expected]
    problems = {
        f"{len(missing)} of {len(expected)} keys missing": missing,
        f"{len(unexpected)} keys unexpected": unexpected,
        f"{len(wrong)} keys of another shape": wrong,
    }
    if any(problems.values()):
        advice = "give the file of the model that was asked for"
        raise UserError(
            *(f"{place}: {word}: {some(keys)}; {advice}" for word, keys in problems.items() if keys)
        )
    cast = {
        key: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for key, tensor in tensors.items()
    }
    module.load_state_dict(cast, strict=True, assign=True)


def _fetch(official: OfficialWeights, who: str) -> Path:
    """Download the official file."""
    if offline():
        raise UserError(
            f"{who}: {official.name} is not on this machine and HF_HUB_OFFLINE is set; unset it,"
            f" or download {official.filename} from {official.source} and set weights to its path"
        )
    if official.repo is not None:
        return _from_hub(official, who)
    if official.url is None:
        raise UserError(f"{who}: {official.name} has no official address; set weights to a path")
    if official.sha256 is None:
        say(f"{who}: no SHA-256 of {official.name} is known, only its length can be checked")
    return download.fetch(
        official.url, official.filename, sha256=official.sha256, size=official.size
    )


def _from_hub(official: OfficialWeights, who: str) -> Path:
    """Download a file, and the shards it names, from a Hugging Face repository."""
    import huggingface_hub
    from huggingface_hub import errors

    def get(name: str) -> Path:
        return Path(
            huggingface_hub.hf_hub_download(official.repo or "", name, repo_type=official.repo_type)
        )

    where = f"{who}: {official.name} at {official.source}"
    try:
        path = get(official.filename)
        for shard in shards(path) if path.name.endswith(INDEX) else ():
            get(shard)
    except errors.GatedRepoError as err:
        raise UserError(
            f"{where}: is gated; accept its licence at {official.accept or official.source},"
            " then log in with 'hf auth login' or set HF_TOKEN"
        ) from err
    except errors.RepositoryNotFoundError as err:
        raise UserError(
            f"{where}: is not there or not open to you; log in with 'hf auth login', or set"
            " weights to a path"
        ) from err
    except errors.LocalEntryNotFoundError as err:
        raise UserError(f"{where}: cannot be reached; run again, or set weights to a path") from err
    except errors.EntryNotFoundError as err:
        raise UserError(f"{where}: has no {official.filename!r}; set weights to a path") from err
    except OSError as err:
        raise UserError(
            f"{where}: download failed ({first_line(err)}); run again to continue"
        ) from err
    return path


def _form(tensor: Any) -> str:
    """Return shape and sort, which must agree between file and model."""
    if not hasattr(tensor, "is_floating_point"):
        return type(tensor).__name__
    return str(list(tensor.shape)) + ("" if tensor.is_floating_point() else " of integers")
