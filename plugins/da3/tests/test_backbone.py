from pathlib import Path

import numpy as np
import pytest
import torch
from rgb2act_da3 import backbone as da3_backbone
from rgb2act_da3 import build
from rgb2act_da3.config import DA3
from rgb2act_da3.model import choose_reference

from rgb2act_core import ImageEncoder

DATA = Path(__file__).parent / "data"
CLOSE = 2e-5  # of the largest value: float32 sums in another order in 7 blocks, each some 1e-6


def backbone(weights="tiny", **fields):
    path = DATA / f"{weights}.weights.safetensors"
    return build(DA3(weights=str(path), variant="file", size=56, **fields))


def frames(b=1, k=3, v=2, h=48, w=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (b, k, v, h, w, 3), dtype=torch.uint8, generator=generator)


def gap(a, b):
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("reference", ["first", "middle", "saddle_balanced", "saddle_sim_range"])
@pytest.mark.parametrize("weights", ["tiny", "tiny_giantlike"])
@pytest.mark.parametrize("context", [1, 2, 4])
def test_cached_frames_match_encoding_the_window(weights, context, reference):
    built = backbone(weights, context=context, reference=reference, layers=(0, 2, 3, -1))
    video_TVHW3 = frames(b=1, k=9)[0]
    cache = [built.encode_frames(image[None]) for image in video_TVHW3]  # each frame once
    for newest in range(context - 1, len(video_TVHW3)):
        window = slice(newest - context + 1, newest + 1)
        kept = {name: torch.stack([part[name] for part in cache[window]], 1) for name in cache[0]}
        slid = built.encode_windows(kept, (48, 64))
        expected = built.encode(video_TVHW3[window][None])
        assert slid.shape == expected.shape == (1, 2, 12, 4 * 96)
        assert gap(slid, expected) < CLOSE


@pytest.mark.parametrize("context", [1, 2, 4])
def test_streams_match_encoding_windows_and_encode_frames_once(context, monkeypatch):
    built = backbone(context=context)
    video_TVHW3 = frames(b=1, k=9)[0]
    index = np.maximum(np.arange(9)[:, None] + np.arange(1 - context, 1), 0)
    expected = built.encode(video_TVHW3[torch.from_numpy(index)])
    counts, prepare = [], da3_backbone.prepare
    monkeypatch.setattr(
        da3_backbone, "prepare", lambda x, c: counts.append(len(x)) or prepare(x, c)
    )
    encoder, cameras = ImageEncoder(built, "cpu", windowed=True), video_TVHW3.numpy().swapaxes(0, 1)
    # a batch of 2 frames; the windows have 1, 2 or 4
    rows = torch.stack([encoder.encode_video(video, batch_size=2) for video in cameras], 1)
    assert sum(counts) == 2 * 9  # cameras, frames
    assert gap(rows, expected) < 1e-3  # float16 rounds by 2**-11 of a value
    for row, want in zip(rows.half(), expected, strict=True):
        # float32 sums in another order (1e-5) may round to the next float16, 2**-10 of the value
        np.testing.assert_allclose(row, want.half(), rtol=2**-10, atol=1e-4)


def test_cached_frames_of_another_window_are_detected():
    built = backbone(context=3)
    video = frames(k=4)
    parts = built.encode_frames(video[:, 0:3].flatten(0, 1))
    kept = {name: part[None] for name, part in parts.items()}
    assert gap(built.encode_windows(kept, (48, 64)), built.encode(video[:, 1:4])) > 1e-3


def test_the_cache_ends_before_the_first_shared_block():
    """Cached parts do not depend on other frames of the batch."""
    built = backbone(context=3, reference="saddle_balanced")
    video = frames(k=3)[0]
    together = built.encode_frames(video)
    assert set(together) == {"clue", "entry", "other"}
    for i, image in enumerate(video):
        alone = built.encode_frames(image[None])
        for name, part in alone.items():
            assert gap(part[0], together[name][i]) < CLOSE


def test_windows_of_one_frame_cache_no_second_role():
    assert set(backbone(context=1).encode_frames(frames(k=1)[:, 0])) == {"entry"}


def test_layers_before_the_shared_blocks_need_no_window():
    built = backbone(context=3, layers=(0,))
    video = frames(k=3)
    assert set(built.encode_frames(video[:, 0])) == {"layer0"}
    assert gap(built.encode(video), backbone(layers=(0,)).encode(video[:, -1:])) < CLOSE


@pytest.mark.parametrize("weights", ["tiny", "tiny_giantlike"])
def test_each_layer_is_the_requested_one(weights):
    depth = 6 if weights == "tiny" else 7
    video = frames(k=3)
    every = backbone(weights, context=3, layers=tuple(range(depth))).encode(video)
    for layer, together in enumerate(every.split(96, -1)):
        for number in (layer, layer - depth):
            alone = backbone(weights, context=3, layers=(number,)).encode(video)
            assert gap(alone, together) < CLOSE
    assert all(
        gap(a, b) > 1e-2 for a, b in zip(every.split(96, -1), every.split(96, -1)[1:], strict=False)
    )


def test_blocks_after_the_last_layer_are_not_run():
    built = backbone(context=3, layers=(3,))
    for block in built.network.blocks[4:]:
        block.forward = None
    built.encode(frames())


def test_layers_have_the_requested_order():
    first, second = backbone(layers=(5, 1)).encode(frames(k=1)).split(96, -1)
    assert gap(first, backbone(layers=(5,)).encode(frames(k=1))) < CLOSE
    assert gap(second, backbone(layers=(1,)).encode(frames(k=1))) < CLOSE


def test_cameras_are_independent():
    built, video = backbone(context=3), frames(b=2, v=3)
    together = built.encode(video)
    for camera in range(3):
        assert (
            gap(built.encode(video[:, :, camera : camera + 1])[:, 0], together[:, camera]) < CLOSE
        )


def test_older_frames_and_the_reference_affect_tokens():
    video = frames(k=4)
    first = backbone(context=4).encode(video)
    other = video.clone()
    other[:, 1] = frames(k=1, seed=1)[:, 0]
    assert gap(backbone(context=4).encode(other), first) > 1e-3
    assert gap(backbone(context=4, reference="middle").encode(video), first) > 1e-3


def test_order_of_frames_except_the_reference_does_not_matter():
    video = frames(k=4)
    built = backbone(context=4)
    assert gap(built.encode(video[:, [0, 2, 1, 3]]), built.encode(video)) < CLOSE
    assert gap(built.encode(video[:, [1, 0, 2, 3]]), built.encode(video)) > 1e-3


def test_every_rule_selects_the_first_of_two_frames():
    video = frames(k=2)
    chosen = backbone(context=2, reference="saddle_balanced").encode(video)
    assert torch.equal(chosen, backbone(context=2).encode(video))


def test_of_the_two_most_alike_frames_the_first_is_the_reference():
    """Their ranges are equal, and how cosines round does not choose between them."""
    clue_WKC = torch.randn(64, 5, 48, generator=torch.Generator().manual_seed(0))
    clue_WKC[:, 3] = clue_WKC[:, 1] + 0.1 * clue_WKC[:, 3]
    clue_WKC += 3  # all cosines are positive, so a range begins at the frame itself
    parts = {"entry": clue_WKC, "clue": clue_WKC}
    assert choose_reference("saddle_sim_range", parts).tolist() == [1] * 64


def test_info_describes_layers_and_preprocessing():
    info = backbone(context=3, layers=(-1,), reference="middle").info
    assert (info.dim, info.context) == (96, 3)
    for word in ("block 5 of 0 to 5", "window of 3", "reference view middle", "longest side to 56"):
        assert word in info.description
    assert "reference view first" in backbone().info.description
    assert backbone(layers=(3, 5)).info.dim == 2 * 96


@pytest.mark.parametrize(("precision", "bound"), [("bfloat16", 3e-2), ("float16", 3e-3)])
def test_lower_precision_is_close(precision, bound):
    video = frames(k=3)
    exact = backbone(context=3).encode(video)
    rough = backbone(context=3, precision=precision).encode(video)
    assert rough.dtype is torch.float32
    assert 0 < gap(rough, exact) < bound


def test_images_may_change_size_and_shape():
    built = backbone(context=1)
    for size in ((48, 64), (64, 48), (56, 56), (30, 120)):
        rows, columns = built.grid(*size)
        tokens = built.encode(frames(k=1, h=size[0], w=size[1]))
        assert tokens.shape == (1, 2, rows * columns, 96)
