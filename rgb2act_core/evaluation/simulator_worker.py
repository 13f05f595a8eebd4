"""The worker process of evaluation: environments that execute chunks of actions.

Shapes: n = actions of a chunk, k = newest observations kept, V = cameras, H W = pixels,
A = actions, X = hands
"""

from __future__ import annotations

import contextlib
import hashlib
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from ..errors import EnvironmentLost, UserError
from ..interfaces import EnvironmentInfo, PointCloud
from ..plugins.components import Capability, Kind
from ..store.disk_errors import guard
from ..system import processes

RESULT_KEYS = ("instruction", "clipped")  # entries of gymnasium's ``info`` stored with the results


@attrs.frozen(eq=False, kw_only=True)
class StepResult:
    """What an environment reported after a reset or a chunk of actions."""

    rgb: NDArray[np.uint8]  # (k, V, H, W, 3), newest last
    joints: NDArray[np.float32]  # (k, A)
    state: list[Mapping[str, NDArray[np.float32]]]  # k true states
    clouds: list[PointCloud]  # k point clouds; none unless requested, or when done
    hands: NDArray[np.float32]  # (n, X, 3), positions after each action, metres
    steps: int  # since the reset
    observed: list[int]  # steps after which the k observations were made
    success: bool
    done: bool
    info: Mapping[str, Any] = attrs.field(factory=dict)  # stored with the episode's results

    def digest(self) -> str:
        """Return a digest of everything but what is rendered, which on GPUs may vary slightly."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((self.steps, self.success, self.done)).encode())
        states = [part[name] for part in self.state for name in sorted(part)]
        for array in (self.joints, self.hands, *states):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def without_images(self) -> StepResult:
        """Return this result without images and clouds, to keep for the rest of an episode."""
        return attrs.evolve(self, rgb=self.rgb[:0], clouds=[])


# the start of an episode (seed, scene from its screening, path of a video), or actions (n, A)
Request = tuple[int, Mapping[str, Any] | None, Path | None] | NDArray[np.float32]


@attrs.frozen(eq=False)
class EnvLost:
    """The answer for a slot whose environment was lost."""

    reason: str


def serve(
    pipe: Connection,
    name: str,
    config: Any,
    keep: Collection[int],
    clouds: bool,
    max_steps: int | None,
) -> None:
    """Answer requests of ``SimulatorPool`` until the pipe is closed."""
    processes.prepare()
    slots: dict[int, _Env] = {}
    try:
        from ..plugins.registry import find

        component = find(Kind.ENVIRONMENT, name)
        environment = component.build(config)

        def make() -> _Env:
            capabilities = component.capabilities
            env = environment.make()
            return _Env(env, keep, clouds, environment.info, capabilities, max_steps)

        while True:
            pipe.send(
                {
                    slot: _answer(slots, slot, make, requests)
                    for slot, requests in pipe.recv().items()
                }
            )
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent closed the pipe
    except UserError as err:
        pipe.send(err)
    except Exception:
        pipe.send(traceback.format_exc())
    finally:
        for slot in slots.values():
            slot.close()


def _answer(
    slots: dict[int, _Env], slot: int, make: Callable[[], _Env], requests: Sequence[Request]
) -> EnvLost | list[StepResult]:
    """Return a slot's result of each request; a lost environment is closed and removed."""
    try:
        if slot not in slots:
            slots[slot] = make()
        with slots[slot].named_errors():
            return [slots[slot].answer(request) for request in requests]
    except EnvironmentLost as err:
        if lost := slots.pop(slot, None):
            lost.close()
        return EnvLost(str(err))


class _Env:
    """One gymnasium environment, and the video of its episode if one is recorded."""

    def __init__(
        self,
        env: Any,
        keep: Collection[int],
        clouds: bool,
        info: EnvironmentInfo,
        capabilities: Collection[Capability],
        max_steps: int | None = None,
    ) -> None:
        self.env, self.keep, self.clouds, self.info = env, keep, clouds, info
        self.skips_images = Capability.IMAGE_SKIPPING in capabilities
        self.has_facts = Capability.SIMULATOR_FACTS in capabilities
        self.video: Path | None = None
        self.images: list[NDArray[np.uint8]] = []
        self.steps, self.max_steps = 0, max_steps
        self.seed: int | None = None

    @contextlib.contextmanager
    def named_errors(self) -> Iterator[None]:
        """Add seed and step to errors."""
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
        with contextlib.suppress(Exception):  # a lost environment may fail to close
            self.env.close()

    def answer(self, request: Request) -> StepResult:
        return self.reset(*request) if isinstance(request, tuple) else self.step(request)

    def reset(self, seed: int, scene: Mapping[str, Any] | None, video: Path | None) -> StepResult:
        self.seed, self.video, self.images, self.steps = seed, video, [], 0
        self._set_observe(True, clouds=True)
        options = {} if scene is None else {"options": {"scene": scene}}
        observation, info = self.env.reset(seed=seed, **options)
        self._record(observation)
        hands = [self._hands(info)]
        success = bool(info.get("success"))
        result = self._result([(0, observation, info)], hands, success, done=False)
        simulator = {"simulator": self.env.unwrapped.facts} if self.has_facts else {}
        return attrs.evolve(result, info=simulator | _result_entries(info))

    def step(self, actions: NDArray[np.float32]) -> StepResult:
        newest: list[tuple[int, Any, Any]] = []
        hands: list[NDArray[np.float32]] = []
        success = done = False
        for i, action in enumerate(actions):
            kept = len(actions) - 1 - i in self.keep
            self._set_observe(self.video is not None or kept, clouds=kept)
            observation, _, terminated, truncated, info = self.env.step(action)
            self.steps += 1
            self._record(observation)
            hands.append(self._hands(info))
            success = bool(info["success"])
            done = bool(terminated or truncated or self.steps == self.max_steps)
            if kept or done:
                newest.append((self.steps, observation, info))
            if done:
                break
        if done:
            self._write_video()
        result = self._result(newest, hands, success, done)
        return attrs.evolve(result, info=_result_entries(info)) if done else result

    def _hands(self, info: Any) -> NDArray[np.float32]:
        """Return the positions of the hands (X, 3)."""
        if "hands" in info:
            return np.asarray(info["hands"], np.float32).reshape(-1, 3)
        names = self.info.hand_states
        if not names:
            return np.zeros((0, 3), np.float32)
        positions = [np.asarray(info["state"][name], np.float32).reshape(-1, 3) for name in names]
        return np.concatenate(positions)

    def _set_observe(self, on: bool, *, clouds: bool) -> None:
        if self.skips_images:
            self.env.unwrapped.observe = on
        if self.clouds:
            self.env.unwrapped.observe_clouds = clouds

    def _record(self, observation: Any) -> None:
        if self.video is not None:
            rendered = self.env.render() if self.env.render_mode == "rgb_array" else None
            cameras = np.concatenate(list(observation["rgb"]), axis=1)
            self.images.append(cameras if rendered is None else rendered)

    def _write_video(self) -> None:
        if self.video is not None:
            from ..data.video import write_mp4

            with guard(self.video):
                write_mp4(self.video, np.stack(self.images), self._frame_rate())
            self.video, self.images = None, []

    def _frame_rate(self) -> float:
        """Return frames per second: that of rendered images, else the control rate."""
        rendered = self.env.render_mode == "rgb_array"
        return float(self.env.metadata["render_fps"] if rendered else self.info.control_hz)

    def _result(
        self,
        newest: list[tuple[int, Any, Any]],
        hands: list[NDArray[np.float32]],
        success: bool,
        done: bool,
    ) -> StepResult:
        return StepResult(
            rgb=np.stack([o["rgb"] for _, o, _ in newest]),
            joints=np.stack([np.asarray(o["joints"], np.float32) for _, o, _ in newest]),
            state=[info.get("state", {}) for *_, info in newest],
            clouds=[info["cloud"] for *_, info in newest] if self.clouds and not done else [],
            hands=np.stack(hands),
            steps=self.steps,
            observed=[step for step, *_ in newest],
            success=success,
            done=done,
        )


def _result_entries(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of ``info`` that are stored with the episode's results."""
    return {name: info[name] for name in RESULT_KEYS if info.get(name) is not None}
