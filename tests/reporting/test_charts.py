"""Geometry and drawing of charts."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser

import pytest

from rgb2act_core.reporting import charts
from rgb2act_core.reporting.blocks import Charts, Table
from rgb2act_core.reporting.page import render_blocks


def draw(chart):
    return render_blocks([Charts([chart])])


def test_points_that_are_not_finite_are_left_out():
    points = [(0, 1.0), (1, math.nan), (2, math.inf), (3, 0.5)]
    svg = draw(charts.chart("loss", {"loss": points}, log=True))
    assert "nan" not in svg
    assert "inf" not in svg
    assert len(re.search(r'points="([^"]*)"', svg)[1].split()) == 2


@pytest.mark.parametrize("points", [[], [(5, 2.0)], [(0, 3.0), (1, 3.0)], [(0, 0.0), (1, 0.0)]])
@pytest.mark.parametrize("log", [False, True])
def test_chart_of_few_points_is_drawn(points, log):
    svg = draw(charts.chart("t", {"a": points}, log=log))
    HTMLParser().feed(svg)
    assert svg.count("<polyline") + svg.count("<circle") == (1 if points else 0)
    assert ("no values" in svg) == (not points)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.03, 0.4, [0.02, 0.05, 0.1, 0.2, 0.5]),
        (1.0, 1.0, [1, 2]),
        (1e-6, 900.0, [1e-6, 1e-4, 1e-2, 1, 100, 1e4]),
    ],
)
def test_ticks_of_a_log_axis_are_round_and_enclose_the_values(low, high, ticks):
    assert charts._log_ticks(low, high) == pytest.approx(ticks)


def test_long_curve_is_smoothed_and_stays_in_its_range():
    points = [(step, float(step % 2)) for step in range(200)]
    faint, smooth = charts.chart("loss", {"loss": points}).curves
    assert faint.style.endswith("faint")
    low, high = (min(y for _, y in faint.points), max(y for _, y in faint.points))
    assert all(low <= y <= high for _, y in smooth.points)
    inner = [y for _, y in smooth.points[20:-20]]
    assert max(inner) - min(inner) < 0.2 * (high - low)  # the mean of 11 alternating values


def test_bar_ends_at_the_rate_and_its_whisker_at_the_interval():
    bar = charts.bar(0.5, (0.25, 1.0), main=True)
    assert (bar.length, bar.low, bar.high) == (116, 62, 236)
    html = render_blocks([Table(("", "#success"), [["a", bar]])])
    assert 'class="f0"' in html
    assert "M62.0 10H236.0" in html


def test_every_curve_is_named_and_looks_different():
    names = [f"a metric with quite a long name {i}" for i in range(25)]
    drawn = charts.chart("t", {name: [(0, float(i)), (1, 2.0)] for i, name in enumerate(names)})
    assert [entry.text for entry in drawn.legend] == names
    styles = [entry.style for entry in drawn.legend]
    assert len(set(styles)) == 25
    assert [curve.style for curve in drawn.curves] == styles
    assert len({style.split()[0] for style in styles[:10]}) == 10  # colours, before dashes
    svg = draw(drawn)
    assert all(f"</svg>{name}</li>" in svg for name in names)


def test_counts_have_integer_ticks():
    drawn = charts.chart("t", {"a": [(0, 0.0), (3, 2.0)]})
    assert [tick.text for tick in drawn.x_ticks] == ["0", "1", "2", "3"]
    assert [tick.text for tick in drawn.y_ticks] == ["0", "1", "2"]


def test_background_curves_share_one_entry_of_the_legend():
    drawn = charts.chart("t", {"a": [(0, 0.0), (1, 0.5)]}, background=[[(0, 1.0)], [(0, 2.0)], []])
    assert [curve.style for curve in drawn.curves] == ["background", "background", "s0"]
    assert [entry.text for entry in drawn.legend] == ["a", "demonstrations"]
    assert drawn.label == "t: a, demonstrations"
