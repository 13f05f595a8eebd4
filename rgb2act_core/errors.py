"""The one error a user can mend, and the near misses that its messages name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Tell a user what is wrong and what to do: printed without a traceback, exit code 2.

    Each of ``args`` is one problem on a line of its own, in the form
    ``place: what is wrong with the value; what to do``.
    """

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.args)


def near(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known word, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
