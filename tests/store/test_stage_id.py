"""Stage ids and states."""

from __future__ import annotations

import pytest

from rgb2act_core.store.stage_id import STAGES, Stage, StageId, StageState, StageStatus


@pytest.mark.parametrize(
    ("text", "stage", "variant"),
    [
        ("align", Stage.ALIGN, ""),
        ("extract/patchstats", Stage.EXTRACT, "patchstats"),
        ("act/proprio_only", Stage.ACT, "proprio_only"),
        ("collect/libero/goal", Stage.COLLECT, "libero/goal"),
    ],
)
def test_id_and_its_text_form_are_equivalent(text: str, stage: Stage, variant: str) -> None:
    assert StageId.parse(text) == StageId(stage, variant)
    assert str(StageId(stage, variant)) == text


def test_unknown_stage_is_an_error() -> None:
    with pytest.raises(ValueError, match="'dream'"):
        StageId.parse("dream/lift")


def test_teacher_is_part_of_the_command_extract() -> None:
    assert StageId(Stage.TEACHER, "ulip").command is Stage.EXTRACT
    assert [StageId(stage).command for stage in STAGES] == list(STAGES)


def test_title_has_a_space_instead_of_a_slash() -> None:
    assert StageId(Stage.ACT, "oracle").title == "act oracle"
    assert StageId(Stage.ACT).title == "act"


def test_only_cached_and_unneeded_stages_have_no_work_left() -> None:
    done = [state for state in StageState if not state.pending]
    assert done == [StageState.CACHED, StageState.NOT_NEEDED]


def test_status_shows_what_remains_or_the_state() -> None:
    id = StageId(Stage.EXTRACT, "dinov3")
    assert str(StageStatus(id, StageState.INCOMPLETE, "2 episodes to encode")) == (
        "2 episodes to encode"
    )
    assert str(StageStatus(id, StageState.CACHED)) == "cached"
