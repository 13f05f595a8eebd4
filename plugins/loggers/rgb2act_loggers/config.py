"""Options of the loggers. None of them changes a result."""

from __future__ import annotations

from typing import Literal

import attrs

from rgb2act_core.interfaces import fields


@attrs.frozen(kw_only=True)
class Wandb:
    """Weights & Biases. Log in with ``wandb login`` or ``WANDB_API_KEY``, not in a spec."""

    project: str = fields.runtime(default="rgb2act")
    """Project of the runs."""
    entity: str = fields.runtime(default="")
    """User or team; the default is that of the login."""
    mode: Literal["offline", "online"] = fields.runtime(default="offline")
    """``offline`` writes files in the run's folder, which ``wandb sync`` uploads."""
    tags: tuple[str, ...] = fields.runtime(default=())
    """Tags of the run."""


@attrs.frozen(kw_only=True)
class Mlflow:
    """MLflow Tracking, in a local database or on a server."""

    experiment: str = fields.runtime(default="rgb2act")
    """Experiment of the runs; it is created if it does not exist."""
    tracking_uri: str = fields.runtime(default="")
    """Address of a server or database. The default is ``MLFLOW_TRACKING_URI`` or, without it, the
    SQLite database ``mlflow/mlflow.db`` in the folder of all runs."""


@attrs.frozen(kw_only=True)
class Trackio:
    """trackio, in its local folder: ``TRACKIO_DIR``, or the cache folder of Hugging Face."""

    project: str = fields.runtime(default="rgb2act")
    """Project of the runs."""
