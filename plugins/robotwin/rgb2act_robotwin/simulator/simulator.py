"""RoboTwin's simulator as we know it: what can be asked of the worker, typed and checked.

Shapes: V = cameras, H W = pixels, A = 14 joints and actions, P = points
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import attrs
import numpy as np
from numpy.typing import NDArray
from rgb2act_wire import WireError

from rgb2act_core.errors import EnvironmentLost, UserError
from rgb2act_core.interfaces import PointCloud
from rgb2act_core.system.progress import say

from ..config import IMAGES, Robotwin
from ..recorded.joint_states import ACTION_NAMES
from .worker_client import Failed, Reply, Worker

T = TypeVar("T")
WIDTH = len(ACTION_NAMES)
UNSTABLE = "UnStableError:"  # RoboTwin's word for a scene that does not come to rest
REPEATS = 3  # times that what was asked is asked again of a new simulator
DOCTOR = "rgb2act doctor SPEC names what is missing"


@attrs.frozen(eq=False, kw_only=True)
class View:
    """Hold what the simulator shows at one step."""

    rgb: NDArray[np.uint8]  # (V, H, W, 3)
    joints: NDArray[np.float32]  # (A,), drive targets
    hands: NDArray[np.float32]  # (2, 7), wrists' x y z qw qx qy qz, metres, world frame
    cloud: PointCloud | None


@attrs.frozen(eq=False, kw_only=True)
class Begun:
    """Hold the begin of an episode."""

    view: View
    instruction: str
    step_limit: int


@attrs.frozen(eq=False, kw_only=True)
class Stepped:
    """Hold what an action led to; without a view where none was asked for."""

    view: View | None
    hands: NDArray[np.float32]  # (2, 7), as a view's
    success: bool
    steps: int
    done: bool


@attrs.frozen(kw_only=True)
class Expert:
    """Hold how the scripted expert did on a seed, why not, and what it told of the scene."""

    accepted: bool
    reason: str
    told: Mapping[str, Any]  # plain data, of which instructions are worded


class Simulator:
    """Run one environment of RoboTwin in a worker.

    The constructor raises UserError when RoboTwin does not start there. All methods raise
    EnvironmentLost when the worker is lost or cannot do what it was asked.
    """

    def __init__(self, config: Robotwin, clouds: bool = False) -> None:
        self.config = config
        self.worker = Worker(config)
        try:
            self.facts = self.worker.ask(
                "start",
                config.start_seconds,
                self._facts,
                task=config.task,
                root=None if config.root is None else str(config.root.absolute()),
                settings=settings(config, clouds),
            )
            self._check_facts()
        except Failed as err:
            self.close()
            what, where = err.args
            raise UserError(f"robotwin: RoboTwin does not start: {what} ({where}); {DOCTOR}") from (
                err
            )
        except BaseException:
            self.close()
            raise

    @property
    def limits(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the lowest and the highest action (A,)."""
        return self.facts["low"], self.facts["high"]

    def told(self) -> dict[str, Any]:
        """Return what is known of the simulator and its setting as plain data, for results."""
        facts = {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in self.facts.items()
        }
        names = ("task_config", "camera", "embodiment", "eval_instructions", "overshoot")
        return facts | {name: getattr(self.config, name) for name in names}

    def screen(self, seed: int) -> Expert:
        """Return whether a seed's scene is stable and the expert succeeds in it."""
        return self.ask("screen", self.config.episode_seconds, _expert, seed=seed)

    def begin(self, seed: int, told: Mapping[str, Any] | None = None) -> Begun:
        """Set a seed's scene up and return what is seen; ``told`` is the expert's, if it is known.

        Instructions are drawn by the seed.
        """
        wait = self.config.episode_seconds
        known = {} if told is None else {"info": dict(told)}
        return self.ask("begin", wait, self._begun, seed=seed, instruction_seed=seed, **known)

    def scene(self, seed: int) -> View | None:
        """Return what is seen of a seed's scene; None when it does not come to rest."""
        wait = self.config.episode_seconds
        try:
            begun = self.worker.ask("begin", wait, self._begun, seed=seed, instruction_seed=seed)
        except Failed as err:
            what, where = err.args
            if what.startswith(UNSTABLE):
                return None
            raise self.worker.lost(f"'begin': {what} ({where})") from err
        self.end()
        return begun.view

    def step(self, action_A: NDArray[np.float64], observe: bool) -> Stepped:
        """Take one action."""
        wait = self.config.step_seconds
        return self.ask("step", wait, self._stepped, action=action_A, observe=observe)

    def end(self) -> None:
        """End the episode."""
        self.ask("end", self.config.step_seconds, lambda _: None)

    def record(self, seed: int) -> Iterator[View] | None:
        """Return what the expert saw at each frame; None when it failed."""
        expert, frames = self.ask("record", self.config.episode_seconds, _recorded, seed=seed)
        return self._frames(frames) if expert.accepted else None

    def _frames(self, count: int) -> Iterator[View]:
        for index in range(count):
            yield self.ask("frame", self.config.step_seconds, self._seen, index=index)

    def close(self) -> None:
        """End the worker."""
        self.worker.close()

    def ask(self, kind: str, seconds: float, read: Callable[[Reply], T], **fields: Any) -> T:
        """Return what ``read`` makes of the worker's reply."""
        try:
            return self.worker.ask(kind, seconds, read, **fields)
        except Failed as err:
            what, where = err.args
            raise self.worker.lost(f"{kind!r}: {what} ({where})") from err

    def _facts(self, reply: Reply) -> dict[str, Any]:
        facts = reply.part("facts")
        low, high = (facts.array(name, "float64", (WIDTH,)) for name in ("low", "high"))
        if not (low < high).all():
            raise WireError("field 'low': is not below 'high'")
        for name in ("layout", "shader", "planner", "fps"):
            facts.text(name)
        facts.count("step_limit")
        return facts.message | {"low": low, "high": high, "versions": facts.table("versions")}

    def _check_facts(self) -> None:
        shown = self.facts.get("image")
        if shown != list(IMAGES[self.config.camera]):
            raise UserError(
                f"robotwin.camera: {self.config.camera!r} shows"
                f" {list(IMAGES[self.config.camera])!r} pixels, the simulator {shown!r}; choose"
                " the camera that its task_config has"
            )

    def _seen(self, reply: Reply) -> View:
        seen, image = reply.part("observation"), IMAGES[self.config.camera]
        shown = seen.part("rgb")
        joints_A = seen.array("joints", "float64", (WIDTH,))
        return View(
            rgb=np.stack([shown.array(c, "uint8", (*image, 3)) for c in self.config.views]),
            joints=joints_A.astype(np.float32),
            hands=seen.array("endpose", "float64", (2, 7)).astype(np.float32),
            cloud=_cloud(seen) if seen.has("clouds") else None,
        )

    def _begun(self, reply: Reply) -> Begun:
        return Begun(
            view=self._seen(reply),
            instruction=reply.text("instruction"),
            step_limit=reply.count("step_limit"),
        )

    def _stepped(self, reply: Reply) -> Stepped:
        return Stepped(
            view=self._seen(reply) if reply.has("observation") else None,
            hands=reply.array("hands", "float64", (2, 7)).astype(np.float32),
            success=reply.flag("success"),
            steps=reply.count("steps"),
            done=reply.flag("done"),
        )


class Recorder:
    """Ask a simulator that is started at the first question, and anew when it was lost."""

    def __init__(self, config: Robotwin) -> None:
        self.config = config
        self._simulator: Simulator | None = None

    def ask(self, question: Callable[[Simulator], T], seed: int) -> T:
        """Return the answer, which a seed determines; UserError when it is lost every time."""
        for repeat in range(REPEATS + 1):
            try:
                if self._simulator is None:
                    self._simulator = Simulator(self.config, clouds=self.config.clouds != "none")
                return question(self._simulator)
            except EnvironmentLost as err:
                self._simulator = None
                if repeat == REPEATS:
                    raise UserError(
                        f"robotwin: seed {seed}, asked for {REPEATS + 1} times in vain: {err}"
                    ) from err
                say(f"robotwin: asks again for seed {seed}: {str(err).partition(chr(10))[0]}")
        raise AssertionError

    def close(self) -> None:
        """End the simulator."""
        if self._simulator is not None:
            self._simulator.close()


def settings(config: Robotwin, clouds: bool = False) -> dict[str, Any]:
    """Return what the worker sets RoboTwin up with; clouds are for recording, and cost time."""
    return {
        "task_config": config.task_config,
        "cameras": list(config.views),
        "head_camera_type": config.camera,
        "wrist_camera_type": config.camera,
        "shader": config.shader,
        "planner": config.planner,
        "fps": config.fps,
        "instructions": config.eval_instructions,
        "embodiment": config.embodiment,
        "assets": None if config.assets is None else str(config.assets.absolute()),
        "pointcloud": clouds,
    }


def needs(reply: Reply) -> list[dict[str, Any]]:
    """Return preflight facts: name, ok, detail, remedy."""
    listed = reply.message.get("facts")
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise WireError("field 'facts': expected a list of maps")
    parts = [Reply(item) for item in listed]
    return [
        {"name": p.text("name"), "ok": p.flag("ok")}
        | {"detail": p.text("detail"), "remedy": p.text("remedy")}
        for p in parts
    ]


def _expert(reply: Reply) -> Expert:
    told = reply.table("info") if reply.has("info") else {}
    return Expert(accepted=reply.flag("accepted"), reason=reply.text("reason"), told=told)


def _recorded(reply: Reply) -> tuple[Expert, int]:
    return _expert(reply), reply.count("frames")


def _cloud(seen: Reply) -> PointCloud | None:
    """Return the points, without the zeros that fill them up; None if there are none."""
    points_P6 = seen.array("clouds", "float32", (None, 6))
    points_P6 = points_P6[(points_P6 != 0).any(1)]
    if not len(points_P6):
        return None
    colours = np.clip(np.rint(points_P6[:, 3:] * 255), 0, 255).astype(np.uint8)
    return PointCloud(xyz=np.ascontiguousarray(points_P6[:, :3]), rgb=colours)
