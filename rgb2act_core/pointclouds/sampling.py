"""Farthest point sampling and nearest neighbours, exact and equal on every CPU.

CPU versions use numba if it is installed, otherwise numpy; GPU versions use torch. All give the
same indices: squared distances are float32 sums in a fixed order, and ties go to the lower index.
(A GPU may round the last bit differently.)

Shapes: B = clouds, P = points, N = samples, Q = queries, k = neighbours
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import kernels

if TYPE_CHECKING:
    from torch import Tensor

CELLS = 16  # bits per coordinate on the Morton curve

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def farthest_points(xyz_P3: Floats, count: int) -> Ints:
    """Return the indices (N,) of farthest point samples, starting with point 0.

    When all points are selected, or coincide with selected ones, point 0 is repeated.
    """
    xyz_P3 = _checked(xyz_P3, count)
    run = kernels.compiled(kernels.farthest)
    if run is None:
        return _farthest_numpy(xyz_P3, count)
    points = _bucketed(xyz_P3)
    first = int(np.flatnonzero(points[1] == 0)[0])
    chosen_N: Ints = run(*points, first, count, kernels.SIZE)
    return chosen_N


def nearest_points(xyz_P3: Floats, queries_Q3: Floats, count: int) -> Ints:
    """Return the indices (Q, k) of the nearest points of each query, nearest first."""
    xyz_P3, queries_Q3 = _checked(xyz_P3, count), _checked(queries_Q3, 0)
    if count > len(xyz_P3):
        raise ValueError(f"cannot return {count} neighbours of {len(xyz_P3)} points")
    run = kernels.compiled(kernels.nearest)
    if run is None:
        return _nearest_numpy(xyz_P3, queries_Q3, count)
    found_Qk: Ints = run(*_bucketed(xyz_P3), queries_Q3, count, kernels.SIZE)
    return found_Qk


def farthest_points_torch(xyz_BP3: Tensor, count: int) -> Tensor:
    """Return indices (B, N) as ``farthest_points`` does, for a batch of clouds on any device.

    Pad shorter clouds with copies of their point 0; they do not change the result.
    """
    import torch

    x_BP, y_BP, z_BP = xyz_BP3.unbind(-1)
    near_BP = torch.full_like(x_BP, torch.inf)
    chosen_BN = torch.zeros(len(xyz_BP3), count, dtype=torch.long, device=xyz_BP3.device)
    last_B1 = chosen_BN[:, :1].clone()
    for step in range(count):
        chosen_BN[:, step] = last_B1[:, 0]
        dx_BP = x_BP - x_BP.gather(1, last_B1)
        dy_BP = y_BP - y_BP.gather(1, last_B1)
        dz_BP = z_BP - z_BP.gather(1, last_B1)
        far_BP = (dx_BP * dx_BP + dy_BP * dy_BP) + dz_BP * dz_BP
        near_BP = torch.minimum(near_BP, far_BP)
        last_B1 = near_BP.argmax(1, keepdim=True)
    return chosen_BN


def nearest_points_torch(xyz_P3: Tensor, queries_Q3: Tensor, count: int) -> Tensor:
    """Return indices (Q, k) as ``nearest_points`` does, on any device."""
    dx_QP, dy_QP, dz_QP = (xyz_P3[None, :, a] - queries_Q3[:, None, a] for a in range(3))
    far_QP = (dx_QP * dx_QP + dy_QP * dy_QP) + dz_QP * dz_QP
    return far_QP.sort(dim=1, stable=True).indices[:, :count]


def curve(xyz_P3: Floats) -> Ints:
    """Return the order of points along a Morton curve, in which neighbours are close together."""
    near_P3 = xyz_P3.astype(np.float64)
    near_P3 -= near_P3.min(axis=0)
    near_P3 *= ((1 << CELLS) - 1) / max(float(near_P3.max()), 1e-300)
    spread_P3 = _spread()[near_P3.astype(np.uint16)]
    code_P = spread_P3[:, 0] | spread_P3[:, 1] << np.uint64(1) | spread_P3[:, 2] << np.uint64(2)
    order_P: Ints = code_P.argsort()
    return order_P


def _bucketed(xyz_P3: Floats) -> tuple[Floats, Ints, Floats, Floats]:
    """Return points in Morton order (3, P), their indices, and bounds of each bucket (3, K)."""
    order_P = curve(xyz_P3)
    xyz_3P = np.ascontiguousarray(xyz_P3[order_P].T)
    starts_K = np.arange(0, len(order_P), kernels.SIZE)
    low_3K = np.minimum.reduceat(xyz_3P, starts_K, axis=1)
    return xyz_3P, order_P, low_3K, np.maximum.reduceat(xyz_3P, starts_K, axis=1)


@functools.cache
def _spread() -> NDArray[np.uint64]:
    """Return a table that inserts two zero bits after each bit of a ``CELLS``-bit number."""
    number = np.arange(1 << CELLS, dtype=np.uint64)
    spread = np.zeros_like(number)
    for bit in range(CELLS):
        spread |= (number >> np.uint64(bit) & np.uint64(1)) << np.uint64(3 * bit)
    return spread


def _farthest_numpy(xyz_P3: Floats, count: int) -> Ints:
    x_P, y_P, z_P = np.ascontiguousarray(xyz_P3.T)
    near_P = np.full(len(x_P), np.inf, np.float32)
    chosen_N = np.zeros(count, np.int64)
    last = 0
    for step in range(count):
        chosen_N[step] = last
        dx_P, dy_P, dz_P = x_P - x_P[last], y_P - y_P[last], z_P - z_P[last]
        np.minimum(near_P, (dx_P * dx_P + dy_P * dy_P) + dz_P * dz_P, out=near_P)
        last = int(near_P.argmax())
    return chosen_N


def _nearest_numpy(xyz_P3: Floats, queries_Q3: Floats, count: int) -> Ints:
    found_Qk = np.empty((len(queries_Q3), count), np.int64)
    for q, query_3 in enumerate(queries_Q3):
        dx_P, dy_P, dz_P = (xyz_P3 - query_3).T
        far_P = (dx_P * dx_P + dy_P * dy_P) + dz_P * dz_P
        limit = np.partition(far_P, count - 1)[count - 1] if count else -1
        close = np.flatnonzero(far_P <= limit)
        found_Qk[q] = close[np.argsort(far_P[close], kind="stable")[:count]]
    return found_Qk


def _checked(xyz_P3: Floats, count: int) -> Floats:
    if xyz_P3.ndim != 2 or xyz_P3.shape[1] != 3 or not len(xyz_P3):
        raise ValueError(f"points have shape {xyz_P3.shape}; use (P, 3) with P >= 1")
    if count < 0:
        raise ValueError(f"count is {count}; use 0 or more")
    xyz_P3 = np.ascontiguousarray(xyz_P3, dtype=np.float32)
    if not np.isfinite(xyz_P3).all():
        raise ValueError("points contain NaN or infinity; drop them with pointclouds.clean")
    return xyz_P3
