"""Check the requirements of RoboTwin's simulator, in its interpreter, without starting RoboTwin.

If the worker cannot run, the only finding is what the worker itself needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rgb2act_core import EnvironmentLost, UserError
from rgb2act_core.interfaces import Diagnostic

from ..config import Robotwin
from .simulator import requirements, settings
from .worker_client import Failed, Worker

WORKER = "install numpy below 2 and msgpack in that interpreter: pip install 'numpy<2' msgpack"
PYTHON = "give the interpreter that RoboTwin is installed in, such as venv/bin/python"


def diagnose(config: Robotwin) -> Iterator[Diagnostic]:
    """Yield the simulator's requirements; only a note if no simulator is configured."""
    if config.python is None:
        detail = "not set: recorded episodes only, no simulator"
        yield Diagnostic(name="python", ok=True, detail=detail)
        return
    if isinstance(config.python, Path) and not config.python.exists():
        return  # reported as a missing file
    try:
        yield from _ask_worker(config)
    except UserError as err:
        yield Diagnostic(name="interpreter", ok=False, detail=str(err), remedy=PYTHON)
    except EnvironmentLost as err:
        yield Diagnostic(name="worker", ok=False, detail=str(err), remedy=WORKER)
    except Failed as err:
        yield Diagnostic(name="worker", ok=False, detail=": ".join(err.args), remedy=WORKER)


def _ask_worker(config: Robotwin) -> list[Diagnostic]:
    worker = Worker(config)
    try:
        findings = worker.ask(
            "look",
            config.start_seconds,
            requirements,
            root=None if config.root is None else str(config.root.absolute()),
            settings=settings(config),
        )
    finally:
        worker.close()
    return [Diagnostic(**row) for row in findings]
