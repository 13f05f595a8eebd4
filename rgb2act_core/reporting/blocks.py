"""What a report consists of: sections of paragraphs, tables, charts and videos.

Blocks hold plain text and numbers; ``page`` lays them out with templates that escape every text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Literal, TypeVar

import attrs

from ..errors import UserError
from .charts import Bar, Chart

Item = TypeVar("Item")

# what a damaged or foreign file raises while a section is built from it
_UNEXPECTED = (
    *(KeyError, TypeError, ValueError, AttributeError),
    *(IndexError, ZeroDivisionError, OSError),
)


@attrs.frozen
class Paragraph:
    """A paragraph of explanations (``muted``) or a highlighted problem (``note``)."""

    kind: ClassVar[str] = "paragraph"
    text: str
    style: Literal["muted", "note"] = "muted"


@attrs.frozen
class Heading:
    """A heading inside a section."""

    kind: ClassVar[str] = "heading"
    text: str
    level: Literal[3, 4] = 3


@attrs.frozen
class Preformatted:
    """Text shown as it is, in a monospaced font."""

    kind: ClassVar[str] = "preformatted"
    text: str


@attrs.frozen
class Styled:
    """Text of a table cell in one of the page's styles."""

    kind: ClassVar[str] = "styled"
    text: str
    style: Literal["good", "bad", "muted", "bold", "code"]


@attrs.frozen
class Image:
    """An image of a table cell, scaled to the aspect ratio of a camera."""

    kind: ClassVar[str] = "image"
    source: str  # data URI
    text: str
    width: int
    height: int


Cell = str | Styled | Image | Bar


@attrs.frozen
class Table:
    """A table; a heading that starts with ``#`` aligns its column right.

    A reader can sort the rows of a ``sortable`` table by clicking on a heading.
    """

    kind: ClassVar[str] = "table"
    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    style: Literal["wide", "tall", "images"] = "wide"
    sortable: bool = False

    @property
    def columns(self) -> list[tuple[str, bool]]:
        """Heading of each column, and whether its cells are numbers."""
        return [(name.removeprefix("#"), name.startswith("#")) for name in self.headings]


@attrs.frozen
class Charts:
    """Charts next to each other."""

    kind: ClassVar[str] = "charts"
    charts: Sequence[Chart]


@attrs.frozen
class Video:
    """One video and its caption."""

    source: str  # data URI
    caption: str
    outcome: Styled

    @property
    def label(self) -> str:
        """The video's name for screen readers."""
        return f"Video of {self.caption}, {self.outcome.text}"


@attrs.frozen
class Videos:
    """Videos next to each other."""

    kind: ClassVar[str] = "videos"
    videos: Sequence[Video]


@attrs.frozen
class Folded:
    """Blocks that a reader unfolds."""

    kind: ClassVar[str] = "folded"
    title: str
    blocks: Sequence[Block]


Block = Paragraph | Heading | Preformatted | Table | Charts | Videos | Folded


@attrs.frozen
class Fact:
    """A box with one number and what it is."""

    kind: ClassVar[str] = "fact"
    value: str
    text: str
    main: bool = False


@attrs.frozen
class Section:
    """A titled part of the page, which the contents link to."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """The section's id in the page's address."""
        return re.sub("[^a-z0-9]+", "-", self.title.lower()).strip("-")


@attrs.frozen
class Page:
    """The report of one run, or a comparison of several."""

    title: str
    subtitle: str
    notes: Sequence[Paragraph]
    facts: Sequence[Fact | Paragraph]
    sections: Sequence[Section]


def note(text: str) -> Paragraph:
    """Return a highlighted problem."""
    return Paragraph(text, "note")


def guarded(build: Callable[[], Iterable[Item]]) -> list[Item | Paragraph]:
    """Return the parts of the page that ``build`` yields, or a note if a file is damaged."""
    try:
        return list(build())
    except UserError as err:
        return [note(str(err))]
    except _UNEXPECTED as err:
        return [note(f"not shown, a file has unexpected content: {type(err).__name__}: {err}")]
