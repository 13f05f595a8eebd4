"""``run.json``, the record of a run: its spec, its stages and where their outputs are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ..errors import UserError
from ..interfaces import Finding, Severity
from .files import read_json
from .stage_id import Stage, StageId

RECORD = "run.json"
RERUN = "rerun.json"  # of a command that repeats a finished run with other data, until it ends
FORMAT = 3
"""1: relative paths of the spec start where the run was started. 2: the run's folder has no number
and is in the folder of all runs. 3: the folder is ``<name>/<number>``."""
_TRAINED = (Stage.TRAIN, Stage.ACT)


@attrs.frozen(kw_only=True)
class StageRecord:
    """One stage as ``run.json`` records it."""

    id: StageId
    key: str
    path: str  # relative to the folder of all runs
    cached: bool  # whether the last command found it finished
    reason: str = ""  # why it ran
    seconds: float = 0.0  # wall time of the stage when it ran
    cpu_seconds: float = 0.0
    scenes: str = ""  # of collect: folder of the scenes, as ``path``; empty if there are none

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> StageRecord:
        """Return the record in JSON data.

        Raises KeyError, TypeError or ValueError if the data is damaged.
        """
        return cls(
            id=StageId.parse(str(data["stage"])),
            key=str(data["key"]),
            path=str(data["path"]),
            cached=bool(data["cached"]),
            reason=str(data["reason"]),
            seconds=float(data["seconds"]),
            cpu_seconds=float(data["cpu_seconds"]),
            scenes=str(data.get("scenes", "")),
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON data."""
        values = attrs.asdict(self, recurse=False)
        if not self.scenes:
            del values["scenes"]
        return {"stage": str(values.pop("id")), **values}


@attrs.frozen(kw_only=True)
class RunFile:
    """The content of ``run.json``."""

    name: str
    version: str  # of rgb2act
    created: str  # ISO 8601
    spec: Mapping[str, Any]  # the tables as they were run, not checked
    """Paths are absolute, or relative to the folder of all runs if they are below it."""
    stages: tuple[StageRecord, ...]
    earlier_stages: tuple[StageRecord, ...] = ()  # of older versions: from another spec
    samples: Mapping[str, Any] = attrs.field(factory=dict)  # paths of what the report shows
    environment: Mapping[str, str] = attrs.field(factory=dict)  # versions of the libraries used
    findings: tuple[Finding, ...] = ()  # about the demonstrations
    root: str = ""  # absolute path of the folder of all runs
    origin: Mapping[str, str] = attrs.field(factory=dict)
    """``repository`` and ``commit`` of a run that was pulled, whose results are stated there."""
    ended: str = ""  # last stage of the longest command that ended; empty if none did
    format: int = FORMAT

    @property
    def finished(self) -> bool:
        """Whether the run has a trained policy, or evaluated a replay, and no command failed."""
        if self.format < 3:
            return any(stage.id.stage in _TRAINED for stage in self.stages)
        return self.ended in _TRAINED

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> RunFile:
        """Return the content in JSON data.

        Raises KeyError, TypeError, ValueError or AttributeError if the data is damaged.
        """
        return cls(
            name=str(data["name"]),
            version=str(data["version"]),
            created=str(data["created"]),
            spec=dict(data["spec"]),
            stages=tuple(map(StageRecord.of_json, data["stages"])),
            earlier_stages=tuple(map(StageRecord.of_json, data.get("earlier_stages") or ())),
            samples=dict(data.get("samples") or {}),
            environment=dict(data.get("environment") or {}),
            findings=tuple(map(_finding, data.get("findings") or ())),
            root=str(data.get("root", "")),
            origin={k: str(v) for k, v in (data.get("origin") or {}).items()},
            ended=str(data.get("ended", "")),
            format=int(data.get("format", 1)),
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON data."""
        values = attrs.asdict(self, recurse=False)
        for name in ("stages", "earlier_stages"):
            values[name] = [stage.to_json() for stage in values[name]]
        if not self.origin:
            del values["origin"]
        values["findings"] = [attrs.asdict(finding) for finding in self.findings]
        return values


def _finding(data: Mapping[str, Any]) -> Finding:
    return Finding(**{**data, "severity": Severity(data["severity"])})


def root_of(folder: Path, content: RunFile) -> Path:
    """Return the folder of all runs, to which the paths in a run's record are relative.

    It is found from the run's folder, so that it may be moved. If only the run's folder was moved,
    it is where the run recorded it.
    """
    folder = folder.resolve()
    if content.format < 3:
        return folder.parent
    recorded = Path(content.root)
    nearby = folder.parent.parent
    is_copied_out = content.root and not (nearby / "store").is_dir() and recorded.is_dir()
    return recorded if is_copied_out else nearby


def read_run_file(folder: Path) -> RunFile:
    """Return the content of ``run.json`` in a run's folder; no plugin is needed.

    Raises UserError if there is no such file or if it is damaged.
    """
    path = folder / RECORD
    if not path.exists():
        raise UserError(f"{folder}: no {RECORD}; name the folder of a run, such as runs/NAME/1")
    return read_record(path)


def read_record(path: Path) -> RunFile:
    """Return the content of a record. Raises UserError if it is missing or damaged."""
    data = read_json(path)
    try:
        return RunFile.of_json(data)
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        raise UserError(
            f"{path}: damaged ({type(err).__name__}: {err}); delete it and run the spec again"
        ) from err
