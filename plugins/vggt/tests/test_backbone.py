"""The backbone follows its config."""

from pathlib import Path

import pytest
import torch
from rgb2act_vggt import build
from rgb2act_vggt.backbone import load
from rgb2act_vggt.config import FULL, Vggt
from rgb2act_vggt.model import Network, turns

from rgb2act_core import UserError

TINY = str(Path(__file__).parent / "data" / "tiny.pt")
CLOSE = 2e-5  # of the largest value: float32 sums in another order in six blocks, each some 1e-6


def backbone(**options):
    return load(Vggt(weights=TINY, **({"size": 56} | options)))


def frames(b=1, k=3, v=2, h=48, w=64):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (b, k, v, h, w, 3), dtype=torch.uint8, generator=generator)


def gap(a, b):
    return float((a - b).abs().max() / b.abs().max())


def test_official_size_and_grid_of_480x640():
    assert load(Vggt(weights=TINY)).grid(480, 640) == (28, 37)
    assert load(Vggt(weights=TINY, resize="native")).grid(480, 640) == (34, 46)


@pytest.mark.parametrize("context", [1, 2, 4])
@pytest.mark.parametrize("layers", [(), (2, 0, 1)])
def test_cached_frames_match_encoding_the_window(context, layers):
    built = backbone(context=context, layers=layers)
    video_TVHW3 = frames(k=9)[0]
    video_TVHW3 = torch.cat([video_TVHW3[:1].expand(3, -1, -1, -1, -1), video_TVHW3])  # a start
    cache = [built.encode_frames(image[None]) for image in video_TVHW3]  # each frame once
    for newest in range(context - 1, len(video_TVHW3)):
        window = slice(newest - context + 1, newest + 1)
        kept = {name: torch.stack([part[name] for part in cache[window]], 1) for name in cache[0]}
        slid = built.encode_windows(kept, (48, 64))
        direct = built.encode(video_TVHW3[window][None])
        assert slid.shape == direct.shape == (1, 2, 12, max(len(layers), 1) * 96)
        assert gap(slid, direct) < CLOSE


def test_cached_frames_of_another_window_are_detected():
    built, video = backbone(context=3), frames(k=4)
    parts = built.encode_frames(video[:, 0:3].flatten(0, 1))
    kept = {name: part[None] for name, part in parts.items()}
    assert gap(built.encode_windows(kept, (48, 64)), built.encode(video[:, 1:4])) > 1e-3


def test_windows_of_one_frame_cache_no_second_role():
    assert set(backbone().encode_frames(frames(k=1)[:, 0])) == {"patches"}


def test_order_of_frames_between_first_and_newest_does_not_matter():
    built, video = backbone(context=4), frames(k=4)
    tokens = built.encode(video)
    assert gap(built.encode(video[:, [0, 2, 1, 3]]), tokens) < CLOSE
    assert gap(built.encode(video[:, [1, 0, 2, 3]]), tokens) > 1e-3  # another first frame
    assert gap(built.encode(video[:, -1:]), tokens) > 1e-3


def test_cameras_and_windows_are_independent():
    built, video = backbone(context=3), frames(b=2)
    tokens = built.encode(video)
    for b in range(2):
        for v in range(2):
            alone = built.encode(video[b : b + 1, :, v : v + 1])
            assert gap(alone, tokens[b : b + 1, v : v + 1]) < CLOSE


def test_layers_are_concatenated_and_later_blocks_are_skipped():
    built, video = backbone(context=3, layers=(2, 0)), frames()
    assert built.info.dim == 192
    tokens = built.encode(video)
    assert gap(tokens[..., :96], backbone(context=3).encode(video)) < CLOSE
    first = backbone(context=3, layers=(0,))
    first.network.frame_blocks[1].register_forward_hook(lambda *_: pytest.fail("pair 1 was run"))
    assert gap(tokens[..., 96:], first.encode(video)) < CLOSE


@pytest.mark.parametrize(("precision", "bound"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_lower_precision_is_close_and_returns_float32(precision, bound):
    video = frames()
    exact = backbone(context=3).encode(video)
    built = backbone(context=3, precision=precision)
    assert built.network.frame_blocks[0].up.weight.dtype is getattr(torch, precision)
    tokens = built.encode(video)
    assert tokens.dtype is torch.float32
    assert 0 < gap(tokens, exact) < bound


@pytest.mark.slow
def test_the_full_size_computes_on_the_meta_device():
    with torch.device("meta"):
        network = Network(FULL)
        patches = network.describe(torch.empty(2, 3, 392, 518))
        turn = turns((28, 37), FULL, torch.device("meta"))
        others = network.begin(patches[1:], 1, turn)[None]
        tokens = network.windows(network.begin(patches[:1], 0, turn), others, (23,), turn)
    assert tokens.shape == (1, 28 * 37, 2048)


def test_random_weights_need_no_file_and_repeat():
    config = Vggt(weights="random", variant="tiny", size=56, context=2)
    tokens = build(config).encode(frames(k=2))
    assert tokens.shape == (1, 2, 12, 96)
    assert tokens.isfinite().all()
    assert torch.equal(tokens, build(config).encode(frames(k=2)))


def test_size_layers_and_context_are_checked():
    with pytest.raises(UserError, match=r"vggt: size 100 .* the patch, 14; set size = 98"):
        backbone(size=100)
    with pytest.raises(UserError, match=r"vggt: layers \[3\] do not exist; .* pairs 0 to 2"):
        backbone(layers=(0, 3))
    with pytest.raises(ValueError, match="must be >= 0"):
        Vggt(layers=(-1,))
    with pytest.raises(ValueError, match="must be >= 1"):
        Vggt(context=0)
