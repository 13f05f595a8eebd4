"""Record the expert's demonstrations in the layout of RoboTwin's released data sets.

The folder ``<into>/<task>/<task config>`` has ``data/episode0.hdf5``, ``instructions``, ``video``,
``seed.txt`` and ``scene_info.json``. ``recording.json`` has the versions and settings of the
simulator and the rejected seeds with reasons. ``_traj_data`` is not written, because it is only
needed to render an episode again. With ``clouds = "depth"``, the depth of ``cloud_cameras`` is
stored instead of point clouds.

Shapes: T = frames, H W = pixels
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from rgb2act_core import UserError, progress_bar, say, write_mp4

from ..config import IMAGES, Robotwin
from ..recorded.true_states import GROUP, NAMES, key_of_state
from .live_clouds import millimetres
from .recorder import Recorder
from .recording_settings import check_same, recorded_settings, settings_of, simulator_of
from .reply_arrays import true_state
from .simulator import WIDTH, Simulator
from .worker_client import Reply

QUALITY = 95  # OpenCV's default JPEG quality, which RoboTwin uses
VIDEO_HZ = 30.0  # frame rate of RoboTwin's videos, independent of the frame rate of its episodes
MAX_REJECTED = 50  # seeds in a row; more have another cause than the seeds
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenGL's camera axes in OpenCV's

FAST: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}

Shot = dict[str, Any]


def record(config: Robotwin, into: Path, episodes: int, first_seed: int = 0) -> Path:
    """Record until the folder has ``episodes`` episodes, on ascending seeds; return the folder.

    Existing episodes are kept, and recording resumes after their last seed. Raises UserError if
    they were recorded with other settings or another simulator, or if the expert fails on 50 seeds
    in a row.
    """
    folder = into / config.task / config.task_config
    seeds = [int(seed) for seed in _text(folder / "seed.txt").split()]
    known = json.loads(_text(folder / "recording.json") or "{}")
    if seeds and not known:
        raise UserError(
            f"{folder}: has episodes but no recording.json, so their settings are unknown; record"
            " into another folder with --into"
        )
    recorded, settings = recorded_settings(known), settings_of(config)
    check_same(folder, recorded, settings)
    rejected: dict[str, str] = known.get("rejected", {})
    seed = max([first_seed - 1, *seeds, *map(int, rejected)]) + 1
    if len(seeds) >= episodes:
        return folder
    recorder = Recorder(config)
    streak: Counter[str] = Counter()
    try:
        with progress_bar("record", episodes, "episodes", len(seeds)) as advance:
            while len(seeds) < episodes:
                reason, facts = recorder.ask(
                    partial(
                        _episode,
                        config=config,
                        folder=folder,
                        recorded=recorded,
                        number=len(seeds),
                        seed=seed,
                    ),
                    seed,
                )
                if reason:
                    rejected[str(seed)] = reason
                    streak[reason] += 1
                    say(f"seed {seed} rejected: {reason}")
                else:
                    seeds.append(seed)
                    streak.clear()
                    advance()
                recording = {"settings": settings, "simulator": facts, "rejected": rejected}
                _write(folder / "recording.json", json.dumps(recording, indent=1))
                _write(folder / "seed.txt", "".join(f"{number} " for number in seeds))
                if streak.total() >= MAX_REJECTED:
                    reasons = "; ".join(f"{n} times {why}" for why, n in streak.most_common(3))
                    raise UserError(
                        f"robotwin: {MAX_REJECTED} seeds in a row were rejected: {reasons}; fix the"
                        " cause or choose another --first-seed"
                    )
                seed += 1
    finally:
        recorder.close()
    return folder


def _episode(
    simulator: Simulator,
    config: Robotwin,
    folder: Path,
    recorded: Mapping[str, Any],
    number: int,
    seed: int,
) -> tuple[str, dict[str, Any]]:
    """Record one episode; return the reason if it was rejected, and facts about the simulator.

    If the simulator is lost, calling again overwrites the partial episode.
    """
    check_same(folder, recorded, simulator_of(simulator.result_facts()))
    wait = config.episode_seconds
    reply = simulator.ask("record", wait, lambda reply: reply, seed=seed)
    if not reply.flag("accepted"):
        return reply.text("reason"), simulator.result_facts()
    shots = [
        simulator.ask("frame", wait, lambda reply: _shot(reply, config), index=index)
        for index in range(reply.count("frames"))
    ]
    _write_video(folder / "video" / f"episode{number}.mp4", shots, config.views[0])
    path = folder / "data" / f"episode{number}.hdf5"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with h5py.File(part, "w") as file:
        _store(file, shots, config, simulator.actors)
    part.replace(path)  # atomic: a reader never sees a partial episode
    texts = json.dumps(reply.table("instructions"), indent=1)
    _write(folder / "instructions" / f"episode{number}.json", texts)
    scenes = json.loads(_text(folder / "scene_info.json") or "{}")
    scenes[f"episode_{number}"] = reply.table("info")
    _write(folder / "scene_info.json", json.dumps(scenes, indent=1))
    return "", simulator.result_facts()


def _shot(reply: Reply, config: Robotwin) -> Shot:
    """Return one frame in the form that is stored, with images as JPEG."""
    observation, size = reply.part("observation"), IMAGES[config.camera]
    rgb, intrinsics, extrinsics = (
        observation.part(name) for name in ("rgb", "intrinsics", "extrinsics")
    )
    cameras = recorded_cameras(config)
    images = {c: rgb.array(c, "uint8", (*size, 3)) for c in cameras}
    return {
        "joints": observation.array("joints", "float64", (WIDTH,)),
        "hands": observation.array("endpose", "float64", (2, 7)),
        "cloud": observation.array("clouds", "float32", (None, 6))
        if observation.has("clouds")
        else None,
        # RoboTwin passes RGB to OpenCV as BGR, so red and blue are swapped in its files
        "jpeg": {
            c: simplejpeg.encode_jpeg(image, QUALITY, "BGR", "420") for c, image in images.items()
        },
        "intrinsics": {c: intrinsics.array(c, "float32", (3, 3)) for c in cameras},
        "extrinsics": {c: extrinsics.array(c, "float32", (3, 4)) for c in cameras},
        "state": true_state(observation),
        "depth": {
            c: millimetres(observation.part("depth").array(c, "float32", size))
            for c in depth_cameras(config)
        },
    }


def _store(file: h5py.File, shots: list[Shot], config: Robotwin, actors: tuple[str, ...]) -> None:
    joints_TA = np.stack([shot["joints"] for shot in shots])
    hands_T27 = np.stack([shot["hands"] for shot in shots])
    file["joint_action/vector"] = joints_TA
    for i, side in enumerate(("left", "right")):
        gripper_T = joints_TA[:, 7 * i + 6]
        file[f"joint_action/{side}_arm"] = joints_TA[:, 7 * i : 7 * i + 6]
        file[f"joint_action/{side}_gripper"] = gripper_T
        file[f"endpose/{side}_endpose"] = hands_T27[:, i]
        file[f"endpose/{side}_gripper"] = gripper_T
    for camera in recorded_cameras(config):
        world_T34 = np.stack([shot["extrinsics"][camera] for shot in shots])
        group = file.create_group(f"observation/{camera}")
        group["rgb"] = np.array([shot["jpeg"][camera] for shot in shots], "S")
        group["intrinsic_cv"] = np.stack([shot["intrinsics"][camera] for shot in shots])
        group["extrinsic_cv"] = world_T34
        group["cam2world_gl"] = np.stack([camera_to_world(world_34) for world_34 in world_T34])
        if camera in depth_cameras(config):
            depth_THW = np.stack([shot["depth"][camera] for shot in shots])
            group.create_dataset("depth", data=depth_THW, chunks=(1, *depth_THW.shape[1:]), **FAST)
    for name in NAMES:
        file[key_of_state(name)] = np.stack([shot["state"][name] for shot in shots])
    file[GROUP].attrs["names"] = list(actors)
    clouds = [shot["cloud"] for shot in shots]
    empty = np.zeros((len(shots), 0), np.float32)
    file["pointcloud"] = empty if any(cloud is None for cloud in clouds) else np.stack(clouds)


def depth_cameras(config: Robotwin) -> tuple[str, ...]:
    """Return the cameras whose depth is stored."""
    return config.depth_views if config.clouds == "depth" else ()


def recorded_cameras(config: Robotwin) -> tuple[str, ...]:
    """Return the cameras whose images are stored; clouds from depth need colours too."""
    return tuple(dict.fromkeys((*config.views, *depth_cameras(config))))


def camera_to_world(world_34: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the pose (4, 4) of a camera in OpenGL's axes, given its extrinsics (3, 4)."""
    extrinsics_44 = np.vstack([world_34, [0, 0, 0, 1]]).astype(np.float64)
    return np.asarray(np.linalg.inv(extrinsics_44) @ OPENGL, np.float32)


def _write_video(path: Path, shots: list[Shot], camera: str) -> None:
    frames = [simplejpeg.decode_jpeg(shot["jpeg"][camera], "BGR") for shot in shots]
    write_mp4(path, np.stack(frames), VIDEO_HZ)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
