"""What is surprising in recorded episodes, beyond what the core finds and reading refuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rgb2act_core import UserError
from rgb2act_core.interfaces import Finding, Severity

from .episode_reader import read_rows
from .episode_table import EpisodeEntry, Listing


def check_episodes(listing: Listing, entries: Sequence[EpisodeEntry]) -> Iterator[Finding]:
    """Yield findings about tasks that change within an episode."""
    for entry in entries:
        try:
            rows = read_rows(listing.schema, entry)
        except UserError:  # reading the episode reports it
            continue
        if (frame := rows.later_task) is not None:
            yield Finding(
                severity=Severity.NOTE,
                rule="lerobot.tasks",
                source=str(entry.data),
                problem=f"{entry.name} changes its task; all its frames have the instruction of"
                " the first",
                remedy="set [environment] states = ['task_index'] to record the change",
                frame=frame,
            )
