"""Curves of a trained stage: losses, validation metrics, gradient norm, learning rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..training import metrics_log
from .blocks import Block, Charts
from .charts import Chart, chart
from .stage_results import StageResults

LOSSES = ("loss", "mse", "infonce", "val_loss", "val/loss")
Plot = tuple[str, Sequence[str], Mapping[str, bool]]  # title, metrics, options of ``chart``


def curves(stage: StageResults) -> Iterator[Block]:
    """Yield the charts of one stage."""
    rows = metrics_log.read(stage.folder / "metrics.jsonl")
    losses = [name for name in LOSSES if named(rows, name)]
    validation = named(rows, "val/")
    retrieval = [name for name in validation if name.startswith("val/retrieval")]
    probes = [name for name in validation if name.startswith("val/probe")]
    shown = ("val/weight", *retrieval, *probes, *losses)  # weights are in the section Alignment
    others = [name for name in validation if not name.startswith(shown)]
    yield Charts(
        plots(
            rows,
            ("Loss", losses, {"log": True}),
            ("Success rate in training", named(rows, "act/success"), {"unit": True}),
            ("Retrieval, held out", retrieval, {"unit": True}),
            ("Probes, RMSE, held out", probes, {"log": True}),
            ("Other metrics", others, {}),
            ("Gradient norm", ["grad_norm"], {"log": True}),
            ("Learning rate", ["lr"], {}),
        )
    )


def plots(rows: Sequence[metrics_log.Row], *wanted: Plot) -> list[Chart]:
    """Return charts of the selected metrics over steps, without those that have no values."""
    charts = []
    for title, names, options in wanted:
        series = {
            name.removeprefix("weight/"): [(row["step"], row[name]) for row in rows if name in row]
            for name in names
        }
        if any(series.values()):
            log, unit = options.get("log", False), options.get("unit", False)
            charts.append(chart(title, series, log=log, unit=unit))
    return charts


def named(rows: Sequence[metrics_log.Row], prefix: str) -> list[str]:
    """Return the metrics whose name starts with a prefix, in the order of their first value."""
    return list(dict.fromkeys(name for row in rows for name in row if name.startswith(prefix)))
