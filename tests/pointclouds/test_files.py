import os
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rgb2act_core import UserError
from rgb2act_core.pointclouds import files
from rgb2act_core.system import input_files

XYZ = np.arange(12, dtype=np.float64).reshape(4, 3)
RGB = np.arange(12, dtype=np.uint8).reshape(4, 3)
PLY = b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\n"
PLY += b"property float z\n"
RED = b"property uchar red\nproperty uchar green\nproperty uchar blue\n"


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    "arrays",
    [
        {"xyz": XYZ, "rgb": RGB},
        {"points": XYZ.astype(np.float32), "colors": RGB / 255},
        {"xyz": np.c_[XYZ, RGB / 255]},
    ],
)
def test_npz(tmp_path, arrays):
    cloud, dropped = files.read_point_cloud(save(tmp_path / "a.npz", **arrays))
    assert np.array_equal(cloud.xyz, XYZ.astype(np.float32))
    assert np.array_equal(cloud.rgb, RGB)
    assert dropped == 0


def test_npz_never_runs_a_pickle(tmp_path):
    path = save(tmp_path / "a.npz", xyz=np.array([print], dtype=object))
    with pytest.raises(UserError, match=r"a\.npz: cannot be read as NPZ \(Object arrays"):
        files.read_point_cloud(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"abc": XYZ}, "contains 'abc'; name the arrays 'xyz' and 'rgb'"),
        ({"xyz": XYZ}, "has no colours, which teachers need"),
        ({"xyz": XYZ, "rgb": RGB[:2]}, r"points have shape \(4, 3\), but colours"),
        ({"xyz": XYZ.astype(str), "rgb": RGB}, "points are <U32"),
        ({"xyz": XYZ[:0], "rgb": RGB[:0]}, "the cloud has no points"),
        ({"xyz": XYZ * np.nan, "rgb": RGB}, "the cloud has no points"),
    ],
)
def test_invalid_npz_is_rejected(tmp_path, arrays, message):
    path = save(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=f"^{path}: {message}"):
        files.read_point_cloud(path)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.integers(0, 10**4), st.binary(max_size=4), st.integers(0, 600))
def test_damaged_npz_is_read_or_rejected(tmp_path, at, insert, drop):
    path = save(tmp_path / "a.npz", xyz=XYZ, rgb=RGB)
    data = path.read_bytes()
    at %= len(data)
    path.write_bytes(data[:at] + insert + data[at + drop :])
    try:
        cloud, _ = files.read_point_cloud(path)
    except UserError as err:
        message = str(err)
    else:
        assert cloud.xyz.shape == cloud.rgb.shape
        return
    assert message.startswith(str(path))


def test_ply(tmp_path):
    path = tmp_path / "a.PLY"
    path.write_bytes(PLY.replace(b"vertex 1", b"vertex 2") + RED + b"end_header\n")
    with path.open("ab") as stream:
        stream.write(b"nan 0 0 1 2 3\n1 2 3 4 5 6\n")
    cloud, dropped = files.read_point_cloud(path)
    assert (cloud.xyz.tolist(), cloud.rgb.tolist(), dropped) == ([[1, 2, 3]], [[4, 5, 6]], 1)


def test_a_file_without_colours_is_grey_on_request(tmp_path):
    path = tmp_path / "a.ply"
    path.write_bytes(PLY + b"end_header\n1 2 3\n")
    assert files.read_point_cloud(path, grey=True)[0].rgb.tolist() == [[102, 102, 102]]
    with pytest.raises(UserError, match="has no colours"):
        files.read_point_cloud(path)


def test_colours_that_are_wrong_are_not_read_on_request(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, xyz=XYZ, rgb=np.full(np.shape(XYZ), 255.0))
    cloud, _ = files.read_point_cloud(path, grey=True)
    assert (cloud.rgb == 102).all()


def test_an_unknown_suffix_is_rejected(tmp_path):
    with pytest.raises(
        UserError, match=r"'\.txt' is not a known point cloud format; use \.ply, \.pcd"
    ):
        files.read_point_cloud(tmp_path / "a.txt")


def frame(folder, name, x=0.0):
    return save(folder / name, xyz=XYZ + x, rgb=RGB)


def test_files_are_matched_to_frames_by_number(tmp_path):
    for t in (10, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8):
        frame(tmp_path, f"cam2_{t}.npz", x=t)
    (tmp_path / "notes.txt").write_text("")
    clouds = files.open_cloud_folder(tmp_path, 11)
    assert [cloud.xyz[0, 0] for cloud in clouds] == list(range(11))
    assert len(clouds[8:]) == 3


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["f0.npz", "f2.npz"], "no cloud for frame 1 \\(2 clouds for 3 frames\\)"),
        (
            ["f0.npz", "f1.npz", "f2.npz", "f7.npz"],
            "a cloud for frame 7 \\(4 clouds for 3 frames\\)",
        ),
        (["f0.npz", "f00.npz"], "has the same frame number 0 as f0.npz; remove one"),
        (["first.npz"], "the name has no frame number"),
        ([], "no cloud for frame 0"),
    ],
)
def test_folders_that_do_not_match_the_frames_are_rejected(tmp_path, names, message):
    for name in names:
        frame(tmp_path, name)
    with pytest.raises(UserError, match=message):
        files.open_cloud_folder(tmp_path, 3)


@pytest.mark.parametrize("suffix", [".ply", ".pcd", ".npz"])
def test_a_named_pipe_is_refused_without_waiting(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    os.mkfifo(path)
    with pytest.raises(UserError, match=f"{path}: is a named pipe; give a regular file"):
        files.read_point_cloud(path)


def zeros(path, shape, declared=None):
    """Write an NPZ file whose header declares more than the archive's directory."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {declared or shape}, }}".encode()
    header += b" " * (64 - (len(header) + 11) % 64) + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xyz.npy", data + bytes(4 * int(np.prod(shape))))
    return path


def test_npz_that_needs_too_much_memory_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(input_files, "available_memory", lambda: 10**6)
    path = zeros(tmp_path / "a.npz", (10**6, 3))
    with pytest.raises(UserError, match=r"xyz\.npy: needs 36 MB of memory, but 1 MB are free"):
        files.read_point_cloud(path)


def test_npz_whose_array_is_larger_than_its_archive_member_is_refused(tmp_path):
    path = zeros(tmp_path / "a.npz", (4, 3), declared=(10**15, 3))
    with pytest.raises(UserError, match=r"shape \(1000000000000000, 3\), but 176 bytes"):
        files.read_point_cloud(path)


def test_ply_colours_may_be_called_r_g_b(tmp_path):
    path = tmp_path / "a.ply"
    path.write_bytes(PLY + RED.replace(b"red", b"r").replace(b"green", b"g").replace(b"blue", b"b"))
    with path.open("ab") as stream:
        stream.write(b"end_header\n1 2 3 4 5 6\n")
    assert files.read_point_cloud(path)[0].rgb.tolist() == [[4, 5, 6]]
