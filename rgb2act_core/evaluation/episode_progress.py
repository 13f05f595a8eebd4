"""The success rate that is shown while episodes run."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..system.progress_json import Advance

Ended = Callable[[bool], None]


def count_episodes(advance: Advance, before: Iterable[bool] = ()) -> Ended:
    """Return a function to call with the success of each episode when it ends.

    It advances the progress bar by one episode and shows the success rate so far, including that of
    the episodes ``before``.
    """
    outcomes = list(before)

    def ended(success: bool) -> None:
        outcomes.append(success)
        advance(1, success=sum(outcomes) / len(outcomes))

    return ended
