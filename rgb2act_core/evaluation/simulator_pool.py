"""Environments in worker processes, stepped a chunk of actions at a time.

Shapes: n = actions of a chunk, A = actions
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..system import processes
from ..system.progress import say
from .simulator_worker import EnvLost, Request, StepResult, serve

LEAVE = 5.0  # seconds that a worker has to end by itself
REPEATS = 3  # times that one episode is repeated before acting ends with an error


@attrs.define(eq=False)
class _Course:
    """Hold what was asked of a slot since its episode began, to ask it again of a new one."""

    requests: list[Request] = attrs.field(factory=list)
    marks: list[str] = attrs.field(factory=list)  # of what was seen after each
    repeats: int = 0
    runs: bool = False  # in an environment that has answered all but the newest request

    @property
    def seed(self) -> int:
        """Return the episode's seed."""
        seed: int = self.requests[0][0]
        return seed

    def open(self) -> list[Request]:
        """Return what is still to be asked: the newest request, or all of them once more."""
        return self.requests[-1:] if self.runs else self.requests


class SimulatorPool:
    """Run one environment a slot, the slots dealt out to worker processes.

    ``keep`` newest observations of each chunk are returned; where the environment allows, others
    are not rendered. An episode whose environment or worker process is lost is repeated up to
    where it was, which its seed and its actions determine, and ``lost`` says so; after ``REPEATS``
    times the call raises UserError. A worker that raises anything else makes it raise RuntimeError
    with its words.
    """

    def __init__(self, name: str, config: Any, slots: int, keep: int, count: int) -> None:
        self.count = min(count, slots)
        self.lost: list[dict[str, Any]] = []  # of each loss: seed, steps, why
        self._task = (name, config, keep)
        self._courses: dict[int, _Course] = {}
        self.processes: list[SpawnProcess] = []
        self.pipes: list[Connection] = []
        for _ in range(self.count):
            process, pipe = self._start()
            self.processes.append(process)
            self.pipes.append(pipe)

    def _start(self) -> tuple[SpawnProcess, Connection]:
        ours, theirs = processes.SPAWN.Pipe()
        process = processes.SPAWN.Process(target=serve, args=(theirs, *self._task), daemon=True)
        process.start()
        theirs.close()
        return process, ours

    def reset(
        self,
        seeds: Mapping[int, int],
        films: Mapping[int, Path],
        told: Mapping[int, Mapping[str, Any]] | None = None,
    ) -> dict[int, StepResult]:
        """Begin an episode in each of the slots; those in ``films`` are filmed to that path.

        ``told`` is what the screening of a slot's seed told of the scene.
        """
        self._courses |= {slot: _Course() for slot in seeds}
        known = told or {}
        return self._ask(
            {slot: (seed, known.get(slot), films.get(slot)) for slot, seed in seeds.items()}
        )

    def step(self, actions: Mapping[int, NDArray[np.float32]]) -> dict[int, StepResult]:
        """Take each slot's actions (n, A), fewer where its episode ends."""
        return self._ask(actions)

    def close(self) -> None:
        """End the workers."""
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.join(timeout=LEAVE)
            if process.is_alive():
                process.kill()

    def __enter__(self) -> SimulatorPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, requests: Mapping[int, Request]) -> dict[int, StepResult]:
        for slot, request in requests.items():
            self._courses[slot].requests.append(request)
        seen: dict[int, StepResult] = {}
        while waiting := [slot for slot in requests if slot not in seen]:
            answers = self._round({slot: self._courses[slot].open() for slot in waiting})
            for slot, answer in answers.items():
                if isinstance(answer, EnvLost):
                    self._note_loss(slot, answer.why)
                else:
                    seen[slot] = self._noted(slot, answer)
        return seen

    def _round(self, waiting: Mapping[int, list[Request]]) -> dict[int, EnvLost | list[StepResult]]:
        """Ask each worker for its slots' part; all slots of one that died are lost."""
        answers: dict[int, EnvLost | list[StepResult]] = {}
        parts = {
            worker: {s: r for s, r in waiting.items() if s % self.count == worker}
            for worker in range(self.count)
        }
        for worker, part in parts.items():
            with contextlib.suppress(OSError):  # dead: seen when it is listened to
                self.pipes[worker].send(part)
        for worker, part in parts.items():
            try:
                answer = self.pipes[worker].recv()
            except (EOFError, OSError):
                lost = EnvLost(self._restart(worker))
                answer = dict.fromkeys(part, lost)
            if isinstance(answer, UserError):
                raise answer
            if isinstance(answer, str):
                raise RuntimeError(f"a simulator failed:\n{answer}")
            answers |= answer
        return answers

    def _restart(self, worker: int) -> str:
        """Start a worker anew and return what became of it."""
        process = self.processes[worker]
        process.join(timeout=LEAVE)
        self.pipes[worker].close()
        self.processes[worker], self.pipes[worker] = self._start()
        for slot, course in self._courses.items():
            course.runs = course.runs and slot % self.count != worker
        return (
            f"a worker process died (exit {process.exitcode}), perhaps for want of memory; lower"
            " [compute] workers and run again"
        )

    def _note_loss(self, slot: int, why: str) -> None:
        course = self._courses[slot]
        seed, course.runs, course.repeats = course.seed, False, course.repeats + 1
        if course.repeats > REPEATS:
            raise UserError(f"act: episode of seed {seed}, repeated {REPEATS} times in vain: {why}")
        self.lost.append({"seed": seed, "chunk": len(course.requests) - 1, "why": why})
        say(f"act: repeats the episode of seed {seed}: {why.partition(chr(10))[0]}")

    def _noted(self, slot: int, answers: list[StepResult]) -> StepResult:
        """Return the newest answer; raise UserError when a repeated episode went another way."""
        course = self._courses[slot]
        marks = [seen.mark() for seen in answers]
        if course.runs:
            marks = [*course.marks, *marks]
        if marks[: len(course.marks)] != course.marks:
            raise UserError(
                f"act: the episode of seed {course.seed} was repeated after its simulator was lost"
                " and went another way: this environment does not repeat itself; run again"
            )
        course.marks, course.runs = marks, True
        return answers[-1]
