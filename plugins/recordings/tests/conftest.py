"""Fixture: a data set as an environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rgb2act_recordings import Recordings, build
from rgb2act_recordings.environment import RecordingsEnvironment

Opened = Callable[..., RecordingsEnvironment]


@pytest.fixture
def opened() -> Opened:
    """Return a function that opens a data set."""

    def call(data: Path, **options: Any) -> RecordingsEnvironment:
        return build(Recordings(data=data, **options))

    return call
