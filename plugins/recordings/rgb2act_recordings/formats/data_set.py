"""What a reader of one file format provides.

Shapes: R = recorded frames of an episode
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

REMEDY = "copy or record it again, or leave the episode out with [environment] skip"


class Array(Protocol):
    """One array of an episode, read on access. Instances can be pickled."""

    @property
    def label(self) -> str:
        """The file and the key, for messages."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (R, ...). Of encoded images, the rest has no meaning."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the stored values."""

    @property
    def encoded(self) -> bool:
        """Whether each row is a JPEG or PNG, padded with zeros."""

    def rows(self, low: int, high: int) -> NDArray[Any]:
        """Return rows ``low`` to ``high`` - 1. Raises UserError for damaged data."""


class DataSet(Protocol):
    """A recorded data set in one file format."""

    @property
    def path(self) -> Path:
        """The path of the data set."""

    @property
    def layout(self) -> str:
        """The name of the format."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the episodes, in the order of their numbers."""

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of episodes between others that are not in the data set."""

    @property
    def rate(self) -> float | None:
        """Frames per second; None if it is unknown."""

    @property
    def task(self) -> str:
        """Name of the task; the name of the file if the format records none."""

    @property
    def unread(self) -> Mapping[str, str]:
        """Arrays that cannot be read, and why not, by key."""

    @property
    def action(self) -> str:
        """Key of the array of actions."""

    @property
    def controller(self) -> str:
        """Name of a controller whose commands are no joint targets; otherwise empty."""

    def usual_joints(self, keys: Collection[str]) -> tuple[str, ...]:
        """Return those arrays of an episode that usually are joints."""

    def filtered(self, name: str) -> tuple[str, ...]:
        """Return the episodes of a filter. Raises UserError if there is no filter of this name."""

    def file(self, name: str) -> Path:
        """Return the file or folder of an episode."""

    def text(self, name: str) -> str:
        """Return the task of an episode in natural language; empty if it is not recorded."""

    def arrays(self, name: str) -> Mapping[str, Array]:
        """Return the arrays of an episode by key. Raises UserError if they cannot be read."""

    def digest(self, name: str, keys: Collection[str]) -> str:
        """Return a digest of an episode: it changes whenever one of the arrays ``keys`` does."""

    def facts(self) -> Iterator[tuple[str, str]]:
        """Yield what else is known: label and text."""


def is_images(array: Array) -> bool:
    """Return whether an array has the images of a camera."""
    shape = array.shape
    return array.encoded or (len(shape) == 4 and shape[3] == 3 and array.dtype.kind in "uf")


def is_numbers(array: Array) -> bool:
    """Return whether an array has a vector or one number per frame."""
    return not array.encoded and array.dtype.kind in "fiub" and len(array.shape) in (1, 2)
