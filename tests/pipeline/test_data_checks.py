"""Demonstrations are checked before anything is computed from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rgb2act_core.errors import UserError
from rgb2act_core.pipeline import chain
from rgb2act_core.pipeline.status import check
from rgb2act_core.reporting import report
from rgb2act_core.spec.reader import read_spec

SpecFile = Callable[..., Path]
RECORDED: dict[str, Any] = {"use": "puppet", "recorded": 4, "lengths": [9]}


@pytest.mark.usefixtures("puppet")
def test_an_error_stops_before_extraction_and_can_be_accepted(
    spec_file: SpecFile, tmp_path: Path
) -> None:
    table = {**RECORDED, "fault": "copied joints"}
    spec = read_spec(spec_file(environment=table, collect=None))
    for begin in (check, chain.run_pipeline):
        with pytest.raises(UserError) as caught:
            begin(spec, tmp_path / "root")
        (message,) = caught.value.args
        assert message.startswith("episode recorded_1: actions equal the joints of their own frame")
        assert "(and in 2 other episodes)" in message
        assert "set [collect] accept_findings = ['present_state']" in message
    assert not (tmp_path / "root/store/features").exists()
    accepted = {"accept_findings": ["present_state"]}
    findings = check(
        read_spec(spec_file(environment=table, collect=accepted)), tmp_path / "root"
    ).findings
    assert [(finding.severity, finding.rule) for finding in findings] == [("note", "present_state")]


@pytest.mark.usefixtures("puppet")
def test_warnings_are_printed_recorded_and_reported(
    spec_file: SpecFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = read_spec(spec_file(environment={**RECORDED, "fault": "black"}, collect=None))
    folder = chain.run_pipeline(spec, tmp_path / "root", until="extract")
    assert "data warning: episode recorded_1: frame 1: camera eye delivers a black" in (
        capsys.readouterr().err
    )
    (finding,) = json.loads((folder / "run.json").read_text())["findings"]
    assert (finding["rule"], finding["others"]) == ("camera", 2)
    page = report.write(folder).read_text()
    assert "camera eye delivers a black image" in page


@pytest.mark.usefixtures("puppet")
def test_sound_demonstrations_have_no_findings(spec_file: SpecFile, tmp_path: Path) -> None:
    spec = read_spec(spec_file(environment={**RECORDED, "path": True}, collect=None))
    assert check(spec, tmp_path / "root").findings == ()


@pytest.mark.usefixtures("puppet")
def test_an_unknown_rule_is_refused(spec_file: SpecFile, tmp_path: Path) -> None:
    collect = {"accept_findings": ["degree"]}
    spec = read_spec(spec_file(environment=RECORDED, collect=collect))
    with pytest.raises(UserError, match="there is no rule 'degree'; did you mean 'degrees'"):
        check(spec, tmp_path / "root")
