"""Small files in the documented layouts of ALOHA, robomimic and diffusion_policy."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr
from numpy.typing import NDArray
from PIL import Image

FRAMES, SIZE = 7, (16, 24)


def motion(seed: int, width: int, frames: int = FRAMES) -> NDArray[np.float32]:
    """Return joints that move smoothly."""
    draw = np.random.default_rng(seed)
    steps = draw.uniform(-0.05, 0.05, (frames, width))
    return np.asarray(0.5 + np.cumsum(steps, axis=0), np.float32)


def images(seed: int, frames: int = FRAMES) -> NDArray[np.uint8]:
    """Return smooth images, which JPEG keeps well."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    phase = draw.uniform(0, 6, (frames, 1, 1, 3))
    waves = np.sin(phase + x[None, ..., None] / 9 + y[None, ..., None] / 7)
    return np.asarray(127 + 100 * waves, np.uint8)


def jpegs(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the JPEGs of frames as rows of bytes, padded with zeros."""
    coded = []
    for frame in frames:
        stream = io.BytesIO()
        Image.fromarray(frame).save(stream, "JPEG", quality=95)
        coded.append(stream.getvalue())
    longest = max(map(len, coded))
    return np.stack([np.frombuffer(one.ljust(longest, b"\0"), np.uint8) for one in coded])


def write_aloha(
    folder: Path,
    episodes: int = 2,
    compress: bool = False,
    width: int = 14,
    cameras: tuple[str, ...] = ("cam_high", "cam_left_wrist"),
) -> Path:
    """Write files as ``record_sim_episodes.py`` of ACT lays them out."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(episodes):
        with h5py.File(folder / f"episode_{i}.hdf5", "w") as file:
            file.attrs["sim"] = True
            if compress:
                file.attrs["compress"] = True
            observed = file.create_group("observations")
            joints = motion(i, width)
            observed["qpos"] = joints.astype(np.float64)
            observed["qvel"] = np.gradient(joints, axis=0).astype(np.float64)
            file["action"] = np.concatenate([joints[1:], joints[-1:] + 0.01]).astype(np.float64)
            group = observed.create_group("images")
            for v, name in enumerate(cameras):
                frames = images(10 * i + v)
                if compress:
                    group[name] = jpegs(frames)
                else:
                    group.create_dataset(name, data=frames, chunks=(1, *SIZE, 3))
    return folder


ENV_ARGS = {
    "env_name": "TwoArmTransport",
    "type": 1,
    "env_kwargs": {
        "control_freq": 20,
        "controller_configs": {"type": "BASIC", "body_parts": {"right": {"type": "OSC_POSE"}}},
    },
}


def write_robomimic(path: Path, demos: int = 3, settings: Any = None) -> Path:
    """Write a file as robomimic documents it."""
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps(ENV_ARGS if settings is None else settings)
        for i in range(demos):
            demo = data.create_group(f"demo_{i}")
            demo.attrs["num_samples"] = FRAMES
            demo["actions"] = np.random.default_rng(i).uniform(-1, 1, (FRAMES, 7))
            demo["rewards"] = np.zeros(FRAMES)
            obs = demo.create_group("obs")
            obs["robot0_joint_pos"] = motion(i, 7).astype(np.float64)
            obs["robot0_gripper_qpos"] = np.full((FRAMES, 2), 0.02)
            obs.create_dataset("agentview_image", data=images(i), compression="gzip")
        file["mask/train"] = np.array([b"demo_0", b"demo_2"][:demos])
    return path


def write_buffer(path: Path, lengths: tuple[int, ...] = (5, 8), **options: Any) -> Path:
    """Write a replay buffer as diffusion_policy lays it out, with PushT's arrays."""
    count = sum(lengths)
    zip_store = zarr.storage.ZipStore(path, mode="w") if path.suffix == ".zip" else None
    root = zarr.open_group(zip_store or path, mode="w", zarr_format=2)
    state = np.concatenate([motion(i, 5, n) * 200 for i, n in enumerate(lengths)])
    arrays = {
        "data/img": images(3, count).astype(np.float32),
        "data/state": state,
        "data/action": state[:, :2] + 1,
        "meta/episode_ends": np.cumsum(lengths).astype(np.int64),
    }
    for key, values in arrays.items():
        chunks = (4, *values.shape[1:]) if key != "meta/episode_ends" else values.shape
        root.create_array(key, data=values, chunks=chunks, **options)
    if zip_store is not None:
        zip_store.close()
    return path
