"""Damaged and hostile files are errors that name file, array and frame."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from recorded_files import FRAMES, write_aloha, write_buffer, write_robomimic

from rgb2act_core import UserError
from rgb2act_core.system import input_files

BUFFER = {"joints": ("state[0:2]",), "control_hz": 10.0}


def problem(environment: Any) -> str:
    """Return the problems of all episodes, images included."""
    with pytest.raises(UserError) as caught:
        _ = [episode.rgb[:] for episode in environment.recorded()]
    return "\n".join(map(str, caught.value.args))


def edited(folder: Path, key: str, values: Any, **options: Any) -> Path:
    """Replace an array in the second ALOHA file; None removes it."""
    path = folder / "episode_1.hdf5"
    with h5py.File(path, "a") as file:
        del file[key]
        if values is not None:
            file.create_dataset(key, data=values, **options)
    return folder


IMAGES = "observations/images/cam_high"


@pytest.mark.parametrize(
    ("key", "values", "message"),
    [
        ("action", np.zeros((FRAMES - 1, 14)), f"has {FRAMES} frames, the actions {FRAMES - 1}"),
        ("action", np.zeros((FRAMES, 13)), "has 13 values, other episodes 14"),
        ("action", np.full((FRAMES, 14), np.nan), "frame 0: contains NaN or infinity"),
        ("action", None, "action: is missing"),
        ("observations/qpos", np.zeros((FRAMES, 3)), "has 3 columns, column 13 is needed"),
        (IMAGES, None, "has no camera 'cam_high'"),
        (IMAGES, np.zeros((FRAMES - 2, 16, 24, 3), np.uint8), f"has {FRAMES - 2} frames"),
        (IMAGES, np.zeros((FRAMES, 16, 24), np.uint8), "has no camera 'cam_high'"),
    ],
)
def test_damage_is_named_by_file_and_array(
    tmp_path: Path, opened: Any, key: str, values: Any, message: str
) -> None:
    text = problem(opened(edited(write_aloha(tmp_path), key, values)))
    assert message in text
    assert "episode_1.hdf5" in text
    assert "episode_0.hdf5" not in text


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b"", "frame 4: is empty"),
        (b"\xff\xd8\xff", "frame 4: is no complete JPEG or PNG"),
        (b"GIF89a", "frame 4: is no complete JPEG or PNG"),
        (b"\xff\xd8 no image \xff\xd9", "frame 4: cannot be read as an image"),
    ],
)
def test_damaged_images_name_their_frame(
    tmp_path: Path, opened: Any, row: bytes, message: str
) -> None:
    folder = write_aloha(tmp_path, compress=True)
    with h5py.File(folder / "episode_1.hdf5", "a") as file:
        coded = file[IMAGES]
        coded[4] = np.frombuffer(row.ljust(coded.shape[1], b"\0"), np.uint8)
    assert message in problem(opened(folder))


def test_links_to_other_files_are_not_followed(tmp_path: Path, opened: Any) -> None:
    folder = write_aloha(tmp_path / "a")
    secret = write_aloha(tmp_path / "b") / "episode_0.hdf5"
    with h5py.File(folder / "episode_1.hdf5", "a") as file:
        del file["action"]
        file["action"] = h5py.ExternalLink(str(secret), "/action")
    assert "is a link to another file" in problem(opened(folder))


def test_images_of_another_size_name_their_episode(tmp_path: Path, opened: Any) -> None:
    folder = edited(write_aloha(tmp_path), IMAGES, np.zeros((FRAMES, 8, 8, 3), np.uint8))
    text = problem(opened(folder, cameras=("cam_high",)))
    assert "has images of 8x8 pixels, other episodes of 16x24" in text
    with h5py.File(folder / "episode_1.hdf5", "a") as file:
        del file[IMAGES]
        file.create_dataset(IMAGES, (FRAMES, 2**18, 2**18, 3), "u1", chunks=(1, 16, 24, 3))
    assert "has images of 262144x262144 pixels" in problem(opened(folder))


def test_a_chunk_larger_than_the_memory_is_not_read(
    tmp_path: Path, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_files, "available_memory", lambda: 1 << 26)
    folder = write_aloha(tmp_path)
    with h5py.File(folder / "episode_1.hdf5", "a") as file:
        del file["observations/qvel"]
        shape, chunk = (FRAMES, 14), (1, 1 << 26)
        file.create_dataset("observations/qvel", shape, "f8", chunks=chunk, maxshape=(None, None))
    assert "qvel: needs 537 MB of memory" in problem(opened(folder, states=("qvel",)))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"dtype": "|O", "filters": [{"id": "pickle"}]}, "has filters"),
        ({"dtype": "|O"}, "only numbers are read, never Python objects"),
        ({"dtype": [["a", "<f4"]]}, "only numbers are read"),
        ({"compressor": {"id": "pickle"}}, "is compressed with 'pickle', which is not read"),
        ({"compressor": {"id": "imagecodecs_jpeg2k"}}, "copy it with zarr to one of blosc"),
        ({"shape": [13, 2**41]}, "has the sizes"),
        ({"shape": [2**39, 2], "chunks": [1, 1]}, "chunks"),
        ({"shape": [12, 2]}, "has 12 rows, but episode_1 ends at 13"),
        ({"zarr_format": 3}, "has no shape with chunks of format 2"),
    ],
)
def test_metadata_of_zarr_is_checked(
    tmp_path: Path, opened: Any, edit: dict[str, Any], message: str
) -> None:
    path = write_buffer(tmp_path / "one.zarr")
    file = path / "data/action/.zarray"
    file.write_text(json.dumps(json.loads(file.read_text()) | edit))
    assert message in problem(opened(path, **BUFFER))


def test_chunks_of_zarr_are_checked(tmp_path: Path, opened: Any) -> None:
    path = write_buffer(tmp_path / "one.zarr")
    chunk = path / "data/img/1.0.0.0"
    sound = chunk.read_bytes()
    for data in (b"", sound[:-9], sound[:4] + b"\xff\xff\xff\x7f" + sound[8:], sound + b"x"):
        chunk.write_bytes(data)
        text = problem(opened(path, **BUFFER))
        assert "data/img/1.0.0.0: cannot be decoded" in text


def test_a_chunk_that_unpacks_to_more_is_refused(tmp_path: Path, opened: Any) -> None:
    import gzip

    from numcodecs import GZip

    path = write_buffer(tmp_path / "one.zarr", compressors=GZip())
    (path / "data/action/0.0").write_bytes(gzip.compress(bytes(1 << 24)))
    assert "expected" in problem(opened(path, **BUFFER))


def test_links_out_of_a_store_are_not_followed(tmp_path: Path, opened: Any) -> None:
    path = write_buffer(tmp_path / "one.zarr")
    chunk = path / "data/action/0.0"
    outside = tmp_path / "outside"
    outside.write_bytes(chunk.read_bytes())
    chunk.unlink()
    chunk.symlink_to(outside)
    assert "is a link to" in problem(opened(path, **BUFFER))


def test_a_pipe_in_place_of_a_chunk_is_refused(tmp_path: Path, opened: Any) -> None:
    path = write_buffer(tmp_path / "one.zarr")
    chunk = path / "data/action/0.0"
    chunk.unlink()
    os.mkfifo(chunk)
    assert "is a named pipe" in problem(opened(path, **BUFFER))


def test_a_damaged_zip_file_is_named(tmp_path: Path, opened: Any) -> None:
    path = write_buffer(tmp_path / "one.zarr.zip")
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo("data/action/0.0").header_offset
    data = bytearray(path.read_bytes())
    data[offset + 60 : offset + 64] = b"\x55" * 4
    path.write_bytes(data)
    assert "one.zarr.zip: data/action/0.0" in problem(opened(path, **BUFFER))


def test_ends_of_episodes_must_rise(tmp_path: Path, opened: Any) -> None:
    path = write_buffer(tmp_path / "one.zarr", lengths=(5, 8), compressors=None)
    (path / "meta/episode_ends/0").write_bytes(np.array([5, 5], np.int64).tobytes())
    with pytest.raises(UserError, match="does not rise from episode to episode"):
        opened(path, **BUFFER).recorded()


def test_damaged_settings_and_filters_of_robomimic_are_named(tmp_path: Path, opened: Any) -> None:
    path = write_robomimic(tmp_path / "demo.hdf5")
    with pytest.raises(UserError, match="has no filter 'trian'; did you mean 'train'"):
        opened(path, filter="trian", actions="next_state").recorded()
    with h5py.File(path, "a") as file:
        del file["mask/train"]
        file["mask/train"] = np.array([b"demo_9"])
    with pytest.raises(UserError, match="lists 'demo_9', which is not in data"):
        opened(path, filter="train", actions="next_state").recorded()
    with h5py.File(path, "a") as file:
        file["data"].attrs["env_args"] = "{no JSON"
    with pytest.raises(UserError, match="env_args is not valid JSON"):
        opened(path, actions="next_state").recorded()
