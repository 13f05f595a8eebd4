"""The aligner of another run, which a run uses instead of training one (``extract.aligner``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import UserError
from ..store.files import read_json
from ..store.keys import difference
from ..store.run_file import RECORD, read_run_file
from ..store.run_folders import RunId
from ..store.stage_folder import StageFolder
from ..store.stage_id import Stage, StageId
from .run import Run


def given_aligner(run: Run) -> StageFolder:
    """Return the finished stage of the aligner that the spec names.

    Raises UserError if there is no such run, or if its aligner is not trained or was deleted.
    """
    name = run.spec.extract.aligner
    path = run.aligner or _recorded(run, name)
    if not (path / "stage.json").is_file():
        raise UserError(
            f"extract.aligner: the aligner of run {name!r} was deleted ({path}); train it again"
            " with rgb2act align"
        )
    inputs = read_json(path / "stage.json").get("inputs") or {}
    return StageFolder(parent=path.parent, inputs=inputs, key=path.name)


def _recorded(run: Run, name: str) -> Path:
    """Return the folder of the aligner that a run of the same root has recorded."""
    id = RunId.parse(name)
    folder = run.root if id is None else id.folder(run.root)
    if not (folder / RECORD).is_file():
        raise UserError(
            f"extract.aligner: there is no run {name!r} in {run.root}; run its spec first, or"
            " choose its folder of runs with --root"
        )
    for stage in read_run_file(folder).stages:
        if stage.id == StageId(Stage.ALIGN):
            return run.root / stage.path
    raise UserError(
        f"extract.aligner: run {name!r} has no trained aligner; train one with rgb2act align"
    )


def check_trained_alike(run: Run, wanted: dict[str, Any]) -> None:
    """Raise UserError if the aligner that the spec names was trained with other settings.

    ``wanted`` are the run's own: ``backbones``, recipes of their features, ``align``, and
    ``teacher`` if the policy is trained on its embeddings.
    """
    known = given_aligner(run).inputs
    tables = "[[backbone]], [teacher], [align]" if "teacher" in wanted else "[[backbone]], [align]"
    if changes := difference({name: known.get(name) for name in wanted}, wanted):
        raise UserError(
            f"extract.aligner: {run.spec.extract.aligner} was trained with other settings"
            f" ({'; '.join(changes)}); copy {tables} and extract.tokens from its spec"
        )
