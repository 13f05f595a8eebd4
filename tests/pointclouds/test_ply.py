import struct
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rgb2act_core import UserError
from rgb2act_core.pointclouds.ply import read_vertices

HEAD = b"ply\nformat ascii 1.0\n"
XYZ = b"property float x\nproperty float y\nproperty float z\n"
RGB = b"property uchar red\nproperty uchar green\nproperty uchar blue\n"
ASCII = HEAD + b"element vertex 2\n" + XYZ + RGB + b"end_header\n1 2 3 4 5 6\n-1 0 nan 255 0 9\n"
ORDERS = {"<": "little", ">": "big"}


def binary(order, faces=True, end="\n"):
    lines = [
        "ply",
        f"format binary_{ORDERS[order]}_endian 1.0",
        "comment made by hand",
        "element camera 1",
        "property list uchar float lens",
        "property double focal",
        "element vertex 3",
        *(f"property double {axis}" for axis in "xyz"),
        "property uchar alpha",
        *(f"property ushort {name}" for name in ("red", "green", "blue")),
        *(["element face 2", "property list uchar int vertex_indices"] if faces else []),
        "end_header",
    ]
    data = "".join(line + end for line in lines).encode()
    data += struct.pack(order + "B2fd", 2, 0.5, 0.25, 50.0)
    for i in range(3):
        data += struct.pack(order + "3dB3H", i, i + 0.5, -i, 7, 0, 65535, i)
    if faces:
        data += struct.pack(order + "B3iB4i", 3, 0, 1, 2, 4, 0, 1, 2, 0)
    return data


def read(tmp_path, data):
    path = tmp_path / "cloud.ply"
    path.write_bytes(data)
    return read_vertices(path)


def error_of(tmp_path, data):
    with pytest.raises(UserError) as caught:
        read(tmp_path, data)
    return str(caught.value).removeprefix(f"{tmp_path}/")


def test_ascii(tmp_path):
    xyz, rgb = read(tmp_path, ASCII)
    np.testing.assert_array_equal(xyz, np.float32([[1, 2, 3], [-1, 0, np.nan]]))
    assert xyz.dtype == np.float32
    assert rgb.tolist() == [[4, 5, 6], [255, 0, 9]]
    assert rgb.dtype == np.uint8


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("faces", [True, False])
def test_binary_of_both_byte_orders(tmp_path, order, faces):
    xyz, rgb = read(tmp_path, binary(order, faces))
    assert xyz.tolist() == [[0, 0.5, 0], [1, 1.5, -1], [2, 2.5, -2]]
    assert rgb.tolist() == [[0, 65535, 0], [0, 65535, 1], [0, 65535, 2]]
    assert (xyz.dtype, rgb.dtype) == (np.float64, np.uint16)


def test_windows_line_ends(tmp_path):
    xyz, _ = read(tmp_path, ASCII.replace(b"\n", b"\r\n"))
    assert xyz[0].tolist() == [1, 2, 3]
    assert len(read(tmp_path, binary("<", end="\r\n"))[0]) == 3


def test_ascii_elements_around_the_vertices(tmp_path):
    data = (
        HEAD
        + b"element camera 1\nproperty list uchar float lens\n"
        + b"element vertex 1\n"
        + XYZ
        + b"element face 1\nproperty list uchar int v\nend_header\n2 0.5 .25\n1 2 3\n3 0 0 0\n\n"
    )
    xyz, rgb = read(tmp_path, data)
    assert xyz.tolist() == [[1, 2, 3]]
    assert rgb is None


def test_a_file_without_vertices_is_valid(tmp_path):
    data = HEAD + b"element vertex 0\n" + XYZ + RGB + b"end_header\n"
    assert read(tmp_path, data)[0].shape == (0, 3)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"ply\n", b"obj\n", "cloud.ply:1: starts with 'obj'; PLY files start with 'ply'"),
        (
            b"format ascii 1.0\n",
            b"",
            "cloud.ply:2: the format line is missing; it must follow 'ply'",
        ),
        (b"ascii", b"utf8", "cloud.ply:2: 'format utf8 1.0' is not valid here"),
        (b"vertex 2", b"vertex -2", "cloud.ply:3: 'element vertex -2' is not valid here"),
        (b"float y", b"flaot y", "cloud.ply:5: 'flaot' is not a type; did you mean 'float'?"),
        (
            b"float y",
            b"float x",
            "cloud.ply:10: element 'vertex' is not unique or has a property twice",
        ),
        (b"float y", b"float w", "cloud.ply:10: element 'vertex' lacks y"),
        (b"uchar red", b"uchar rot", "cloud.ply:10: element 'vertex' lacks red"),
        (
            b"uchar red",
            b"float red",
            "cloud.ply:10: red, green and blue have different types",
        ),
        (b"vertex", b"point", "cloud.ply:10: element 'vertex' is missing"),
        (b"end_header", b"end", "cloud.ply:10: 'end' is not valid here"),
        (b"1 2 3 4 5 6", b"1 2 3 4 5", "cloud.ply:11: has 5 values instead of 6"),
        (b"255 0 9", b"256 0 9", "cloud.ply:12: red is '256', not a valid uint8"),
        (b"255 0 9", b"2.5 0 9", "cloud.ply:12: red is '2.5', not a valid uint8"),
        (b"-1 0 nan", b"-1 0 1_0", "cloud.ply:12: z is '1_0', not a number"),
        (b"\n-1 0 nan 255 0 9", b"", "cloud.ply:11: the file is truncated by 1 rows"),
        (b"255 0 9", b"255 0 9\n1 2 3 4 5 6", "cloud.ply:13: data follows the last element"),
        (b"float y", b"list uchar float y", "cloud.ply:10: vertices have a list property; only"),
    ],
)
def test_malformed_ascii_is_rejected_with_the_line(tmp_path, old, new, message):
    assert old in ASCII
    data = ASCII.replace(old, new, 1)
    if new == b"end":
        data = data.replace(b"1 2 3 4", b"end_header\n1 2 3 4", 1)
    assert error_of(tmp_path, data).startswith(message)


@pytest.mark.parametrize("order", "<>")
def test_every_truncation_of_a_binary_file_is_rejected(tmp_path, order):
    data = binary(order)
    for length in range(len(data)):
        assert error_of(tmp_path, data[:length])
    start = data.index(b"end_header\n") + len(b"end_header\n")
    message = error_of(tmp_path, data[: start + 40])
    assert message.startswith(
        f"cloud.ply: byte {start + 40}: the file is truncated within the 3 rows of 'vertex'"
    )


def test_bytes_after_the_end_are_rejected(tmp_path):
    data = binary("<")
    assert f"byte {len(data)}: 1 bytes follow" in error_of(tmp_path, data + b"\0")


@pytest.mark.parametrize("kind", [b"ascii", b"binary_little_endian"])
@pytest.mark.parametrize("element", [b"vertex", b"face"])
def test_absurd_counts_in_the_header_cost_nothing(tmp_path, kind, element):
    data = ASCII.replace(b"ascii", kind).replace(
        b"end_header", b"element face 0\nproperty list uchar int i\nend_header"
    )
    for count in (b"2", b"0"):
        data = data.replace(element + b" " + count, element + b" 999999999999999999")
    start = time.process_time()
    error_of(tmp_path, data)
    assert time.process_time() - start < 1


def test_elements_without_properties_cost_nothing(tmp_path):
    for kind in (b"ascii", b"binary_little_endian"):
        data = HEAD.replace(b"ascii", kind) + b"element vertex 0\n" + XYZ
        data += b"element nothing 999999999999999999\nend_header\n"
        assert read(tmp_path, data)[0].shape == (0, 3)


def test_a_header_without_end_is_rejected(tmp_path):
    data = b"ply\nformat ascii 1.0\n" + b"comment x\n" * 5000
    assert "the header has no end" in error_of(tmp_path, data)
    assert "PLY files start with 'ply'" in error_of(tmp_path, b"\x89PNG" * 50000)
    assert error_of(tmp_path, b"")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.ply: cannot be read"):
        read_vertices(tmp_path / "absent.ply")


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.sampled_from([ASCII, binary("<"), binary(">", faces=False)]),
    st.lists(
        st.tuples(st.integers(0, 10**4), st.binary(max_size=6), st.integers(0, 6)), max_size=6
    ),
)
def test_damaged_files_are_read_or_rejected(tmp_path: Path, data, damage):
    for at, insert, drop in damage:
        at %= len(data)
        data = data[:at] + insert + data[at + drop :] or b"p"
    _read_or_reject(tmp_path, data)


WORDS = [b"ply", b"format", b"ascii", b"1.0", b"element", b"vertex", b"property", b"list", b"float"]
WORDS += [b"uchar", b"x", b"y", b"z", b"end_header", b"comment", b"binary_big_endian", b"1", b"\n"]
WORDS += [b"99999999", b"-1", b"nan", b"1e999", b"\xff", b"\r\n", b"\0", b"\n", b"\n"]


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.sampled_from(WORDS), max_size=40), st.booleans())
def test_random_headers_are_read_or_rejected(tmp_path: Path, words, headed):
    _read_or_reject(tmp_path, (HEAD + b"element vertex 2\n" if headed else b"") + b" ".join(words))


def _read_or_reject(tmp_path, data):
    start = time.process_time()
    try:
        xyz, rgb = read(tmp_path, data)
    except UserError as err:
        valid = str(err).startswith(str(tmp_path))
    else:
        valid = xyz.shape[1] == 3 and (rgb is None or rgb.shape == xyz.shape)
    assert valid
    assert time.process_time() - start < 1
