"""What a run left on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from run_records import last_stages


@attrs.frozen
class RunFiles:
    """The files of a run, and of the store next to it."""

    root: Path
    name: str = "puppet"

    @property
    def stages(self) -> list[dict[str, Any]]:
        """The stages of the run that was written last."""
        return last_stages(self.root, self.name)

    def reasons(self) -> dict[str, str]:
        """Return why each stage ran; cached stages are left out."""
        return {stage["stage"]: stage["reason"] for stage in self.stages if not stage["cached"]}

    def folder(self, stage: str) -> Path:
        """Return the output folder of a stage."""
        (path,) = [s["path"] for s in self.stages if s["stage"] == stage]
        return self.root / str(path)

    def results(self, stage: str = "act") -> dict[str, Any]:
        """Return the results of a stage."""
        results: dict[str, Any] = json.loads((self.folder(stage) / "stage.json").read_text())[
            "results"
        ]
        return results

    def weights(self) -> bytes:
        """Return the weights of the policy."""
        return (self.folder("train") / "policy.safetensors").read_bytes()

    def outcome(self) -> dict[str, Any]:
        """Return everything that must be bit-identical after an interruption."""
        folders = {stage: self.folder(stage) for stage in ("align", "train")}
        hidden = [p for s in ("align", "train", "act") for p in self.folder(s).rglob(".*")]
        assert not hidden
        return {
            "align": (folders["align"] / "aligner.safetensors").read_bytes(),
            "align curve": (folders["align"] / "metrics.jsonl").read_bytes(),
            "train": self.weights(),
            "train curve": (folders["train"] / "metrics.jsonl").read_bytes(),
            "act": self.results()["episodes"],
            "names": sorted(p.name for p in self.folder("collect").iterdir()),
        }

    def partials(self) -> list[Path]:
        """Return the partial files of unfinished stages."""
        return [p for p in (self.root / "store").rglob("*") if ".partial" in p.name]


@pytest.fixture(scope="session")
def files() -> type[RunFiles]:
    """Return a function that opens the files of a run: ``files(root, name)``."""
    return RunFiles
