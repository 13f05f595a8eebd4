"""The encoder of CroCo: a vision transformer with rotary (v2) or added (v1) positions.

Paper: arXiv 2210.10716 (CroCo), 2211.10408 (CroCo v2). Upstream: github.com/naver/croco, commit
d7de070, code and weights under CC BY-NC-SA 4.0; this file is written from the papers and contains
no official code. Left out: masking, the decoder and the prediction head.

Shapes: B = timesteps, K = context, V = cameras, F = B * V images, h w = pixels, R = rows and
J = columns of the grid, N = R * J patches, C = channels, A = heads, E = channels of a head
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from rgb2act_core import UserError
from rgb2act_core.interfaces import BackboneInfo
from rgb2act_core.weights import fitting, load_strict, locate_weights

from .config import Architecture, Croco
from .preprocess import prepare, target
from .weights import read_encoder

EPS = 1e-6  # of every LayerNorm
SINUSOID = 10_000.0  # base of the added embedding's wavelengths


class Attention(nn.Module):
    """Attention over all patches."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x_FNC: Tensor, rotation: tuple[Tensor, Tensor] | None) -> Tensor:
        """Return the output (F, N, C)."""
        q_FANE, k_FANE, v_FANE = (
            self.qkv(x_FNC).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )
        if rotation is not None:
            q_FANE, k_FANE = rotate(q_FANE, *rotation), rotate(k_FANE, *rotation)
        x_FANE = functional.scaled_dot_product_attention(q_FANE, k_FANE, v_FANE)
        gathered: Tensor = self.out(x_FANE.transpose(1, 2).flatten(2))
        return gathered


class Block(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim, eps=EPS)
        self.attention = Attention(dim, heads)
        self.mlp_norm = nn.LayerNorm(dim, eps=EPS)
        self.widen = nn.Linear(dim, hidden)
        self.narrow = nn.Linear(hidden, dim)

    def forward(self, x_FNC: Tensor, rotation: tuple[Tensor, Tensor] | None) -> Tensor:
        """Return the patches (F, N, C) after the block."""
        x_FNC = x_FNC + self.attention(self.attention_norm(x_FNC), rotation)
        mixed_FNC: Tensor = self.narrow(functional.gelu(self.widen(self.mlp_norm(x_FNC))))
        return x_FNC + mixed_FNC


class Encoder(nn.Module):
    """The encoder, from normalised images to patch tokens."""

    positions: Tensor | None  # (N, C) of the grid of ``architecture.image``

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = it = architecture
        self.patches = nn.Conv2d(3, it.dim, it.patch, stride=it.patch)
        hidden = int(it.dim * it.widening)
        self.blocks = nn.ModuleList(Block(it.dim, it.heads, hidden) for _ in range(it.depth))
        self.norm = nn.LayerNorm(it.dim, eps=EPS)
        self.register_buffer("positions", None if it.rope else sinusoids(architecture))

    def forward(self, images_F3hw: Tensor, layers: Iterable[int] = ()) -> Tensor:
        """Return the tokens (F, N, C) of blocks, concatenated along C."""
        x_FCRJ = self.patches(images_F3hw)
        rows, columns = x_FCRJ.shape[2:]
        x_FNC, rotation = x_FCRJ.flatten(2).transpose(1, 2), None
        if self.architecture.rope is None:
            x_FNC = x_FNC + self._positions(rows, columns)
        else:
            width = self.architecture.dim // self.architecture.heads
            rotation = rotations(rows, columns, width, self.architecture.rope, x_FNC.device)
        wanted = tuple(layers) or (len(self.blocks) - 1,)
        kept: dict[int, Tensor] = {}
        for i, block in enumerate(self.blocks[: max(wanted) + 1]):
            x_FNC = block(x_FNC, rotation)
            if i in wanted:
                kept[i] = self.norm(x_FNC)
        return torch.cat([kept[i] for i in wanted], dim=-1)

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Return the added position embedding (N, C), interpolated to the grid."""
        assert self.positions is not None
        grid = tuple(side // self.architecture.patch for side in self.architecture.image)
        if (rows, columns) == grid:
            return self.positions
        map_1CRJ = self.positions.float().unflatten(0, grid).permute(2, 0, 1)[None]
        map_1CRJ = functional.interpolate(map_1CRJ, (rows, columns), mode="bicubic")
        return map_1CRJ[0].flatten(1).T.to(self.positions.dtype)


@lru_cache(maxsize=8)
def rotations(
    rows: int, columns: int, width: int, base: float, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return the cosine and sine (N, E) of the rotation of each patch's channels in a head.

    The first half of the channels turns with the row, the second with the column; in each half
    channel i is paired with channel i + E/4.
    """
    quarter = width // 4
    with torch.inference_mode(False):  # the cache is also used outside inference mode
        steps = torch.arange(quarter, device=device, dtype=torch.float32) * 2 / (width // 2)
        frequencies = 1 / base**steps
        y_N = torch.arange(rows, device=device).repeat_interleave(columns)
        x_N = torch.arange(columns, device=device).repeat(rows)
        y_NQ, x_NQ = (at_N.float()[:, None] * frequencies for at_N in (y_N, x_N))
        angles_NE = torch.cat([y_NQ, y_NQ, x_NQ, x_NQ], dim=-1)
        return angles_NE.cos(), angles_NE.sin()


def rotate(x_FANE: Tensor, cos_NE: Tensor, sin_NE: Tensor) -> Tensor:
    """Rotate each pair of channels by the angle of its patch, in float32."""
    halves = x_FANE.unflatten(-1, (2, 2, -1))  # row or column, first or second of a pair, frequency
    first, second = halves.unbind(-2)
    turned_FANE = torch.stack([-second, first], dim=-2).flatten(-3)
    return (x_FANE * cos_NE + turned_FANE * sin_NE).to(x_FANE.dtype)


def sinusoids(architecture: Architecture) -> Tensor:
    """Return the added embedding (N, C): sines and cosines of the column, then of the row."""
    rows, columns = (side // architecture.patch for side in architecture.image)
    quarter = architecture.dim // 4
    waves = 1 / SINUSOID ** (torch.arange(quarter, dtype=torch.float64) / quarter)
    x_N = torch.arange(columns, dtype=torch.float64).repeat(rows)
    y_N = torch.arange(rows, dtype=torch.float64).repeat_interleave(columns)
    x_NQ, y_NQ = x_N[:, None] * waves, y_N[:, None] * waves
    return torch.cat([x_NQ.sin(), x_NQ.cos(), y_NQ.sin(), y_NQ.cos()], dim=-1).float()


class CrocoBackbone:
    """Frozen backbone that encodes single frames."""

    def __init__(self, encoder: Encoder, config: Croco) -> None:
        it, self.config = encoder.architecture, config
        _check(it, config)
        self.encoder = encoder.eval().requires_grad_(False)
        self.patch = it.patch
        layers = config.layers or (it.depth - 1,)
        shown = ", ".join(map(str, layers))
        size = "" if config.resize == "native" else f" to {config.size}x{config.size}"
        self.info = BackboneInfo(
            dim=it.dim * len(layers),
            description=f"CroCo encoder, {it.dim} channels, block {shown} of {it.depth} under the"
            f" final norm, {config.resize}{size}, bilinear, ImageNet mean and std,"
            f" {config.precision}",
        )

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns of the token grid."""
        h, w = target(height, width, self.config.resize, self.config.size, self.patch)
        return h // self.patch, w // self.patch

    @torch.no_grad()
    def encode(self, rgb_BKVHW3: Tensor) -> Tensor:
        """Return tokens (B, V, N, C) float32 of the newest frame."""
        rgb_BVHW3 = rgb_BKVHW3[:, -1].to(self.encoder.norm.weight.device)
        images_F3hw = prepare(
            rgb_BVHW3.flatten(0, 1), self.config.resize, self.config.size, self.patch
        )
        images_F3hw = images_F3hw.to(self.encoder.norm.weight.dtype)
        tokens_FNC: Tensor = self.encoder(images_F3hw, self.config.layers)
        tokens_BVNC: Tensor = tokens_FNC.float().unflatten(0, rgb_BVHW3.shape[:2])
        return tokens_BVNC

    def to(self, device: torch.device) -> CrocoBackbone:
        """Move the weights to a device."""
        self.encoder.to(device)
        return self


def load(config: Croco) -> CrocoBackbone:
    """Return the backbone with official, local or random weights."""
    dtype: torch.dtype = getattr(torch, config.precision)
    path = locate_weights(config.weights, config.official, "croco")
    if path is None:
        _check(config.architecture, config)
        return CrocoBackbone(_random(config.architecture).to(dtype), config)
    with fitting(path):
        architecture, tensors = read_encoder(path)
        _check(architecture, config)
        with torch.device("meta"):
            encoder = Encoder(architecture)
    if architecture.rope is None and "positions" not in tensors:  # files may leave it out
        tensors["positions"] = sinusoids(architecture)
    load_strict(encoder, tensors, source=path, dtype=dtype)
    return CrocoBackbone(encoder, config)


def _check(architecture: Architecture, config: Croco) -> None:
    """Raise UserError if the model does not support the config."""
    it = architecture
    if it.dim % (4 * it.heads):
        raise UserError(
            f"croco: dim {it.dim!r} is not a multiple of four times the heads, {4 * it.heads};"
            " change one of them"
        )
    if config.resize != "native" and config.size % it.patch:
        nearest = max(1, round(config.size / it.patch)) * it.patch
        raise UserError(
            f"croco: size {config.size!r} is not a multiple of the patch, {it.patch};"
            f" set size = {nearest}"
        )
    if beyond := [layer for layer in config.layers if layer >= it.depth]:
        raise UserError(
            f"croco: layers {beyond!r} do not exist; the model has blocks 0 to {it.depth - 1}"
        )


def _random(architecture: Architecture) -> Encoder:
    """Return an encoder with random weights, the same for the same architecture."""
    with torch.device("meta"):
        encoder = Encoder(architecture)
    encoder = encoder.to_empty(device="cpu")
    if encoder.positions is not None:
        encoder.positions = sinusoids(architecture)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in encoder.named_parameters():
        drawn = parameter.detach()
        if name.endswith("norm.weight"):
            drawn.fill_(1)
        elif parameter.ndim == 1:
            drawn.zero_()
        else:
            drawn.normal_(std=parameter[0].numel() ** -0.5, generator=generator)
    return encoder
