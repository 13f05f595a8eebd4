"""All cameras of an environment: images, depth and the coloured point cloud.

Shapes: V = cameras, H W = pixels, P = points
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rgb2act_core.interfaces import PointCloud

from .raycast import Lens, Raycaster, View

WORKSPACE = (
    (-0.4, 0.2, 0.008),
    (0.4, 0.8, 0.45),
)  # metres; excludes the table and the bases of the arms


class Renderer(Protocol):
    """Render one camera."""

    lens: Lens

    def render(self, data: Any) -> View:
        """Render the camera."""


def renderer(kind: str, model: Any, camera: str, height: int, width: int) -> Renderer:
    """Return a renderer, ``raycast`` or ``gl``."""
    if kind == "gl":
        from .gl import GLRenderer  # imported here, because raycast needs no OpenGL

        return GLRenderer(model, camera, height, width)
    return Raycaster(model, camera, height, width)


class Views:
    """Renderers of several cameras at one size."""

    def __init__(self, kind: str, model: Any, cameras: tuple[str, ...], size: int) -> None:
        self._renderers = [renderer(kind, model, camera, size, size) for camera in cameras]

    def look(self, data: Any) -> list[View]:
        """Return one view per camera."""
        return [each.render(data) for each in self._renderers]

    def cloud(self, views: list[View]) -> PointCloud:
        """Return the points of all views that are in the workspace."""
        parts = [crop(each.lens, view) for each, view in zip(self._renderers, views, strict=True)]
        xyz_P3, rgb_P3 = (np.concatenate(part) for part in zip(*parts, strict=True))
        return PointCloud(xyz=xyz_P3, rgb=rgb_P3)


def crop(lens: Lens, view: View) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return the points (P, 3) and colours (P, 3) of one view that are in the workspace."""
    xyz = lens.position + view.depth[..., None] * lens.rays
    low, high = np.array(WORKSPACE)
    inside = ((xyz > low) & (xyz < high)).all(axis=-1) & (view.depth > 0)
    return xyz[inside].astype(np.float32), view.rgb[inside]
