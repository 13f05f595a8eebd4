"""Show how a policy's episodes went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from ..evaluation.success_rates import rates


def show(results: Mapping[str, Any]) -> None:
    """Print a table of episodes and the success rate to stderr."""
    several = ["task"] if "tasks" in results else []
    hands = [name for name in ("hand_jumps", "hand_rewinds") if name in results["smoothness"]]
    counts = ("jumps", "rewinds", *hands)
    clips = ["clipped_steps"] if "clipped_steps" in results["smoothness"] else []
    heads = ("seed", "outcome", "steps", "plans", "seam", *(c.replace("_", " ") for c in counts))
    shown = Table(*several, *heads, *(c.replace("_", " ") for c in clips), box=None)
    for episode in results["episodes"]:
        shown.add_row(
            *(str(episode[name]) for name in several),
            str(episode["seed"]),
            "success" if episode["success"] else "-",
            *(str(episode[name]) for name in ("steps", "plans")),
            f"{episode['seam']:.3f}",
            *(str(episode[name]) for name in counts),
            *(f"{episode[name]:.1%}" for name in clips),
        )
    console = Console(stderr=True)
    console.print(shown)
    for line in rates(results):
        console.print(line, highlight=False)
