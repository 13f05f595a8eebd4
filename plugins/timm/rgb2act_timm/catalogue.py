"""Models of timm: finding them by name, and their official weights."""

from __future__ import annotations

import fnmatch
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import timm
from timm.models import get_pretrained_cfg

from rgb2act_core import did_you_mean
from rgb2act_core.weights import OfficialWeights

from .config import refuse

SUGGESTED = 3  # names in a message
LONGEST = 80  # characters of a name in a message
LISTED = "rgb2act backbones --timm PATTERN lists the names"


def names(pattern: str = "") -> list[str]:
    """Return the names of models that contain a text, with the tags of their weights.

    A text with one of ``*?[`` is a shell pattern of whole names.
    """
    whole = pattern.lower() if set(pattern) & set("*?[") else f"*{pattern.lower()}*"
    pretrained = timm.list_models(pretrained=True)
    tagged = {name.partition(".")[0] for name in pretrained}
    untagged = [name for name in timm.list_models() if name not in tagged]
    return sorted(n for n in (*pretrained, *untagged) if fnmatch.fnmatchcase(n.lower(), whole))


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
        shown = model if len(model) <= LONGEST else f"{model[:LONGEST]}..."
        raise refuse(f"there is no model {shown!r}{_similar(model)}; {LISTED}")
    return found


def _similar(model: str) -> str:
    """Return what a message adds about names that contain or resemble that of no model."""
    text = model.lower()
    known = list(dict.fromkeys([*timm.list_models(), *names()]))
    containing = [name for name in known if text and text in name.lower()]
    if not containing:
        return did_you_mean(text, known)
    first = sorted(containing, key=lambda name: (not name.lower().startswith(text), len(name)))
    return f"; did you mean {' or '.join(map(repr, first[:SUGGESTED]))}?"


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
