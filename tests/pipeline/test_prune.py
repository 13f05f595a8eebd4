"""``prune`` frees exactly what no run needs, on a store that five runs share."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rgb2act_core.errors import UserError
from rgb2act_core.pipeline import chain
from rgb2act_core.pipeline.prune import prune
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.stages import collect, recording
from rgb2act_core.store.files import read_json, write_record
from rgb2act_core.store.locks import locked
from rgb2act_core.store.run_marks import under_way
from rgb2act_core.store.run_needs import NEEDS, Needs

pytestmark = pytest.mark.slow

SPECS: dict[str, dict[str, Any]] = {
    "base": {},
    "longer": {"policy": {"steps": 13}},  # shares the aligner
    "seed": {"seed": 1},  # shares the features
    "more": {"collect": {"episodes": 5, "scenes": 4}},  # shares episodes and their features
    "patch": {"backbone": [{"use": "puppet", "patch": 2}]},  # shares the episodes
}
STAGES, GROUPS = ("align", "policy", "act"), ("episodes", "features", "embeddings")


class Inline(Executor):
    """Runs each job in the calling process."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*args, **kwargs))
        return future


@contextmanager
def inline(count: int, component: Any, config: Any) -> Iterator[Executor]:
    recording._initialise(component.name, config)
    yield Inline()


@attrs.frozen
class Shared:
    """A root with five runs, and what each of them wrote in a root of its own."""

    root: Path
    outputs: dict[str, frozenset[str]]

    def copy(self, folder: Path) -> Path:
        return Path(shutil.copytree(self.root, folder))


def outputs(root: Path) -> frozenset[str]:
    """Return the folders of stages and of entries in a store."""
    store = root / "store"
    stages = [path for kind in STAGES for path in store.glob(f"{kind}/*")]
    entries = [path for kind in GROUPS for path in store.glob(f"{kind}/*/*")]
    folders = [path for path in (*stages, *entries) if path.is_dir()]
    return frozenset(str(path.relative_to(root)) for path in folders)


_SHARED: list[Shared] = []


@pytest.fixture
def shared(
    puppet: None,
    spec_in: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Shared:
    """Return the shared root; the first test makes it."""
    if not _SHARED:
        monkeypatch.setattr(collect, "open_executor", inline)
        base, found = tmp_path_factory.mktemp("prune"), {}
        for name, changes in SPECS.items():
            own = base / name
            own.mkdir()
            spec = read_spec(spec_in(base, **changes, name=name))
            chain.run_pipeline(spec, own, "train")
            found[name] = outputs(own)
            shutil.copytree(own, base / "all", dirs_exist_ok=True)
        _SHARED.append(Shared(base / "all", found))
    return _SHARED[0]


def start(run: Path) -> None:
    """Leave of a run what it has recorded before its first stage."""
    path = run / "run.json"
    write_record(path, read_json(path) | {"stages": [], "ended": "", "samples": {}})


def test_the_runs_share_parts_of_the_store(shared: Shared) -> None:
    found = shared.outputs
    assert outputs(shared.root) == frozenset().union(*found.values())
    assert all(a & b and a - b for a, b in itertools.permutations(found.values(), 2))


@given(removed=st.sets(st.sampled_from([name for name in SPECS if name != "patch"])))
@settings(max_examples=12, deadline=None, derandomize=True)
def _frees_what_the_others_do_not_need(shared: Shared, folder: Path, removed: set[str]) -> None:
    root = shared.copy(Path(tempfile.mkdtemp(dir=folder)) / "root")
    start(root / "patch" / "1")
    kept = [found for name, found in shared.outputs.items() if name not in removed]
    expected = frozenset().union(*kept)
    with under_way(root / "patch" / "1"):
        runs = [root / name / "1" for name in sorted(removed)]
        before = outputs(root)
        listed = prune(root, runs)
        assert outputs(root) == before
        assert prune(root, runs, dry=False) == listed
    assert outputs(root) == expected
    assert {path.parents[1].name for path in root.glob("*/1/run.json")} == set(SPECS) - removed
    assert prune(root).items == ()
    shutil.rmtree(root)


def test_exactly_what_no_run_needs_is_freed(shared: Shared, tmp_path: Path) -> None:
    """Any runs may be removed while another one is under way."""
    _frees_what_the_others_do_not_need(shared, tmp_path)


def test_a_run_that_is_under_way_is_not_removed(shared: Shared, tmp_path: Path) -> None:
    root = shared.copy(tmp_path / "root")
    with (
        under_way(root / "base" / "1"),
        pytest.raises(UserError, match="base@1: is under way; stop it first, or wait"),
    ):
        prune(root, [root / "base" / "1"], dry=False)
    assert outputs(root) == outputs(shared.root)


def test_all_models_are_kept_for_a_run_that_does_not_know_its_data_yet(
    shared: Shared, tmp_path: Path
) -> None:
    root = shared.copy(tmp_path / "root")
    run = root / "patch" / "1"
    start(run)
    folders = Needs.of_json(read_json(run / NEEDS)).entries
    write_record(run / NEEDS, Needs(provisional=frozenset(folders)).to_json())
    others = [root / name / "1" for name in SPECS if name != "patch"]
    with under_way(run):
        assert {item.kind for item in prune(root, others).items} == {"features"}
    kinds = {item.kind for item in prune(root, others).items}
    assert kinds == {"features", "align", "policy"}


def test_partial_output_is_kept_while_a_process_writes_it(shared: Shared, tmp_path: Path) -> None:
    root = shared.copy(tmp_path / "root")
    partial = root / "store" / "policy" / "0123456789abcdef.partial"
    partial.mkdir()
    (partial / "checkpoint.safetensors").write_bytes(bytes(10))
    with locked(partial.with_name("0123456789abcdef.lock")):
        assert prune(root).items == ()
    (item,) = prune(root, dry=False).items
    assert (item.path, item.kind, item.bytes) == (partial, "partial policy", 10)
    assert not partial.exists()
    assert not list((root / "store").glob("trash-*"))


def test_checkpoints_of_an_interrupted_run_are_kept(shared: Shared, tmp_path: Path) -> None:
    root = shared.copy(tmp_path / "root")
    start(root / "longer" / "1")
    needed = Needs.of_json(read_json(root / "longer" / "1" / NEEDS)).folders
    (policy,) = [root / path for path in needed if "policy" in path]
    policy.rename(policy.with_name(f"{policy.name}.partial"))
    assert prune(root).items == ()


def test_recent_output_is_kept_on_request(shared: Shared, tmp_path: Path) -> None:
    root = shared.copy(tmp_path / "root")
    run = root / "longer" / "1"
    (policy,) = [item.path for item in prune(root, [run]).items]
    assert prune(root, [run], keep_days=2).items == ()
    old = time.time() - 3 * 86_400
    for path in (*policy.iterdir(), policy):
        os.utime(path, (old, old))
    assert [item.path for item in prune(root, [run], keep_days=2).items] == [policy]
    assert prune(root, [run], keep_days=4).items == ()


def test_a_run_of_an_earlier_version_keeps_what_its_record_names(
    shared: Shared, tmp_path: Path
) -> None:
    root = shared.copy(tmp_path / "root")
    old, record = root / "more", read_json(root / "more" / "1" / "run.json")
    for path in (old / "1").iterdir():
        path.unlink() if path.is_file() else shutil.rmtree(path)
    (old / "1").rmdir()
    (old / "run.json").write_text(json.dumps({**record, "format": 2}))
    runs = [root / name / "1" for name in SPECS if name != "more"]
    assert shared.outputs["more"] <= outputs(root)
    prune(root, runs, dry=False)
    left = outputs(root)
    assert left >= shared.outputs["more"]
    folders = {str(Path(path).parent) for path in shared.outputs["more"]}
    assert {str(Path(path).parent) for path in left} == folders  # with all of their entries
    started = old / "2"  # a run that has no record yet
    started.mkdir()
    (old / "last-number").write_text("3")
    (old / "sweep-0123.html").write_text("")
    prune(root, [old], dry=False)
    assert outputs(root) == frozenset()
    assert {path.name for path in old.iterdir()} == {"2", "last-number", "sweep-0123.html"}


def test_nothing_is_removed_while_a_record_is_damaged(shared: Shared, tmp_path: Path) -> None:
    root = shared.copy(tmp_path / "root")
    (root / "seed" / "1" / "run.json").write_text("{")
    with pytest.raises(UserError, match="does not know what seed@1 needs"):
        prune(root, [root / "base" / "1"], dry=False)
    assert outputs(root) == outputs(shared.root)


@pytest.mark.parametrize("name", ["other", "base/7"])
def test_nothing_is_removed_while_a_folder_cannot_be_read(
    shared: Shared, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run of another user, or on a disk that is not mounted, nobody knows what it needs."""
    root = shared.copy(tmp_path / "root")
    closed = (root / name / "run.json").resolve()
    closed.parent.mkdir()
    real = Path.is_file

    def is_file(path: Path) -> bool:
        if path.resolve() == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "is_file", is_file)
    with pytest.raises(UserError, match=rf"{name}/run.json: cannot be read \(Permission denied\)"):
        prune(root, [root / "base" / "1"], dry=False)
    monkeypatch.undo()
    assert outputs(root) == outputs(shared.root)


def test_nothing_is_removed_while_a_link_leads_nowhere(shared: Shared, tmp_path: Path) -> None:
    root = shared.copy(tmp_path / "root")
    (root / "other").symlink_to(tmp_path / "unmounted")
    with pytest.raises(UserError, match=r"root/other: cannot be read \(No such file"):
        prune(root, dry=False)


def test_a_run_that_starts_while_prune_waits_is_not_removed(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shared.copy(tmp_path / "root")
    with contextlib.ExitStack() as stack:

        @contextmanager
        def waiting(path: Path) -> Iterator[None]:
            stack.enter_context(under_way(root / "base" / "1"))
            with locked(path):
                yield

        monkeypatch.setattr("rgb2act_core.pipeline.prune.locked", waiting)
        with pytest.raises(UserError, match="base@1: is under way"):
            prune(root, [root / "base" / "1"], dry=False)
    assert outputs(root) == outputs(shared.root)


def test_a_run_of_another_root_is_an_error(shared: Shared, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a run in .*root; set --root"):
        prune(shared.copy(tmp_path / "root"), [shared.root / "base" / "1"])
