"""Geometry of the report's charts, which a template draws as SVG in the page's colours.

Title and legend are HTML above the SVG: the browser wraps them, so no name is cut off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import attrs
import numpy as np

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 340, 180
LEFT, RIGHT, TOP, BOTTOM = 52, 20, 10, 28  # margins around the plot
COLOURS = 10  # s0 .. s9 of the page's style
DASHES = 4  # d0 .. d3 of the page's style; curves of the same colour have different dashes
BACKGROUND = "background"  # style of the curves behind the others
SMOOTHED_POINTS = 60  # curves of at least this many points get a smoothed copy on top
MAX_POINTS = 600  # drawn per curve
MAX_LOG_TICKS = 6
BAR_LEFT, BAR_LENGTH = 4, 232


@attrs.frozen
class Curve:
    """One polyline in pixels; a single point is drawn as a dot."""

    style: str
    points: Sequence[tuple[float, float]]


@attrs.frozen
class Tick:
    """A labelled position on an axis."""

    at: float
    text: str


@attrs.frozen
class LegendEntry:
    """The name of a curve and its style."""

    style: str
    text: str


@attrs.frozen(kw_only=True)
class Chart:
    """Curves over steps, in pixels of the SVG."""

    title: str
    curves: Sequence[Curve]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    legend: Sequence[LegendEntry]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT

    @property
    def label(self) -> str:
        """The chart's name for screen readers: its title and its curves."""
        names = ", ".join(entry.text for entry in self.legend)
        return f"{self.title}: {names}" if names not in ("", self.title) else self.title


@attrs.frozen(kw_only=True)
class Bar:
    """A rate from 0 to 1 and its interval, in pixels of the SVG."""

    kind: ClassVar[str] = "bar"
    left: float
    length: float
    track: float
    low: float
    high: float
    style: str


def chart(
    title: str,
    series: Mapping[str, Points],
    *,
    log: bool = False,
    unit: bool = False,
    background: Sequence[Points] = (),
    background_name: str = "demonstrations",
    smooth: bool = True,
) -> Chart:
    """Return a chart of curves over steps; points that are not finite are left out.

    ``unit`` fixes the vertical axis to [0, 1]; ``log`` makes it logarithmic and is ignored if a
    value is not positive. The curves of ``background`` are drawn faintly behind the others and
    share one entry of the legend. ``smooth`` draws the moving average of long curves on top.
    """
    finite = {name: _finite(points) for name, points in series.items()}
    finite = {name: points for name, points in finite.items() if points}
    behind = [points for points in map(_finite, background) if points]
    everything = [point for points in (*behind, *finite.values()) for point in points]
    values = [y for _, y in everything]
    log = log and bool(values) and min(values) > 0
    x_axis = _Axis.of([x for x, _ in everything], LEFT, WIDTH - RIGHT)
    y_axis = _Axis.of([0.0, 1.0] if unit else values, HEIGHT - BOTTOM, TOP, log=log)
    drawn = [
        curve
        for i, points in enumerate(finite.values())
        for curve in _curves(points, x_axis, y_axis, _style(i), smooth)
    ]
    legend = [LegendEntry(_style(i), name) for i, name in enumerate(finite)]
    if behind:
        legend.append(LegendEntry(BACKGROUND, background_name))
    return Chart(
        title=title,
        curves=[*(Curve(BACKGROUND, _in_pixels(p, x_axis, y_axis)) for p in behind), *drawn],
        x_ticks=x_axis.labels(),
        y_ticks=y_axis.labels(),
        legend=legend,
    )


def _style(number: int) -> str:
    """Return the style of a curve; the first 40 curves of a chart have different ones."""
    dash = number // COLOURS % DASHES
    return f"s{number % COLOURS}" + (f" d{dash}" if dash else "")


def bar(rate: float, interval: tuple[float, float], main: bool) -> Bar:
    """Return a bar for a rate with its interval as a whisker; ``main`` gives it the main colour."""
    end, low, high = (
        round(BAR_LEFT + BAR_LENGTH * share, 1) for share in (rate, interval[0], interval[1])
    )
    return Bar(
        left=BAR_LEFT,
        length=round(end - BAR_LEFT, 1),
        track=BAR_LENGTH,
        low=low,
        high=high,
        style="f0" if main else "f1",
    )


class _Axis:
    """Maps values to pixels, with round ticks."""

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
        if all(float(value).is_integer() for value in values) and high - low > 1:
            step = max(math.ceil(step), 1)  # counts have integer ticks
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        return cls([i * step for i in range(first, last + 1)], begin, end, log)

    def at(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        if self.log:
            value, low, high = math.log10(value), math.log10(low), math.log10(high)
        return round(self.begin + (self.end - self.begin) * (value - low) / (high - low), 1)

    def labels(self) -> list[Tick]:
        return [Tick(self.at(tick), _number(tick)) for tick in self.ticks]


def _log_ticks(low: float, high: float) -> list[float]:
    """Return at least two ticks that enclose the values: 1, 2 and 5, or powers of ten only."""
    first, last = math.floor(math.log10(low)), math.floor(math.log10(high)) + 1
    fine = [m * 10.0**power for power in range(first, last + 1) for m in (1, 2, 5)]
    below = max(i for i, tick in enumerate(fine) if tick <= low)
    above = min(i for i, tick in enumerate(fine) if tick > high)
    if above - below <= MAX_LOG_TICKS:
        return fine[below : above + 1]
    step = -(-(last - first) // MAX_LOG_TICKS)
    return [10.0**power for power in range(first, last + step, step)]


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))


def _finite(points: Points) -> list[tuple[float, float]]:
    finite = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if len(finite) <= MAX_POINTS:
        return finite
    return finite[:: -(-len(finite) // MAX_POINTS)] + finite[-1:]


def _in_pixels(values: Points, x_axis: _Axis, y_axis: _Axis) -> list[tuple[float, float]]:
    return [(x_axis.at(x), y_axis.at(y)) for x, y in values]


def _curves(points: Points, x_axis: _Axis, y_axis: _Axis, style: str, smooth: bool) -> list[Curve]:
    exact = _in_pixels(points, x_axis, y_axis)
    if not smooth or len(points) < SMOOTHED_POINTS:
        return [Curve(style, exact)]
    mean = _in_pixels(_smoothed(points), x_axis, y_axis)
    return [Curve(f"{style} faint", exact), Curve(style, mean)]


def _smoothed(points: Points) -> list[tuple[float, float]]:
    """Return the moving average over a twentieth of the points."""
    half = len(points) // 40
    values = np.array([y for _, y in points])
    sums = np.concatenate([[0.0], values.cumsum()])
    at = np.arange(len(values))
    first, last = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
    means = (sums[last] - sums[first]) / (last - first)
    # rounding of the sums may leave the range, which a logarithmic axis cannot show below 0
    clipped = means.clip(values.min(), values.max())
    return [(x, float(y)) for (x, _), y in zip(points, clipped, strict=True)]


def _number(value: float) -> str:
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.0e}"
    return f"{value:,.6g}" if abs(value) > 1e-12 else "0"
