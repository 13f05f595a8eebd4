"""What RoboTwin's simulator needs, and what of it is there: asked of the worker, which looks.

Nothing of RoboTwin is started. What the worker itself needs to run is told when it does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rgb2act_core.errors import EnvironmentLost, UserError
from rgb2act_core.interfaces import Diagnostic

from ..config import Robotwin
from .simulator import needs, settings
from .worker_client import Failed, Worker

WORKER = "install numpy below 2 and msgpack in that interpreter: pip install 'numpy<2' msgpack"
PYTHON = "give the interpreter that RoboTwin is installed in, such as venv/bin/python"


def diagnose(config: Robotwin) -> Iterator[Diagnostic]:
    """Yield what is needed to act; nothing but a remark where only recorded data is read."""
    if config.python is None:
        detail = "not named: recorded episodes only, nothing to act in"
        yield Diagnostic(name="python", ok=True, detail=detail)
        return
    if isinstance(config.python, Path) and not config.python.exists():
        return  # told as a file that is not there
    try:
        yield from _looked(config)
    except UserError as err:
        yield Diagnostic(name="interpreter", ok=False, detail=str(err), remedy=PYTHON)
    except EnvironmentLost as err:
        yield Diagnostic(name="worker", ok=False, detail=str(err), remedy=WORKER)
    except Failed as err:
        yield Diagnostic(name="worker", ok=False, detail=": ".join(err.args), remedy=WORKER)


def _looked(config: Robotwin) -> list[Diagnostic]:
    worker = Worker(config)
    try:
        found = worker.ask(
            "look",
            config.start_seconds,
            needs,
            root=None if config.root is None else str(config.root.absolute()),
            settings=settings(config),
        )
    finally:
        worker.close()
    return [Diagnostic(**row) for row in found]
