"""Fixtures: layouts, environments, stand-in workers and a trained run."""

from __future__ import annotations

import importlib.util
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rgb2act_robotwin import Robotwin, build
from rgb2act_robotwin.environment import RobotwinEnvironment
from robotwin_episodes import TASK
from robotwin_servers import train

Opened = Callable[..., RobotwinEnvironment]


def pytest_configure() -> None:
    """Let child processes be interrupted; in a background job they would ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=["legacy", "head", "converted"])
def layout(request: pytest.FixtureRequest) -> str:
    """Return each layout in turn."""
    return str(request.param)


@pytest.fixture
def opened() -> Opened:
    """Return a function that opens a folder as an environment."""

    def call(root: Any, **options: Any) -> RobotwinEnvironment:
        return build(Robotwin(**{"task": TASK, "data": root, **options}))

    return call


@pytest.fixture(scope="session")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an interpreter that runs the stand-in worker."""
    script = tmp_path_factory.mktemp("standin") / "python"
    worker = Path(__file__).parent / "helpers/standin_worker.py"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{worker}" "$@"\n')
    script.chmod(0o755)
    return script


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a trained run, which tests must not change."""
    return Path(train(tmp_path_factory.mktemp("deployed")))


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with numpy, msgpack and Pillow, like a simulator's site-packages."""
    folder = tmp_path_factory.mktemp("bare")
    for name in ("numpy", "numpy.libs", "msgpack", "PIL", "pillow.libs"):
        found = importlib.util.find_spec(name.partition(".")[0].replace("pillow", "PIL"))
        assert found is not None
        assert found.origin is not None
        place = Path(found.origin).parent.with_name(name)
        if place.exists():
            (folder / name).symlink_to(place)
    return folder
