"""Fixtures for tests of plugins and of programs that use rgb2act."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .faults import fault


@pytest.fixture
def file_fault() -> Callable[..., Any]:
    """Return ``rgb2act_core.testing.fault``, which makes a file operation fail."""
    return fault
