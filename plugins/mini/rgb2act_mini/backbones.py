"""Backbones without learned weights: colour statistics and random convolutions.

Shapes: B = timesteps, K = context frames, V = cameras, F = B * V images, H W = pixels,
N = patches, C = channels, G = rows and J = columns of the grid, P = patch size
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from rgb2act_core import UserError
from rgb2act_core.interfaces import BackboneInfo

from .config import PatchStats, RandConv

CHUNK_PIXELS = 2**16  # pixels encoded at once, to limit memory; as fast as all at once


class PatchStatsBackbone:
    """Mean and standard deviation of R, G, B and three opponent channels per patch, 0 to 1."""

    def __init__(self, config: PatchStats) -> None:
        self.patch = config.patch
        self.device = torch.device("cpu")
        self.info = BackboneInfo(
            dim=12,
            description=f"mean of r, g, b and of max(0, r - max(g, b)) and so on, then their "
            f"standard deviations, over patches of {self.patch} pixels, colours 0..1",
        )

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns; raise UserError if the patch size does not divide the
        image."""
        return _grid("patchstats", "patch", self.patch, height, width)

    @torch.no_grad()
    def encode(self, rgb_BKVHW3: Tensor) -> Tensor:
        """Return the statistics (B, V, N, 12) of the newest frame."""
        rgb_BVHW3 = rgb_BKVHW3[:, -1].to(self.device)
        b, v, h, w, _ = rgb_BVHW3.shape
        grid = self.grid(h, w)
        chunks = _chunks(rgb_BVHW3)
        return torch.cat([self._describe(chunk, grid) for chunk in chunks]).view(b, v, -1, 12)

    def to(self, device: torch.device) -> PatchStatsBackbone:
        """Move the computation to a device."""
        self.device = torch.device(device)
        return self

    def _describe(self, rgb_FHW3: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return statistics (F, N, 12)."""
        rgb_3FHW = rgb_FHW3.permute(3, 0, 1, 2).contiguous()
        r, g, b = rgb_3FHW
        darker_3FHW = torch.stack([torch.maximum(g, b), torch.maximum(r, b), torch.maximum(r, g)])
        # uint8 wraps below 0, so max(r, other) - other is used for max(0, r - other)
        opponents_3FHW = torch.maximum(rgb_3FHW, darker_3FHW) - darker_3FHW
        all_6FHW = torch.cat([rgb_3FHW, opponents_3FHW]).float()
        mean_6FGJ, std_6FGJ = self._moments(all_6FHW, grid)
        stats_12FN = torch.cat([mean_6FGJ, std_6FGJ]).flatten(2) / 255
        return stats_12FN.permute(1, 2, 0).contiguous()

    def _moments(self, x_6FHW: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (6, F, G, J) over each patch."""
        x_6FGPJP = x_6FHW.view(6, -1, grid[0], self.patch, grid[1], self.patch)
        mean_6FG1J1 = x_6FGPJP.mean(-1, keepdim=True).mean(3, keepdim=True)
        # two passes: the mean of squares minus the squared mean loses precision
        variance_6FGJ = (x_6FGPJP - mean_6FG1J1).square_().mean(-1).mean(3)
        return mean_6FG1J1[:, :, :, 0, :, 0], variance_6FGJ.sqrt_()


class RandConvBackbone:
    """Two strided convolutions with random weights from a seed."""

    def __init__(self, config: RandConv) -> None:
        self.strides = (config.stride // 2, 2)
        self.device = torch.device("cpu")
        self.weights = _convolutions(config.dim, config.stride // 2, config.seed)
        self.info = BackboneInfo(
            dim=config.dim,
            description=f"random convolution of seed {config.seed}, stride {config.stride}, "
            "ReLU between the layers, none after, colours -1..1",
        )

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns; raise UserError if the stride does not divide the image."""
        return _grid("randconv", "stride", self.strides[0] * 2, height, width)

    @torch.no_grad()
    def encode(self, rgb_BKVHW3: Tensor) -> Tensor:
        """Return tokens (B, V, N, C) of the newest frame."""
        rgb_BVHW3 = rgb_BKVHW3[:, -1].to(self.device)
        b, v, h, w, _ = rgb_BVHW3.shape
        self.grid(h, w)
        tokens_FNC = torch.cat([self._convolve(chunk) for chunk in _chunks(rgb_BVHW3)])
        return tokens_FNC.view(b, v, -1, self.info.dim)

    def to(self, device: torch.device) -> RandConvBackbone:
        """Move the weights to a device."""
        self.device = torch.device(device)
        self.weights = [weight.to(device) for weight in self.weights]
        return self

    def _convolve(self, rgb_FHW3: Tensor) -> Tensor:
        """Return tokens (F, N, C)."""
        first, first_bias, second, second_bias = self.weights
        x_F3HW = rgb_FHW3.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
        x_FCHW = functional.conv2d(
            x_F3HW, first, first_bias, stride=self.strides[0], padding=self.strides[0]
        ).relu_()
        x_FCGJ: Tensor = functional.conv2d(
            x_FCHW, second, second_bias, stride=self.strides[1], padding=1
        )
        return x_FCGJ.flatten(2).permute(0, 2, 1).contiguous()


def _convolutions(dim: int, stride: int, seed: int) -> list[Tensor]:
    """Return random weights and biases of both layers, the same for the same arguments."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        fan_in = shape[1] * shape[2] * shape[3]
        weight: Tensor = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
        return weight

    side = 2 * stride + 1
    first, second = draw(dim, 3, side, side), draw(dim, dim, 3, 3)
    first_bias, second_bias = torch.randn(2, dim, generator=generator) * 0.1
    return [first, first_bias, second, second_bias]


def _chunks(rgb_BVHW3: Tensor) -> tuple[Tensor, ...]:
    """Yield the images (F, H, W, 3) in small batches."""
    images = rgb_BVHW3.flatten(0, 1)
    return torch.split(images, max(1, CHUNK_PIXELS // (images.shape[1] * images.shape[2])))


def _grid(name: str, field: str, step: int, height: int, width: int) -> tuple[int, int]:
    if height % step or width % step or not height or not width:
        fit = f"{max(step, height // step * step)}x{max(step, width // step * step)}"
        raise UserError(
            f"{name}: image is {height}x{width}, not a multiple of {field} {step!r};"
            f" make images of {fit} or set another {field}"
        )
    return height // step, width // step
