"""Runs on disk, for use from Python: their spec, results, models and planner.

For example::

    run = open_run("lift_pot")
    print(run.success_rate)
    planner = run.planner(device="cuda")

    pandas.DataFrame(runs())
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ..errors import UserError
from ..store.files import read_json
from ..store.run_file import RECORD, RunFile, StageRecord, read_run_file, root_of
from ..store.run_folders import RunId, all_runs
from ..store.stage_id import STAGES, Stage, StageId
from ..system.default_root import default_root
from .find_run import find_run

if TYPE_CHECKING:
    from ..alignment.aligner import Aligner
    from ..distillation.student_encoder import StudentEncoder
    from ..policy.planner import Planner
    from ..policy.policy import Policy
    from ..spec import Spec
    from .run_record import RecordedRun


@attrs.frozen(kw_only=True)
class SuccessRate:
    """Successes of a policy on the ``[act]`` seeds."""

    rate: float
    low: float
    """Lower end of the 95% Wilson interval."""
    high: float
    """Upper end of the 95% Wilson interval."""
    successes: int
    episodes: int


class FinishedRun:
    """A run on disk. Reading its record is fast; models are loaded on demand."""

    def __init__(self, recorded: RecordedRun) -> None:
        self._recorded = recorded

    @property
    def name(self) -> str:
        """Return the name of the run."""
        return self.spec.name

    @property
    def folder(self) -> Path:
        """Return the run's folder, with ``run.json`` and ``report.html``."""
        return self._recorded.folder

    @property
    def spec(self) -> Spec:
        """Return the spec that was run."""
        return self._recorded.run.spec

    @property
    def stages(self) -> dict[str, StageRecord]:
        """Return the recorded stages by name, such as ``extract/dinov3`` or ``train``.

        Each has ``key``, ``path`` (relative to the folder of all runs), ``cached``, ``reason``,
        ``seconds`` and ``cpu_seconds``.
        """
        return {str(id): stage for id, stage in self._recorded.stages.items()}

    @cached_property
    def results(self) -> dict[str, Any]:
        """Return the results of align, distill, train, act and the baselines by name of the stage.

        See docs/json.md for the fields.
        """
        found = {}
        for id in self._recorded.stages:
            if id.stage in (Stage.ALIGN, Stage.DISTILL, Stage.TRAIN, Stage.ACT):
                path = self._recorded.stage_folder(id) / "stage.json"
                found[str(id)] = read_json(path)["results"]
        return found

    @property
    def success_rate(self) -> SuccessRate | None:
        """Return the success rate of the run's policy; None if it was not evaluated."""
        return success_rate_of(act) if (act := self.results.get(Stage.ACT)) else None

    def policy(self, device: str = "auto") -> Policy:
        """Return the trained policy. Raises UserError if there is none."""
        from ..policy.saving import load_policy

        folder = self._recorded.stage_folder(StageId(Stage.TRAIN))
        return load_policy(folder, device, self._recorded.student_path)

    def aligner(self) -> Aligner:
        """Return the aligner of the align stage, on the CPU. Raises UserError if there is none.

        A policy that trains it further has its own: ``policy().aligner``.
        """
        from ..alignment.saving import load_aligner

        return load_aligner(self._recorded.stage_folder(StageId(Stage.ALIGN)))

    def student(self) -> StudentEncoder:
        """Return the student, on the CPU. Raises UserError if there is none."""
        from ..distillation.saving import load_student

        return load_student(self._recorded.stage_folder(StageId(Stage.DISTILL)))

    def planner(self, device: str = "auto") -> Planner:
        """Return a planner with the run's policy and backbones.

        It plans as the run's ``[act]`` table says: candidates, warm start, temporal ensemble.
        ``device`` is ``auto``, ``cpu``, ``mps``, ``cuda`` or ``cuda:N``. Raises UserError if the
        policy is not trained, or if a backbone's features differ from those it was trained on.
        """
        from ..policy.planner import load_planner
        from ..spec.requirements import policy_backbones

        folder = self._recorded.stage_folder(StageId(Stage.TRAIN))
        student = self._recorded.student_path
        return load_planner(folder, policy_backbones(self.spec), self.spec.act, device, student)


def open_run(run: str | Path, root: str | Path | None = None) -> FinishedRun:
    """Open a run, named by ``name``, ``name@number`` or its folder as in ``find_run``.

    The run need not be complete. Raises UserError if there is none, if its record is damaged or
    if a component of its spec is not installed.
    """
    from .run_record import read_run

    return FinishedRun(read_run(find_run(run, root)))


def runs(root: str | Path | None = None) -> list[dict[str, Any]]:
    """Return one row for each run under ``root``, sorted by name, for ``pandas.DataFrame``.

    Columns: ``name``, ``number``, ``created``, ``version``, ``condition``, ``backbones``;
    ``success``, ``low``, ``high`` (95% interval) and ``episodes`` of the run's own policy; for each
    stage its state (``done``, ``deleted``, or None if it did not run) and ``STAGE_seconds``, wall
    time when it ran; ``error``, the reason if the record cannot be read. Values that are not known
    are None. No plugin is needed.
    """
    found = all_runs(Path(root or default_root()))
    return [_row(id, folder) for id, folder in found.items()]


def success_rate_of(results: Mapping[str, Any]) -> SuccessRate:
    """Return the success rate in the results of an act stage."""
    low, high = results["interval"]
    return SuccessRate(
        rate=results["rate"],
        low=low,
        high=high,
        successes=results["successes"],
        episodes=len(results["episodes"]),
    )


def _row(id: RunId, folder: Path) -> dict[str, Any]:
    row = {"name": id.name, "number": id.number}
    try:
        record = read_run_file(folder)
        return row | _columns(record, root_of(folder, record)) | {"error": None}
    except UserError as err:
        message = str(err)
    except (KeyError, TypeError, ValueError) as err:
        message = f"{folder / RECORD}: damaged ({type(err).__name__}: {err}); run the spec again"
    columns = ("created", "version", "condition", "backbones", "success", "low", "high", "episodes")
    stages = {column: None for stage in STAGES for column in (stage, f"{stage}_seconds")}
    return row | dict.fromkeys(columns) | stages | {"error": message}


def _columns(record: RunFile, root: Path) -> dict[str, Any]:
    spec, stages = record.spec, _own_stages(record)
    act = next((stage.path for stage in stages if stage.id.stage is Stage.ACT), None)
    success = None
    if act is not None and (root / act / "stage.json").is_file():
        success = success_rate_of(read_json(root / act / "stage.json")["results"])
    return {
        "created": record.created,
        "version": record.version,
        "condition": spec["policy"]["condition"],
        "backbones": ", ".join(table["use"] for table in spec["backbone"]),
        "success": success and success.rate,
        "low": success and success.low,
        "high": success and success.high,
        "episodes": success and success.episodes,
        **_stage_columns(stages, root),
    }


def _own_stages(record: RunFile) -> list[StageRecord]:
    """Return all stages but those of the baselines."""
    trained = (Stage.TRAIN, Stage.ACT)
    return [s for s in record.stages if not (s.id.variant and s.id.stage in trained)]


def _stage_columns(stages: Sequence[StageRecord], root: Path) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for command in STAGES:
        parts = [stage for stage in stages if stage.id.command is command]
        stored = all((root / stage.path).is_dir() for stage in parts)
        columns[str(command)] = ("done" if stored else "deleted") if parts else None
        columns[f"{command}_seconds"] = sum(s.seconds for s in parts) if parts else None
    return columns
