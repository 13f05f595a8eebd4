"""Draw curves and features for the report: SVG that takes the page's colours, PNG data URIs.

Shapes: F = frames shown, V = cameras, N = patches, C = channels, h w = token grid, H W = pixels
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 340, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 20, 50, 28  # margins around the plot
COLOURS = 6  # s0 .. s5 of the page's style
SMOOTH = 60  # points from which on a curve is drawn smoothed over its faint self
MOST = 600  # points drawn of a curve
MOST_TICKS = 6


def chart(
    title: str, series: Mapping[str, Points], *, log: bool = False, unit: bool = False
) -> str:
    """Return curves over steps as inline SVG; points that are not finite are left out.

    ``unit`` fixes the vertical axis to 0 .. 1; ``log`` needs positive values and is ignored
    where there are others.
    """
    kept = {name: _finite(points) for name, points in series.items()}
    kept = {name: points for name, points in kept.items() if points}
    values = [y for points in kept.values() for _, y in points]
    log = log and bool(values) and min(values) > 0
    across = _Axis.of([x for points in kept.values() for x, _ in points], LEFT, WIDTH - RIGHT)
    span = [0.0, 1.0] if unit else values
    up = _Axis.of(span, HEIGHT - BOTTOM, TOP, log=log)
    curves = [_curve(points, across, up, i) for i, points in enumerate(kept.values())]
    inside = _grid(across, up) + "".join(curves) + _legend(list(kept))
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img"'
        f' aria-label="{escape(title)}"><text class="head" x="4" y="16">{escape(title)}</text>'
        f"{inside}</svg></figure>"
    )


def bar(rate: float, interval: tuple[float, float], main: bool) -> str:
    """Return a bar for a rate with its interval as a whisker."""
    x = [round(4 + 232 * share, 1) for share in (rate, *interval)]
    ends = "".join(f'<path class="whisker" d="M{at} 5V15"/>' for at in x[1:])
    return (
        '<svg viewBox="0 0 240 20" width="240" height="20" aria-hidden="true">'
        '<rect class="track" x="4" y="6" width="232" height="8" rx="2"/>'
        f'<rect class="{"f0" if main else "f1"}" x="4" y="6" width="{x[0] - 4:.1f}" height="8"'
        f' rx="2"/><path class="whisker" d="M{x[1]} 10H{x[2]}"/>{ends}</svg>'
    )


def png(image_HW3: NDArray[np.uint8]) -> str:
    """Return a picture as a data URI."""
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image_HW3)).save(data, "PNG")
    return data_uri("image/png", data.getvalue())


def data_uri(kind: str, data: bytes) -> str:
    """Return bytes as a data URI of a media type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def pca_rgb(tokens_FVNC: NDArray[np.floating], grid: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the three main components of all tokens as colours (F, V, h, w, 3).

    One basis and one range for all frames and cameras: equal colours are alike tokens.
    """
    tokens = np.asarray(tokens_FVNC, np.float64)
    flat = tokens.reshape(-1, tokens.shape[-1])
    flat = flat - flat.mean(0)
    _, axes = np.linalg.eigh(flat.T @ flat)
    axes = axes[:, ::-1][:, :3]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    parts = flat @ axes
    low, high = np.percentile(parts, [2, 98], axis=0)
    scaled = np.clip((parts - low) / np.maximum(high - low, 1e-9), 0, 1)
    colours = np.zeros((len(flat), 3))
    colours[:, : scaled.shape[1]] = scaled  # fewer than three channels leave the rest dark
    shape = (*tokens.shape[:2], *grid, 3)
    return (colours * 255).round().astype(np.uint8).reshape(shape)


class _Axis:
    """Map values to pixels, with round ticks."""

    def __init__(self, ticks: list[float], begin: float, end: float, log: bool) -> None:
        self.ticks, self.begin, self.end, self.log = ticks, begin, end, log

    @classmethod
    def of(cls, values: Sequence[float], begin: float, end: float, log: bool = False) -> _Axis:
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        if log:
            return cls(_log_ticks(low, high), begin, end, log)
        if high - low <= 1e-12 * max(abs(low), abs(high)):
            low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
        step = _round_step((high - low) / 4)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        return cls([i * step for i in range(first, last + 1)], begin, end, log)

    def at(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        if self.log:
            value, low, high = math.log10(value), math.log10(low), math.log10(high)
        return round(self.begin + (self.end - self.begin) * (value - low) / (high - low), 1)


def _log_ticks(low: float, high: float) -> list[float]:
    """Return at least two ticks around the values: of a few decades 1, 2 and 5, else the powers."""
    first, last = math.floor(math.log10(low)), math.floor(math.log10(high)) + 1
    fine = [m * 10.0**power for power in range(first, last + 1) for m in (1, 2, 5)]
    below = max(i for i, tick in enumerate(fine) if tick <= low)
    above = min(i for i, tick in enumerate(fine) if tick > high)
    if above - below <= MOST_TICKS:
        return fine[below : above + 1]
    step = -(-(last - first) // MOST_TICKS)
    return [10.0**power for power in range(first, last + step, step)]


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))


def _finite(points: Points) -> list[tuple[float, float]]:
    kept = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    return kept[:: -(-len(kept) // MOST)] + kept[-1:] if len(kept) > MOST else kept


def _curve(points: Points, across: _Axis, up: _Axis, number: int) -> str:
    style = f"curve s{number % COLOURS}"
    if len(points) < SMOOTH:
        return _path(points, across, up, style)
    faint = _path(points, across, up, f"{style} faint")
    return faint + _path(_smoothed(points), across, up, style)


def _path(points: Points, across: _Axis, up: _Axis, style: str) -> str:
    joined = " ".join(f"{across.at(x)},{up.at(y)}" for x, y in points)
    if len(points) == 1:
        x, y = points[0]
        return f'<circle class="{style}" cx="{across.at(x)}" cy="{up.at(y)}" r="2"/>'
    return f'<polyline class="{style}" points="{joined}"/>'


def _smoothed(points: Points) -> list[tuple[float, float]]:
    half = len(points) // 40
    values = np.array([y for _, y in points])
    sums = np.concatenate([[0.0], values.cumsum()])
    at = np.arange(len(values))
    first, last = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
    means = (sums[last] - sums[first]) / (last - first)
    low, high = values.min(), values.max()  # sums may round beyond them, below 0 on a log axis
    return [(x, float(y)) for (x, _), y in zip(points, means.clip(low, high), strict=True)]


def _grid(across: _Axis, up: _Axis) -> str:
    parts = []
    for tick in up.ticks:
        y = up.at(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{_number(tick)}</text>')
    for tick in across.ticks:
        x = across.at(tick)
        parts.append(f'<text x="{x}" y="{HEIGHT - 8}" text-anchor="middle">{_number(tick)}</text>')
    return "".join(parts)


def _number(value: float) -> str:
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.0e}"
    return f"{value:,.6g}" if abs(value) > 1e-12 else "0"


def _legend(names: Sequence[str]) -> str:
    if not names:
        return f'<text x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">no values</text>'
    parts, x = [], 4.0
    for i, name in enumerate(names):
        parts.append(f'<path class="curve s{i % COLOURS}" d="M{x:.0f} 32h16"/>')
        parts.append(f'<text x="{x + 20:.0f}" y="36">{escape(name)}</text>')
        x += 34 + 6.4 * len(name)
    return "".join(parts)
