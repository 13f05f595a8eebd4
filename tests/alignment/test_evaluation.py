"""The metrics of an aligner, and where they are reported."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_records import last_stages

from rgb2act_core.alignment.evaluation import known_states
from rgb2act_core.alignment.metrics import r2
from rgb2act_core.data.dataset import EpisodeRef
from rgb2act_core.features.frames import TokenFrames
from rgb2act_core.features.reader import FrameIndex
from rgb2act_core.interfaces import Episode


def source(name: str, length: int, joints: bool, **state: tuple[int, ...]) -> EpisodeRef:
    rng = np.random.default_rng(len(name))
    episode = Episode(
        name=name,
        task="none",
        instruction="none",
        cameras=("one",),
        rgb=np.zeros((length, 1, 4, 4, 3), np.uint8),
        joints=rng.random((length, 3), np.float32) if joints else None,
        actions=rng.random((length, 3), np.float32) if joints else None,
        clouds=None,
        state={key: rng.random((length, *shape), np.float32) for key, shape in state.items()},
    )
    return EpisodeRef(name=name, digest=name, episode=episode)


def test_states_that_an_episode_does_not_record_are_nan() -> None:
    sources = [
        source("a", 2, True, cube=(3,), things=(2, 3)),
        source("bb", 3, False, cube=(3,), things=(4, 3)),
        source("ccc", 1, True),
    ]
    frames = TokenFrames(tokens=[], index=FrameIndex.of([2, 3, 1]), episodes=sources, device="cpu")
    found = known_states(frames)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "joints": (6, 3),
        "cube": (6, 3),
    }  # the width of things differs between episodes
    known = {name: value.isfinite().all(1).tolist() for name, value in found.items()}
    assert known["joints"] == [True, True, False, False, False, True]
    assert known["cube"] == [True, True, True, True, True, False]


def test_align_prints_a_table_and_returns_the_same_as_json(
    cli: Callable[..., Any], spec_file: Callable[..., Path], puppet_root: Path
) -> None:
    done = cli("align", spec_file(), "--root", puppet_root, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["results"]["align"]
    assert found["pooled"].keys() == {"probe/joints", "probe/target"}
    assert found["before"].keys() == found["after"].keys() > found["pooled"].keys()
    assert found["after"]["weight/puppet"] == found["fusion"]["puppet"] == 1.0
    assert 0 <= found["waiting"] < 1
    assert found["frames_per_second"] > 0
    frames, pool = found["measured"]["frames"], found["measured"]["pool"]
    assert frames == pool < 100
    rows = [line.split() for line in done.stderr.splitlines()]
    assert f"{frames} held-out frames pooled features before after".split() in rows
    shown = [f"{found[when]['probe/target']:.4f}" for when in ("pooled", "before", "after")]
    assert ["probe/target", *shown] in rows
    assert any(line.endswith("of the time waiting for data") for line in done.stderr.splitlines())
    curves = next(puppet_root.glob("store/align/*/metrics.jsonl")).read_text().splitlines()
    measured = [row for row in map(json.loads, curves) if "val/retrieval@1/pool" in row]
    assert len(measured) >= 10
    assert all(math.isfinite(row["val/probe/target"]) for row in measured)


@pytest.mark.usefixtures("puppet")
def test_pooled_features_are_the_stored_means(
    spec_file: Callable[..., Path], puppet_root: Path
) -> None:
    """The puppet's tokens are the means of its patches, so their mean is the pooled feature."""
    from rgb2act_core.features.frames import open_frames
    from rgb2act_core.spec.reader import read_spec
    from rgb2act_core.stages import collect
    from rgb2act_core.stages.keys import stored_features
    from rgb2act_core.stages.run import Run

    (run,) = Run(spec=read_spec(spec_file()), root=puppet_root).tasks
    data = collect.dataset_of(run, run.environment.build())
    assert data is not None
    frames = open_frames(stored_features(run), data.episodes, "cpu")
    rows = np.arange(len(frames.index.episode))
    pooled = stored_features(run)[0].pooled(data.episodes).gather(rows)
    tokens = frames.gather(rows)[0].float().mean(2).numpy()
    # float16 rounds stored tokens, which are means of 0..1, by at most 2**-12
    assert np.abs(pooled - tokens).max() < 1e-3


@pytest.mark.usefixtures("puppet")
def test_r2_of_training_frames_is_that_of_demonstrations_without_scenes(
    spec_file: Callable[..., Path], puppet_root: Path
) -> None:
    from rgb2act_core.alignment.saving import load_aligner
    from rgb2act_core.features.frames import open_frames, split_rows
    from rgb2act_core.pipeline import chain
    from rgb2act_core.pipeline.run_record import open_dataset, read_run
    from rgb2act_core.spec.reader import read_spec
    from rgb2act_core.stages.keys import stored_embeddings, stored_features

    folder = chain.run_pipeline(read_spec(spec_file()), puppet_root, "align")
    tasks, data = open_dataset(read_run(folder))
    stages = {each["stage"]: each for each in last_stages(puppet_root, "puppet")}
    trained = puppet_root / stages["align"]["path"]
    align = tasks.run.spec.align
    assert align is not None
    frames = open_frames(stored_features(tasks.run), data.episodes, "cpu")
    train_rows, _, counts = split_rows(data, frames.index, align.holdout, tasks.run.spec.seed)
    assert counts["scenes"] > 0
    rows = train_rows[frames.index.episode[train_rows] < len(data.demonstrations)]
    assert len(rows) < len(train_rows)
    aligner = load_aligner(trained)
    embedding = aligner(frames.gather(rows)).embedding.detach()
    teacher_FD = torch.from_numpy(stored_embeddings(tasks.run).embeddings(data.episodes))
    target = aligner.teacher_space(teacher_FD[torch.from_numpy(rows)])
    found = json.loads((trained / "stage.json").read_text())["results"]["after"]
    assert found["train_r2"] == pytest.approx(r2(embedding, target), abs=1e-5)
