"""All cameras of an environment: images, depth and the coloured point cloud.

Shapes: V = cameras, H W = pixels, P = points
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rgb2act_core.interfaces import PointCloud

from .appearance import Appearance, labels
from .config import Tabletop
from .raycast import Lens, Raycaster, View
from .tasks import TASKS

WORKSPACE = (
    (-0.4, 0.2, 0.008),
    (0.4, 0.8, 0.45),
)  # metres; excludes the table and the bases of the arms


class Renderer(Protocol):
    """Render one camera."""

    lens: Lens

    def show(self, appearance: Appearance) -> None:
        """Prepare for an episode whose appearance was written into the model."""

    def render(self, data: Any) -> View:
        """Render the camera."""


def renderer(config: Tabletop, model: Any, camera: str, height: int, width: int) -> Renderer:
    """Return a renderer of the config's kind, ``raycast`` or ``gl``."""
    if config.renderer == "gl":
        from .gl import GLRenderer  # imported here, because raycast needs no OpenGL

        return GLRenderer(model, camera, height, width)
    return Raycaster(model, TASKS[config.task], camera, height, width)


class Views:
    """Renderers of the config's cameras."""

    def __init__(self, config: Tabletop, model: Any) -> None:
        size = config.size
        self._renderers = [renderer(config, model, each, size, size) for each in config.cameras]
        self._labels = labels(model) if config.cloud_colours == "labels" else None

    def show(self, appearance: Appearance) -> None:
        """Prepare for an episode whose appearance was written into the model."""
        for each in self._renderers:
            each.show(appearance)

    def look(self, data: Any) -> list[View]:
        """Return one view per camera."""
        return [each.render(data) for each in self._renderers]

    def cloud(self, views: list[View]) -> PointCloud:
        """Return the points of all views that are in the workspace."""
        pairs = zip(self._renderers, views, strict=True)
        parts = [crop(each.lens, view, self._labels) for each, view in pairs]
        xyz_P3, rgb_P3 = (np.concatenate(part) for part in zip(*parts, strict=True))
        return PointCloud(xyz=xyz_P3, rgb=rgb_P3)


def crop(
    lens: Lens, view: View, labels: NDArray[np.uint8] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return the points (P, 3) and colours (P, 3) of one view that are in the workspace.

    Colours are those of the image, or of ``labels`` (G + 1, 3) by geom id.
    """
    xyz = lens.position + view.depth[..., None] * lens.rays
    low, high = np.array(WORKSPACE)
    inside = ((xyz > low) & (xyz < high)).all(axis=-1) & (view.depth > 0)
    rgb = view.rgb if labels is None else labels[view.segmentation]
    return xyz[inside].astype(np.float32), rgb[inside]
