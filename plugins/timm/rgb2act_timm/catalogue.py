"""Models of timm: finding them by name, and their official weights."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import timm
from timm.models import get_pretrained_cfg

from rgb2act_core import did_you_mean
from rgb2act_core.weights import OfficialWeights

from .config import refuse

LISTED = "rgb2act backbones --timm PATTERN lists the names"


def names(pattern: str = "") -> list[str]:
    """Return the names of models that contain a pattern, with the tags of their weights."""
    pretrained = timm.list_models(pretrained=True)
    tagged = {name.partition(".")[0] for name in pretrained}
    untagged = [name for name in timm.list_models() if name not in tagged]
    return sorted(name for name in (*pretrained, *untagged) if pattern.lower() in name.lower())


def config_of(model: str) -> Any:
    """Return timm's ``PretrainedCfg`` of a model.

    Raises UserError with the closest names if there is no such model.
    """
    architecture = model.partition(".")[0]
    found = None
    if timm.is_model(architecture):
        try:
            found = get_pretrained_cfg(model)
        except RuntimeError:  # an unknown tag
            found = None
    if found is None:
        close = did_you_mean(model, [*names(), *timm.list_models()])
        raise refuse(f"there is no model {model!r}{close}; {LISTED}")
    return found


def pretrained(model: str) -> OfficialWeights:
    """Return timm's weights of a model.

    Raises UserError if there is no such model.
    """
    found = config_of(model)
    repo = found.hf_hub_id
    if repo and repo.endswith("/"):
        repo += model
    return OfficialWeights(
        name=f"{found.architecture}.{found.tag}" if found.tag else model,
        filename=_filename(found, repo),
        repo=repo or None,
        url=None if repo else found.url or None,
        licence=found.license or "not stated by timm",
    )


def _filename(found: Any, repo: str | None) -> str:
    """Return the name of a weights file, whose ending tells its format."""
    if not repo and found.url:
        return PurePosixPath(urlsplit(found.url).path).name
    return found.hf_hub_filename or "model.safetensors"
