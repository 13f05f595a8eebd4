"""Find the weights of a model: a path, a Python package, the Hugging Face cache, or a download."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import UserError, first_line
from ..system.progress import say
from . import download
from .checkpoint_files import INDEX, shards
from .network import reason_unreachable
from .official import OfficialWeights
from .packaged import packaged_weights

BY_HAND = "download the file by other means and set weights to its path"


def locate_weights(weights: str, official: OfficialWeights, component: str) -> Path | None:
    """Return the local path of the weights, downloading the official file if necessary.

    ``weights`` is a path, ``"hub"`` for the official file, ``"package"`` for the file that an
    installed package contains, or ``"random"``, for which a warning is printed and None is
    returned. ``component`` names the component in messages. With
    ``HF_HUB_OFFLINE=1`` nothing is downloaded. Raises UserError if the weights are not available.
    """
    if weights == "random":
        say(f"{component}: weights are random, so its features carry no information")
        return None
    if weights == "hub":
        return find_cached(official) or _download(official, component)
    if weights == "package":
        return packaged_weights(official, component)
    try:
        path = Path(weights).expanduser()
        problem = "" if weights and path.exists() else "do not exist"
    except (OSError, RuntimeError, ValueError) as err:  # an unknown user, or no possible name
        problem = f"cannot be looked up ({getattr(err, 'strerror', None) or first_line(err)})"
    if problem:
        advice = f"give a path{_without_a_path(official)}"
        raise UserError(f"{component}: weights {weights!r} {problem}; {advice}")
    return path


def _without_a_path(official: OfficialWeights) -> str:
    """Return what a message adds about weights that need no path."""
    if official.repo is not None or official.url is not None:
        return f", or 'hub' to download {official.name} from {official.source}"
    if official.package is not None:
        return f", or 'package' for {official.name} ({official.source})"
    return ""


def find_cached(official: OfficialWeights) -> Path | None:
    """Return the path of the official file if it has been downloaded before, else None."""
    if official.repo is None:
        if official.url is None:
            return None
        path = download.cache_path(official.url, official.filename)
        return path if path.exists() else None
    from huggingface_hub import try_to_load_from_cache

    def find(name: str) -> Path | None:
        found = try_to_load_from_cache(official.repo or "", name, repo_type=official.repo_type)
        return Path(found) if isinstance(found, str) else None

    index = find(official.filename)
    if index is not None and index.name.endswith(INDEX):
        return index if all(find(shard) for shard in shards(index)) else None
    return index


def offline() -> bool:
    """Return whether ``HF_HUB_OFFLINE``, huggingface_hub's own variable, forbids downloads."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _download(official: OfficialWeights, component: str) -> Path:
    if official.repo is None and official.url is None:
        raise UserError(
            f"{component}: {official.name} has no official URL; set weights to a path"
            f"{_without_a_path(official)}"
        )
    if offline():
        raise UserError(
            f"{component}: {official.name} is not on this machine and HF_HUB_OFFLINE is set; unset"
            f" it, or download {official.filename} from {official.source} and set weights to its"
            " path"
        )
    if official.repo is not None:
        return _download_from_hub(official, component)
    assert official.url is not None
    if official.sha256 is None:
        say(f"{component}: the SHA-256 of {official.name} is unknown; only its size is checked")
    return download.fetch(
        official.url, official.filename, sha256=official.sha256, size=official.size
    )


def _download_from_hub(official: OfficialWeights, component: str) -> Path:
    """Download a file, and the shards that it lists, from a Hugging Face repository."""
    import huggingface_hub
    from huggingface_hub import errors

    def get(name: str) -> Path:
        return Path(
            huggingface_hub.hf_hub_download(official.repo or "", name, repo_type=official.repo_type)
        )

    source = f"{component}: {official.name} at {official.source}"
    if reason := reason_unreachable(huggingface_hub.constants.ENDPOINT):
        raise UserError(f"{source}: cannot be reached ({reason}); run again, or {BY_HAND}")
    try:
        path = get(official.filename)
        for shard in shards(path) if path.name.endswith(INDEX) else ():
            get(shard)
    except errors.GatedRepoError as err:
        raise UserError(
            f"{source}: is gated; accept its licence at {official.accept or official.source},"
            " then log in with 'hf auth login' or set HF_TOKEN"
        ) from err
    except errors.RepositoryNotFoundError as err:
        raise UserError(
            f"{source}: does not exist or is private; log in with 'hf auth login', or set weights"
            " to a path"
        ) from err
    except errors.LocalEntryNotFoundError as err:
        raise UserError(f"{source}: cannot be reached; run again, or {BY_HAND}") from err
    except errors.EntryNotFoundError as err:
        raise UserError(f"{source}: has no {official.filename!r}; set weights to a path") from err
    except OSError as err:
        raise UserError(
            f"{source}: download failed ({first_line(err)}); run again to continue"
        ) from err
    return path
