"""Conditions are entries of one table, which all stages read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from rgb2act_core.errors import UserError
from rgb2act_core.pipeline import chain
from rgb2act_core.pipeline.verify import verify
from rgb2act_core.policy.saving import load_policy
from rgb2act_core.spec import conditions
from rgb2act_core.spec import policy as policy_spec
from rgb2act_core.spec.conditions import CONDITIONS, Condition
from rgb2act_core.spec.reader import read_spec

SpecFile = Callable[..., Path]
NEW = (
    Condition(
        name="everything",
        summary="all that a frozen aligner gives, and the true state",
        backbones="all",
        aligner="trained",
        pooled_tokens=True,
        tokens=True,
        state=True,
    ),
    Condition(
        name="end_to_end_tokens",
        summary="the embedding and tokens of an aligner trained with the head, and the true state",
        backbones="all",
        aligner="end_to_end",
        tokens=True,
        state=True,
    ),
    Condition(
        name="finetuned_tokens",
        summary="all that a trained aligner gives, which is trained further, and the true state",
        backbones="all",
        aligner="finetuned",
        pooled_tokens=True,
        tokens=True,
        state=True,
    ),
    Condition(
        name="backbone_and_state",
        summary="one backbone's tokens, pooled per camera, and the true state",
        backbones="one",
        state=True,
    ),
)
# widths of the puppet's embedding, fused tokens of its camera, backbone tokens and state
PARTS = {
    "everything": (6, 4, 2),
    "end_to_end_tokens": (6, 2),
    "finetuned_tokens": (6, 4, 2),
    "backbone_and_state": (6, 2),
}


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize("condition", NEW, ids=lambda condition: condition.name)
def test_condition_added_to_the_table_trains_acts_and_verifies(
    spec_file: SpecFile,
    puppet_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    condition: Condition,
) -> None:
    monkeypatch.setitem(conditions.CONDITIONS, condition.name, condition)
    # a spec accepts the names that were in the table when it was imported
    monkeypatch.setattr(policy_spec, "ConditionName", Literal[tuple(CONDITIONS)])  # type: ignore[valid-type]
    spec = read_spec(spec_file(policy={"condition": condition.name, "n_obs_steps": 2}))
    folder = chain.run_pipeline(spec, puppet_root)
    record = json.loads((folder / "run.json").read_text())
    (path,) = [stage["path"] for stage in record["stages"] if stage["stage"] == "train"]
    policy = load_policy(puppet_root / path)
    assert policy.config.parts == PARTS[condition.name]
    assert policy.config.tokens == ((4, 4) if condition.tokens else None)
    found = verify(folder)
    assert found.problems == ()
    assert found.feature_error < 0.01  # the tolerance of verify


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"aligner": "random"}, "an aligner needs all backbones"),
        ({"backbones": "all"}, "an aligner needs all backbones"),
        ({"backbones": "one", "tokens": True}, "fused tokens need an aligner"),
        ({"state": True, "teacher": True}, "state and teacher exclude each other"),
    ],
)
def test_condition_whose_fields_contradict_each_other_is_an_error(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"condition x: {message}"):
        Condition(name="x", summary="", **fields)


def test_spec_accepts_the_names_of_the_table(spec_file: SpecFile) -> None:
    for name in CONDITIONS:
        assert read_spec(spec_file("smoke", policy={"condition": name})).policy.condition == name
    with pytest.raises(UserError, match=r"expected 'aligned', .* or 'oracle', got str 'orakel'"):
        read_spec(spec_file("smoke", policy={"condition": "orakel"}))
    baselines = [name for name, condition in CONDITIONS.items() if condition.is_baseline]
    spec = read_spec(spec_file("smoke", act={"baselines": baselines}))
    assert list(spec.act.baselines) == baselines
    with pytest.raises(UserError, match=r"act.baselines\S*: expected 'single_backbone'"):
        read_spec(spec_file("smoke", act={"baselines": ["aligned"]}))
