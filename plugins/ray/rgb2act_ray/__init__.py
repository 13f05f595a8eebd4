"""The engine ``ray``: shards of a stage are tasks of a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

from rgb2act_core import Engine, hookimpl
from rgb2act_core.interfaces import Cluster, EngineOptions


def connect(options: EngineOptions) -> AbstractContextManager[Cluster]:
    """Connect to a Ray cluster."""
    from .cluster import connect as connect_to_ray  # ray is imported here

    return connect_to_ray(options)


@hookimpl
def rgb2act_engines() -> Iterator[Engine]:
    """Yield ``ray``."""
    yield Engine(name="ray", connect=connect, summary="tasks of a Ray cluster")
