"""Copies of a network for planning, with large layers in bfloat16, int8 or another memory layout.

Planning for one robot multiplies few rows with large weights, so its time is that of reading the
weights. Weights of half or a quarter of the bytes take little more than half or a quarter of the
time on CPUs with instructions for them (AVX-512 BF16, VNNI). int8 weights have one scale per
output; inputs are quantised in every call, with one scale per row. In float32, a convolution of 4
to 15 rows is faster with a transposed copy of its weights.

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
from .unet import Convolution, TransposedConvolution

SMALLEST = 1 << 14  # weights; smaller layers are not faster with quantised inputs
TRANSPOSED_ROWS = range(4, 16)  # numbers of rows for which a transposed weight is faster

Product = Callable[[Tensor], Tensor]
Precision: TypeAlias = Literal["float32", "bfloat16", "int8"]
Network = TypeVar("Network", bound=nn.Module)


def pack(weight_OI: Tensor, precision: Precision) -> Product:
    """Return a function that multiplies float32 rows (..., I) with the weight in a precision."""
    if precision == "float32":
        return _pack_exact(weight_OI)
    if precision == "bfloat16":
        half_OI = weight_OI.bfloat16().contiguous()
        return lambda x: F.linear(x.bfloat16(), half_OI).float()
    if weight_OI.device.type != "cpu":
        raise UserError(
            f"policy.head: precision 'int8' needs a CPU, got {weight_OI.device.type!r}; set"
            " precision to 'bfloat16'"
        )
    largest = 127 if _sums_are_exact() else 63
    scale_O = weight_OI.abs().amax(1).clamp_min(1e-12) / largest
    int8_IO = (weight_OI / scale_O[:, None]).round().to(torch.int8).contiguous().t()

    def multiply(x: Tensor) -> Tensor:
        rows_RI = x.flatten(0, -2)
        scale_R1 = rows_RI.abs().amax(1, keepdim=True).clamp_min(1e-12) / 127
        int8_RI = (rows_RI / scale_R1).round().to(torch.int8)
        product_RO = torch._int_mm(int8_RI, int8_IO).float() * (scale_R1 * scale_O)
        product: Tensor = product_RO.unflatten(0, x.shape[:-1])
        return product

    return multiply


@functools.cache
def _sums_are_exact() -> bool:
    """Return whether this processor multiplies int8 matrices exactly.

    Without VNNI, x86 processors add pairs of products in 16 bits, which saturates for values of
    full range. It does not for weights from -63 to 63.
    """
    rows_RI = torch.full((4, 64), 127, dtype=torch.int8)
    return bool((torch._int_mm(rows_RI, rows_RI.t().contiguous()) == 64 * 127 * 127).all())


def _pack_exact(weight_OI: Tensor) -> Product:
    transposed: list[Tensor] = []

    def multiply(x: Tensor) -> Tensor:
        if x.shape[:-1].numel() not in TRANSPOSED_ROWS:
            return F.linear(x, weight_OI)
        if not transposed:
            transposed.append(weight_OI.t().contiguous())
        return x @ transposed[0]

    return multiply


class PackedLinear(nn.Module):
    """A linear layer with a packed weight."""

    def __init__(self, layer: nn.Linear, precision: Precision) -> None:
        super().__init__()
        self.bias, self.multiply = layer.bias, pack(layer.weight, precision)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., O)."""
        product = self.multiply(x)
        return product if self.bias is None else product + self.bias


class PackedConvolution(Convolution):
    """A convolution with packed weights of the taps in use."""

    def __init__(self, layer: Convolution, precision: Precision) -> None:
        nn.Module.__init__(self)
        self.size, self.stride, self.pad = layer.size, layer.stride, layer.pad
        self.weight, self.bias, self.precision = layer.weight, layer.bias, precision
        self.packed: dict[tuple[int, int], Product] = {}

    def product(self, rows_BLX: Tensor, taps: slice) -> Tensor:
        """Return the product of windows with the weights of the given taps."""
        at = (taps.start, taps.stop)
        if at not in self.packed:
            self.packed[at] = pack(self.weight[:, taps].flatten(1), self.precision)
        return self.packed[at](rows_BLX) + self.bias


class PackedTransposedConvolution(TransposedConvolution):
    """A transposed convolution with packed weights of the taps in use."""

    def __init__(self, layer: TransposedConvolution, precision: Precision) -> None:
        nn.Module.__init__(self)
        self.weight, self.bias, self.precision = layer.weight, layer.bias, precision
        self.packed: dict[tuple[int, int], Product] = {}

    def product(self, x_BLC: Tensor, taps: slice) -> Tensor:
        """Return the product of the inputs with the weights of the given taps, (B, L, X)."""
        at = (taps.start, taps.stop)
        if at not in self.packed:
            self.packed[at] = pack(self.weight[taps].flatten(0, 1), self.precision)
        return self.packed[at](x_BLC)


@torch.no_grad()
def acting_copy(net: Network, precision: Precision) -> Network:
    """Return a network whose large layers have packed weights; it shares all other parameters.

    With ``float32`` it is the network itself, unless it has convolutions on a CPU. The encoder of a
    transformer's observations is not packed: it runs once per plan.
    """
    if precision == "float32" and not _convolves(net):
        return net
    acting = copy.deepcopy(net, {id(p): p for p in net.parameters()})
    for name, layer in list(acting.named_modules()):
        if name.startswith("encoder.") or not (packed := _packed(layer, precision)):
            continue
        parent, _, own = name.rpartition(".")
        setattr(acting.get_submodule(parent), own, packed)
    return acting


def _convolves(net: nn.Module) -> bool:
    """Return whether there are convolutions on a CPU."""
    return any(
        isinstance(layer, Convolution) and layer.weight.device.type == "cpu"
        for layer in net.modules()
    )


def _packed(layer: nn.Module, precision: Precision) -> nn.Module | None:
    if (
        not isinstance(layer, nn.Linear | Convolution | TransposedConvolution)
        or layer.weight.numel() < SMALLEST
    ):
        return None
    if isinstance(layer, nn.Linear):
        if precision == "float32":
            return None
        return PackedLinear(layer, precision)
    if isinstance(layer, TransposedConvolution):
        return PackedTransposedConvolution(layer, precision)
    return PackedConvolution(layer, precision)
