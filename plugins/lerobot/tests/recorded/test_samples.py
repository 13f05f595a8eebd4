"""Every format is read to the values that LeRobot's own reader gives.

Numbers, PNG images and the decoded planes of videos are exact on every machine. RGB of videos
depends on the conversion of colours, so that only the mean colour of each frame is compared.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rgb2act_lerobot import LeRobot, build
from rgb2act_lerobot.recorded.episode_reader import open_camera
from rgb2act_lerobot.recorded.episode_table import read_listing
from rgb2act_lerobot.recorded.videos import VideoClip

DATA = Path(__file__).parents[1] / "data"
EXPECTED: dict[str, dict[str, Any]] = json.loads((DATA / "expected.json").read_text())


def sha(array: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


@pytest.mark.parametrize("name", EXPECTED)
def test_numbers_are_exact_and_frames_in_order(name: str) -> None:
    expected = EXPECTED[name]
    environment = build(LeRobot(data=DATA / name))
    assert environment.info.control_hz == expected["fps"]
    names = expected["action_names"]
    flat = names["motors"] if isinstance(names, dict) else names
    assert environment.info.action_names == tuple(flat)
    for episode, of in zip(environment.recorded(), expected["episodes"], strict=True):
        assert episode.instruction == of["tasks"][0]["task"]
        assert episode.joints is not None
        assert sha(episode.joints) == of["state"]
        assert sha(episode.actions) == of["action"]
        pixels = episode.rgb[:]
        for v, (key, camera) in enumerate(of["cameras"].items()):
            short = key.removeprefix("observation.").removeprefix("images.")
            assert episode.cameras[v] == short
            assert [len(pixels), *pixels.shape[2:]] == camera["shape"]
            # 1.0 of 255: other builds of the colour conversion round differently
            np.testing.assert_allclose(pixels[:, v].mean((1, 2)), camera["mean_rgb"], atol=1.0)
            if camera["yuv_sha256"] is None:  # PNG images
                assert sha(pixels[:, v]) == camera["rgb_sha256"]


@pytest.mark.parametrize("name", [n for n in EXPECTED if "image" not in n])
def test_decoded_planes_are_exact(name: str) -> None:
    listing = read_listing(DATA / name)
    for entry, of in zip(listing.entries, EXPECTED[name]["episodes"], strict=True):
        for key, camera in of["cameras"].items():
            clip = open_camera(listing.schema, entry, key, key)
            assert isinstance(clip, VideoClip)
            planes = np.stack(list(clip.frames(np.arange(entry.length), "yuv420p")))
            assert sha(planes) == camera["yuv_sha256"]


def test_blocks_slices_and_single_frames_are_equal() -> None:
    for name in ("v30_chunked", "v30_pusht_h264_nostats", "v30_image"):
        for episode in build(LeRobot(data=DATA / name)).recorded():
            pixels = episode.rgb[:]
            blocks = [episode.rgb[t : t + 3] for t in range(0, len(pixels), 3)]
            assert np.array_equal(np.concatenate(blocks), pixels)
            for t in (len(pixels) - 1, 2, 0, -1):
                assert np.array_equal(episode.rgb[t], pixels[t])
            assert np.array_equal(episode.rgb[np.array([3, 1, 1])], pixels[[3, 1, 1]])
            assert np.array_equal(episode.rgb[::-2], pixels[::-2])


def test_same_content_has_the_same_digest_and_other_content_another() -> None:
    digests = [e.digest for e in build(LeRobot(data=DATA / "v30_video")).recorded()]
    again = [e.digest for e in build(LeRobot(data=DATA / "v30_video_061")).recorded()]
    assert digests == again
    assert len(set(digests)) == 3


def test_depth_is_no_rgb_camera(opened: Any) -> None:
    assert opened("v30_depth_061").info.cameras == ("top",)
