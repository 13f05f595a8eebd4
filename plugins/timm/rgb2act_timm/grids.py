"""The token grid of a model, from the shapes of its maps."""

from __future__ import annotations

from collections.abc import Sequence

from .config import refuse
from .layers import LayerInfo


def grid_of(
    shapes: Sequence[Sequence[int]],
    layers: Sequence[LayerInfo],
    size: tuple[int, int],
    *,
    usual: Sequence[Sequence[int]] | None,
    trained: tuple[int, int],
    model: str,
) -> tuple[int, int]:
    """Return the rows and columns of the finest map.

    ``shapes`` (C, h, w) are those of the layers' maps for images of a ``size``, ``usual`` those for
    the size that the model was ``trained`` with, if it takes it. Raises UserError for a map that
    does not cover the image evenly.
    """
    for i, layer in enumerate(layers):
        found = tuple(shapes[i][1:])
        stride = layer.stride
        if usual is not None:
            if found == tuple(usual[i][1:]):  # the model may resize images itself
                continue
            stride *= _multiple(trained, layer.stride, usual[i][1:])
        expected = tuple(max(1, side // stride) for side in size)
        if not all(_covers(*pair) for pair in zip(found, expected, strict=True)):
            raise refuse(
                f"model {model!r}, layer {layer.index}: the map of an image of {size[0]}x{size[1]}"
                f" has {found[0]}x{found[1]} positions, and a stride of {stride} gives"
                f" {expected[0]}x{expected[1]}, so it does not cover the image evenly; choose"
                " another layer, size or model"
            )
    _, rows, columns = max(shapes, key=lambda shape: shape[1] * shape[2])
    return rows, columns


def _multiple(trained: tuple[int, int], stride: int, usual: Sequence[int]) -> int:
    """Return by how much the stride of a layer is larger than timm states."""
    return max(1, round(trained[0] / stride / max(1, usual[0])))


def _covers(found: int, expected: int) -> bool:
    """Return whether a side of a map has about the positions that follow from the stride.

    A tenth may be missing, and one of at least three, as in models without padding.
    """
    missing = expected - found
    return missing <= 0 or (found > 1 and missing <= max(1, expected // 10))
