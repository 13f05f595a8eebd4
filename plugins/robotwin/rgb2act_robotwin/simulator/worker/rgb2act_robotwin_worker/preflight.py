"""Preflight: what RoboTwin needs, what of it is there, and how to get the rest.

Nothing of RoboTwin is imported, since its import ends the process where something is missing.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .installations import PACKAGE, tree
from .settings import Settings

RENDER = """
import sapien
sapien.render.set_camera_shader_dir({shader!r})
scene = sapien.Scene()
scene.set_ambient_light([1, 1, 1])
camera = scene.add_camera("eye", 32, 24, 1.0, 0.1, 10)
scene.update_render()
camera.take_picture()
print(camera.get_picture("Color").shape[0], sapien.render.RenderSystem().device.name)
"""
SECONDS = 180
HERE = Path(__file__).parent  # no folder of a shader's name lies here
ICD = (
    "install a Vulkan driver (with no GPU: mesa-vulkan-drivers of Debian's bookworm-backports) and"
    " set VK_ICD_FILENAMES to its file in /usr/share/vulkan/icd.d"
)
PYTHONS = ((3, 10), (3, 11))


def look(root: str | None, settings: Settings) -> list[dict[str, Any]]:
    """Return {name, ok, detail, remedy} for each thing that is needed."""
    return [
        {"name": name, "ok": bool(ok), "detail": detail, "remedy": "" if ok else remedy}
        for facts in (interpreter(), choices(settings), sources(root, settings))
        for name, ok, detail, remedy in facts
    ]


Fact = tuple[str, bool, str, str]


def interpreter() -> Iterator[Fact]:
    """Yield what concerns the interpreter and what is installed in it."""
    here = sys.version_info[:2]
    yield (
        "interpreter",
        here in PYTHONS,
        f"{sys.executable} is Python {here[0]}.{here[1]}",
        "make RoboTwin's environment with Python 3.10 or 3.11",
    )
    numpy = version("numpy")
    yield (
        "numpy",
        numpy is not None and int(numpy.split(".")[0]) < 2,
        told("numpy", numpy),
        "install numpy below 2: mplib 0.2 crashes with 2 and says nothing",
    )
    yield (
        "sapien",
        version("sapien") is not None,
        told("sapien", version("sapien")),
        "install sapien 3.0.3; 3.0.0b1 renders with no recent Mesa",
    )
    ffmpeg = shutil.which("ffmpeg")
    yield (
        "ffmpeg",
        ffmpeg is not None,
        ffmpeg or "not on PATH; only RoboTwin's own scripts need it, for their videos",
        "install ffmpeg, or link imageio-ffmpeg's binary under that name on PATH",
    )


def choices(settings: Settings) -> Iterator[Fact]:
    """Yield what concerns rendering, planning and clouds as the settings want them."""
    ok, detail = renders(settings.shader)
    yield "vulkan", ok, detail, ICD
    cuda = "needs CUDA; "
    if settings.planner == "curobo":
        yield (
            "planner",
            importlib.util.find_spec("curobo") is not None,
            told("curobo", version("nvidia-curobo")),
            cuda + "install curobo as RoboTwin says, or set planner = 'mplib'",
        )
    else:
        yield (
            "planner",
            version("mplib") is not None,
            told("mplib", version("mplib")),
            ("install mplib 0.2.1"),
        )
    if settings.fps == "pytorch3d":
        yield (
            "pytorch3d",
            importlib.util.find_spec("pytorch3d") is not None,
            told("pytorch3d", version("pytorch3d")),
            cuda + "install pytorch3d as RoboTwin says, or set fps = 'numpy'",
        )
    else:
        yield "pytorch3d", True, "not needed: numpy samples clouds", ""


def sources(root: str | None, settings: Settings) -> Iterator[Fact]:
    """Yield what concerns RoboTwin itself and its assets."""
    try:
        found = tree(root, settings.assets)
    except ValueError as err:
        yield "robotwin", False, str(err), "set [environment] root to a checkout of RoboTwin"
        return
    commit = found.commit()
    missing = "give [environment] root as a checkout" if root is None else "make it a git checkout"
    yield (
        "robotwin",
        commit is not None,
        f"{found.layout} {commit}" if commit else "its version is not known",
        f"install {PACKAGE}, or {missing}" if root is None else missing,
    )
    assets = found.assets()
    yield (
        "assets",
        assets is not None and (assets / "embodiments").is_dir() and (assets / "objects").is_dir(),
        "no folder is named" if assets is None else str(assets),
        "download RoboTwin's assets there, with embodiments/ and objects/, and set [environment]"
        " assets to the folder above",
    )


def version(name: str) -> str | None:
    """Return the version of an installed distribution."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def told(name: str, found: str | None) -> str:
    """Return a name with its version."""
    return f"{name} {found}" if found else f"{name} is not installed"


def renders(shader: str) -> tuple[bool, str]:
    """Render an empty scene in a process of its own: a broken driver ends it."""
    command = [sys.executable, "-c", RENDER.format(shader=shader)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=HERE)
    except subprocess.TimeoutExpired:
        return False, f"an empty scene was not rendered within {SECONDS} s"
    if done.returncode == 0 and done.stdout.startswith("24 "):
        return True, f"{done.stdout[3:].strip()} renders with shader '{shader}'"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return False, lines[-1] if lines else f"rendering ended with code {done.returncode}"
