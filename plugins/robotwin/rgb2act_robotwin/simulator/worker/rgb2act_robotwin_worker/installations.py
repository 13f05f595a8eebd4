"""RoboTwin in its three forms: the package ``robotwin``, checkouts of the older and newest tree.

What differs is where modules, configs, assets and instructions lie; the rest is alike.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGE = "rlinf-robotwin-runtime"
VARIABLES = ("ROBOTWIN_ASSETS_ROOT", "ASSETS_PATH")  # of the package, for the folder above assets/
CONFIGS = {"head": "env_cfg/task_config", "legacy": "task_config"}  # newest first: it has both


class Package:
    """RoboTwin as rlinf-robotwin-runtime installs it."""

    layout = "rlinf"
    envs = "robotwin.envs"

    def __init__(self, assets: str | None) -> None:
        named = assets or next(filter(None, map(os.environ.get, VARIABLES)), None)
        self.base = None if named is None else Path(named).expanduser().resolve()

    def enter(self) -> None:
        """Make RoboTwin importable, with its assets."""
        if self.base is None:
            raise ValueError(
                f"the package {PACKAGE} has no assets; set [environment] assets to the folder that"
                f" holds assets/, or the variable {VARIABLES[0]}"
            )
        for name in VARIABLES:
            os.environ[name] = str(self.base)

    def config(self, name: str) -> dict[str, Any]:
        """Return one of RoboTwin's YAML files."""
        loaded: dict[str, Any] = importlib.import_module("robotwin.config").load_task_config(name)
        return loaded

    def asset(self, path: str) -> str:
        """Return the path of an asset as robots are loaded by it."""
        assert self.base is not None
        return str(self.base / path)

    def describe(self) -> Any:
        """Return the function that words episodes."""
        return importlib.import_module("robotwin.description").generate_episode_descriptions

    def commit(self) -> str | None:
        """Return what was installed."""
        try:
            return f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"
        except importlib.metadata.PackageNotFoundError:
            return None

    def assets(self) -> Path | None:
        """Return the folder of assets."""
        return None if self.base is None else self.base / "assets"


class Checkout:
    """A checkout of RoboTwin, which works only from its own folder."""

    envs = "envs"

    def __init__(self, root: str, assets: str | None) -> None:
        self.root = Path(root).expanduser().resolve()
        found = [layout for layout, path in CONFIGS.items() if (self.root / path).is_dir()]
        if not found or not (self.root / "envs").is_dir():
            raise ValueError(
                f"{self.root}: is no checkout of RoboTwin: it needs envs/ and one of"
                f" {', '.join(CONFIGS.values())}"
            )
        self.layout = found[0]
        if assets is not None and Path(assets).expanduser().resolve() != self.root:
            raise ValueError(
                f"a checkout reads {self.root / 'assets'} and no other; link the assets there and"
                " leave [environment] assets out"
            )

    def enter(self) -> None:
        """Make RoboTwin importable; its paths are relative to its folder."""
        os.chdir(self.root)
        sys.path[:0] = [str(self.root), str(self.root / "description" / "utils")]

    def config(self, name: str) -> dict[str, Any]:
        """Return one of RoboTwin's YAML files."""
        path = self.root / CONFIGS[self.layout] / f"{name}.yml"
        if not path.is_file():
            known = sorted(p.stem for p in path.parent.glob("[!_]*.yml"))
            raise ValueError(f"{path} is missing; there are {', '.join(known) or 'none'}")
        return read_yaml(path)

    def asset(self, path: str) -> str:
        """Return the path of an asset as RoboTwin's own scripts give it."""
        return path

    def describe(self) -> Any:
        """Return the function that words episodes."""
        module = importlib.import_module("generate_episode_instructions")
        return module.generate_episode_descriptions

    def commit(self) -> str | None:
        """Return git's HEAD, marked where tracked files differ from it; None outside git."""
        if not (self.root / ".git").exists():  # git would tell of a repository around it
            return None
        command = [
            "git",
            "-C",
            str(self.root),
            "describe",
            "--always",
            "--abbrev=40",
            "--dirty",
            "--exclude=*",
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip() or None

    def assets(self) -> Path | None:
        """Return the folder of assets."""
        return self.root / "assets"


def tree(root: str | None, assets: str | None) -> Package | Checkout:
    """Return the form of RoboTwin at a root; None is the installed package."""
    return Package(assets) if root is None else Checkout(root, assets)


def robots(found: Package | Checkout, embodiment: list[Any]) -> dict[str, Any]:
    """Return the arguments of ``setup_demo`` that name one robot, or two and their distance."""
    if len(embodiment) not in (1, 3):
        raise ValueError(f"embodiment {embodiment!r}: expected one robot, or two and a distance")
    files = found.config("_embodiment_config")
    paths = []
    for name in (embodiment[0], embodiment[0] if len(embodiment) == 1 else embodiment[1]):
        if name not in files:
            raise ValueError(f"embodiment {name!r} is not known; there are {', '.join(files)}")
        paths.append(found.asset(files[name]["file_path"]))
    configs = []
    for path in paths:
        file = Path(path) / "config.yml"
        if not file.is_file():
            raise ValueError(f"{file} is missing; download RoboTwin's assets, or make stand-ins")
        configs.append(read_yaml(file))
    distance = {} if len(embodiment) == 1 else {"embodiment_dis": embodiment[2]}
    return {
        "embodiment": embodiment,
        "left_robot_file": paths[0],
        "right_robot_file": paths[1],
        "left_embodiment_config": configs[0],
        "right_embodiment_config": configs[1],
        "dual_arm_embodied": len(embodiment) == 1,
        **distance,
    }


def read_yaml(path: Path) -> dict[str, Any]:
    """Return what a YAML file holds; the reader is one of RoboTwin's own packages."""
    yaml = importlib.import_module("yaml")
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded
