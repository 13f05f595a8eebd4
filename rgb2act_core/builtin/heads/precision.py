"""Copies of a network that act with large layers in bfloat16 or int8, or in another layout.

A plan for one robot multiplies few rows with large weights, so it takes as long as the weights take
to be read: half the bytes, or a quarter, are most of half or a quarter of the time on a CPU with
instructions for them (AVX-512 BF16, VNNI). int8 weights have one scale an output; their inputs are
rounded row by row as they come, with a scale of their own. In float32 a convolution of 4 to 15 rows
reads its weights faster transposed; that copy is made of layers that meet so few rows.

Shapes: R = rows, I and O = inputs and outputs of a layer
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Literal, TypeAlias, TypeVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from ...errors import UserError
from .unet import Convolution, Growth

SMALLEST = 1 << 14  # weights from which a layer is worth the rounding of its inputs
FEW = range(4, 16)  # rows that a transposed weight multiplies faster

Product = Callable[[Tensor], Tensor]
Precision: TypeAlias = Literal["float32", "bfloat16", "int8"]
Network = TypeVar("Network", bound=nn.Module)


def pack(weight_OI: Tensor, precision: Precision) -> Product:
    """Return the function that multiplies float32 rows (..., I) with the weight, rounded if so."""
    if precision == "float32":
        return _pack_exact(weight_OI)
    if precision == "bfloat16":
        half_OI = weight_OI.bfloat16().contiguous()
        return lambda x: F.linear(x.bfloat16(), half_OI).float()
    if weight_OI.device.type != "cpu":
        raise UserError(
            f"policy.head: precision 'int8' plans on a CPU, not on {weight_OI.device.type!r};"
            " set precision to 'bfloat16'"
        )
    largest = 127 if _sums_are_exact() else 63
    scale_O = weight_OI.abs().amax(1).clamp_min(1e-12) / largest
    whole_IO = (weight_OI / scale_O[:, None]).round().to(torch.int8).contiguous().t()

    def multiply(x: Tensor) -> Tensor:
        rows_RI = x.flatten(0, -2)
        scale_R1 = rows_RI.abs().amax(1, keepdim=True).clamp_min(1e-12) / 127
        whole_RI = (rows_RI / scale_R1).round().to(torch.int8)
        product_RO = torch._int_mm(whole_RI, whole_IO).float() * (scale_R1 * scale_O)
        product: Tensor = product_RO.unflatten(0, x.shape[:-1])
        return product

    return multiply


@functools.cache
def _sums_are_exact() -> bool:
    """Return whether this processor multiplies int8 matrices exactly.

    Without VNNI, x86 processors add pairs of products in 16 bits, which saturate at full range. No
    pair does if the weights stay within 63, a bit less.
    """
    rows_RI = torch.full((4, 64), 127, dtype=torch.int8)
    return bool((torch._int_mm(rows_RI, rows_RI.t().contiguous()) == 64 * 127 * 127).all())


def _pack_exact(weight_OI: Tensor) -> Product:
    kept: list[Tensor] = []

    def multiply(x: Tensor) -> Tensor:
        if x.shape[:-1].numel() not in FEW:
            return F.linear(x, weight_OI)
        if not kept:
            kept.append(weight_OI.t().contiguous())
        return x @ kept[0]

    return multiply


class QuickLinear(nn.Module):
    """Do what a linear layer does, with a rounded weight."""

    def __init__(self, layer: nn.Linear, precision: Precision) -> None:
        super().__init__()
        self.bias, self.multiply = layer.bias, pack(layer.weight, precision)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., O)."""
        product = self.multiply(x)
        return product if self.bias is None else product + self.bias


class QuickConvolution(Convolution):
    """Do what a convolution does, with rounded weights of the taps in use."""

    def __init__(self, layer: Convolution, precision: Precision) -> None:
        nn.Module.__init__(self)
        self.size, self.stride, self.pad = layer.size, layer.stride, layer.pad
        self.weight, self.bias, self.precision = layer.weight, layer.bias, precision
        self.packed: dict[tuple[int, int], Product] = {}

    def product(self, rows_BLX: Tensor, taps: slice) -> Tensor:
        """Return windows times the weights of the given taps."""
        at = (taps.start, taps.stop)
        if at not in self.packed:
            self.packed[at] = pack(self.weight[:, taps].flatten(1), self.precision)
        return self.packed[at](rows_BLX) + self.bias


class QuickGrowth(Growth):
    """Do what a growth does, with rounded weights of the taps in use."""

    def __init__(self, layer: Growth, precision: Precision) -> None:
        nn.Module.__init__(self)
        self.weight, self.bias, self.precision = layer.weight, layer.bias, precision
        self.packed: dict[tuple[int, int], Product] = {}

    def product(self, x_BLC: Tensor, taps: slice) -> Tensor:
        """Return (B, L, X), the inputs times the weights of the given taps."""
        at = (taps.start, taps.stop)
        if at not in self.packed:
            self.packed[at] = pack(self.weight[taps].flatten(0, 1), self.precision)
        return self.packed[at](x_BLC)


@torch.no_grad()
def acting_copy(net: Network, precision: Precision) -> Network:
    """Return a network whose large layers have rounded weights; it shares all other parameters.

    ``float32`` is the network itself, but for convolutions on a CPU. The encoder of a transformer's
    few observations stays as it is, it runs once a plan.
    """
    if precision == "float32" and not _convolves(net):
        return net
    acting = copy.deepcopy(net, {id(p): p for p in net.parameters()})
    for name, layer in list(acting.named_modules()):
        if name.startswith("encoder.") or not (quick := _quick(layer, precision)):
            continue
        parent, _, own = name.rpartition(".")
        setattr(acting.get_submodule(parent), own, quick)
    return acting


def _convolves(net: nn.Module) -> bool:
    """Tell whether there are convolutions whose weights a CPU reads."""
    return any(
        isinstance(layer, Convolution) and layer.weight.device.type == "cpu"
        for layer in net.modules()
    )


def _quick(layer: nn.Module, precision: Precision) -> nn.Module | None:
    if not isinstance(layer, nn.Linear | Convolution | Growth) or layer.weight.numel() < SMALLEST:
        return None
    if isinstance(layer, nn.Linear):
        if precision == "float32":
            return None
        return QuickLinear(layer, precision)
    if isinstance(layer, Growth):
        return QuickGrowth(layer, precision)
    return QuickConvolution(layer, precision)
