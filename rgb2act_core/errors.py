"""Exceptions with a meaning for users and plugins, and suggestions for misspelled names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator


class UserError(Exception):
    """An error that the user can fix. It is printed without a traceback; the exit code is 2.

    Each of ``args`` is one problem in the form ``place: what is wrong with the value; what to do``.
    """

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.args)


class Problems(list[str]):
    """Problems found by several checks, which are reported together."""

    @contextlib.contextmanager
    def collected(self, prefix: str = "") -> Iterator[None]:
        """Add the problems of a UserError that the block raises, each after ``prefix``."""
        try:
            yield
        except UserError as err:
            self += [f"{prefix}{problem}" for problem in err.args]

    def raise_any(self) -> None:
        """Raise UserError with all problems, if there are any, each once."""
        if self:
            raise UserError(*dict.fromkeys(self))


class EnvironmentLost(Exception):  # noqa: N818 (a state rather than an error)
    """The simulator died, hung or sent an invalid reply.

    An environment's ``make``, ``reset`` and ``step`` may raise it. The episode is then repeated in
    a new simulator.
    """


def first_line(err: BaseException, longest: int = 160) -> str:
    """Return the first line of an error's message, or its type if it has none.

    It has at most ``longest`` characters and no full stop at its end. Control characters are
    escaped, and the quotation marks that KeyError adds are left out.
    """
    text = str(err.args[0]) if isinstance(err, KeyError) and err.args else str(err)
    lines = text.strip().splitlines()
    shown = printable(next(iter(lines), "")[:longest])
    return shown[:longest].rstrip(". ") or type(err).__name__


def printable(text: str) -> str:
    """Return a text with escapes in place of control characters."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` with the most similar known word, or an empty string."""
    similar = closest(word, known)
    return "" if similar is None else f"; did you mean {similar!r}?"


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is most similar to ``word``; None if none is similar."""
    import difflib  # 5 ms, which only a misspelled name costs

    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None
