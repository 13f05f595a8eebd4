"""Content keys, and stage folders that a reader sees whole or not at all.

A stage's folder is named by the digest of everything that can change its content. It is written
as ``<key>.partial`` under a lock and renamed when it is done, so a killed stage is invisible to
readers and is resumed from what lies in the partial folder.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ..errors import UserError
from .files import guard, locked, read_json, sync_folder, write_json
from .keys import key_of

BEST = "best.safetensors"  # weights that did best so far, while others are still tried
# of a stage under way
SCRATCH = ("inputs.json", "checkpoint.safetensors", "episodes.json", BEST)


@attrs.frozen(kw_only=True)
class StageFolder:
    """Name the folder of one stage's output, its key, and the inputs the key was made of."""

    parent: Path
    inputs: Mapping[str, Any]
    key: str

    @classmethod
    def of(cls, parent: Path, inputs: Mapping[str, Any]) -> StageFolder:
        """Make the record from canonical inputs."""
        return cls(parent=parent, inputs=inputs, key=key_of(inputs))

    @property
    def path(self) -> Path:
        """Return the finished folder."""
        return self.parent / self.key

    @property
    def partial(self) -> Path:
        """Return the folder that is worked in until the stage is done."""
        return self.parent / f"{self.key}.partial"

    @property
    def done(self) -> bool:
        """Tell whether the stage is finished."""
        return (self.path / "stage.json").is_file()

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Hold this stage against other runs."""
        return locked(self.parent / f"{self.key}.lock")

    def open(self) -> Path:
        """Make the partial folder, without what a killed run was writing, and note the inputs."""
        with guard(self.partial):
            self.partial.mkdir(parents=True, exist_ok=True)
            for torn in [*self.partial.rglob(".*"), *self.partial.rglob("*.part")]:
                torn.unlink(missing_ok=True)
            write_json(self.partial / "inputs.json", dict(self.inputs))
        return self.partial

    def commit(self, *, seconds: float, cpu_seconds: float, results: Mapping[str, Any]) -> None:
        """Finish the stage: write ``stage.json``, drop what resuming needed, rename the folder."""
        stage = {
            "key": self.key,
            "inputs": dict(self.inputs),
            "seconds": round(seconds, 3),
            "cpu_seconds": round(cpu_seconds, 3),
            "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "results": dict(results),
        }
        write_json(self.partial / "stage.json", stage)
        with guard(self.path):
            for name in SCRATCH:
                (self.partial / name).unlink(missing_ok=True)
            self.partial.rename(self.path)  # atomic: a reader sees the whole stage or none of it
            sync_folder(self.parent)

    def meta(self) -> dict[str, Any]:
        """Read ``stage.json`` of the finished stage; raise UserError when it is damaged."""
        place = self.path / "stage.json"
        meta = read_json(place)
        if meta.get("key") != self.key or not isinstance(meta.get("results"), dict):
            raise UserError(f"{place}: damaged; delete {self.path} and run again")
        return meta
