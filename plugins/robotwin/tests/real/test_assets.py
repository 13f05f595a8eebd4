"""The stand-in assets: files as RoboTwin and SAPIEN read them."""

from __future__ import annotations

import json
import struct
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

SCRIPTS = Path(__file__).parents[2] / "real"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of stand-in assets, written by the script."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        return Path(import_module("assets").make(tmp_path_factory.mktemp("stand_in")))


def test_links_of_the_arms_are_slim_cylinders(written: Path) -> None:
    """Wider links hide the objects from the head camera, which is close to the elbow."""
    robot = ElementTree.parse(next(written.rglob("*.urdf"))).getroot()
    for side in ("fl", "fr"):
        for number in range(2, 7):
            link = robot.find(f"link[@name='{side}_link{number}']")
            assert link is not None
            for kind in ("visual", "collision"):
                cylinder = link.find(f"{kind}/geometry/cylinder")
                assert cylinder is not None
                assert 2 * float(cylinder.attrib["radius"]) <= (0.05 if number == 2 else 0.025)


def test_hammer_is_a_valid_binary_gltf_file(written: Path) -> None:
    content, buffer = parsed(written / "objects/020_hammer/visual/base0.glb")
    assert [mesh["name"] for mesh in content["meshes"]] == ["handle", "head"]
    for mesh in content["meshes"]:
        (primitive,) = mesh["primitives"]
        vertices, normals, indices = (
            values(content, buffer, number)
            for number in (*primitive["attributes"].values(), primitive["indices"])
        )
        a, b, c = np.moveaxis(vertices[indices.reshape(-1, 3)], 1, 0)
        outward = (np.cross(b - a, c - a) * normals[indices[::3]]).sum(axis=1)
        assert (outward > 0).all()
        middle = (vertices.max(0) + vertices.min(0)) / 2
        assert ((vertices - middle) * normals).sum(axis=1).min() > 0


def test_hammer_strikes_with_the_end_of_its_head(written: Path) -> None:
    data = json.loads((written / "objects/020_hammer/model_data0.json").read_text())
    content, buffer = parsed(written / "objects/020_hammer/collision/base0.glb")
    head = content["meshes"][1]["primitives"][0]["attributes"]["POSITION"]
    struck = np.array(data["functional_matrix"][0])[:3, 3]
    assert struck[2] == pytest.approx(values(content, buffer, head)[:, 2].max())
    for pose in data["contact_points_pose"]:
        assert np.linalg.det(np.array(pose)[:3, :3]) == pytest.approx(1)


def test_clutter_stands_on_the_table_and_has_the_size_that_is_stated(written: Path) -> None:
    models = sorted((written / "objects/900_clutter").glob("model_data*.json"))
    for path in models:
        data = json.loads(path.read_text())
        number = path.stem.removeprefix("model_data")
        for kind in ("visual", "collision"):
            content, buffer = parsed(path.parent / f"{kind}/base{number}.glb")
            vertices = values(content, buffer, 0)
            assert vertices[:, 1].min() == pytest.approx(0, abs=1e-6)
            assert np.ptp(vertices, 0) == pytest.approx(data["extents"], abs=1e-6)
    stable = {
        path.parent.name
        for path in written.glob("objects/*/model_data*.json")
        if json.loads(path.read_text())["stable"]
    }
    assert stable == {"900_clutter"}  # the objects that RoboTwin chooses from


def test_textures_have_the_names_that_robotwin_draws_and_no_seams(written: Path) -> None:
    seen = set()
    for kind in ("seen", "unseen"):
        folder = written / "background_texture" / kind
        count = len(list(folder.iterdir()))
        for number in range(count):  # RoboTwin draws a number below the count of files
            image = np.asarray(Image.open(folder / f"{number}.png").convert("RGB"), np.int16)
            seen.add(image.tobytes())
            for axis in (0, 1):
                step = np.abs(np.diff(image, axis=axis)).max()
                seam = np.abs(np.take(image, 0, axis) - np.take(image, -1, axis)).max()
                assert seam <= 1.5 * step + 1  # between the samples of a wave, the slope varies
    assert len(seen) == 250


def parsed(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the JSON and the binary chunk of a GLB file."""
    data = path.read_bytes()
    assert struct.unpack_from("<4sII", data) == (b"glTF", 2, len(data))
    length, kind = struct.unpack_from("<I4s", data, 12)
    assert (kind, length % 4) == (b"JSON", 0)
    size, name = struct.unpack_from("<I4s", data, 20 + length)
    assert (name, 28 + length + size) == (b"BIN\0", len(data))
    content: dict[str, Any] = json.loads(data[20 : 20 + length])
    return content, data[28 + length :]


def values(content: dict[str, Any], buffer: bytes, number: int) -> np.ndarray:
    """Return the array of an accessor."""
    accessor = content["accessors"][number]
    view = content["bufferViews"][accessor["bufferView"]]
    dtype = {5126: np.float32, 5123: np.uint16}[accessor["componentType"]]
    start = view["byteOffset"]
    found = np.frombuffer(buffer[start : start + view["byteLength"]], dtype)
    width = 3 if accessor["type"] == "VEC3" else 1
    assert len(found) == accessor["count"] * width
    return found.reshape(-1, 3) if width == 3 else found
