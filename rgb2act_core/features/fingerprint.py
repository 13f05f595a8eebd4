"""Fingerprints: a backbone's features of a fixed probe image, stored with everything built on them.

The key of stored features covers the component, its config and its weights file, but not torch, the
device, or the bytes that an official weights name resolves to. So the features of a probe image are
stored with each backbone's features (``fingerprint-<V>x<H>x<W>.json``) and in each policy. They are
recomputed and compared before features are added, trained on or used for control.

Tolerance. The error is the root mean square difference of sampled tokens, with each channel in
units of its own root mean square. Typical errors: 0.0003 for rounding to float16 and for float32 on
another processor, 0.001 for TF32, 0.005 for int8 storage, up to 0.01 for bfloat16 on another
device. A different layer, swapped normalisation constants or other weights give 0.05 to 1.5. Errors
up to 0.02 are accepted and recorded.

Shapes: K = context, V = cameras, H W = pixels, N = patches, C = channels, S = sampled tokens and,
last, the mean over all tokens, D = sampled channels
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from ..data.splits import evenly_spaced
from ..errors import UserError
from ..store.keys import key_of
from .encoder import Encoder

TOLERANCE = 0.02
TOKENS, CHANNELS = 16, 64  # evenly spaced samples of each camera's tokens and their channels
FLOOR = 0.01  # lower bound of a channel's scale, relative to the mean over all channels

Shape = tuple[int, int, int]  # V, H, W


@attrs.frozen(eq=False, kw_only=True)
class Fingerprint:
    """Sampled features of the probe image, and the software and device that computed them."""

    shape: Shape
    values: NDArray[np.float32]  # (V, S, D)
    produced_by: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Return the digest of shape and values, which stored entries refer to."""
        return key_of([list(self.shape), self.values.tolist()])

    def to_json(self) -> dict[str, Any]:
        """Return the fingerprint as JSON data."""
        return {
            "shape": list(self.shape),
            "values": self.values.tolist(),
            "made": dict(self.produced_by),
            "digest": self.digest,
        }

    @classmethod
    def from_json(cls, data: Any, path: Path) -> Fingerprint:
        """Return the fingerprint that ``to_json`` wrote to a file.

        Raises UserError naming the file if the data is damaged.
        """
        try:
            cameras, height, width = (int(size) for size in data["shape"])
            fingerprint = cls(
                shape=(cameras, height, width),
                values=np.array(data["values"], np.float32),
                produced_by=dict(data["made"]),
            )
            intact = fingerprint.values.ndim == 3 and fingerprint.digest == data["digest"]
        except (KeyError, TypeError, ValueError):
            intact = False
        if not intact:
            raise UserError(f"{path}: fingerprint is damaged; delete {path.parent} and run again")
        return fingerprint

    def error(self, values: NDArray[np.float32]) -> float:
        """Return the relative RMS error of other values; infinity if their shape differs."""
        if values.shape != self.values.shape:
            return float("inf")
        reference = self.values.astype(np.float64)
        power_VD = np.square(reference).mean(1)
        floor = max(FLOOR**2 * float(power_VD.mean()), 1e-30)
        error_VD = np.square(values - reference).mean(1)
        return float(np.sqrt((error_VD / np.maximum(power_VD, floor)).mean()))


def probe_image(frames: int, shape: Shape) -> NDArray[np.uint8]:
    """Return the probe image (K, V, H, W, 3): gradients, edges and fine texture.

    It is computed with integers only, so it is the same on every machine. Cameras differ, and the
    image moves from frame to frame.
    """
    cameras, height, width = shape
    k, v, y, x, c = np.ogrid[:frames, :cameras, :height, :width, :3]
    x = x + 3 * k
    gradient = (x * 160 // width + y * (60 + 40 * c) // height + 50 * v + 30 * c) % 256
    centre_y, centre_x = height * (2 + v % 3) // 6, width * 2 // 5 + 5 * c
    disc = 4 * ((y - centre_y) ** 2 + (x - centre_x) ** 2) < (min(height, width) // 2) ** 2
    squares = (x * 8 // width + y * 8 // height) % 2 * 40
    texture = (x * 7349 + y * 9151 + c * 3571 + x * y * 131) // 7 % 32
    image = np.where(disc, 255 - gradient, gradient // 2 + squares) // 2 + texture + 20 * c
    full = np.broadcast_to(image, (frames, cameras, height, width, 3))
    return np.ascontiguousarray(full % 256).astype(np.uint8)


def probe_features(encoder: Encoder, shape: Shape, name: str = "backbone") -> NDArray[np.float32]:
    """Return sampled features (V, S, D) of the probe image, from one forward pass.

    Raises UserError naming the backbone if the features are not finite.
    """
    context = encoder.context
    parts = encoder.encode_frames(probe_image(context, shape))
    tokens_VNC = encoder.tokens(parts, np.arange(context)[None], shape[1:])[0].float().cpu()
    _, patches, channels = tokens_VNC.shape
    tokens_VNC = torch.cat(
        [tokens_VNC[:, evenly_spaced(patches, TOKENS)], tokens_VNC.mean(1, True)], 1
    )
    values: NDArray[np.float32] = tokens_VNC[:, :, evenly_spaced(channels, CHANNELS)].numpy()
    if not np.isfinite(values).all():
        raise UserError(
            f"{name}: features of the probe image contain NaN or infinity; use other weights or,"
            " if the backbone has the option, a wider precision"
        )
    return values
