"""``run.json``: what it records, and damaged records."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from rgb2act_core.errors import UserError
from rgb2act_core.pipeline.find_run import find_run
from rgb2act_core.pipeline.run_record import RunRecord, read_run
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.stages.run import Run
from rgb2act_core.store.run_file import StageRecord, read_run_file
from rgb2act_core.store.stage_id import Stage, StageId

ALIGN, TRAIN = StageId(Stage.ALIGN), StageId(Stage.TRAIN)
RAN = StageRecord(
    id=TRAIN,
    key="abc",
    path="store/policy/abc",
    cached=False,
    reason="no cached output",
    seconds=3.5,
    cpu_seconds=7.0,
)


@pytest.fixture
def run(spec_file: Callable[..., Path], puppet: None, tmp_path: Path) -> Run:
    """Return a run without a record."""
    return Run(spec=read_spec(spec_file()), root=tmp_path)


def test_stages_are_read_as_they_were_added(run: Run) -> None:
    record = RunRecord(run)
    align = attrs.evolve(RAN, id=ALIGN, path="store/align/abc")
    record.add(align)
    record.add(RAN)
    recorded = read_run(record.folder)
    assert recorded.run == run
    assert recorded.stages == {ALIGN: align, TRAIN: RAN}
    assert recorded.stage_folder(TRAIN) == run.root / "store/policy/abc"


@pytest.mark.parametrize(("key", "seconds"), [("abc", 3.5), ("def", 0.1)])
def test_cached_stage_keeps_the_times_of_the_run_with_the_same_key(
    run: Run, key: str, seconds: float
) -> None:
    RunRecord(run).add(RAN)
    RunRecord(run).add(attrs.evolve(RAN, key=key, cached=True, reason="", seconds=0.1))
    assert read_run(run.root / "puppet/1").stages[TRAIN].seconds == seconds


def changed(run: Run, **policy: int) -> Run:
    """Return the run of another spec with the same name."""
    spec = attrs.evolve(run.spec, policy=attrs.evolve(run.spec.policy, **policy))
    return attrs.evolve(run, spec=spec)


def test_each_spec_has_its_own_folder(run: Run) -> None:
    first, second = RunRecord(run), RunRecord(changed(run, steps=13))
    assert (first.folder, second.folder) == (run.root / "puppet/1", run.root / "puppet/2")
    assert RunRecord(run).folder == first.folder


def test_settings_that_change_no_result_share_a_folder(run: Run) -> None:
    compute = attrs.evolve(run.spec.compute, threads=3)
    other = attrs.evolve(run, spec=attrs.evolve(run.spec, compute=compute))
    assert RunRecord(other).folder == RunRecord(run).folder


def test_a_new_run_compares_its_stages_with_the_run_before(run: Run) -> None:
    RunRecord(run).add(RAN)
    assert RunRecord(changed(run, steps=13)).previous == {TRAIN: RAN}


def test_a_run_of_an_earlier_version_is_kept_as_it_is(run: Run) -> None:
    """It has no number, and its folder contains those of the numbered runs."""
    RunRecord(run).add(RAN)
    old = run.root / "puppet"
    content = json.loads((old / "1" / "run.json").read_text()) | {"format": 2}
    shutil.rmtree(old / "1")
    (old / "last-number").unlink()
    del content["record_digest"]
    (old / "run.json").write_text(json.dumps(content))
    before = (old / "run.json").read_bytes()
    assert find_run("puppet", run.root) == old
    assert read_run(old).stage_folder(TRAIN) == run.root / "store/policy/abc"

    record = RunRecord(run)
    assert record.folder == old / "1"
    assert record.previous == {TRAIN: RAN}
    record.add(attrs.evolve(RAN, cached=True))
    record.finish(Stage.TRAIN)
    assert (old / "run.json").read_bytes() == before
    assert find_run("puppet", run.root) == old / "1"
    assert find_run("puppet@0", run.root) == old


def test_a_shorter_command_keeps_the_stages_of_a_longer_one(run: Run) -> None:
    align = attrs.evolve(RAN, id=ALIGN)
    record = RunRecord(run)
    record.add(align)
    record.add(RAN)
    record.finish(Stage.TRAIN)
    again = RunRecord(run)
    assert list(again.previous) == [ALIGN, TRAIN]
    again.add(align)
    again.finish(Stage.ALIGN)
    content = read_run_file(record.folder)
    assert [stage.id for stage in content.stages] == [ALIGN, TRAIN]
    assert content.ended == "train"


def test_a_command_that_fails_leaves_the_record_of_a_finished_run(run: Run) -> None:
    record = RunRecord(run)
    record.add(RAN)
    record.finish(Stage.TRAIN)
    before = (record.folder / "run.json").read_bytes()
    other = attrs.evolve(RAN, key="def", path="store/policy/def")  # of other data
    again = RunRecord(run)
    again.add(other)
    assert (record.folder / "run.json").read_bytes() == before
    again.finish(Stage.TRAIN)
    assert read_run(record.folder).stages == {TRAIN: other}
    assert not (record.folder / "rerun.json").exists()


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"stages": 3}', '{"stages": [{"stage": 1}]}']
)
def test_damaged_record_is_ignored_by_the_next_run(run: Run, content: str) -> None:
    RunRecord(run).add(RAN)
    ((run.root / "puppet/1") / "run.json").write_text(content)
    assert RunRecord(run).previous == {}


def test_missing_record_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing: no run\.json; name the folder of a run"):
        read_run(tmp_path / "nothing")


def test_damaged_stages_are_an_error(run: Run) -> None:
    RunRecord(run).add(RAN)
    path = (run.root / "puppet/1") / "run.json"
    record = json.loads(path.read_text())
    del record["record_digest"]
    record["stages"][0]["stage"] = "dream"
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"run\.json: damaged .*dream.*; delete it"):
        read_run(run.root / "puppet/1")


def test_record_that_was_altered_is_an_error(run: Run) -> None:
    RunRecord(run).add(RAN)
    path = (run.root / "puppet/1") / "run.json"
    path.write_text(path.read_text().replace(RAN.path, RAN.path[:-1]))
    with pytest.raises(UserError, match=r"run\.json: was altered after it was written; delete it"):
        read_run(run.root / "puppet/1")


def test_stage_that_was_not_reached_is_an_error(run: Run) -> None:
    RunRecord(run).add(RAN)
    with pytest.raises(UserError, match="has no stage 'align' yet; finish the run first"):
        read_run(run.root / "puppet/1").stage_folder(ALIGN)


def test_paths_are_recorded_for_every_folder(
    spec_in: Callable[..., Path], puppet: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths below the root move with it; the others are absolute."""
    root, project = tmp_path / "runs", tmp_path / "project"
    for folder in (root, project):
        folder.mkdir()
    (root / "seeds.json").write_text("[7, 8, 9, 10]")
    (project / "weights.json").write_text("{}")
    changes = {"backbone": [{"use": "puppet", "weights": "weights.json"}]}
    spec_in(project, **changes, act={"seeds": "../runs/seeds.json"})
    monkeypatch.chdir(project)
    spec = read_spec(Path("puppet.toml"))
    run = Run(spec=spec, root=root)
    RunRecord(run).add(RAN)
    recorded = json.loads(((run.root / "puppet/1") / "run.json").read_text())["spec"]
    assert recorded["backbone"][0]["weights"] == str(project / "weights.json")
    assert recorded["act"]["seeds"] == "seeds.json"

    moved = root.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    found = read_run(moved / "puppet" / "1").run.spec
    assert found.act.seeds == moved / "seeds.json"
    assert found.backbone == spec.backbone


def test_files_of_a_recorded_spec_need_not_exist(
    spec_in: Callable[..., Path], puppet: None, tmp_path: Path
) -> None:
    weights = tmp_path / "weights.json"
    weights.write_text("{}")
    path = spec_in(tmp_path, backbone=[{"use": "puppet", "weights": "weights.json"}])
    run = Run(spec=read_spec(path), root=tmp_path)
    RunRecord(run).add(RAN)
    weights.unlink()
    assert read_run(run.root / "puppet/1").run == run


def test_paths_of_older_records_start_at_the_working_directory(
    spec_in: Callable[..., Path], puppet: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(spec=read_spec(spec_in(tmp_path)), root=tmp_path)
    RunRecord(run).add(RAN)
    path = (run.root / "puppet/1") / "run.json"
    record = json.loads(path.read_text())
    del record["format"], record["record_digest"]
    record["spec"]["backbone"][0]["weights"] = "weights.json"
    path.write_text(json.dumps(record))
    monkeypatch.chdir(tmp_path)
    (backbone,) = read_run(run.root / "puppet/1").run.spec.backbone
    assert backbone.config.weights == str(tmp_path / "weights.json")
