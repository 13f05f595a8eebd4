"""RoboTwin's simulator: the requests to the worker as typed and checked methods.

Shapes: V = cameras, H W = pixels, A = 14 joints and actions, P = points
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import attrs
import numpy as np
from numpy.typing import NDArray
from rgb2act_wire import WireError

from rgb2act_core import UserError
from rgb2act_core.interfaces import PointCloud

from ..config import IMAGES, Robotwin
from ..evaluation.deploy_files.rgb2act_images import as_recorded
from ..recorded.joint_states import ACTION_NAMES
from .live_clouds import observed_cloud
from .reply_arrays import true_state
from .worker_client import Failed, Reply, Worker

T = TypeVar("T")
WIDTH = len(ACTION_NAMES)
UNSTABLE = "UnStableError:"  # RoboTwin's error for a scene that does not come to rest
DOCTOR = "rgb2act doctor SPEC lists what is missing"


@attrs.frozen(eq=False, kw_only=True)
class View:
    """The observation of one step."""

    rgb: NDArray[np.uint8]  # (V, H, W, 3)
    joints: NDArray[np.float32]  # (A,), drive targets
    hands: NDArray[np.float32]  # (2, 7), wrists' x y z qw qx qy qz, metres, world frame
    cloud: PointCloud | None
    state: Mapping[str, NDArray[np.float32]]  # true poses and contacts, see ``true_state``


@attrs.frozen(eq=False, kw_only=True)
class EpisodeStart:
    """The first observation of an episode."""

    view: View
    instruction: str
    step_limit: int


@attrs.frozen(eq=False, kw_only=True)
class StepResult:
    """The result of an action; ``view`` is None if no observation was requested."""

    view: View | None
    hands: NDArray[np.float32]  # (2, 7), as a view's
    success: bool
    steps: int
    done: bool


@attrs.frozen(kw_only=True)
class Expert:
    """The outcome of the scripted expert on a seed."""

    accepted: bool
    reason: str
    info: Mapping[str, Any]  # plain data that the instructions are generated from


class Simulator:
    """One environment of RoboTwin in a worker.

    With ``recording``, recorded episodes and scenes have the clouds, or depth, of the config.

    The constructor raises UserError if RoboTwin does not start. All methods raise EnvironmentLost
    if the worker is lost or a request fails.
    """

    def __init__(self, config: Robotwin, recording: bool = False) -> None:
        self.config = config
        self.worker = Worker(config)
        try:
            self.facts = self.worker.ask(
                "start",
                config.start_seconds,
                self._facts,
                task=config.task,
                root=None if config.root is None else str(config.root.absolute()),
                settings=settings(config, recording),
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
        """The lowest and the highest action (A,)."""
        return self.facts["low"], self.facts["high"]

    @property
    def actors(self) -> tuple[str, ...]:
        """The names of the task's actors, in the order of their true states."""
        return tuple(self.facts["actors"])

    def result_facts(self) -> dict[str, Any]:
        """Return the simulator's version and settings as plain data, for results."""
        facts = {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in self.facts.items()
        }
        names = ("task_config", "camera", "embodiment", "eval_instructions", "overshoot")
        return facts | {name: getattr(self.config, name) for name in names}

    def screen(self, seed: int) -> Expert:
        """Return whether the scene of a seed is stable and the expert succeeds in it."""
        return self.ask("screen", self.config.episode_seconds, _expert, seed=seed)

    def begin(
        self, seed: int, info: Mapping[str, Any] | None = None, clouds: bool = False
    ) -> EpisodeStart:
        """Set up the scene of a seed and return the first observation.

        ``info`` is the expert's from screening, if known. The seed selects the instruction. With
        ``clouds`` the episode's observations can have point clouds, and the first one has.
        """
        wait = self.config.episode_seconds
        fields: dict[str, Any] = {} if info is None else {"info": dict(info)}
        fields |= self._cloud_fields(clouds)
        return self.ask(
            "begin", wait, self._episode_start, seed=seed, instruction_seed=seed, **fields
        )

    def scene(
        self, seed: int, frame: int | None, joints_A: NDArray[np.float64] | None
    ) -> View | None:
        """Return an observation of a scene without actions; None if it does not come to rest.

        ``frame`` is a seed: of the objects' poses, and of the arms' unless ``joints_A`` are given.
        Without it, arms and objects are as the scene came to rest.
        """
        fields: dict[str, Any] = {} if frame is None else {"frame": frame}
        fields |= {} if joints_A is None else {"joints": joints_A}
        wait = self.config.episode_seconds
        try:
            return self.worker.ask("scene", wait, self._view, seed=seed, **fields)
        except Failed as err:
            what, where = err.args
            if what.startswith(UNSTABLE):
                return None
            raise self.worker.lost(f"'scene': {what} ({where})") from err

    def step(
        self, action_A: NDArray[np.float64], observe: bool, clouds: bool = False
    ) -> StepResult:
        """Execute one action; ``observe`` the result, with ``clouds`` also its point cloud."""
        fields = self._cloud_fields(clouds)
        wait = self.config.step_seconds
        return self.ask("step", wait, self._step_result, action=action_A, observe=observe, **fields)

    def _cloud_fields(self, clouds: bool) -> dict[str, Any]:
        """Return the fields of a request for a cloud, which is RoboTwin's own or from depth."""
        return {"depth" if self.config.clouds == "depth" else "clouds": True} if clouds else {}

    def end(self) -> None:
        """End the episode."""
        self.ask("end", self.config.step_seconds, lambda _: None)

    def record(self, seed: int) -> Iterator[View] | None:
        """Return the observations of the expert's episode; None if it failed."""
        expert, frames = self.ask("record", self.config.episode_seconds, _recorded, seed=seed)
        return self._frames(frames) if expert.accepted else None

    def _frames(self, count: int) -> Iterator[View]:
        for index in range(count):
            yield self.ask("frame", self.config.step_seconds, self._view, index=index)

    def close(self) -> None:
        """Stop the worker."""
        self.worker.close()

    def ask(self, kind: str, seconds: float, read: Callable[[Reply], T], **fields: Any) -> T:
        """Send one request and return the result of ``read`` on the reply."""
        try:
            return self.worker.ask(kind, seconds, read, **fields)
        except Failed as err:
            what, where = err.args
            raise self.worker.lost(f"{kind!r}: {what} ({where})") from err

    def _facts(self, reply: Reply) -> dict[str, Any]:
        facts = reply.part("facts")
        low, high = (facts.array(name, "float64", (WIDTH,)) for name in ("low", "high"))
        if not (low < high).all():
            raise WireError("field 'low': expected values below 'high'")
        for name in ("layout", "shader", "planner", "fps"):
            facts.text(name)
        facts.count("step_limit")
        if not all(isinstance(name, str) for name in facts.message.get("actors", [None])):
            raise WireError("field 'actors': expected a list of names")
        return facts.message | {"low": low, "high": high, "versions": facts.table("versions")}

    def _check_facts(self) -> None:
        image = self.facts.get("image")
        if image != list(IMAGES[self.config.camera]):
            raise UserError(
                f"robotwin.camera: {self.config.camera!r} has"
                f" {list(IMAGES[self.config.camera])!r} pixels, the simulator {image!r}; set"
                " camera to the type in its task_config"
            )

    def _view(self, reply: Reply) -> View:
        observation, image = reply.part("observation"), IMAGES[self.config.camera]
        rgb = observation.part("rgb")
        joints_A = observation.array("joints", "float64", (WIDTH,))
        return View(
            rgb=as_recorded(
                np.stack([rgb.array(c, "uint8", (*image, 3)) for c in self.config.views]),
                self.config.live_jpeg,
            ),
            joints=joints_A.astype(np.float32),
            hands=observation.array("endpose", "float64", (2, 7)).astype(np.float32),
            cloud=observed_cloud(observation, self.config),
            state=true_state(observation),
        )

    def _episode_start(self, reply: Reply) -> EpisodeStart:
        return EpisodeStart(
            view=self._view(reply),
            instruction=reply.text("instruction"),
            step_limit=reply.count("step_limit"),
        )

    def _step_result(self, reply: Reply) -> StepResult:
        return StepResult(
            view=self._view(reply) if reply.has("observation") else None,
            hands=reply.array("hands", "float64", (2, 7)).astype(np.float32),
            success=reply.flag("success"),
            steps=reply.count("steps"),
            done=reply.flag("done"),
        )


def settings(config: Robotwin, recording: bool = False) -> dict[str, Any]:
    """Return the worker's settings; clouds and depth are observed by default when recording."""
    return {
        "task_config": config.task_config,
        "cameras": list(config.views),
        "depth_cameras": list(config.depth_views),
        "head_camera_type": config.camera,
        "wrist_camera_type": config.camera,
        "shader": config.shader,
        "shadows": config.shadows,
        "planner": config.planner,
        "fps": config.fps,
        "instructions": config.eval_instructions,
        "embodiment": config.embodiment,
        "assets": None if config.assets is None else str(config.assets.absolute()),
        "pointcloud": recording and config.clouds not in ("none", "depth"),
        "depth": recording and config.clouds == "depth",
    }


def requirements(reply: Reply) -> list[dict[str, Any]]:
    """Return the findings of the preflight check: name, ok, detail, remedy."""
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
    info = reply.table("info") if reply.has("info") else {}
    return Expert(accepted=reply.flag("accepted"), reason=reply.text("reason"), info=info)


def _recorded(reply: Reply) -> tuple[Expert, int]:
    return _expert(reply), reply.count("frames")
