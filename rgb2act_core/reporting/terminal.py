"""Tables of results on stderr."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from ..evaluation.success_rate import success_lines
from ..system.console import open_console


def show_aligner(results: Mapping[str, Any]) -> None:
    """Print the metrics of an aligner before and after training, and the training speed."""
    measured = results["measured"]
    split = "held-out" if results["episodes"]["held_out"] else "training"
    table = Table(box=None)
    table.add_column(f"{measured['frames']} {split} frames")
    for title in ("pooled features", "before", "after"):
        table.add_column(title, justify="right")
    for name, value in results["after"].items():
        old = (results[when].get(name) for when in ("pooled", "before"))
        table.add_row(name, *("" if v is None else f"{v:.4f}" for v in (*old, value)))
    console = open_console(stderr=True)
    console.print(table)
    console.print(
        "retrieval: among all of these frames, among those of the same episode, or in random pools"
        f" of {measured['pool']}; probe: RMSE of a ridge regression, in units of the state; pooled"
        " features: mean over patches, backbones concatenated; train_r2: r2 on training frames of"
        " demonstrations",
    )
    console.print(
        f"{results['frames_per_second']:,.0f} samples/s,"
        f" {100 * results['waiting']:.1f}% of the time waiting for data",
    )


def show_student(results: Mapping[str, Any]) -> None:
    """Print the metrics of the full encoder and of its student, and the student's size."""
    measured, found = results["measured"], results["after"]
    split = "held-out" if results["episodes"]["held_out"] else "training"
    table = Table(box=None)
    table.add_column(f"{measured['frames']} {split} frames")
    for title in ("full encoder", "student"):
        table.add_column(title, justify="right")
    for name, value in found.items():
        full = results["encoder"].get(name)
        table.add_row(name, "" if full is None else f"{full:.4f}", f"{value:.4f}")
    console = open_console(stderr=True)
    console.print(table)
    console.print(
        "encoder_: agreement of the student with the full encoder; others: with the teacher\n"
        f"{results['parameters']:,} parameters, {results['frames_per_second']:,.0f} samples/s",
    )


def show_episodes(results: Mapping[str, Any]) -> None:
    """Print a table of evaluated episodes and the success rate."""
    tasks = ["task"] if "tasks" in results else []
    hands = [name for name in ("hand_jumps", "hand_rewinds") if name in results["smoothness"]]
    counts = ("jumps", "rewinds", *hands)
    clips = ["clipped_steps"] if "clipped_steps" in results["smoothness"] else []
    columns = ("seed", "outcome", "steps", "plans", "seam", *counts, *clips)
    table = Table(*tasks, *(column.replace("_", " ") for column in columns), box=None)
    for episode in results["episodes"]:
        table.add_row(
            *(str(episode[name]) for name in tasks),
            str(episode["seed"]),
            "success" if episode["success"] else "-",
            *(str(episode[name]) for name in ("steps", "plans")),
            f"{episode['seam']:.3f}",
            *(str(episode[name]) for name in counts),
            *(f"{episode[name]:.1%}" for name in clips),
        )
    console = open_console(stderr=True)
    console.print(table)
    for line in success_lines(results):
        console.print(line)
