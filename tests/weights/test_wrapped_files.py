"""Files whose tensors a training framework wrapped are read as the official ones are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rgb2act_croco.config import Croco
from rgb2act_croco.model import load as load_croco
from rgb2act_da3 import build as build_da3
from rgb2act_da3.config import DA3
from rgb2act_dinov3.config import Dinov3
from rgb2act_dinov3.model import load as load_dinov3
from rgb2act_ulip.config import Ulip
from rgb2act_ulip.model import load as load_ulip
from rgb2act_vggt.backbone import load as load_vggt
from rgb2act_vggt.config import Vggt
from safetensors.torch import load_file

PLUGINS = Path(__file__).parents[2] / "plugins"
LOADERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "croco": ("tiny.pth", lambda path: load_croco(Croco(weights=path, size=64))),
    "da3": (
        "tiny.weights.safetensors",
        lambda p: build_da3(DA3(weights=p, variant="file", size=56)),
    ),
    "dinov3": ("tiny_mlp.pth", lambda path: load_dinov3(Dinov3(weights=path))),
    "ulip": ("tiny.pt", lambda path: load_ulip(Ulip(weights=path))),
    "vggt": ("tiny.pt", lambda path: load_vggt(Vggt(weights=path, size=56))),
}
WRAPPERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "module.": lambda tensors: prefixed("module.", tensors),
    "teacher.backbone.": lambda tensors: prefixed("teacher.backbone.", tensors),
    "model": lambda tensors: {"model": tensors},
    "teacher": lambda tensors: {"teacher": prefixed("module.", tensors), "epoch": 3},
}


def prefixed(prefix: str, tensors: dict[str, Any]) -> dict[str, Any]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


@pytest.fixture(scope="module", params=LOADERS)
def official(request: pytest.FixtureRequest) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """Return the tensors of a small official file, its other entries, and the loader."""
    name, load = LOADERS[request.param]
    path = PLUGINS / request.param / "tests" / "data" / name
    if path.suffix == ".safetensors":
        return load_file(path), {}, load
    content = torch.load(path, weights_only=True)
    inner = next((key for key in ("model", "state_dict") if key in content), None)
    if inner is None:
        return content, {}, load
    return content[inner], {k: v for k, v in content.items() if k != inner}, load


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrapped_tensors_are_read(
    official: tuple[dict[str, Any], dict[str, Any], Any],
    wrapper: str,
    tmp_path: Path,
) -> None:
    tensors, others, load = official
    torch.save(WRAPPERS[wrapper](tensors) | others, tmp_path / "a.pth")
    load(str(tmp_path / "a.pth"))
