"""The worker process of acting: environments that take a chunk of actions and show what follows.

Shapes: n = actions of a chunk, k = newest observations kept, V = cameras, H W = pixels,
A = actions, X = hands
"""

from __future__ import annotations

import contextlib
import hashlib
import traceback
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from ..errors import EnvironmentLost, UserError
from ..interfaces import EnvironmentInfo
from ..plugins.components import Capability, Kind
from ..store.files import guard
from ..system import processes

TOLD = ("instruction", "clipped")  # parts of ``info`` that are kept with the results


@attrs.frozen(eq=False, kw_only=True)
class StepResult:
    """Hold what an environment showed after a reset or a chunk of actions."""

    rgb: NDArray[np.uint8]  # (k, V, H, W, 3), newest last
    joints: NDArray[np.float32]  # (k, A)
    state: list[Mapping[str, NDArray[np.float32]]]  # k true states
    hands: NDArray[np.float32]  # (n, X, 3) places of the hands after each action, metres
    steps: int  # taken since the reset
    success: bool
    done: bool
    told: Mapping[str, Any] = attrs.field(factory=dict)  # at begin and end, kept with the results

    def mark(self) -> str:
        """Return a digest of all but the images, which a GPU may draw a shade differently."""
        state = hashlib.blake2b(digest_size=16)
        state.update(repr((self.steps, self.success, self.done)).encode())
        states = [part[name] for part in self.state for name in sorted(part)]
        for array in (self.joints, self.hands, *states):
            state.update(np.ascontiguousarray(array).tobytes())
        return state.hexdigest()


# the begin of an episode (seed, what its screening told, film), or actions (n, A)
Request = tuple[int, Mapping[str, Any] | None, Path | None] | NDArray[np.float32]


@attrs.frozen(eq=False)
class EnvLost:
    """Answer for a slot whose environment is lost."""

    why: str


def serve(pipe: Connection, name: str, config: Any, keep: int) -> None:
    """Answer requests of ``simulators`` until the pipe is closed."""
    processes.prepare()
    slots: dict[int, _Env] = {}
    try:
        from ..plugins.registry import find

        component = find(Kind.ENVIRONMENT, name)
        environment, capabilities = component.build(config), component.capabilities
        while True:
            pipe.send(
                {
                    slot: _answered(slots, slot, environment, capabilities, keep, requests)
                    for slot, requests in pipe.recv().items()
                }
            )
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent is done with us
    except UserError as err:
        pipe.send(err)
    except Exception:
        pipe.send(traceback.format_exc())
    finally:
        for slot in slots.values():
            slot.close()


def _answered(
    slots: dict[int, _Env],
    slot: int,
    environment: Any,
    capabilities: frozenset[Capability],
    keep: int,
    requests: Sequence[Request],
) -> EnvLost | list[StepResult]:
    """Return what a slot shows after each request; a lost environment is forgotten."""
    try:
        if slot not in slots:
            slots[slot] = _Env(environment.make(), keep, environment.info, capabilities)
        with slots[slot].named():
            return [slots[slot].answer(request) for request in requests]
    except EnvironmentLost as err:
        if held := slots.pop(slot, None):
            held.close()
        return EnvLost(str(err))


class _Env:
    """Run one environment and film it if asked."""

    def __init__(
        self, env: Any, keep: int, info: EnvironmentInfo, capabilities: frozenset[Capability]
    ) -> None:
        self.env, self.keep, self.info = env, keep, info
        self.can_skip = Capability.IMAGE_SKIPPING in capabilities
        self.has_facts = Capability.SIMULATOR_FACTS in capabilities
        self.film: Path | None = None
        self.pictures: list[NDArray[np.uint8]] = []
        self.steps = 0
        self.seed: int | None = None

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Add seed and step to what goes wrong."""
        try:
            yield
        except EnvironmentLost:
            raise
        except UserError as err:
            raise UserError(*(f"episode of seed {self.seed}: {p}" for p in err.args)) from err
        except Exception as err:
            err.add_note(f"in the episode of seed {self.seed}, after {self.steps} steps")
            raise

    def close(self) -> None:
        with contextlib.suppress(Exception):  # what is lost may not even close
            self.env.close()

    def answer(self, request: Request) -> StepResult:
        return self.reset(*request) if isinstance(request, tuple) else self.step(request)

    def reset(self, seed: int, told: Mapping[str, Any] | None, film: Path | None) -> StepResult:
        self.seed, self.film, self.pictures, self.steps = seed, film, [], 0
        self._observe(True)
        options = {} if told is None else {"options": {"told": told}}
        observation, info = self.env.reset(seed=seed, **options)
        self._shoot(observation)
        hands = [self._hands(info)]
        seen = self._seen([(observation, info)], hands, bool(info.get("success")), done=False)
        return attrs.evolve(seen, told=self._told(info))

    def _told(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is kept with the results besides how the episode went."""
        facts = self.env.unwrapped.facts if self.has_facts and self.steps == 0 else None
        told = {"simulator": facts} | {name: info.get(name) for name in TOLD}
        return {name: value for name, value in told.items() if value is not None}

    def step(self, actions: NDArray[np.float32]) -> StepResult:
        newest: list[tuple[Any, Any]] = []
        hands: list[NDArray[np.float32]] = []
        success = done = False
        for i, action in enumerate(actions):
            self._observe(self.film is not None or len(actions) - i <= self.keep)
            observation, _, terminated, truncated, info = self.env.step(action)
            self.steps += 1
            self._shoot(observation)
            newest = [*newest, (observation, info)][-self.keep :]
            hands.append(self._hands(info))
            success, done = bool(info["success"]), bool(terminated or truncated)
            if done:
                break
        if done:
            self._finish_film()
        seen = self._seen(newest, hands, success, done)
        return attrs.evolve(seen, told=self._told(info)) if done else seen

    def _hands(self, info: Any) -> NDArray[np.float32]:
        """Return the places of the hands (X, 3)."""
        if "hands" in info:
            return np.asarray(info["hands"], np.float32).reshape(-1, 3)
        names = self.info.hand_states
        if not names:
            return np.zeros((0, 3), np.float32)
        places = [np.asarray(info["state"][name], np.float32).reshape(-1, 3) for name in names]
        return np.concatenate(places)

    def _observe(self, on: bool) -> None:
        if self.can_skip:
            self.env.unwrapped.observe = on

    def _shoot(self, observation: Any) -> None:
        if self.film is not None:
            rendered = self.env.render() if self.env.render_mode == "rgb_array" else None
            cameras = np.concatenate(list(observation["rgb"]), axis=1)
            self.pictures.append(cameras if rendered is None else rendered)

    def _finish_film(self) -> None:
        if self.film is not None:
            from ..data.video import write_mp4

            with guard(self.film):
                write_mp4(self.film, np.stack(self.pictures), self._pace())
            self.film, self.pictures = None, []

    def _pace(self) -> float:
        """Return frames a second: those of what the environment renders, or one an action."""
        rendered = self.env.render_mode == "rgb_array"
        return float(self.env.metadata["render_fps"] if rendered else self.info.control_hz)

    def _seen(
        self,
        newest: list[tuple[Any, Any]],
        hands: list[NDArray[np.float32]],
        success: bool,
        done: bool,
    ) -> StepResult:
        return StepResult(
            rgb=np.stack([o["rgb"] for o, _ in newest]),
            joints=np.stack([np.asarray(o["joints"], np.float32) for o, _ in newest]),
            state=[info.get("state", {}) for _, info in newest],
            hands=np.stack(hands),
            steps=self.steps,
            success=success,
            done=done,
        )
