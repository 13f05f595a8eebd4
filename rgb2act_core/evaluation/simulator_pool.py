"""Environments in worker processes, stepped by chunks of actions.

Shapes: n = actions of a chunk, A = actions
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
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

SHUTDOWN_SECONDS = 5.0  # before a worker that does not exit is killed
RETRIES = 3  # of one episode, before evaluation ends with an error


@attrs.define(eq=False)
class _Episode:
    """The requests of a slot since its episode started, to replay them if it is lost."""

    requests: list[Request] = attrs.field(factory=list)
    digests: list[str] = attrs.field(factory=list)  # of the result of each request
    retries: int = 0
    live: bool = False  # the environment has answered all requests but the newest

    @property
    def seed(self) -> int:
        """Return the episode's seed."""
        seed: int = self.requests[0][0]
        return seed

    def unanswered(self) -> list[Request]:
        """Return the newest request, or all of them if the environment was lost."""
        return self.requests[-1:] if self.live else self.requests


class SimulatorPool:
    """One environment per slot, distributed over worker processes.

    Of each chunk, the observations that are ``frames`` steps before its end are returned, with
    ``clouds`` also their point clouds; an environment that can skip images does not render the
    others. An episode ends after ``max_steps`` at the latest. An episode whose environment or
    worker process is lost is replayed from its seed and actions, and recorded in ``lost``; after
    ``RETRIES`` times the call raises UserError. Any other exception in a worker is
    raised as RuntimeError with its traceback.
    """

    def __init__(
        self,
        name: str,
        config: Any,
        slots: int,
        frames: Collection[int],
        workers: int,
        clouds: bool = False,
        max_steps: int | None = None,
    ) -> None:
        self.count = min(workers, slots)
        self.lost: list[dict[str, Any]] = []  # of each loss: seed, chunk, why
        self._worker_args = (name, config, frames, clouds, max_steps)
        self._episodes: dict[int, _Episode] = {}
        self.processes: list[SpawnProcess] = []
        self.pipes: list[Connection] = []
        for _ in range(self.count):
            process, pipe = self._start()
            self.processes.append(process)
            self.pipes.append(pipe)

    def _start(self) -> tuple[SpawnProcess, Connection]:
        parent, child = processes.SPAWN.Pipe()
        process = processes.SPAWN.Process(
            target=serve, args=(child, *self._worker_args), daemon=True
        )
        process.start()
        child.close()
        return process, parent

    def reset(
        self,
        seeds: Mapping[int, int],
        videos: Mapping[int, Path],
        scenes: Mapping[int, Mapping[str, Any]] = {},
    ) -> dict[int, StepResult]:
        """Start an episode in each of the slots.

        ``videos`` are paths of the videos to record and ``scenes`` what screening reported about a
        seed's scene, both by slot.
        """
        self._episodes |= {slot: _Episode() for slot in seeds}
        return self._ask(
            {slot: (seed, scenes.get(slot), videos.get(slot)) for slot, seed in seeds.items()}
        )

    def step(self, actions: Mapping[int, NDArray[np.float32]]) -> dict[int, StepResult]:
        """Execute each slot's actions (n, A), up to the end of its episode."""
        return self._ask(actions)

    def close(self) -> None:
        """Stop the workers."""
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.join(timeout=SHUTDOWN_SECONDS)
            if process.is_alive():
                process.kill()

    def __enter__(self) -> SimulatorPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, requests: Mapping[int, Request]) -> dict[int, StepResult]:
        for slot, request in requests.items():
            self._episodes[slot].requests.append(request)
        results: dict[int, StepResult] = {}
        while waiting := [slot for slot in requests if slot not in results]:
            answers = self._exchange({s: self._episodes[s].unanswered() for s in waiting})
            for slot, answer in answers.items():
                if isinstance(answer, EnvLost):
                    self._note_loss(slot, answer.reason)
                else:
                    results[slot] = self._checked(slot, answer)
        return results

    def _exchange(
        self, waiting: Mapping[int, list[Request]]
    ) -> dict[int, EnvLost | list[StepResult]]:
        """Send each worker the requests of its slots; all slots of a dead worker are lost."""
        answers: dict[int, EnvLost | list[StepResult]] = {}
        parts = {
            worker: {s: r for s, r in waiting.items() if s % self.count == worker}
            for worker in range(self.count)
        }
        for worker, part in parts.items():
            with contextlib.suppress(OSError):  # a dead worker is detected when receiving
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
        """Replace a dead worker and return why it died."""
        process = self.processes[worker]
        process.join(timeout=SHUTDOWN_SECONDS)
        self.pipes[worker].close()
        self.processes[worker], self.pipes[worker] = self._start()
        for slot, episode in self._episodes.items():
            episode.live = episode.live and slot % self.count != worker
        return (
            f"a worker process died (exit {process.exitcode}), possibly out of memory; lower"
            " [compute] simulator_workers and run again"
        )

    def _note_loss(self, slot: int, reason: str) -> None:
        episode = self._episodes[slot]
        seed, episode.live, episode.retries = episode.seed, False, episode.retries + 1
        if episode.retries > RETRIES:
            raise UserError(
                f"act: episode with seed {seed} failed after {RETRIES} retries: {reason}"
            )
        self.lost.append({"seed": seed, "chunk": len(episode.requests) - 1, "why": reason})
        say(f"act: restarting the episode with seed {seed}: {reason.partition(chr(10))[0]}")

    def _checked(self, slot: int, answers: list[StepResult]) -> StepResult:
        """Return the newest result; UserError if a replayed episode differs from the first run."""
        episode = self._episodes[slot]
        digests = [result.digest() for result in answers]
        if episode.live:
            digests = [*episode.digests, *digests]
        if digests[: len(episode.digests)] != episode.digests:
            raise UserError(
                f"act: the episode with seed {episode.seed} was replayed after its simulator was"
                " lost and gave other results; this environment is not deterministic, run again"
            )
        episode.digests, episode.live = digests, True
        return answers[-1]
