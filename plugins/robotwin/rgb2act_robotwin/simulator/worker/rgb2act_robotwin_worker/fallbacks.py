"""What RoboTwin takes from CUDA and can be done on a CPU; each is switched on by a setting.

Stand-ins for modules are put in place before RoboTwin is imported, patches after it. Nothing is
replaced that no setting asks for, and what is replaced is named in the facts.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

import numpy as np

CUROBO = (
    "curobo",
    "curobo.types",
    "curobo.types.math",
    "curobo.types.robot",
    "curobo.util",
    "curobo.wrap",
    "curobo.wrap.reacher",
    "curobo.wrap.reacher.motion_gen",
)
PYTORCH3D = ("pytorch3d", "pytorch3d.ops")

RASTERISER = "rasteriser in place of ray tracing"
PLANNER = "mplib in place of curobo"
POINTS = "numpy in place of pytorch3d"


class Anything(types.ModuleType):
    """A module that has every name, so that ``from it import name`` works; nothing in it does."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(f"{self.__name__}.{name}")


class Absent:
    """Stand for what is not installed; configuring its log is the one thing that may be asked."""

    def __init__(self, name: str) -> None:
        self.name = name

    def setup_logger(self, **settings: Any) -> None:
        """Do nothing."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raise RuntimeError: something asks for what is not there."""
        raise RuntimeError(f"{self.name} is not installed, and a fallback stands in its place")


def before_import(planner: str, fps: str) -> None:
    """Stand in for modules that RoboTwin imports and a CPU has not."""
    for name in (*(CUROBO if planner == "mplib" else ()), *(PYTORCH3D if fps == "numpy" else ())):
        module = Anything(name)
        module.__path__ = []
        sys.modules[name] = module


def after_import(package: str, shader: str, planner: str, fps: str) -> list[str]:
    """Patch RoboTwin's modules below a package's name; return what was switched on."""
    switched = []
    if shader == "default":
        rasterise(importlib.import_module("sapien.render"))
        switched.append(RASTERISER)
    if planner == "mplib":
        from .mplib_planner import replace

        replace(
            importlib.import_module(f"{package}.robot.planner"),
            importlib.import_module(f"{package}.robot.robot"),
        )
        switched.append(PLANNER)
    if fps == "numpy":
        importlib.import_module(f"{package}.camera.camera").fps = farthest_of  # type: ignore[attr-defined]
        read_without_cuda(importlib.import_module("sapien.render").RenderCameraComponent)
        switched.append(POINTS)
    return switched


def rasterise(render: Any) -> None:
    """Let cameras rasterise: RoboTwin asks for ray tracing in its code."""
    original = render.set_camera_shader_dir
    render.set_camera_shader_dir = lambda name: original("default" if name == "rt" else name)


class Picture:
    """Give an image of the renderer as a tensor, as its CUDA buffer does."""

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self.values = values

    def torch(self) -> Any:
        """Return the tensor."""
        return importlib.import_module("torch").from_numpy(self.values)


def read_without_cuda(camera: Any) -> None:
    """Let clouds be read through the CPU's memory."""
    camera.get_picture_cuda = lambda self, name: Picture(self.get_picture(name))


def farthest_of(
    points: np.ndarray[Any, Any], num_points: int = 1024, use_cuda: bool = True
) -> tuple[np.ndarray[Any, Any], Any]:
    """Return points chosen by farthest point sampling and their indices (1, K), a tensor."""
    torch = importlib.import_module("torch")
    chosen = farthest(np.asarray(points, np.float32), num_points)
    return points[chosen], torch.from_numpy(chosen)[None]


def farthest(points_P3: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """Return indices (K,), from the first point on, as pytorch3d chooses them."""
    count = min(count, len(points_P3))
    chosen = np.zeros(count, np.int64)
    axes = np.ascontiguousarray(points_P3.T)
    nearest_P = np.full(len(points_P3), np.inf, np.float32)
    distance_P, square_P = np.empty_like(nearest_P), np.empty_like(nearest_P)
    for k in range(1, count):
        distance_P.fill(0)
        for axis in axes:  # in place: new arrays would take most of the time
            np.subtract(axis, axis[chosen[k - 1]], out=square_P)
            np.multiply(square_P, square_P, out=square_P)
            np.add(distance_P, square_P, out=distance_P)
        np.minimum(nearest_P, distance_P, out=nearest_P)
        chosen[k] = nearest_P.argmax()
    return chosen
