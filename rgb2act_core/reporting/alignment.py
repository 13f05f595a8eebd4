"""Metrics of the aligner before and after training, and the weight of each backbone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ..training import metrics_log
from .blocks import Block, Cell, Charts, Heading, Paragraph, Styled, Table, guarded
from .formats import number, percent
from .learning_curves import named, plots
from .stage_results import StageResults

_HIGHER_IS_BETTER, _LOWER_IS_BETTER = ("retrieval@", "cosine", "r2", "train_r2"), ("probe/",)


def results(align: StageResults) -> Iterator[Block]:
    """Yield a table of metrics, how they were computed, and the fusion weights."""
    yield _metrics(align)
    if counts := align.results.get("episodes", {}):
        text = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
        yield Paragraph(f"Episodes: {text}.")
    yield from guarded(partial(_explanations, align))
    yield from guarded(partial(_fusion, align))


def _metrics(align: StageResults) -> Table:
    before, after = align.results["before"], align.results["after"]
    pooled, counts = align.results.get("pooled", {}), align.results.get("episodes", {})

    def row(name: str) -> list[Cell]:
        old, new = before.get(name), after[name]
        sign = 1 if name.startswith(_HIGHER_IS_BETTER) else 0
        sign = -1 if name.startswith(_LOWER_IS_BETTER) else sign
        gain = 0 if old is None else sign * (new - old)
        change = number(new)
        return [
            name,
            number(pooled[name]) if name in pooled else "",
            number(old),
            Styled(change, "good" if gain > 0 else "bad") if gain else change,
            Styled({1: "higher is better", -1: "RMSE, lower is better", 0: ""}[sign], "muted"),
        ]

    split = "held-out" if counts.get("held_out", 1) else "training"
    headings = (f"{split} frames", "#pooled features", "#before", "#after", "")
    return Table(headings, list(map(row, after)))


def _explanations(align: StageResults) -> Iterator[Block]:
    measured, waiting = align.results.get("measured"), align.results.get("waiting")
    if measured:
        yield Paragraph(
            f"Retrieval is among all {int(measured['frames'])} frames, among those of the same"
            f" episode (/episode), or in random pools of {int(measured['pool'])} frames (/pool)."
            " Pooled features are the backbones' concatenated means over patches. train_r2 is r2 on"
            " the demonstrations that the aligner was trained on."
        )
    if waiting is not None:
        rate = align.results["frames_per_second"]
        yield Paragraph(f"{rate:,.0f} samples/s, {waiting:.1%} of the time waiting for data.")


def _fusion(align: StageResults) -> Iterator[Block]:
    shares = align.results.get("fusion", {})
    text = ", ".join(f"{name} {percent(share)}" for name, share in shares.items())
    rows = metrics_log.read(align.folder / "metrics.jsonl")
    charts = plots(rows, ("Fusion weights over steps", named(rows, "weight/"), {"unit": True}))
    if text or charts:
        yield Heading("Fusion")
    if text:
        yield Paragraph(f"Weight of each backbone after training: {text}.")
    if charts:
        yield Charts(charts)
