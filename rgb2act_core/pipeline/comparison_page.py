"""The HTML page of a comparison of runs."""

from __future__ import annotations

from collections.abc import Iterator

from .._version import __version__
from ..evaluation.paired_success import PairedDifference
from ..reporting.blocks import (
    Block,
    Cell,
    Charts,
    Heading,
    Page,
    Paragraph,
    Section,
    Styled,
    Table,
)
from ..reporting.charts import bar, chart
from ..reporting.formats import duration, percent
from ..system.formatting import format_bytes
from .comparison import Comparison
from .run_summary import RunSummary
from .spec_differences import shown

EXPLANATION = (
    "In percentage points, on the episodes that both were evaluated on. The interval is that of a"
    " bootstrap over these episodes, and p that of McNemar's exact test."
)


def comparison_page(found: Comparison) -> Page:
    """Return the page: success, differences of the specs, learning curves and stages."""
    sections = [
        Section("Success", list(_success(found))),
        Section("Specs", list(_specs(found))),
        Section("Learning curves", list(_curves(found))),
        Section("Runs", [_runs(found)]),
    ]
    return Page(
        title="Comparison of runs",
        subtitle=f"rgb2act {__version__}; {', '.join(found.names)}",
        notes=[],
        facts=[],
        sections=[section for section in sections if section.blocks],
    )


def paired_cells(pair: PairedDifference | None) -> list[str]:
    """Return the difference, its interval, p and the number of shared episodes as text."""
    if pair is None:
        return ["-", "-", "-", "0"]
    points = [f"{100 * value:+.0f}" for value in (pair.difference, pair.low, pair.high)]
    return [points[0], f"{points[1]} to {points[2]}", f"{pair.p:.3f}", str(pair.episodes)]


def _success(found: Comparison) -> Iterator[Block]:
    rates = [[name, *_rate(each)] for name, each in zip(found.names, found.runs, strict=True)]
    yield Table(("run", "#success", "", "#95 % interval", "#seeds"), rates)
    yield Heading(f"Difference to {found.names[0]}")
    pairs = zip(found.names[1:], found.paired, strict=True)
    headings = ("run", "#difference", "#95 % interval", "#p", "#shared seeds")
    yield Table(headings, [[name, *paired_cells(pair)] for name, pair in pairs])
    yield Paragraph(EXPLANATION)


def _rate(each: RunSummary) -> list[Cell]:
    found = each.success
    if found is None:
        return ["-", "", "-", "-"]
    return [
        Styled(percent(found.rate), "bold"),
        bar(found.rate, (found.low, found.high), True),
        f"{percent(found.low)} to {percent(found.high)}",
        f"{found.successes} of {found.episodes}",
    ]


def _specs(found: Comparison) -> Iterator[Block]:
    rows = [[row.key, *map(shown, row.values)] for row in found.differences]
    if rows:
        yield Table(("key", *found.names), rows)
    else:
        yield Paragraph("The specs are equal.")


def _curves(found: Comparison) -> Iterator[Block]:
    charts = [
        chart(title, series, unit=title.startswith("Success"), log=title.startswith("Loss"))
        for title, series in found.curves.items()
    ]
    if charts:
        yield Charts(charts)


def _runs(found: Comparison) -> Block:
    rows = [
        [
            name,
            each.record.created if each.record else "",
            each.state,
            ", ".join(str(stage.id) for stage in each.stages),
            duration(each.seconds),
            format_bytes(each.bytes),
        ]
        for name, each in zip(found.names, found.runs, strict=True)
    ]
    return Table(("run", "when", "state", "stages", "#wall time", "#size"), rows)
