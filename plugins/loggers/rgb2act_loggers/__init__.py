"""Loggers for Weights & Biases, MLflow and trackio. Their libraries are optional."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING

from rgb2act_core import Component, hookimpl
from rgb2act_core.interfaces import Diagnostic

from .config import Mlflow, Trackio, Wandb

if TYPE_CHECKING:
    from rgb2act_core.interfaces import Logger


def build_wandb(config: Wandb) -> Logger:
    """Return the logger for Weights & Biases."""
    from .wandb_logger import WandbLogger

    return WandbLogger(config)


def build_mlflow(config: Mlflow) -> Logger:
    """Return the logger for MLflow."""
    from .mlflow_logger import MlflowLogger

    return MlflowLogger(config)


def build_trackio(config: Trackio) -> Logger:
    """Return the logger for trackio."""
    from .trackio_logger import TrackioLogger

    return TrackioLogger(config)


def installed(extra: str, packages: tuple[str, ...], _: object) -> Iterator[Diagnostic]:
    """Yield whether one of the packages that provide a logger's library is installed."""
    for package in packages:
        try:
            detail = f"{package} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            continue
        yield Diagnostic(name="package", ok=True, detail=detail)
        return
    remedy = f"pip install 'rgb2act-loggers[{extra}]'"
    yield Diagnostic(
        name="package", ok=False, detail=f"{packages[0]} is not installed", remedy=remedy
    )


@hookimpl
def rgb2act_loggers() -> Iterator[Component]:
    """Yield ``wandb``, ``mlflow`` and ``trackio``."""
    yield Component(
        name="wandb",
        config=Wandb,
        build=build_wandb,
        tiny=Wandb(),
        summary="Weights & Biases, offline by default",
        diagnose=functools.partial(installed, "wandb", ("wandb",)),
    )
    yield Component(
        name="mlflow",
        config=Mlflow,
        build=build_mlflow,
        tiny=Mlflow(),
        summary="MLflow Tracking: a local database or a server",
        diagnose=functools.partial(installed, "mlflow", ("mlflow-skinny", "mlflow")),
    )
    yield Component(
        name="trackio",
        config=Trackio,
        build=build_trackio,
        tiny=Trackio(),
        summary="trackio, in a local folder",
        diagnose=functools.partial(installed, "trackio", ("trackio",)),
    )
