"""Inner loops over points, compiled with numba if it is installed.

Points are sorted so that neighbours are close together, and divided into buckets of ``SIZE``. The
bounding box of a bucket gives a lower bound of the distance to all of its points, so most buckets
are skipped. Bound and distance are rounded float32 sums in the same order,
``(dx dx + dy dy) + dz dz``. Rounding is monotonic, so no skipped point could have been selected,
and results equal those of a plain loop bit by bit.

Shapes: P = points in that order, K = buckets, N = samples, Q = queries, k = neighbours
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE = 32  # points per bucket; 16 to 128 are about equally fast

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@functools.cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return the compiled function, or None if numba is not installed.

    Compiled code is cached next to this file or in the user's cache, or only in memory if neither
    can be written.
    """
    try:
        numba = importlib.import_module("numba")
    except ImportError:
        return None
    try:
        done: Callable[..., Any] = numba.njit(function, nogil=True, cache=True)
    except RuntimeError:  # no folder to cache it in
        done = numba.njit(function, nogil=True)
    return done


def farthest(
    xyz_3P: Floats,
    index_P: Ints,
    low_3K: Floats,
    high_3K: Floats,
    first: int,
    count: int,
    size: int,
) -> Ints:
    """Return the indices (N,) of farthest point samples.

    ``index_P`` are the original indices of the sorted points. Ties go to the lowest index.
    """
    x, y, z = xyz_3P[0], xyz_3P[1], xyz_3P[2]
    lx, ly, lz = low_3K[0], low_3K[1], low_3K[2]
    hx, hy, hz = high_3K[0], high_3K[1], high_3K[2]
    n, buckets = x.shape[0], lx.shape[0]
    zero = np.float32(0)
    near = np.full(n, np.inf, np.float32)  # squared distance to the nearest sample
    top = np.full(buckets, np.inf, np.float32)  # largest value of near in each bucket
    whose = np.zeros(buckets, np.int64)
    bound = np.empty(buckets, np.float32)
    chosen = np.empty(count, np.int64)
    p = first
    for step in range(count):
        chosen[step] = index_P[p]
        px, py, pz = x[p], y[p], z[p]
        for b in range(buckets):
            dx = max(max(lx[b] - px, px - hx[b]), zero)
            dy = max(max(ly[b] - py, py - hy[b]), zero)
            dz = max(max(lz[b] - pz, pz - hz[b]), zero)
            bound[b] = (dx * dx + dy * dy) + dz * dz
        best = np.float32(-1)
        p = 0
        for b in range(buckets):
            if bound[b] < top[b]:
                start, stop = b * size, min(n, (b + 1) * size)
                for i in range(start, stop):
                    dx, dy, dz = x[i] - px, y[i] - py, z[i] - pz
                    far = (dx * dx + dy * dy) + dz * dz
                    near[i] = far if far < near[i] else near[i]
                most, who = near[start], start
                for i in range(start + 1, stop):
                    if near[i] > most or (near[i] == most and index_P[i] < index_P[who]):
                        most, who = near[i], i
                top[b], whose[b] = most, who
            if top[b] > best or (top[b] == best and index_P[whose[b]] < index_P[p]):
                best, p = top[b], whose[b]
    return chosen


def nearest(
    xyz_3P: Floats,
    index_P: Ints,
    low_3K: Floats,
    high_3K: Floats,
    queries_Q3: Floats,
    count: int,
    size: int,
) -> Ints:
    """Return the indices (Q, k) of the nearest points of each query, nearest first.

    Ties go to the lowest index.
    """
    x, y, z = xyz_3P[0], xyz_3P[1], xyz_3P[2]
    n, buckets = x.shape[0], low_3K.shape[1]
    zero = np.float32(0)
    found = np.empty((queries_Q3.shape[0], count), np.int64)
    bound = np.empty(buckets, np.float32)
    far = np.empty(count, np.float32)
    for q in range(queries_Q3.shape[0]):
        px, py, pz = queries_Q3[q, 0], queries_Q3[q, 1], queries_Q3[q, 2]
        home = 0  # first bucket: a tight bound early on skips the others
        for b in range(buckets):
            dx = max(max(low_3K[0, b] - px, px - high_3K[0, b]), zero)
            dy = max(max(low_3K[1, b] - py, py - high_3K[1, b]), zero)
            dz = max(max(low_3K[2, b] - pz, pz - high_3K[2, b]), zero)
            bound[b] = (dx * dx + dy * dy) + dz * dz
            if bound[b] < bound[home]:
                home = b
        held = 0
        for turn in range(buckets):
            b = home if turn == 0 else (turn - 1 if turn <= home else turn)
            if held == count and bound[b] > far[count - 1]:
                continue
            for i in range(b * size, min(n, (b + 1) * size)):
                dx, dy, dz = x[i] - px, y[i] - py, z[i] - pz
                d, number = (dx * dx + dy * dy) + dz * dz, index_P[i]
                if held == count:
                    last = count - 1
                    if d > far[last] or (d == far[last] and number > found[q, last]):
                        continue
                else:
                    last = held
                    held += 1
                while last > 0 and (
                    far[last - 1] > d or (far[last - 1] == d and found[q, last - 1] > number)
                ):
                    far[last], found[q, last] = far[last - 1], found[q, last - 1]
                    last -= 1
                far[last], found[q, last] = d, number
    return found
