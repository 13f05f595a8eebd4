"""The point encoder of ULIP-2: a transformer over groups of neighbouring points.

Papers: Xue et al., "ULIP-2", arXiv:2305.08275; Yu et al., "Point-BERT", arXiv:2111.14819. Upstream:
https://github.com/salesforce/ULIP at f194ddb, BSD-3-Clause; no code is copied. Weights: no licence
stated. Left out: text and image encoders, masking, training. Batch normalisation is folded into the
layers before it.

Shapes: B = clouds, G = groups, k = points of a group, F = values per point, N = 1 + G tokens,
C = channels, A = attention heads, E = channels of a group, P = points, D = size of the embedding
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor, nn
from torch.nn import functional

from rgb2act_core import say
from rgb2act_core.interfaces import PointCloud, TeacherInfo
from rgb2act_core.weights import (
    fitting,
    load_strict,
    locate_weights,
    named_tensors,
    read_checkpoint,
)

from .config import Sizes, Ulip
from .preprocess import Points, group, prepare
from .weights import USED, convert, sizes_of

CHUNK = 8  # clouds per batch, to limit memory
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class GroupEncoder(nn.Module):
    """Encodes each group of points, independent of their order."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.lift = nn.Linear(sizes.inputs, 128)
        self.widen = nn.Linear(128, 256)
        self.mix = nn.Linear(512, 512)
        self.narrow = nn.Linear(512, sizes.encoder)

    def forward(self, groups_BGkF: Tensor) -> Tensor:
        """Return (B, G, E)."""
        x_BGkH = self.widen(functional.relu(self.lift(groups_BGkF)))
        whole_BG1H = x_BGkH.amax(2, keepdim=True)
        # the input is [maximum over k, x]; the part of the maximum is the same for all k
        from_whole, from_x = self.mix.weight.chunk(2, dim=1)
        shared_BG1J = functional.linear(whole_BG1H, from_whole, self.mix.bias)
        x_BGkJ = functional.relu(functional.linear(x_BGkH, from_x) + shared_BG1J)
        described_BGkE: Tensor = self.narrow(x_BGkJ)
        return described_BGkE.amax(2)


class Block(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.attention_norm = nn.LayerNorm(sizes.dim, eps=1e-5)
        self.qkv = nn.Linear(sizes.dim, 3 * sizes.dim, bias=False)
        self.out = nn.Linear(sizes.dim, sizes.dim)
        self.mlp_norm = nn.LayerNorm(sizes.dim, eps=1e-5)
        self.up = nn.Linear(sizes.dim, sizes.hidden * sizes.dim)
        self.down = nn.Linear(sizes.hidden * sizes.dim, sizes.dim)

    def forward(self, x_BNC: Tensor) -> Tensor:
        """Return (B, N, C)."""
        qkv_BNC = self.qkv(self.attention_norm(x_BNC))
        q, k, v = qkv_BNC.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended_BAND = functional.scaled_dot_product_attention(q, k, v)
        x_BNC = x_BNC + self.out(attended_BAND.transpose(1, 2).flatten(2))
        hidden = functional.gelu(self.up(self.mlp_norm(x_BNC)))
        y_BNC: Tensor = x_BNC + self.down(hidden)
        return y_BNC


class Network(nn.Module):
    """Encodes groups as one embedding per cloud and one token per group."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.encoder = GroupEncoder(sizes)
        self.reduce = nn.Linear(sizes.encoder, sizes.dim)
        self.position = nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, sizes.dim))
        self.class_token = nn.Parameter(torch.zeros(1, 1, sizes.dim))
        self.class_position = nn.Parameter(torch.zeros(1, 1, sizes.dim))
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(sizes.dim, eps=1e-5)
        self.projection = nn.Parameter(torch.zeros(2 * sizes.dim, sizes.out))

    def forward(self, groups_BGkF: Tensor, centres_BG3: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings (B, D) and group tokens (B, G, C)."""
        tokens_BGC = self.reduce(self.encoder(groups_BGkF[..., : self.sizes.inputs]))
        class_B1C = self.class_token.expand(len(tokens_BGC), -1, -1)
        x_BNC = torch.cat([class_B1C, tokens_BGC], 1)
        where_B1C = self.class_position.expand(len(tokens_BGC), -1, -1)
        where_BNC = torch.cat([where_B1C, self.position(centres_BG3)], 1)
        for block in self.blocks:
            x_BNC = block(x_BNC + where_BNC)  # the position is added before each block
        x_BNC = self.norm(x_BNC)
        class_BC, tokens_BGC = x_BNC[:, 0], x_BNC[:, 1:]
        both_B2C = torch.cat([class_BC, tokens_BGC.amax(1)], -1)
        return both_B2C @ self.projection, tokens_BGC


@attrs.frozen(eq=False)
class Groups:
    """Group tokens and the centres of the groups."""

    tokens: Tensor  # (B, G, C), float32
    centres: Tensor  # (B, G, 3), in the units and frame of the clouds


class UlipTeacher:
    """Frozen teacher that returns embeddings of point clouds, and group tokens on request."""

    def __init__(self, config: Ulip, network: Network) -> None:
        self.config, self.network = config, network.eval().requires_grad_(False)
        self.device = torch.device("cpu")
        self.info = TeacherInfo(
            dim=network.sizes.out,
            description=_describe(config, network.sizes),
            groups=(config.grouping.groups, network.sizes.dim),
        )

    def embed(self, clouds: Sequence[PointCloud]) -> Tensor:
        """Return embeddings (B, D), scaled to length 1 if the config sets ``unit``.

        Points that are not finite are dropped, with a message. Raises UserError for empty clouds.
        """
        return self._run(self._prepared(clouds))[0]

    def embed_groups(self, clouds: Sequence[PointCloud]) -> tuple[Tensor, Tensor]:
        """Return embeddings (B, D) and group tokens (B, G, C) after the last norm."""
        embedding_BD, tokens_BGC, _ = self._run(self._prepared(clouds))
        return embedding_BD, tokens_BGC

    def groups(self, clouds: Sequence[PointCloud]) -> Groups:
        """Return the group tokens after the last norm, and the centres in the world frame."""
        _, tokens_BGC, centres_BG3 = self._run(self._prepared(clouds))
        return Groups(tokens_BGC, centres_BG3)

    def to(self, device: torch.device) -> UlipTeacher:
        """Move the weights to a device; groups are then computed there too."""
        self.device = torch.device(device)
        self.network.to(self.device)
        return self

    def _prepared(self, given: Sequence[PointCloud]) -> list[Points]:
        found = [
            prepare(cloud, self.config, f"ulip: cloud {i} of {len(given)}")
            for i, cloud in enumerate(given)
        ]
        if dropped := sum(count for _, count in found):
            say(f"ulip: {dropped} points that are not finite left out of {len(given)} clouds")
        return [points for points, _ in found]

    @torch.no_grad()
    def _run(self, parts: Sequence[Points]) -> tuple[Tensor, Tensor, Tensor]:
        """Return embeddings (B, D), tokens (B, G, C) and centres (B, G, 3)."""
        sizes, cut = self.network.sizes, self.config.grouping
        shapes = ((0, sizes.out), (0, cut.groups, sizes.dim), (0, cut.groups, 3))
        empty = tuple(torch.zeros(shape, device=self.device) for shape in shapes)
        chunks = [parts[i : i + CHUNK] for i in range(0, len(parts), CHUNK)]
        rows = [empty, *(self._chunk(chunk) for chunk in chunks)]
        embedding_BD, tokens_BGC, world_BG3 = (torch.cat(part) for part in zip(*rows, strict=True))
        return embedding_BD, tokens_BGC, world_BG3

    def _chunk(self, parts: Sequence[Points]) -> tuple[Tensor, Tensor, Tensor]:
        groups_BGk6, centres_BG3, world_BG3 = group(parts, self.config.grouping, self.device)
        dtype = DTYPES[self.config.precision]
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            embedding_BD, tokens_BGC = self.network(groups_BGk6, centres_BG3)
        embedding_BD = embedding_BD.float()
        if self.config.unit:
            embedding_BD = functional.normalize(embedding_BD, dim=-1)
        return embedding_BD, tokens_BGC.float(), world_BG3


def _describe(config: Ulip, sizes: Sizes) -> str:
    cut = config.grouping
    steps = [
        f"ULIP-2 PointBERT {config.variant}, {sizes.depth} blocks of {sizes.dim}",
        f"crop {list(config.crop)}" if config.crop else "",
        f"ground removed within {config.ground} m" if config.ground else "",
        f"farthest {config.points} points" + (", smaller clouds repeated" if config.fill else ""),
        f"points {config.order}, unit sphere, rgb 0..1, {cut.groups} groups of {cut.size}",
        "unit length" if config.unit else "not normalised",
        config.precision,
    ]
    return "; ".join(step for step in steps if step)


def load(config: Ulip) -> UlipTeacher:
    """Return the teacher with official, local or random weights."""
    path = locate_weights(config.weights, config.official, "ulip")
    if path is None:
        return UlipTeacher(config, draw(config.sizes))
    with fitting(path):
        held = named_tensors(read_checkpoint(path), USED, path)
        tensors = convert(held, str(path))
        with torch.device("meta"):
            network = Network(sizes_of(tensors, config, str(path)))
    load_strict(network, tensors, source=str(path), dtype=torch.float32)
    return UlipTeacher(config, network)


def draw(sizes: Sizes) -> Network:
    """Return a network with random weights, the same for the same sizes."""
    with torch.device("meta"):
        network = Network(sizes)
    network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm" in name:
                parameter.fill_(name.endswith("weight"))
            elif parameter.ndim < 2:
                parameter.zero_()
            else:
                parameter.normal_(0, parameter.shape[-1] ** -0.5, generator=generator)
    return network
