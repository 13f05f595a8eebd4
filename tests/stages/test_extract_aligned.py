"""With ``extract.keep = "aligned"``, only what a policy observes of an aligner is stored.

Shapes: T = steps, V = cameras, N = tokens of a camera, W = token_dim, D = embedding
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rgb2act_core.alignment.saving import load_aligner
from rgb2act_core.errors import UserError
from rgb2act_core.pipeline import chain
from rgb2act_core.pipeline.prune import prune
from rgb2act_core.pipeline.run_record import open_dataset, read_run
from rgb2act_core.pipeline.short_run import short_tasks
from rgb2act_core.pipeline.status import check
from rgb2act_core.pipeline.verify import verify
from rgb2act_core.spec import Spec
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.stages.extract_aligned import check_frames
from rgb2act_core.stages.keys import stored_aligned, stored_features
from rgb2act_core.stages.run import Run
from rgb2act_core.stages.tasks import open_tasks
from rgb2act_core.store.files import read_json, write_record
from rgb2act_core.store.group_reader import read_group
from rgb2act_core.store.stage_id import Stage, StageId
from rgb2act_core.system.shards import ALL, Shard

pytestmark = pytest.mark.usefixtures("puppet")
SpecFile = Callable[..., Path]

KEPT: dict[str, Any] = {"keep": "aligned", "aligner": "puppets@1", "batch_size": 4}
# Float32 sums of less than 100 terms around 1, in batches of other sizes: relative rounding
# errors of 2**-24 each stay below 1e-4.
ROUNDING = 1e-4


def kept(spec_file: SpecFile, **changes: Any) -> Spec:
    """Return the spec of a run that uses the aligner of ``puppets@1``."""
    extract = KEPT | changes.pop("extract", {})
    collect = {"episodes": 5, "scenes": 0}
    options = {"name": "kept", "teacher": None, "collect": collect, "extract": extract} | changes
    return read_spec(spec_file("puppets", **options))


@pytest.fixture(scope="module")
def collected(
    puppets_done: Path,
    cli: Callable[..., Any],
    spec_in: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return a folder with the aligned run ``puppets@1`` and one more demonstration."""
    root = Path(shutil.copytree(puppets_done, tmp_path_factory.mktemp("collected") / "root"))
    spec = spec_in(root, "puppets", name="more", collect={"episodes": 5, "scenes": 0})
    done = cli("collect", spec, "--root", root)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def root(collected: Path, tmp_path: Path) -> Path:
    """Return a copy of the folder with the run ``puppets@1``, whose aligner is trained."""
    return Path(shutil.copytree(collected, tmp_path / "root"))


def entries(root: Path) -> dict[str, dict[str, Any]]:
    """Return the arrays of each stored entry by the episode's name."""
    groups = [read_group(path) for path in root.glob("store/aligned/*/*") if path.is_dir()]
    return {
        str(group.attributes["episode"]): {name: np.array(group[name]) for name in group.arrays}
        for group in groups
    }


def files(root: Path) -> dict[str, bytes]:
    folder = root / "store/aligned"
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("condition", ["aligned", "dual", "tokens"])
def test_entries_have_what_the_policy_observes_and_no_tokens_of_backbones(
    spec_file: SpecFile, root: Path, condition: str
) -> None:
    spec = kept(spec_file, policy={"condition": condition})
    before = set(root.glob("store/features/*/*"))
    folder = chain.run_pipeline(spec, root, "train")
    assert set(root.glob("store/features/*/*")) == before
    found, run = entries(root), read_run(root / "puppets" / "1")
    assert len(found) == 5
    assert all(("tokens" in arrays) == (condition == "tokens") for arrays in found.values())
    tasks, data = open_dataset(run)
    aligner = load_aligner(stored_aligned(Run(spec=spec, root=root)).aligner)
    for episode in data.demonstrations:
        tokens = [
            torch.from_numpy(np.array(each.tokens([episode]).arrays[0]))
            for each in stored_features(tasks.run)
        ]
        with torch.no_grad():
            aligned = aligner(tokens)
        arrays = found[episode.name]
        np.testing.assert_allclose(arrays["embeddings"], aligned.embedding, ROUNDING, ROUNDING)
        means = aligned.tokens.mean(2)
        np.testing.assert_allclose(arrays["camera_means"], means, ROUNDING, ROUNDING)
        if condition == "tokens":
            fused = aligned.tokens.flatten(1, 2).half()
            half = 2.0**-10  # float32 values that differ in their last bits round to neighbours
            np.testing.assert_allclose(arrays["tokens"], fused, half, half)
    checked = verify(folder)
    assert checked.problems == ()
    assert (checked.stores, checked.episodes) == (10, 3)


def test_windows_of_backbones_and_of_the_aligner_are_verified(
    spec_file: SpecFile, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {
        "backbone": [{"use": "puppet", "context": 3}, {"use": "puppet", "patch": 2}],
        "align": {"sample": "window", "window": 3, "stride": 2},
    }
    chain.run_pipeline(read_spec(spec_file("puppets", **changes)), tmp_path, "align")
    spec = kept(spec_file, **changes, policy={"condition": "tokens"})
    folder = chain.run_pipeline(spec, tmp_path, "train")
    assert verify(folder).problems == ()


def test_shards_and_an_interrupted_run_store_the_same_bytes(
    spec_file: SpecFile, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, parts = kept(spec_file), tmp_path / "parts"
    chain.run_pipeline(spec, root, "collect")
    shutil.copytree(root, parts)
    chain.run_pipeline(spec, root, "extract")
    chain.run_pipeline(spec, parts, "extract", Shard(1, 2))
    assert len(entries(parts)) == 3
    monkeypatch.setattr("rgb2act_core.stages.extract_aligned._AlignedEncoder.describe", _broken)
    with pytest.raises(RuntimeError, match="interrupted"):
        chain.run_pipeline(spec, parts, "extract")
    assert len(entries(parts)) == 3
    monkeypatch.undo()
    chain.run_pipeline(spec, parts, "extract", Shard(2, 2))
    chain.run_pipeline(spec, parts, "extract", ALL)
    assert files(parts) == files(root)


def _broken(*_: Any) -> Any:
    raise RuntimeError("interrupted")


def test_another_aligner_or_other_weights_of_it_are_another_key(
    spec_file: SpecFile, root: Path
) -> None:
    run = Run(spec=kept(spec_file), root=root)
    first = stored_aligned(run)
    chain.run_pipeline(read_spec(spec_file("puppets", seed=1)), root, "align")
    other = kept(spec_file, extract={"aligner": "puppets@2"})
    assert stored_aligned(Run(spec=other, root=root)).folder != first.folder
    path = first.aligner / "aligner.json"
    data = {k: v for k, v in read_json(path).items() if k != "record_digest"}
    write_record(path, data | {"weights_digest": "0" * 64})
    assert stored_aligned(run).folder != first.folder


def test_a_run_is_verified_and_keeps_its_aligner_when_the_run_that_trained_it_is_removed(
    spec_file: SpecFile, root: Path
) -> None:
    folder = chain.run_pipeline(kept(spec_file), root, "train")
    prune(root, [root / "puppets" / "1", root / "more" / "1"], dry=False)
    assert not list(root.glob("store/features/*/*/zarr.json"))
    assert verify(folder).problems == ()
    paths = {read_group(p).attributes["episode"]: p for p in root.glob("store/aligned/*/*")}
    one, other = paths["episode_0100001"], paths["episode_0100004"]
    one.rename(one.with_name("away"))
    shutil.copytree(other, one)
    problems = verify(folder).problems
    assert any(p.startswith("episode episode_0100001: ") and "digest" in p for p in problems)
    prune(root, [folder], dry=False)
    assert not list(root.glob("store/a*/*"))


def test_check_shows_both_sizes_and_what_is_left(spec_file: SpecFile, root: Path) -> None:
    spec = kept(spec_file, policy={"condition": "tokens"})
    found = check(spec, root)
    assert found.kept is not None
    # one camera of 2 x 2 and 4 x 4 tokens with 6 channels; token_dim 4, an embedding of 6 values
    tokens, aligned = 2 * 6 * (4 + 16) + 2 * 4 * 6, 4 * 6 + 4 * 4 + 2 * 16 * 4
    assert found.kept.tokens == found.frames * tokens
    assert found.kept.aligned == found.frames * aligned
    chain.run_pipeline(spec, root, "extract")
    stages = {str(stage.status.id): str(stage.status) for stage in check(spec, root).stages}
    assert stages["extract/aligned"] == stages["align"] == "cached"
    assert "teacher/puppet" not in stages


def test_a_short_run_uses_the_aligner(
    spec_file: SpecFile, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rgb2act_core.pipeline.short_run.STEPS", 5)
    tasks = open_tasks(Run(spec=kept(spec_file), root=root))
    short = short_tasks(tasks, tmp_path / "short")
    folder = chain.run_tasks(short, "align", logged=False)
    stages = read_run(folder).stages
    assert [str(id) for id in stages] == ["collect", "extract/aligned", "align"]
    assert stages[StageId(Stage.ALIGN)].cached


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"extract": {"aligner": "nobody@1"}}, "extract.aligner: there is no run 'nobody@1' in"),
        ({"align": {"steps": 13}}, "puppets@1 was trained with other settings (align.steps: 12"),
        (
            {"extract": {"tokens": {"dtype": "int8"}}},
            "puppets@1 was trained with other settings (backbones: ",
        ),
        (
            {"collect": {"episodes": 4, "scenes": 3}, "act": {"baselines": ["end_to_end"]}},
            "act.baselines: 'end_to_end' needs tokens",
        ),
        ({"collect": {"scenes": 3}}, "collect.scenes: 3 scenes have no effect"),
        ({"policy": {"condition": "random_aligner"}}, "extract.keep: 'aligned' needs a trained"),
        (
            {"policy": {"condition": "finetuned"}},
            "needs a trained and frozen aligner",
        ),
    ],
)
def test_what_the_aligner_cannot_give_is_refused(
    spec_file: SpecFile, root: Path, changes: dict[str, Any], words: str
) -> None:
    spec = kept(spec_file, **changes)
    for begin in (check, chain.run_pipeline):
        with pytest.raises(UserError) as caught:
            begin(spec, root)
        assert words in str(caught.value)


def test_frames_of_other_cameras_are_refused(spec_file: SpecFile, root: Path) -> None:
    stored = stored_aligned(Run(spec=kept(spec_file), root=root))
    aligner = load_aligner(stored.aligner)
    check_frames("puppets@1", aligner, (1, 8, 8))
    words = r"extract.aligner: puppets@1 was trained on frames of shape \[1, 8, 8\]"
    with pytest.raises(UserError, match=words):
        check_frames("puppets@1", aligner, (2, 8, 8))


@pytest.mark.parametrize(
    ("extract", "words"),
    [
        ({"keep": "aligned"}, "keep = 'aligned' needs an aligner"),
        ({"aligner": "a@1"}, "aligner = 'a@1' is used only with keep = 'aligned'"),
        ({"keep": "aligned", "aligner": "a"}, "expected NAME@NUMBER, such as 'lift_pot@1'"),
    ],
)
def test_keep_and_aligner_belong_together(
    spec_file: SpecFile, extract: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        read_spec(spec_file(extract=extract))
