"""Matrix products of a training step in lower precision; weights and optimiser stay float32."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def tf32(used: bool) -> Iterator[None]:
    """Compute float32 products of NVIDIA GPUs from inputs rounded to TF32 in the block.

    Other devices are not affected.
    """
    if not used:
        yield
        return
    products = torch.backends.cuda.matmul
    before = products.fp32_precision
    products.fp32_precision = "tf32"
    try:
        yield
    finally:
        products.fp32_precision = before


def bfloat16(used: bool, device: torch.device) -> torch.autocast:
    """Return a context that computes products in bfloat16.

    Bfloat16 has the range of float32, so gradients are not scaled.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=used)
