"""Stage folders, which readers see complete or not at all.

A stage's folder is named by its key, a digest of everything that can change its content. The stage
writes into ``<key>.partial`` under a lock and renames it at the end. A killed stage is invisible
to readers and resumes from its partial folder.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ..errors import UserError
from ..system.devices import peak_memory
from .disk_errors import guard
from .files import read_json, sync_folder, write_json, write_record
from .keys import key_of
from .locks import locked

PARTIAL, SHARDS = ".partial", ".shards"  # suffixes of the folders of an unfinished stage
BEST = "best.safetensors"  # best weights so far, of evaluations during training
# files of an unfinished stage, deleted on commit
SCRATCH = ("inputs.json", "checkpoint.safetensors", "episodes.json", BEST)


@attrs.frozen(kw_only=True)
class StageFolder:
    """Folder of one stage's output, its key, and the inputs from which the key is derived."""

    parent: Path
    inputs: Mapping[str, Any]
    key: str

    @classmethod
    def of(cls, parent: Path, inputs: Mapping[str, Any]) -> StageFolder:
        """Return the folder for canonical inputs."""
        return cls(parent=parent, inputs=inputs, key=key_of(inputs))

    @property
    def path(self) -> Path:
        """Return the finished folder."""
        return self.parent / self.key

    @property
    def partial(self) -> Path:
        """Return the folder into which the unfinished stage writes."""
        return self.parent / f"{self.key}{PARTIAL}"

    @property
    def shards(self) -> Path:
        """Return the folder of what the shards of an unfinished stage computed."""
        return shards_of(self.partial)

    @property
    def done(self) -> bool:
        """Return whether the stage is finished."""
        return (self.path / "stage.json").is_file()

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Return a lock that keeps other runs from working on this stage."""
        return locked(self.parent / f"{self.key}.lock")

    def open(self) -> Path:
        """Create the partial folder, delete half-written files in it, and record the inputs."""
        with guard(self.partial):
            self.partial.mkdir(parents=True, exist_ok=True)
            for leftover in {*self.partial.rglob(".*"), *self.partial.rglob("*.part")}:
                leftover.unlink(missing_ok=True)
            write_json(self.partial / "inputs.json", dict(self.inputs))
        return self.partial

    def commit(self, *, seconds: float, cpu_seconds: float, results: Mapping[str, Any]) -> None:
        """Write ``stage.json``, delete files needed only for resuming, and rename the folder.

        ``seconds`` is wall-clock time.
        """
        stage = {
            "key": self.key,
            "inputs": dict(self.inputs),
            "seconds": round(seconds, 3),
            "cpu_seconds": round(cpu_seconds, 3),
            "peak_memory": peak_memory(),
            "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "results": dict(results),
        }
        write_record(self.partial / "stage.json", stage)
        with guard(self.path):
            for name in SCRATCH:
                (self.partial / name).unlink(missing_ok=True)
            self.partial.rename(self.path)  # atomic
            sync_folder(self.parent)
        shutil.rmtree(self.shards, ignore_errors=True)

    def meta(self) -> dict[str, Any]:
        """Return ``stage.json`` of the finished stage; raise UserError if it is damaged."""
        path = self.path / "stage.json"
        meta = read_json(path)
        if meta.get("key") != self.key or not isinstance(meta.get("results"), dict):
            raise UserError(f"{path}: is damaged; delete {self.path} and run again")
        return meta


def shards_of(partial: Path) -> Path:
    """Return the folder of what shards computed, next to the partial folder of the stage."""
    return partial.with_name(partial.name.removesuffix(PARTIAL) + SHARDS)
