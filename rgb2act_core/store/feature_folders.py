"""Where a backbone's features and a teacher's embeddings are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..spec import BackboneChoice, Spec, TeacherChoice, Tokens
from .keys import canonical, key_of
from .run import Run


def recipe(choice: BackboneChoice | TeacherChoice) -> dict[str, Any]:
    """Return the canonical data that a component's features depend on."""
    data: dict[str, Any] = canonical(choice)
    return data


def stored_recipe(spec: Spec, choice: BackboneChoice) -> dict[str, Any]:
    """Return the canonical data that a backbone's stored features depend on."""
    form = spec.extract.tokens
    compact = {} if form == Tokens() else {"extract.tokens": canonical(form)}
    return recipe(choice) | compact


def taught_recipe(spec: Spec, choice: TeacherChoice) -> dict[str, Any]:
    """Return the canonical data that a teacher's stored embeddings depend on."""
    return recipe(choice) | ({"groups": True} if spec.align.loss.grouped else {})


def features_folder(run: Run, choice: BackboneChoice) -> Path:
    """Return the folder of one backbone's features."""
    key = key_of(stored_recipe(run.spec, choice))
    return run.store / "features" / f"{choice.component.name}-{key}"


def embeddings_folder(run: Run, choice: TeacherChoice) -> Path:
    """Return the folder of one teacher's embeddings, and of its group tokens where a loss asks."""
    key = key_of(taught_recipe(run.spec, choice))
    return run.store / "embeddings" / f"{choice.component.name}-{key}"
