"""Checks for loggers, in a temporary folder and without a network."""

from __future__ import annotations

import contextlib
import io
import random
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..data.video import write_mp4
from ..interfaces import LoggedRun, LoggedStage, Logger
from ..interfaces.fields import Mark, is_marked
from .subject import Subject

SECONDS = 120.0  # for one run; a local store takes some seconds


def _run(folder: Path) -> LoggedRun:
    own = folder / "logger"
    own.mkdir(exist_ok=True)
    return LoggedRun(
        name="conformance",
        id="0123456789abcdef",
        folder=own,
        root=folder,
        spec={"seed": 0, "policy.lr": 1e-4, "policy.condition": "aligned", "act.replay": False},
        text='seed = 0\n[policy]\ncondition = "aligned"\n',
    )


def _stage(folder: Path) -> LoggedStage:
    data, video = io.BytesIO(), folder / "seed_0000001.mp4"
    Image.new("RGB", (8, 6)).save(data, "PNG")
    if not video.exists():
        write_mp4(video, np.zeros((3, 16, 16, 3), np.uint8), 10.0)
    return LoggedStage(
        name="act",
        values={"success_rate": 0.5, "tasks/reach/success_low": 0.1},
        images={"front/frame": data.getvalue()},
        videos={"seed_0000001": video},
    )


def _log(logger: Logger, folder: Path, first: int = 0, end: int = 3) -> None:
    """Make the calls of one process that trains from step ``first`` to ``end``."""
    logger.start(_run(folder))
    for step in range(0 if logger.replays else first, end):
        logger.log_metrics("train", step, {"loss": 1 / (step + 1), "val/retrieval@1": 0.5})
    logger.log_metrics("train", end - 1, {"val/loss": float("nan")})
    logger.log_stage(_stage(folder))
    logger.finish(True)


@contextlib.contextmanager
def _temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _in_thread(logger: Logger, folder: Path, first: int = 0, end: int = 3) -> None:
    """Log in a thread that is not the main one, as a run does."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            _log(logger, folder, first, end)
        except BaseException as err:
            failures.append(err)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive(), f"the logger blocks for more than {SECONDS:g} s"
    for err in failures:
        raise AssertionError(f"raises {type(err).__name__}: {err}") from err


def replays_is_declared(subject: Subject) -> None:
    """``replays`` states whether a resumed stage is sent again from its first row."""
    found = getattr(subject.built, "replays", None)
    assert isinstance(found, bool), f"replays is {found!r}; set it to True or False"


def every_option_is_runtime(subject: Subject) -> None:
    """All fields of the config are runtime fields: logging changes no result."""
    import attrs

    for field in attrs.fields(subject.component.config):
        assert is_marked(field, Mark.RUNTIME), f"{field.name}: declare it with fields.runtime()"


def building_touches_nothing(subject: Subject) -> None:
    """A logger that was built can be dropped without being started."""
    subject.build()


def a_run_is_logged_in_a_thread(subject: Subject) -> None:
    """Spec, rows, results, images and videos are logged in a thread that is not the main one."""
    with _temporary() as folder:
        _in_thread(subject.build(), folder)


def an_interrupted_run_is_resumed(subject: Subject) -> None:
    """A new logger continues a run that another one began, in the same folder."""
    with _temporary() as folder:
        _in_thread(subject.build(), folder, 0, 2)
        _in_thread(subject.build(), folder, 2, 4)


def random_numbers_are_not_drawn(subject: Subject) -> None:
    """Logging does not change the state of the global random generators."""
    before = _random_states()
    with _temporary() as folder:
        _in_thread(subject.build(), folder)
    drawn = [name for name, state in _random_states().items() if state != before[name]]
    assert not drawn, f"draws from {' and '.join(drawn)}; use a generator of its own"


def _random_states() -> dict[str, bytes]:
    numpy_state = np.random.get_state(legacy=False)
    return {
        "random": repr(random.getstate()).encode(),
        "numpy.random": repr(numpy_state).encode(),
        "torch": torch.get_rng_state().numpy().tobytes(),
    }


def stdout_is_not_used(subject: Subject) -> None:
    """Logging prints nothing to stdout, which is reserved for the results of a command."""
    printed = io.StringIO()
    with _temporary() as folder, contextlib.redirect_stdout(printed):
        _in_thread(subject.build(), folder)
    assert not printed.getvalue(), f"prints {printed.getvalue()[:80]!r} to stdout; use say"


CHECKS = (
    replays_is_declared,
    every_option_is_runtime,
    building_touches_nothing,
    a_run_is_logged_in_a_thread,
    an_interrupted_run_is_resumed,
    random_numbers_are_not_drawn,
    stdout_is_not_used,
)
