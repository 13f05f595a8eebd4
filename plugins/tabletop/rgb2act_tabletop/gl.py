"""Renderer that uses OpenGL. It needs a driver, and takes nearly the same time at every size."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from rgb2act_core import UserError

from .appearance import Appearance
from .raycast import Lens, View, lens


class GLRenderer:
    """Renderer of one camera at one size; use it only in the thread that created it."""

    def __init__(self, model: Any, camera: str, height: int, width: int) -> None:
        self._model, self._camera, self._shape = model, camera, (height, width)
        self.lens: Lens = lens(model, camera, height, width)
        self._renderer = _open(model, height, width)

    def show(self, appearance: Appearance) -> None:
        """Read the camera of the model; OpenGL reads colours and lights itself."""
        self.lens = lens(self._model, self._camera, *self._shape)

    def render(self, data: Any) -> View:
        """Render a state whose positions are up to date."""
        renderer = self._renderer
        renderer.update_scene(data, self._camera)
        rgb = renderer.render()
        renderer.enable_depth_rendering()
        depth = renderer.render()
        renderer.disable_depth_rendering()
        return View(
            rgb=np.array(rgb, np.uint8),
            depth=np.array(depth, np.float32),
            segmentation=self._segment(),
        )

    def _segment(self) -> Any:
        self._renderer.enable_segmentation_rendering()
        ids = self._renderer.render()[..., 0]
        self._renderer.disable_segmentation_rendering()
        return np.array(ids, np.int32)


def _open(model: Any, height: int, width: int) -> Any:
    import mujoco

    try:
        renderer = mujoco.Renderer(model, height, width)
    except Exception as err:  # each driver has its own error classes
        driver = os.environ.get("MUJOCO_GL", "unset")
        raise UserError(
            f"tabletop.renderer: 'gl' cannot start ({type(err).__name__}: {err}; "
            f"MUJOCO_GL is {driver!r}); install libEGL or libOSMesa and set MUJOCO_GL=egl or "
            f"osmesa before starting, or set renderer = 'raycast'"
        ) from err
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
    return renderer
