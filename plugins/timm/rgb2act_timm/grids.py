"""The token grid of a model, from the shapes of its maps."""

from __future__ import annotations

from collections.abc import Sequence

from .config import refuse
from .layers import LayerInfo


def grid_of(
    shapes: Sequence[Sequence[int]],
    layers: Sequence[LayerInfo],
    size: tuple[int, int],
    model: str,
) -> tuple[int, int]:
    """Return the rows and columns of the finest map.

    ``shapes`` (C, h, w) are those of the layers' maps for images of a ``size``. Raises UserError
    for a map that does not cover the image evenly.
    """
    for (_, *found), layer in zip(shapes, layers, strict=True):
        expected = [side // layer.stride for side in size]
        if not all(_covers(*pair) for pair in zip(found, expected, strict=True)):
            raise refuse(
                f"model {model!r}, layer {layer.index}: the map of an image of {size[0]}x{size[1]}"
                f" has {found[0]}x{found[1]} positions, and a stride of {layer.stride} gives"
                f" {expected[0]}x{expected[1]}, so it does not cover the image evenly; choose"
                " another layer, size or model"
            )
    _, rows, columns = max(shapes, key=lambda shape: shape[1] * shape[2])
    return rows, columns


def _covers(found: int, expected: int) -> bool:
    """Return whether a side of a map has the positions that follow from the stride.

    The last one may be rounded. Models that resize images themselves have more positions, and
    those with a larger stride than timm states have a fraction.
    """
    return found >= expected - 1 or expected % found == 0
