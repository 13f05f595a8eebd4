"""The kinds of input that may come from strangers: how to write a sound one, and what reads it.

Sound files are as small as they can be, so that a mutation at a random position changes something
that matters.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import fuzz_specs
import h5py
import msgpack
import numpy as np
import recorded_files
import rgb2act_wire
import robotwin_episodes
import torch
from PIL import Image
from rgb2act_lerobot import LeRobot
from rgb2act_lerobot import build as build_lerobot
from rgb2act_recordings import Recordings
from rgb2act_recordings import build as build_recordings
from rgb2act_robotwin import Robotwin, build
from rgb2act_robotwin.evaluation import xpolicylab_messages
from rgb2act_robotwin.evaluation.xpolicylab_connection import Connection, Trials
from rgb2act_robotwin.evaluation.xpolicylab_messages import FrameError
from rgb2act_robotwin.recorded.images import read_image
from safetensors.torch import save_file

from rgb2act_core import cli
from rgb2act_core.errors import UserError
from rgb2act_core.pipeline.run_record import RunRecord, read_run
from rgb2act_core.pointclouds import read_point_cloud
from rgb2act_core.serving import PolicyInfo, Server
from rgb2act_core.serving.latency import Latencies
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.stages.run import Run
from rgb2act_core.store.group_reader import check_group, read_group
from rgb2act_core.store.group_writer import GroupWriter
from rgb2act_core.store.run_file import StageRecord
from rgb2act_core.store.stage_id import Stage, StageId
from rgb2act_core.weights import load_strict, read_checkpoint

with contextlib.suppress(
    ImportError
):  # on import it starts a process, which is not an input's code
    import glfw  # noqa: F401

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "examples/smoke.toml"
LEROBOT = ROOT / "plugins/lerobot/tests/data"
SPECS = ("smoke.toml", "lift_distractors_baselines.toml", "two_tasks.toml")
POINTS = 5


@attrs.frozen
class Kind:
    """One kind of input: ``write`` writes a sound one, of which the files in ``files`` change."""

    name: str
    write: Callable[[Path], None]
    read: Callable[[Path], None]
    files: str = "*"  # pattern below the folder
    refusals: tuple[type[Exception], ...] = ()
    mutate: Callable[[bytes, int], bytes] | None = None  # of this kind; the number is a seed


def _write_specs(folder: Path) -> None:
    for name in SPECS:
        (folder / name).write_bytes((SMOKE.parent / name).read_bytes())


def _check_spec(path: Path) -> None:
    os.chdir(path.parent)
    code = cli.main(["check", str(path), "--root", str(path.parent / "runs"), "--no-time"])
    if code == 2:
        raise UserError("refused")
    if code != 0:
        raise AssertionError(f"exit code {code}")


def _write_record(folder: Path) -> None:
    run = Run(spec=read_spec(SMOKE), root=folder)
    record = RunRecord(run)
    for stage in (Stage.COLLECT, Stage.TRAIN):
        record.add(
            StageRecord(id=StageId(stage), key="0" * 16, path=f"store/{stage}/a", cached=False)
        )
    record.add_samples({"rgb": "store/collect/a/episode-000000"})


def _read_record(folder: Path) -> None:
    recorded = read_run(folder / "smoke" / "1")
    for stage in recorded.stages:
        recorded.stage_folder(stage)


def _write_hdf5(folder: Path) -> None:
    robotwin_episodes.write_legacy(folder, rows=2, cameras=("head_camera",), instructions=False)


def _write_newer_hdf5(folder: Path) -> None:
    robotwin_episodes.write_newer(folder, rows=2, cameras=("head_camera",), converted=True)


def _write_chunked_hdf5(folder: Path) -> None:
    """Write a file whose arrays, texts included, are compressed in chunks."""
    path = robotwin_episodes.write_newer(folder, rows=2, cameras=("head_camera",), converted=True)
    arrays: dict[str, tuple[np.ndarray, np.dtype]] = {}
    with h5py.File(path, "r+") as file:
        file.visititems(
            lambda name, item: (
                arrays.update({name: (np.atleast_1d(item[()]), item.dtype)})
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
        for name, (values, dtype) in arrays.items():
            del file[name]
            options = {"chunks": values.shape, "compression": "gzip", "shuffle": True}
            file.create_dataset(name, data=values, dtype=dtype, **options)


def _read_hdf5(folder: Path) -> None:
    config = Robotwin(task=robotwin_episodes.TASK, data=folder, cameras=("head_camera",))
    for episode in build(config).recorded():
        np.asarray(episode.rgb[:])
        np.asarray(episode.joints)
        for cloud in episode.clouds or ():
            assert len(cloud.xyz)


def _write_recordings(folder: Path) -> None:
    recorded_files.write_aloha(folder / "aloha", 1, compress=True, cameras=("cam_high",))
    recorded_files.write_robomimic(folder / "demo.hdf5", demos=1)
    recorded_files.write_buffer(folder / "buffer.zarr", lengths=(2, 3))
    recorded_files.write_buffer(folder / "buffer.zarr.zip", lengths=(2, 3))


def _read_recordings(folder: Path) -> None:
    for name, joints, actions in (
        ("aloha", ("qpos",), "absolute"),
        ("demo.hdf5", (), "next_state"),
        ("buffer.zarr", ("state[0:2]",), "absolute"),
        ("buffer.zarr.zip", ("state[0:2]",), "absolute"),
    ):
        config = Recordings(data=folder / name, joints=joints, actions=actions, control_hz=10.0)
        for episode in build_recordings(config).recorded():
            np.asarray(episode.rgb[:])


def _write_aloha(folder: Path) -> None:
    recorded_files.write_aloha(folder / "aloha", episodes=1)


def _write_robomimic(folder: Path) -> None:
    recorded_files.write_robomimic(folder / "demos.hdf5", demos=1)


def _write_buffer(folder: Path) -> None:
    recorded_files.write_buffer(folder / "replay_buffer.zarr", (2, 3))


def _read_recording(folder: Path) -> None:
    (path,) = folder.iterdir()
    for episode in build_recordings(
        Recordings(data=path, actions="next_state", control_hz=10.0)
    ).recorded():
        np.asarray(episode.rgb[:])
        np.asarray(episode.joints)


def _write_lerobot(sample: str) -> Callable[[Path], None]:
    return lambda folder: shutil.copytree(LEROBOT / sample, folder / sample, dirs_exist_ok=True)


def _read_lerobot(folder: Path) -> None:
    (path,) = folder.iterdir()
    for episode in build_lerobot(LeRobot(data=path)).recorded():
        np.asarray(episode.rgb[:])
        np.asarray(episode.joints)


def _points() -> tuple[np.ndarray, np.ndarray]:
    xyz = np.linspace(0, 1, 3 * POINTS, dtype=np.float32).reshape(POINTS, 3)
    return xyz, np.arange(3 * POINTS, dtype=np.uint8).reshape(POINTS, 3)


def _ply(binary: bool) -> bytes:
    xyz, rgb = _points()
    form = "binary_little_endian" if binary else "ascii"
    names = [*(f"property float {n}" for n in "xyz")]
    names += [f"property uchar {n}" for n in ("red", "green", "blue")]
    faces = ["element face 1", "property list uchar int vertex_indices"]
    header = ["ply", f"format {form} 1.0", f"element vertex {POINTS}", *names, *faces, "end_header"]
    text = "\n".join(header).encode() + b"\n"
    if binary:
        rows = b"".join(x.tobytes() + c.tobytes() for x, c in zip(xyz, rgb, strict=True))
        return text + rows + b"\x03" + np.arange(3, dtype="<i4").tobytes()
    lines = (" ".join(map(str, [*x, *c])) for x, c in zip(xyz.tolist(), rgb.tolist(), strict=True))
    return text + "\n".join([*lines, "3 0 1 2"]).encode() + b"\n"


def _pcd(binary: bool) -> bytes:
    xyz, rgb = _points()
    packed = (rgb.astype(np.uint32) << np.array([16, 8, 0], np.uint32)).sum(1, dtype=np.uint32)
    header = (
        "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z rgb\nSIZE 4 4 4 4\nTYPE F F F U\nCOUNT 1 1 1 1\n"
        f"WIDTH {POINTS}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {POINTS}\n"
        f"DATA {'binary' if binary else 'ascii'}\n"
    ).encode()
    if binary:
        rows = zip(xyz, packed, strict=True)
        return header + b"".join(x.tobytes() + c.tobytes() for x, c in rows)
    return (
        header
        + "".join(
            f"{x} {y} {z} {c}\n" for (x, y, z), c in zip(xyz.tolist(), packed, strict=True)
        ).encode()
    )


def _write_npz(folder: Path) -> None:
    xyz, rgb = _points()
    np.savez_compressed(folder / "cloud.npz", xyz=xyz, rgb=rgb)
    np.savez(folder / "stored.npz", xyz=xyz, rgb=rgb)
    np.savez(folder / "objects.npz", xyz=np.array([_Payload()], object), rgb=rgb)


def _write_clouds(name: str, data: Callable[[bool], bytes]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for binary in (False, True):
            (folder / f"{'binary' if binary else 'ascii'}.{name}").write_bytes(data(binary))

    return write


def _read_changed(read: Callable[[Path], Any]) -> Callable[[Path], None]:
    """Return a function that reads each file of a folder; the first error ends it."""

    def read_all(folder: Path) -> None:
        for path in sorted(folder.iterdir()):
            if path.is_file():
                read(path)

    return read_all


def _write_images(folder: Path) -> None:
    image = Image.fromarray(robotwin_episodes.picture(1)[:6, :8])
    image.save(folder / "a.png")
    image.save(folder / "b.jpg")


def _write_store(folder: Path) -> None:
    for codec in ("none", "zstd"):
        writer = GroupWriter(folder / codec, codec=codec)
        writer.create("tokens", (2, 3), "float16", dims=("frames", "n", "c"))
        writer.append("tokens", np.ones((3, 2, 3), np.float16))
        writer.put("mask", np.ones(4, bool), dims=("frames",))
        writer.commit({"episode": 1})


def _read_store(folder: Path) -> None:
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        group = read_group(path)
        for name in group.arrays:
            np.asarray(group[name]).sum()
        check_group(path)


class _Payload:
    """A pickle that runs a program when it is loaded."""

    def __reduce__(self) -> Any:
        return os.system, ("true",)


def _module() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))


def _write_safetensors(folder: Path) -> None:
    save_file(_module().state_dict(), folder / "model.safetensors")


def _write_torch(folder: Path) -> None:
    torch.save(_module().state_dict(), folder / "zipped.pth")
    torch.save(_module().state_dict(), folder / "old.pt", _use_new_zipfile_serialization=False)
    torch.save({"model": _module().state_dict()}, folder / "nested.pth")
    torch.save({"0.weight": _Payload()}, folder / "code.pth")


def _read_weights(path: Path) -> None:
    tensors = read_checkpoint(path)
    load_strict(_module(), tensors, source=path)


class _Session:
    """A session that plans zeros and accepts every observation."""

    missing = plans = far_inputs = late_plans = 0
    task = None

    def reset(self, seed: int, task: str | None = None) -> None:
        if not 0 <= seed < 2**63:
            raise UserError("seed")

    def observe(self, rgb: Any, joints: Any) -> None:
        np.asarray(rgb).sum()

    def act(self, seconds: float | None = None) -> Any:
        assert seconds is None or 0 < seconds < 1e9
        return np.zeros((2, 14), np.float32)

    def close(self) -> None:
        pass


def _write_messages(folder: Path) -> None:
    rgb, joints = np.zeros((1, 1, 4, 6, 3), np.uint8), np.zeros((1, 14), np.float32)
    messages = [
        {"kind": "reset", "seed": 7, "task": "lift"},
        {"kind": "observe", "rgb": rgb, "joints": joints},
        {"kind": "act"},
        {"kind": "act", "deadline_ms": 35.0},
        {"kind": "metrics"},
    ]
    bodies = [rgb2act_wire.pack(message) for message in messages]
    data = b"".join(rgb2act_wire.HEAD.pack(len(body)) + body for body in bodies)
    (folder / "messages").write_bytes(data)


def _read_messages(folder: Path) -> None:
    info = PolicyInfo(
        run="a", tasks=("lift",), cameras=("head",), image=(4, 6), action_names=("a",) * 14,
        n_obs_steps=1, n_action_steps=2, history_stride=1, batch=1,
    )  # fmt: skip
    parts: Any = SimpleNamespace(latencies=Latencies())
    server, session = Server(parts, info, parts, None), _Session()
    ours, theirs = socket.socketpair()
    data = (folder / "messages").read_bytes()
    theirs.sendall(data[:100_000])  # fits into the buffer
    theirs.shutdown(socket.SHUT_WR)
    channel = rgb2act_wire.Channel(ours)
    with ours, theirs, contextlib.suppress(rgb2act_wire.Closed):
        while True:
            reply = server._answer(session, channel.receive(2.0))  # type: ignore[arg-type]
            rgb2act_wire.pack(reply)


def _frames() -> list[dict[str, Any]]:
    observation = {
        "env_idx": 0,
        "vision": {"cam_head": {"color": np.zeros((4, 6, 3), np.uint8)}},
        "state": {"left_arm_joint_state": [0.0] * 6, "left_ee_joint_state": np.zeros(1)}
        | {"right_arm_joint_state": np.zeros(6), "right_ee_joint_state": 0.5},
    }
    payloads: list[tuple[str, dict[str, Any]]] = [
        ("hello", {}),
        ("prepare_case", {"seed": 3, "task_name": "lift"}),
        ("reset", {"seed": 3}),
        ("infer", {"observation": observation}),
        ("call", {"func_name": "get_action_batch", "obs": [0]}),
        ("trial_end", {"success": True}),
    ]
    ids = {"evaluation_id": "e", "trial_id": "t", "action_case_id": "c", "repeat_index": None}
    return [
        {"message_type": kind, "message_id": str(i), **ids, "step": 0, "payload": payload}
        for i, (kind, payload) in enumerate(payloads)
    ]


def _write_frames(folder: Path) -> None:
    def encoded(value: Any) -> Any:
        return {b"nd": True, b"type": value.dtype.str, b"kind": b"", b"shape": value.shape} | {
            b"data": value.tobytes()
        }

    for i, frame in enumerate(_frames()):
        (folder / f"{i}").write_bytes(msgpack.packb(frame, default=encoded))


def _read_frames(folder: Path) -> None:
    config = SimpleNamespace(tasks=("lift",), cameras=("head_camera",), image=(4, 6))
    sessions: Any = SimpleNamespace(begin=_Session, config=config)
    connection = Connection(Trials(sessions, "bgr"), "server")
    for path in sorted(folder.iterdir()):
        connection.answer(xpolicylab_messages.unpack(path.read_bytes()))
    connection.close()


KINDS = {
    kind.name: kind
    for kind in (
        Kind("spec", _write_specs, _read_changed(_check_spec), mutate=fuzz_specs.mutated),
        Kind("run record", _write_record, _read_record, "smoke/1/run.json"),
        Kind("hdf5", _write_hdf5, _read_hdf5, "**/*.hdf5"),
        Kind("hdf5 newer", _write_newer_hdf5, _read_hdf5, "**/*.hdf5"),
        Kind("hdf5 chunked", _write_chunked_hdf5, _read_hdf5, "**/*.hdf5"),
        Kind("recordings", _write_recordings, _read_recordings, "**/*"),
        Kind("aloha", _write_aloha, _read_recording, "**/*.hdf5"),
        Kind("robomimic", _write_robomimic, _read_recording, "**/*.hdf5"),
        Kind("replay buffer", _write_buffer, _read_recording, "**/*"),
        Kind("lerobot", _write_lerobot("v30_video"), _read_lerobot, "**/*"),
        Kind("lerobot images", _write_lerobot("v30_image"), _read_lerobot, "**/*"),
        Kind("lerobot older", _write_lerobot("v21_video"), _read_lerobot, "**/*"),
        Kind("ply", _write_clouds("ply", _ply), _read_changed(read_point_cloud)),
        Kind("pcd", _write_clouds("pcd", _pcd), _read_changed(read_point_cloud)),
        Kind("npz", _write_npz, _read_changed(read_point_cloud)),
        Kind("image", _write_images, _read_changed(read_image)),
        Kind("store", _write_store, _read_store, "**/*"),
        Kind("safetensors", _write_safetensors, _read_changed(_read_weights)),
        Kind("torch", _write_torch, _read_changed(_read_weights)),
        Kind("serve", _write_messages, _read_messages, refusals=(rgb2act_wire.WireError,)),
        Kind("xpolicylab", _write_frames, _read_frames, refusals=(FrameError,)),
    )
}
