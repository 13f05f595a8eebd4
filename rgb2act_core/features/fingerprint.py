"""Fingerprints: what a backbone makes of one fixed picture, kept with what is made of its features.

A key names component, config and file of weights, but not torch, device, or the bytes behind an
official name. So the features of a probe picture are stored beside the features of each backbone
(``fingerprint-<V>x<H>x<W>.json``) and within each policy, and are computed again before features
are added, trained on or acted on.

Tolerance. The error is the root mean square difference of sampled tokens, each channel in units of
its own root mean square. Rounding to float16 alone gives 0.0003, another processor's float32 as
much, TF32 0.001, bfloat16 on another device up to 0.01, int8 storage 0.005; another layer, a
swapped mean or other weights give 0.05 to 1.5. Up to 0.02 passes, and is recorded.

Shapes: K = context, V = cameras, H W = pixels, N = patches, C = channels, S = sampled tokens and,
last, the mean over all; D = sampled channels
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import UserError
from ..store.keys import key_of
from .encoder import Encoder

TOLERANCE = 0.02
TOKENS, CHANNELS = 16, 64  # sampled, evenly, of a camera's tokens and of their channels
FLOOR = 0.01  # a channel that is weaker than this share of the whole is not blown up

Shape = tuple[int, int, int]  # V, H, W


@attrs.frozen(eq=False, kw_only=True)
class Fingerprint:
    """Hold the sampled features of the probe, and what they were made with."""

    shape: Shape
    values: NDArray[np.float32]  # (V, S, D)
    made: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Return the digest of the values, which entries name."""
        return key_of([list(self.shape), self.values.tolist()])

    def plain(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "shape": list(self.shape),
            "values": self.values.tolist(),
            "made": dict(self.made),
            "digest": self.digest,
        }

    @classmethod
    def of(cls, data: Any, place: Path) -> Fingerprint:
        """Return the fingerprint that ``plain`` wrote; raise UserError when it is damaged."""
        try:
            cameras, height, width = (int(size) for size in data["shape"])
            values = np.array(data["values"], np.float32)
            found = cls(shape=(cameras, height, width), values=values, made=dict(data["made"]))
            whole = values.ndim == 3 and found.digest == data["digest"]
        except (KeyError, TypeError, ValueError):
            whole = False
        if not whole:
            raise UserError(f"{place}: fingerprint is damaged; delete {place.parent} and run again")
        return found

    def error(self, values: NDArray[np.float32]) -> float:
        """Return how far other values are from these; infinite when they have another shape."""
        if values.shape != self.values.shape:
            return float("inf")
        mine = self.values.astype(np.float64)
        power_VD = np.square(mine).mean(1)
        floor = max(FLOOR**2 * float(power_VD.mean()), 1e-30)
        wrong_VD = np.square(values - mine).mean(1)
        return float(np.sqrt((wrong_VD / np.maximum(power_VD, floor)).mean()))


def probe(frames: int, shape: Shape) -> NDArray[np.uint8]:
    """Return the probe (K, V, H, W, 3): slopes, edges and fine grain, by integers alone.

    Cameras differ, and from frame to frame it moves.
    """
    cameras, height, width = shape
    k, v, y, x, c = np.ogrid[:frames, :cameras, :height, :width, :3]
    x = x + 3 * k
    slope = (x * 160 // width + y * (60 + 40 * c) // height + 50 * v + 30 * c) % 256
    centre_y, centre_x = height * (2 + v % 3) // 6, width * 2 // 5 + 5 * c
    disc = 4 * ((y - centre_y) ** 2 + (x - centre_x) ** 2) < (min(height, width) // 2) ** 2
    squares = (x * 8 // width + y * 8 // height) % 2 * 40
    grain = (x * 7349 + y * 9151 + c * 3571 + x * y * 131) // 7 % 32
    picture = np.where(disc, 255 - slope, slope // 2 + squares) // 2 + grain + 20 * c
    whole = np.broadcast_to(picture, (frames, cameras, height, width, 3))
    return np.ascontiguousarray(whole % 256).astype(np.uint8)


def take(encoder: Encoder, shape: Shape, who: str = "backbone") -> NDArray[np.float32]:
    """Return the sampled features (V, S, D) of the probe: one forward pass of a window.

    Features that are not finite raise UserError naming ``who`` they are of.
    """
    context = encoder.context
    parts = encoder.frames(probe(context, shape))
    tokens_VNC = encoder.windows(parts, np.arange(context)[None], shape[1:])[0].float().cpu()
    _, patches, channels = tokens_VNC.shape
    some = torch.cat([tokens_VNC[:, _evenly(patches, TOKENS)], tokens_VNC.mean(1, True)], 1)
    values: NDArray[np.float32] = some[:, :, _evenly(channels, CHANNELS)].numpy()
    if not np.isfinite(values).all():
        raise UserError(
            f"{who}: features of the probe picture hold NaN or infinity; take other weights or,"
            " where there is one, a wider precision"
        )
    return values


def _evenly(count: int, wanted: int) -> list[int]:
    return sorted(set(np.linspace(0, count - 1, min(count, wanted)).astype(int).tolist()))
