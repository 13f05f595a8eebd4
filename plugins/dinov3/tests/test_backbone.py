"""The backbone follows its config."""

from pathlib import Path

import pytest
import torch
from rgb2act_dinov3 import build
from rgb2act_dinov3.config import SHIPPED, Dinov3
from rgb2act_dinov3.model import load, network, outputs

from rgb2act_core import UserError

TINY = str(Path(__file__).parent / "data" / "tiny_mlp.pth")


def frames(b=2, k=1, v=2, h=48, w=64):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (b, k, v, h, w, 3), dtype=torch.uint8, generator=generator)


def test_tokens_are_those_of_the_newest_frame_of_each_camera():
    backbone = load(Dinov3(weights=TINY, resize="native"))
    rgb = frames(k=3)
    tokens = backbone.encode(rgb)
    assert tokens.shape == (2, 2, 12, 64)
    assert backbone.grid(48, 64) == (3, 4)
    for b in range(2):
        for v in range(2):
            alone = backbone.encode(rgb[b : b + 1, -1:, v : v + 1])
            # float32 of another batch size: sums of at most 256 terms in four blocks
            torch.testing.assert_close(tokens[b : b + 1, v : v + 1], alone, atol=1e-4, rtol=1e-4)


def test_official_size_and_grid_of_480x640():
    assert load(Dinov3(weights=TINY)).grid(480, 640) == (16, 16)
    assert load(Dinov3(weights=TINY, resize="native")).grid(480, 640) == (30, 40)


def test_layers_are_concatenated_and_later_blocks_are_skipped():
    rgb = frames()
    every = load(Dinov3(weights=TINY, size=64, layers=(2, 0)))
    assert every.info.dim == 128
    tokens = every.encode(rgb)
    assert torch.equal(tokens[..., :64], load(Dinov3(weights=TINY, size=64)).encode(rgb))
    first = load(Dinov3(weights=TINY, size=64, layers=(0,)))
    first.net.blocks[1].register_forward_hook(lambda *_: pytest.fail("block 1 was run"))
    assert torch.equal(tokens[..., 64:], first.encode(rgb))


@pytest.mark.parametrize(("precision", "bound"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_lower_precision_is_close_and_returns_float32(precision, bound):
    rgb = frames()
    exact = load(Dinov3(weights=TINY, size=64)).encode(rgb)
    backbone = load(Dinov3(weights=TINY, size=64, precision=precision))
    assert backbone.net.norm.weight.dtype is getattr(torch, precision)
    tokens = backbone.encode(rgb)
    assert tokens.dtype is torch.float32
    assert 0 < (tokens - exact).abs().max() / exact.abs().max() < bound


@pytest.mark.slow
@pytest.mark.parametrize("variant", SHIPPED)
def test_full_size_variants_compute_on_the_meta_device(variant):
    sizes = SHIPPED[variant].sizes
    with torch.device("meta"):
        net = network(sizes)
        tokens = outputs(net, torch.empty(1, 3, 32, 48), (sizes.depth - 1,))
    assert tokens.shape == (1, 6, sizes.dim)


@pytest.mark.parametrize("variant", ["vits16plus", "vitb16", "vit7b16"])
def test_random_weights_need_no_file_and_repeat(variant):
    config = Dinov3(weights="random", variant=variant, dim=32, depth=1, heads=2, size=32)
    tokens = build(config).encode(frames())
    assert tokens.shape == (2, 2, 4, 32)
    assert tokens.isfinite().all()
    assert torch.equal(tokens, build(config).encode(frames()))


def test_weights_are_frozen():
    backbone = load(Dinov3(weights=TINY))
    assert not backbone.net.training
    assert not any(p.requires_grad or p.is_meta for p in backbone.net.parameters())
    assert not any(b.is_meta for b in backbone.net.buffers())


def test_unsupported_configs_are_rejected():
    with pytest.raises(UserError, match=r"dinov3: size 100 .* the patch, 16; set size = 96"):
        load(Dinov3(weights=TINY, size=100))
    with pytest.raises(UserError, match=r"dinov3: layers \[3\] do not exist; .* blocks 0 to 2"):
        load(Dinov3(weights=TINY, layers=(0, 3)))
    with pytest.raises(UserError, match="dim 30 is not a multiple of four times the heads"):
        load(Dinov3(weights="random", dim=30, depth=1, heads=2))
    with pytest.raises(ValueError, match="dim and depth are only for weights = 'random'"):
        Dinov3(weights="hub", dim=32)
    with pytest.raises(ValueError, match="must be >= 0"):
        Dinov3(layers=(-1,))
