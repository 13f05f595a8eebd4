"""Preflight: RoboTwin's requirements, whether they are met, and how to meet them.

RoboTwin is not imported, because its import ends the process if something is missing.
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

from .installations import PACKAGE, open_installation
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
HERE = Path(__file__).parent  # working directory; it has no folder with the name of a shader
ICD = (
    "install a Vulkan driver (with no GPU: mesa-vulkan-drivers of Debian's bookworm-backports) and"
    " set VK_ICD_FILENAMES to its file in /usr/share/vulkan/icd.d"
)
PYTHONS = ((3, 10), (3, 11))


def look(root: str | None, settings: Settings) -> list[dict[str, Any]]:
    """Return {name, ok, detail, remedy} for each requirement."""
    return [
        {"name": name, "ok": bool(ok), "detail": detail, "remedy": "" if ok else remedy}
        for facts in (interpreter(), choices(settings), sources(root, settings))
        for name, ok, detail, remedy in facts
    ]


Fact = tuple[str, bool, str, str]


def interpreter() -> Iterator[Fact]:
    """Check the interpreter and the packages installed in it."""
    python = sys.version_info[:2]
    yield (
        "interpreter",
        python in PYTHONS,
        f"{sys.executable} is Python {python[0]}.{python[1]}",
        "create RoboTwin's environment with Python 3.10 or 3.11",
    )
    numpy = version("numpy")
    yield (
        "numpy",
        numpy is not None and int(numpy.split(".")[0]) < 2,
        describe("numpy", numpy),
        "install numpy below 2: mplib 0.2 crashes with numpy 2, without a message",
    )
    yield (
        "sapien",
        version("sapien") is not None,
        describe("sapien", version("sapien")),
        "install sapien 3.0.3; 3.0.0b1 does not render with recent versions of Mesa",
    )
    ffmpeg = shutil.which("ffmpeg")
    yield (
        "ffmpeg",
        ffmpeg is not None,
        ffmpeg or "not on PATH; only RoboTwin's own scripts need it, for videos",
        "install ffmpeg, or link imageio-ffmpeg's binary as ffmpeg in a folder on PATH",
    )


def choices(settings: Settings) -> Iterator[Fact]:
    """Check what the chosen renderer, planner and point sampler need."""
    ok, detail = renders(settings.shader)
    yield "vulkan", ok, detail, ICD
    cuda = "needs CUDA; "
    if settings.planner == "curobo":
        yield (
            "planner",
            importlib.util.find_spec("curobo") is not None,
            describe("curobo", version("nvidia-curobo")),
            cuda + "install curobo as RoboTwin says, or set planner = 'mplib'",
        )
    else:
        yield (
            "planner",
            version("mplib") is not None,
            describe("mplib", version("mplib")),
            ("install mplib 0.2.1"),
        )
    if settings.fps == "pytorch3d":
        yield (
            "pytorch3d",
            importlib.util.find_spec("pytorch3d") is not None,
            describe("pytorch3d", version("pytorch3d")),
            cuda + "install pytorch3d as RoboTwin says, or set fps = 'numpy'",
        )
    else:
        yield "pytorch3d", True, "not needed: numpy samples clouds", ""


def sources(root: str | None, settings: Settings) -> Iterator[Fact]:
    """Check RoboTwin itself and its assets."""
    try:
        installation = open_installation(root, settings.assets)
    except ValueError as err:
        yield "robotwin", False, str(err), "set [environment] root to a checkout of RoboTwin"
        return
    commit = installation.commit()
    missing = "give [environment] root as a checkout" if root is None else "make it a git checkout"
    yield (
        "robotwin",
        commit is not None,
        f"{installation.layout} {commit}" if commit else "its version is unknown",
        f"install {PACKAGE}, or {missing}" if root is None else missing,
    )
    assets = installation.assets()
    yield (
        "assets",
        assets is not None and (assets / "embodiments").is_dir() and (assets / "objects").is_dir(),
        "no folder is set" if assets is None else str(assets),
        "download RoboTwin's assets there, with embodiments/ and objects/, and set [environment]"
        " assets to the folder above",
    )


def version(name: str) -> str | None:
    """Return the version of an installed distribution."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe(name: str, found: str | None) -> str:
    """Return a name with its version, or that it is not installed."""
    return f"{name} {found}" if found else f"{name} is not installed"


def renders(shader: str) -> tuple[bool, str]:
    """Render an empty scene in a subprocess, because a broken driver ends the process."""
    command = [sys.executable, "-c", RENDER.format(shader=shader)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=HERE)
    except subprocess.TimeoutExpired:
        return False, f"an empty scene was not rendered within {SECONDS} s"
    if done.returncode == 0 and done.stdout.startswith("24 "):
        return True, f"{done.stdout[3:].strip()} renders with shader '{shader}'"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return False, lines[-1] if lines else f"rendering failed with exit code {done.returncode}"
