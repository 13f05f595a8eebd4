"""PCD files are read strictly, whatever their header claims."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rgb2act_core import UserError
from rgb2act_core.pointclouds import files, lzf

XYZ = np.arange(12, dtype=np.float32).reshape(4, 3)
RGB = np.arange(12, dtype=np.uint8).reshape(4, 3)
PACKED = [int(r) << 16 | int(g) << 8 | int(b) for r, g, b in RGB]


def header(
    data: str, points: int = 4, colours: str = "rgb", kind: str = "U", count: str = "1"
) -> bytes:
    names = colours.split()
    size = "4" if len(names) == 1 else "1"
    return (
        "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\n"
        f"FIELDS x y z {colours}\nSIZE 4 4 4 {' '.join([size] * len(names))}\n"
        f"TYPE F F F {' '.join([kind] * len(names))}\n"
        f"COUNT 1 1 1 {' '.join([count] * len(names))}\nWIDTH {points}\nHEIGHT 1\n"
        f"VIEWPOINT 0 0 0 1 0 0 0\nPOINTS {points}\nDATA {data}\n"
    ).encode()


def binary() -> bytes:
    return header("binary") + b"".join(
        xyz.tobytes() + struct.pack("<I", p) for xyz, p in zip(XYZ, PACKED, strict=True)
    )


def literals(data: bytes) -> bytes:
    """Return LZF data of literal runs."""
    runs = [data[i : i + 32] for i in range(0, len(data), 32)]
    return b"".join(bytes([len(run) - 1]) + run for run in runs)


def compressed(plain: bytes | None = None) -> bytes:
    plain = plain or XYZ.T.tobytes() + struct.pack("<4I", *PACKED)
    body = literals(plain)
    return header("binary_compressed") + struct.pack("<II", len(body), len(plain)) + body


def ascii_rows(kind: str = "U") -> bytes:
    values = PACKED if kind == "U" else np.array(PACKED, "<u4").view("<f4").tolist()
    rows = [f"{x} {y} {z} {v!r}" for (x, y, z), v in zip(XYZ, values, strict=True)]
    return header("ascii", kind=kind) + "\n".join(rows).encode() + b"\n"


@pytest.mark.parametrize(
    "data",
    [binary(), compressed(), ascii_rows(), ascii_rows("F"), binary().replace(b"F U", b"F F")],
    ids=["binary", "compressed", "ascii", "ascii float", "binary float"],
)
def test_every_kind_of_pcd_is_read(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.pcd"
    path.write_bytes(data)
    cloud, dropped = files.read_point_cloud(path)
    assert np.array_equal(cloud.xyz, XYZ)
    assert np.array_equal(cloud.rgb, RGB)
    assert dropped == 0


def test_colours_may_be_three_fields(tmp_path: Path) -> None:
    path = tmp_path / "a.pcd"
    rows = b"".join(xyz.tobytes() + rgb.tobytes() for xyz, rgb in zip(XYZ, RGB, strict=True))
    path.write_bytes(header("binary", colours="r g b") + rows)
    assert np.array_equal(files.read_point_cloud(path)[0].rgb, RGB)


def test_references_of_lzf_may_overlap_their_own_output() -> None:
    assert lzf.decompress(b"\x01ab" + bytes([5 << 5, 1]) + b"\x00c", 10) == b"ababababa" + b"c"
    assert lzf.decompress(b"\x00a" + bytes([7 << 5, 20, 0]), 30) == b"a" * 30


@pytest.mark.parametrize(
    "data",
    [b"\x05ab", b"\x00a" + bytes([1 << 5, 9]), b"\x00a" + bytes([7 << 5]), b"\x00a\x00b", b""],
)
def test_damaged_lzf_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="compressed data"):
        lzf.decompress(data, 1 if data else 2)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (binary()[:-1], "has 63 bytes of data for 4 points, the file is truncated"),
        (binary() + b"xx", "has 66 bytes of data for 4 points, 2 bytes follow"),
        (binary().replace(b"DATA binary", b"DATA bmnary"), r"DATA is 'bmnary', expected ascii"),
        (header("binary", points=10**17), "has 0 bytes of data"),
        (header("binary", points=10**30), "WIDTH is '10+', not a number of points"),
        (binary().replace(b"WIDTH 4", b"WIDTH 5"), "WIDTH 5 x HEIGHT 1 is not POINTS 4"),
        (binary().replace(b"COUNT 1 1", b"COUNT 1 9999999"), "one point has more than 1048576"),
        (binary().replace(b"TYPE F F", b"TYPE F Q"), "field 'y' has TYPE 'Q'"),
        (binary().replace(b"x y z", b"x y y"), "names a field twice"),
        (binary().replace(b"x y z", b"x y q"), "has no field z"),
        (binary().replace(b"SIZE 4", b"SIZE 4 4"), "have different lengths"),
        (compressed()[:-1], "the file is truncated"),
        (compressed(b"abc"), "for 4 points of 16 bytes; the file is damaged"),
        (ascii_rows() + b"1 2 3 4\n", r"a\.pcd:16: has 5 points instead of 4"),
        (ascii_rows().replace(b"0.0 1.0", b"0.0 one"), r"a\.pcd:12: .* is not a number"),
        (ascii_rows().replace(b"0.0 1.0", b"0.0"), r"a\.pcd:12: has 3 values instead of 4"),
        (b"ply\n", "the header has no end"),
    ],
)
def test_damaged_pcd_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.pcd"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        files.read_point_cloud(path)
    assert str(caught.value).startswith(str(path))


@settings(
    max_examples=300,
    deadline=2000,  # ms; a damaged file of a few hundred bytes takes a few
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.sampled_from([binary(), compressed(), ascii_rows()]),
    st.integers(0, 400),
    st.one_of(st.binary(max_size=6), st.sampled_from([b"9" * 12, b"\n", b"COUNT 1 999999 1 1\n"])),
    st.integers(0, 60),
)
def test_mutated_pcd_is_read_or_refused(
    tmp_path: Path, data: bytes, at: int, insert: bytes, drop: int
) -> None:
    path = tmp_path / "a.pcd"
    path.write_bytes(data[:at] + insert + data[at + drop :])
    message = f"{path}:"
    try:
        cloud, _ = files.read_point_cloud(path, grey=True)
    except UserError as err:
        message = str(err)
    else:
        assert cloud.xyz.shape == cloud.rgb.shape
    assert message.startswith(str(path))
