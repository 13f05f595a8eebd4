"""The backbone follows its config."""

from pathlib import Path

import pytest
import torch
from rgb2act_croco import build
from rgb2act_croco.config import Croco
from rgb2act_croco.model import Encoder, load
from rgb2act_croco.preprocess import prepare

from rgb2act_core import UserError

DATA = Path(__file__).parent / "data"
TINY = str(DATA / "tiny.pth")


def frames(b=2, k=1, v=2, h=48, w=64):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (b, k, v, h, w, 3), dtype=torch.uint8, generator=generator)


def test_tokens_are_those_of_the_newest_frame_of_each_camera():
    backbone = load(Croco(weights=TINY, resize="native"))
    rgb = frames(k=3)
    tokens = backbone.encode(rgb)
    assert tokens.shape == (2, 2, 12, 48)
    assert backbone.grid(48, 64) == (3, 4)
    images = prepare(rgb[:, -1].flatten(0, 1), "native", 224, 16)
    # the same images in one batch of the same shape
    torch.testing.assert_close(tokens.flatten(0, 1), backbone.encoder(images))


def test_layers_are_concatenated_and_later_blocks_are_skipped():
    rgb = frames()
    every = load(Croco(weights=TINY, size=64, layers=(2, 0)))
    assert every.info.dim == 96
    tokens = every.encode(rgb)
    assert torch.equal(tokens[..., :48], load(Croco(weights=TINY, size=64)).encode(rgb))
    first = load(Croco(weights=TINY, size=64, layers=(0,)))
    first.encoder.blocks[1].register_forward_hook(lambda *_: pytest.fail("block 1 was run"))
    assert torch.equal(tokens[..., 48:], first.encode(rgb))


@pytest.mark.parametrize(("precision", "bound"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_lower_precision_is_close_and_returns_float32(precision, bound):
    rgb = frames()
    exact = load(Croco(weights=TINY, size=64)).encode(rgb)
    backbone = load(Croco(weights=TINY, size=64, precision=precision))
    assert backbone.encoder.norm.weight.dtype is getattr(torch, precision)
    tokens = backbone.encode(rgb)
    assert tokens.dtype is torch.float32
    assert 0 < (tokens - exact).abs().max() / exact.abs().max() < bound


@pytest.mark.parametrize("variant", ["v1-base", "v2-base"])
@pytest.mark.parametrize("size", [32, 64])
def test_random_weights_need_no_file(variant, size):
    config = Croco(weights="random", variant=variant, dim=32, depth=1, heads=2, size=size)
    tokens = build(config).encode(frames())
    assert tokens.shape == (2, 2, (size // 16) ** 2, 32)
    assert tokens.isfinite().all()


@pytest.mark.parametrize("variant", ["v2-large", "v2-base", "v2-base-small-decoder", "v1-base"])
def test_full_size_variants_compute_on_the_meta_device(variant):
    with torch.device("meta"):
        architecture = Croco(variant=variant).architecture
        tokens = Encoder(architecture)(torch.empty(2, 3, 224, 224))
    assert tokens.shape == (2, 196, architecture.dim)


def test_unsupported_configs_are_rejected():
    with pytest.raises(UserError, match=r"croco: size 100 .* the patch, 16; set size = 96"):
        load(Croco(weights=TINY, size=100))
    with pytest.raises(UserError, match=r"croco: layers \[3\] do not exist; .* blocks 0 to 2"):
        load(Croco(weights=TINY, size=64, layers=(0, 3)))
    with pytest.raises(UserError, match=r"croco: dim 30 is not a multiple of four times the heads"):
        load(Croco(weights="random", dim=30, depth=1, heads=2, size=64))


def test_sizes_are_for_random_weights_only():
    with pytest.raises(ValueError, match="dim, depth and heads are only for weights = 'random'"):
        Croco(weights="hub", dim=32)
    with pytest.raises(ValueError, match="must be >= 0"):
        Croco(layers=(-1,))
