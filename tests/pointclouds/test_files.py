import importlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rgb2act_core import UserError
from rgb2act_core.pointclouds import files

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


def failing(err):
    real = importlib.import_module

    def load(name, *args):
        if name == "open3d":
            raise err
        return real(name, *args)

    return load


@pytest.mark.parametrize(
    ("err", "message"),
    [
        (ModuleNotFoundError("no", name="open3d"), "'open3d' is not installed; run 'pip install"),
        (
            ImportError("libusb-1.0.so.0: cannot open shared object file"),
            "run 'apt-get install libusb-1.0-0'",
        ),
        (OSError("libGL.so.1: cannot open shared object file"), "run 'apt-get install libgl1'"),
        (ImportError("libodd.so.3: cannot open"), "the system package that provides libodd.so.3"),
    ],
)
def test_missing_libraries_of_open3d_are_named(tmp_path, monkeypatch, err, message):
    monkeypatch.setattr(files.importlib, "import_module", failing(err))
    with pytest.raises(UserError) as caught:
        files.read_point_cloud(tmp_path / "a.pcd")
    assert message in str(caught.value)
    assert "save the cloud as PLY" in str(caught.value)


PCD = b"# .PCD v0.7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nPOINTS 2\nDATA ascii\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"1 2 3\n", r"a\.pcd:9: has 1 points instead of 2"),
        (b"1 2 3\n4 5", r"a\.pcd:9: has 2 values instead of 3"),
        (b"", r"a\.pcd:8: has 0 points instead of 2"),
    ],
)
def test_a_truncated_ascii_pcd_is_rejected(tmp_path, monkeypatch, body, message):
    monkeypatch.setattr(files, "import_open3d", lambda path: None)
    path = tmp_path / "a.pcd"
    path.write_bytes(PCD + body)
    with pytest.raises(UserError, match=message):
        files.read_point_cloud(path)


def test_pcd_with_open3d(tmp_path):
    open3d = pytest.importorskip("open3d", exc_type=ImportError)
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(XYZ))
    cloud.colors = open3d.utility.Vector3dVector(RGB / 255)
    path = tmp_path / "a.pcd"
    open3d.io.write_point_cloud(str(path), cloud)
    found, dropped = files.read_point_cloud(path)
    assert np.array_equal(found.xyz, XYZ.astype(np.float32))
    assert np.array_equal(found.rgb, RGB)
    assert dropped == 0
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match="empty or damaged"):
        files.read_point_cloud(path)
