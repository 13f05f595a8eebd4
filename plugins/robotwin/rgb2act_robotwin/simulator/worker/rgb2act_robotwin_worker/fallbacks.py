"""CPU replacements of what RoboTwin does with CUDA, each enabled by a setting.

Placeholder modules are installed before RoboTwin is imported, patches are applied after it. Only
what a setting selects is replaced, and every replacement is listed in the facts.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

import numpy as np

from .sampling import farthest
from .settings import Settings

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
NO_SHADOWS = "no shadows"
PLANNER = "mplib in place of curobo"
POINTS = "numpy in place of pytorch3d"


class Anything(types.ModuleType):
    """A module with every name, so that ``from module import name`` works; no name is usable."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(f"{self.__name__}.{name}")


class Absent:
    """Placeholder of an uninstalled object; only configuring its log has no error."""

    def __init__(self, name: str) -> None:
        self.name = name

    def setup_logger(self, **settings: Any) -> None:
        """Do nothing."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raise RuntimeError: the object is not installed."""
        raise RuntimeError(f"{self.name} is not installed; a CPU fallback replaces it")


def before_import(planner: str, fps: str) -> None:
    """Install placeholders of the CUDA modules that RoboTwin imports."""
    for name in (*(CUROBO if planner == "mplib" else ()), *(PYTORCH3D if fps == "numpy" else ())):
        module = Anything(name)
        module.__path__ = []
        sys.modules[name] = module


def after_import(package: str, settings: Settings) -> list[str]:
    """Patch RoboTwin's modules below a package's name; return the names of the fallbacks."""
    fallbacks = []
    if settings.shader == "default":
        rasterise(importlib.import_module("sapien.render"))
        fallbacks.append(RASTERISER)
    if not settings.shadows:
        without_shadows(importlib.import_module(f"{package}._base_task").Base_Task)
        fallbacks.append(NO_SHADOWS)
    if settings.planner == "mplib":
        from .mplib_planner import replace

        replace(
            importlib.import_module(f"{package}.robot.planner"),
            importlib.import_module(f"{package}.robot.robot"),
        )
        fallbacks.append(PLANNER)
    if settings.fps == "numpy":
        importlib.import_module(f"{package}.camera.camera").fps = farthest_of  # type: ignore[attr-defined]
        read_without_cuda(importlib.import_module("sapien.render").RenderCameraComponent)
        fallbacks.append(POINTS)
    return fallbacks


def rasterise(render: Any) -> None:
    """Let cameras use the rasteriser, although RoboTwin's code selects ray tracing."""
    original = render.set_camera_shader_dir
    render.set_camera_shader_dir = lambda name: original("default" if name == "rt" else name)


def without_shadows(task: Any) -> None:
    """Let no light of a scene cast shadows."""
    original = task.setup_scene

    def setup_scene(self: Any, **settings: Any) -> None:
        original(self, **{**settings, "shadow": False})

    task.setup_scene = setup_scene


class ImageBuffer:
    """An image of the renderer with the interface of its CUDA buffer."""

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self.values = values

    def torch(self) -> Any:
        """Return the tensor."""
        return importlib.import_module("torch").from_numpy(self.values)


def read_without_cuda(camera: Any) -> None:
    """Read images for point clouds through CPU memory."""
    camera.get_picture_cuda = lambda self, name: ImageBuffer(self.get_picture(name))


def farthest_of(
    points: np.ndarray[Any, Any], num_points: int = 1024, use_cuda: bool = True
) -> tuple[np.ndarray[Any, Any], Any]:
    """Return points chosen by farthest point sampling, and their indices as a tensor (1, K)."""
    torch = importlib.import_module("torch")
    chosen = farthest(np.asarray(points, np.float32), num_points)
    return points[chosen], torch.from_numpy(chosen)[None]
