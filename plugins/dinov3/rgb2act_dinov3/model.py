"""The vision transformer of DINOv3: timm's network with the official weights.

Paper: Siméoni et al., "DINOv3", arXiv:2508.10104. Upstream: github.com/facebookresearch/dinov3 at
6876159, DINOv3 License; none of its code is used. Network: timm's ``Eva`` (Apache-2.0). Weights:
DINOv3 License. Left out: class and register tokens in the output, masks, training.

Shapes: B = frames, V = cameras, F = images, N = patches, C = channels, T = all tokens
"""

from __future__ import annotations

from functools import partial

import torch
from timm.layers import LayerNorm
from timm.models.eva import Eva
from torch import Tensor

from rgb2act_core import UserError
from rgb2act_core.interfaces import BackboneInfo
from rgb2act_core.weights import fitting, load_strict, locate_weights

from .config import Dinov3, Sizes
from .preprocess import prepare, target
from .weights import PERIODS, read_network


def network(sizes: Sizes) -> Eva:
    """Return timm's network of these sizes, without a classifier."""
    return Eva(
        patch_size=sizes.patch,
        num_classes=0,
        embed_dim=sizes.dim,
        depth=sizes.depth,
        num_heads=sizes.heads,
        qkv_bias=sizes.bias,
        mlp_ratio=(sizes.hidden + 0.5) / sizes.dim,  # timm rounds down
        swiglu_mlp=sizes.gated,
        swiglu_align_to=1,
        init_values=1e-5,
        norm_layer=partial(LayerNorm, eps=1e-5),
        num_reg_tokens=sizes.registers,
        use_abs_pos_emb=False,
        use_rot_pos_emb=True,
        rope_type="dinov3",
        rope_temperature=100,
        rope_rotate_half=True,
        use_fc_norm=False,
        dynamic_img_size=True,
    )


def outputs(net: Eva, images_F3hw: Tensor, layers: tuple[int, ...]) -> Tensor:
    """Return patch tokens (F, N, C) of blocks, each after the final norm, concatenated along C.

    Blocks after the last of them are not computed.
    """
    x_FTC, rotary = net._pos_embed(net.patch_embed(images_F3hw))
    found = {}
    for i, block in enumerate(net.blocks[: max(layers) + 1]):
        x_FTC = block(x_FTC, rope=rotary)
        if i in layers:
            found[i] = net.norm(x_FTC[:, net.num_prefix_tokens :])
    return torch.cat([found[layer] for layer in layers], -1)


class Dinov3Backbone:
    """Frozen backbone that encodes single frames."""

    def __init__(self, net: Eva, sizes: Sizes, config: Dinov3) -> None:
        self.net = net.eval().requires_grad_(False)
        self.sizes, self.config = sizes, config
        self.layers = config.layers or (sizes.depth - 1,)
        shown = ", ".join(map(str, self.layers))
        size = "" if config.resize == "native" else f" to {config.size}x{config.size}"
        self.info = BackboneInfo(
            dim=sizes.dim * len(self.layers),
            description=f"DINOv3, {sizes.dim} channels, block {shown} of {sizes.depth} under the"
            f" final norm, {config.resize}{size}, bilinear, mean and std of {config.pretraining},"
            f" {config.precision}",
        )

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns of the token grid."""
        h, w = self._target(height, width)
        return h // self.sizes.patch, w // self.sizes.patch

    @torch.no_grad()
    def encode(self, rgb_BKVHW3: Tensor) -> Tensor:
        """Return tokens (B, V, N, C) float32 of the newest frame."""
        weight = self.net.patch_embed.proj.weight
        rgb_BVHW3 = rgb_BKVHW3[:, -1].to(weight.device)
        to = self._target(*rgb_BVHW3.shape[2:4])
        images_F3hw = prepare(rgb_BVHW3.flatten(0, 1), to, self.config.pretraining)
        tokens_FNC = outputs(self.net, images_F3hw.to(weight.dtype), self.layers)
        tokens_BVNC: Tensor = tokens_FNC.float().unflatten(0, rgb_BVHW3.shape[:2])
        return tokens_BVNC

    def to(self, device: torch.device) -> Dinov3Backbone:
        """Move the weights to a device."""
        self.net.to(device)
        return self

    def _target(self, height: int, width: int) -> tuple[int, int]:
        return target(height, width, self.config.resize, self.config.size, self.sizes.patch)


def load(config: Dinov3) -> Dinov3Backbone:
    """Return the backbone with official, local or random weights."""
    dtype: torch.dtype = getattr(torch, config.precision)
    path = locate_weights(config.weights, config.official, "dinov3")
    if path is None:
        _check(config.sizes, config)
        return Dinov3Backbone(_random(config.sizes, dtype), config.sizes, config)
    with fitting(path):
        sizes, tensors = read_network(path, config)
        _check(sizes, config)
        periods = tensors.pop(PERIODS, None)
        with torch.device("meta"):
            net = network(sizes)
    load_strict(net, tensors, source=path, dtype=dtype)
    _fill_buffers(net, sizes, dtype, periods)
    return Dinov3Backbone(net, sizes, config)


def _fill_buffers(net: Eva, sizes: Sizes, dtype: torch.dtype, periods: Tensor | None) -> None:
    """Set the buffers that the state does not contain: rotary periods, and zero biases of keys.

    Periods are float32 in all precisions; Meta's files contain them, rounded to bfloat16.
    """
    if periods is None:
        exponents = torch.arange(sizes.dim // sizes.heads // 4, dtype=torch.float32)
        periods = 100.0 ** (2 * exponents / (sizes.dim // sizes.heads // 2))
    net.rope.register_buffer("periods", periods.float(), persistent=False)
    if sizes.bias:
        for block in net.blocks:
            zeros = torch.zeros(sizes.dim, dtype=dtype)
            block.attn.register_buffer("k_bias", zeros, persistent=False)


def _check(sizes: Sizes, config: Dinov3) -> None:
    """Raise UserError if the model does not support the config."""
    if sizes.dim % (4 * sizes.heads):
        raise UserError(
            f"dinov3: dim {sizes.dim!r} is not a multiple of four times the heads,"
            f" {4 * sizes.heads}; change one of them"
        )
    if config.resize != "native" and config.size % sizes.patch:
        nearest = max(1, round(config.size / sizes.patch)) * sizes.patch
        raise UserError(
            f"dinov3: size {config.size!r} is not a multiple of the patch, {sizes.patch};"
            f" set size = {nearest}"
        )
    if beyond := [layer for layer in config.layers if layer >= sizes.depth]:
        raise UserError(
            f"dinov3: layers {beyond!r} do not exist; the model has blocks 0 to {sizes.depth - 1}"
        )


def _random(sizes: Sizes, dtype: torch.dtype) -> Eva:
    """Return a network with random weights, the same for the same sizes."""
    with torch.device("meta"):
        net = network(sizes)
    net = net.to_empty(device="cpu").to(dtype)
    _fill_buffers(net, sizes, dtype, None)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in net.named_parameters():
        drawn = parameter.detach()
        if "gamma" in name or name.endswith(("norm1.weight", "norm2.weight", "norm.weight")):
            drawn.fill_(1)
        elif parameter.ndim == 1:
            drawn.zero_()
        else:
            drawn.normal_(std=parameter[0].numel() ** -0.5, generator=generator)
    return net
