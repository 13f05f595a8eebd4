"""MLflow Tracking: https://mlflow.org/docs/latest/ml/tracking/."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rgb2act_core.interfaces import LoggedRun, LoggedStage

from .config import Mlflow
from .library import library

LONGEST_VALUE = 6000  # characters of a parameter
MOST_VALUES = 100  # parameters in one request; MLflow's limit
MOST_METRICS = 1000  # metrics in one request; MLflow's limit


class MlflowLogger:
    """Implements ``rgb2act_core.interfaces.Logger``.

    MLflow chooses the id of a run. It is kept in the logger's folder, so that a resumed run
    continues it.
    """

    replays = False

    def __init__(self, config: Mlflow) -> None:
        self.config = config

    def start(self, run: LoggedRun) -> None:
        """Create or continue a run of the experiment."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        self._entities = library("mlflow.entities", "mlflow")
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        uri = self.config.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", "")
        if uri:
            self._client = self._connect(uri)
            experiment = self._experiment(None)
        else:
            database = run.root.absolute() / "mlflow/mlflow.db"
            self._create(database)
            self._client = self._connect(f"sqlite:///{database}")
            experiment = self._experiment((database.parent / "artifacts").as_uri())
        path = run.folder / f"run-{run.id}"
        if path.exists():
            self._id = path.read_text().strip()
            self._client.update_run(self._id, status="RUNNING")
            return
        self._id = self._client.create_run(experiment, run_name=run.name).info.run_id
        path.write_text(self._id)
        parameters = [
            self._entities.Param(_name(name), str(value)[:LONGEST_VALUE])
            for name, value in run.spec.items()
        ]
        for first in range(0, len(parameters), MOST_VALUES):
            self._client.log_batch(self._id, params=parameters[first : first + MOST_VALUES])
        self._client.log_text(self._id, run.text, "spec.toml")

    def log_metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Log one row; every metric has its own steps."""
        self._log({f"{stage}/{name}": value for name, value in values.items()}, step)

    def log_stage(self, stage: LoggedStage) -> None:
        """Log results as metrics, and images and videos as artifacts in a folder of the stage."""
        self._log({f"results/{stage.name}/{name}": v for name, v in stage.values.items()}, 0)
        with tempfile.TemporaryDirectory() as folder:
            for name, data in stage.images.items():
                path = Path(folder, f"{name.replace('/', ' ')}.png")
                path.write_bytes(data)
                self._client.log_artifact(self._id, str(path), stage.name)
        for path in stage.videos.values():
            self._client.log_artifact(self._id, str(path), stage.name)

    def finish(self, complete: bool) -> None:
        """Mark the run as finished, or as killed."""
        self._client.set_terminated(self._id, "FINISHED" if complete else "KILLED")

    def _log(self, values: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        metrics = [
            self._entities.Metric(_name(name), value, now, step) for name, value in values.items()
        ]
        for first in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(self._id, metrics=metrics[first : first + MOST_METRICS])

    def _connect(self, uri: str) -> Any:
        for module in ("sqlalchemy", "alembic") if uri.startswith("sqlite:") else ():
            library(module, "mlflow")
        return library("mlflow.tracking", "mlflow").MlflowClient(tracking_uri=uri)

    def _create(self, database: Path) -> None:
        """Create a database; one whose creation is interrupted does not appear.

        Creating the tables takes seconds, and MLflow cannot open a database that lacks some.
        """
        if database.exists():
            return
        database.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=database.parent) as folder:
            part = Path(folder, "mlflow.db")
            self._connect(f"sqlite:///{part}")
            with contextlib.suppress(FileExistsError):  # another run was faster
                os.link(part, database)

    def _experiment(self, artifacts: str | None) -> str:
        """Return the id of the experiment; ``artifacts`` is where a new one stores its files."""
        name = self.config.experiment
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(name, artifact_location=artifacts))


def _name(name: str) -> str:
    """Return a name with characters that MLflow allows: letters, digits and ``_-. :/``."""
    return re.sub(r"[^\w\-. :/]", "_", name)
