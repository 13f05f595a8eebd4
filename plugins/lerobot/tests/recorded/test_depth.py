"""Depth cameras: stored codes become metres, and metres become points."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rgb2act_lerobot import DepthCamera

from rgb2act_core import UserError

DATA = Path(__file__).parents[1] / "data"
EPISODES = json.loads((DATA / "expected.json").read_text())["v30_depth_061"]["episodes"]
POSE = ((1.0, 0.0, 0.0, 0.5), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, -0.25))
CAMERA = DepthCamera(camera="top_depth", intrinsics=(60.0, 60.0, 31.5, 23.5), pose=POSE)


def test_codes_are_exact_and_metres_within_a_millimetre(opened: Any) -> None:
    environment = opened("v30_depth_061", depth=(CAMERA,))
    for episode, of in zip(environment.recorded(), EPISODES, strict=True):
        expected, (view,) = of["depth"]["observation.images.top_depth"], episode.clouds.views
        codes = np.stack(list(view.depth.frames(np.arange(len(episode.clouds)), "gray12le")))
        assert hashlib.sha256(codes.tobytes()).hexdigest() == expected["codes_sha256"]
        metres = np.stack([episode.depth["top_depth"][t] for t in range(len(codes))])
        column = metres[0, [0, 8, 16], 0]
        np.testing.assert_allclose(
            column, expected["metres_of_frame_0_rows_0_8_16_column_0"], atol=1e-3
        )
        np.testing.assert_allclose(
            metres.mean((1, 2)), expected["metres_mean_per_frame"], atol=1e-3
        )


def test_points_are_in_the_world_frame_with_colours(opened: Any) -> None:
    coloured = DepthCamera(
        camera="top_depth", intrinsics=CAMERA.intrinsics, pose=POSE, colours="top"
    )
    environment = opened("v30_depth_061", depth=(coloured,), cloud_points=0)
    assert environment.info.clouds
    episode = environment.recorded()[0]
    cloud, metres = episode.clouds[2], episode.depth["top_depth"][2]
    assert len(cloud.xyz) == metres.size
    # the pixel in row 10, column 20
    z = metres[10, 20]
    point = cloud.xyz[10 * metres.shape[1] + 20]
    expected = [(20 - 31.5) / 60 * z + 0.5, (10 - 23.5) / 60 * z, z - 0.25]
    np.testing.assert_allclose(point, expected, rtol=1e-6)  # float32
    assert np.array_equal(cloud.rgb, episode.rgb[2,].reshape(-1, 3))
    assert len(opened("v30_depth_061", depth=(CAMERA,)).recorded()[0].clouds[0].xyz) == 1024


def test_depth_belongs_to_the_digest(opened: Any) -> None:
    plain = opened("v30_depth_061").recorded()[0]
    deep = opened("v30_depth_061", depth=(CAMERA,)).recorded()[0]
    other = opened("v30_depth_061", depth=(CAMERA,), cloud_points=64).recorded()[0]
    assert len({plain.digest, deep.digest, other.digest}) == 3
    assert plain.clouds is None


@pytest.mark.parametrize(("kind", "scale"), [(np.uint16, 1000), (np.float32, 1)])
def test_depth_images(copied: Any, opened: Any, edit_info: Any, kind: Any, scale: int) -> None:
    root = copied("v30_image")
    path = root / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    values = (np.full((48, 64), 0.75) * scale).astype(kind)
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "TIFF")
    images = [{"bytes": stream.getvalue(), "path": "depth.tiff"}] * len(table)
    key = "observation.images.top_depth"
    pq.write_table(table.append_column(key, pa.array(images)), path)
    feature = {"dtype": "image", "shape": [48, 64, 1], "info": {"is_depth_map": True}}
    edit_info(root, lambda info: info["features"].update({key: feature}))
    depth = opened(root).recorded()[0].depth["top_depth"]
    np.testing.assert_allclose(depth[1], 0.75, rtol=1e-6)


def test_unknown_depth_cameras_are_named(opened: Any) -> None:
    camera = DepthCamera(camera="depth", intrinsics=CAMERA.intrinsics, pose=POSE)
    with pytest.raises(UserError, match=r"no depth camera 'depth'; .* has top_depth"):
        opened("v30_depth_061", depth=(camera,)).recorded()
