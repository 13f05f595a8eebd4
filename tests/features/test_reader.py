"""Stored features and embeddings of many episodes behind one index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rgb2act_core.data.dataset import EpisodeRef
from rgb2act_core.errors import UserError
from rgb2act_core.features.reader import (
    EpisodeArrays,
    FrameIndex,
    StoredEmbeddings,
    StoredFeatures,
    stored_grids,
)
from rgb2act_core.interfaces import Episode
from rgb2act_core.plugins.components import Kind
from rgb2act_core.plugins.registry import find
from rgb2act_core.spec import BackboneChoice, TeacherChoice, Tokens
from rgb2act_core.store.group_writer import GroupWriter

LENGTHS = (3, 2)


def episode(number: int) -> EpisodeRef:
    recorded = Episode(
        name=f"episode_{number}",
        task="reach",
        instruction="reach",
        cameras=("head",),
        rgb=np.zeros((LENGTHS[number], 1, 4, 4, 3), np.uint8),
        joints=None,
        actions=None,
        clouds=None,
    )
    return EpisodeRef(name=recorded.name, digest=f"{number:064x}", episode=recorded)


EPISODES = [episode(number) for number in range(2)]


def features(folder: Path) -> StoredFeatures:
    component = find(Kind.BACKBONE, "patchstats")
    return StoredFeatures(
        label="patchstats",
        folder=folder,
        choice=BackboneChoice(component=component, config=component.tiny),
        token_format=Tokens(),
        recipe={},
        passed_checks=folder / "checks",
    )


def store_features(folder: Path, ref: EpisodeRef, length: int) -> np.ndarray:
    tokens = np.random.default_rng(length).normal(size=(length, 1, 6, 4)).astype(np.float16)
    with GroupWriter(folder / ref.digest) as writer:
        writer.create("tokens", tokens.shape[1:], "float16")
        writer.append("tokens", tokens)
        writer.commit({"grid": [2, 3]})
    return tokens


def test_stored_features_are_read_in_the_order_of_the_episodes(tmp_path: Path) -> None:
    stored = features(tmp_path)
    assert stored_grids([stored], EPISODES) is None
    second = store_features(tmp_path, EPISODES[1], 2)
    assert stored.missing(EPISODES) == EPISODES[:1]
    assert stored_grids([stored], EPISODES) == ((2, 3),)
    with pytest.raises(UserError, match=r"features are missing; run 'rgb2act extract' again"):
        stored.tokens(EPISODES)
    first = store_features(tmp_path, EPISODES[0], 3)
    assert stored.missing(EPISODES) == []
    rows = np.arange(5)
    assert np.array_equal(stored.tokens(EPISODES).gather(rows), np.concatenate([first, second]))
    assert np.array_equal(
        stored.tokens(EPISODES[::-1]).gather(rows), np.concatenate([second, first])
    )


def test_an_entry_of_another_length_is_an_error(tmp_path: Path) -> None:
    store_features(tmp_path, EPISODES[1], 4)
    with pytest.raises(UserError, match=r"tokens of episode episode_1 has 4 frames, the episode"):
        features(tmp_path).tokens(EPISODES[1:])


def test_stored_embeddings_are_joined(tmp_path: Path) -> None:
    component = find(Kind.TEACHER, "cloudstats")
    stored = StoredEmbeddings(
        label="cloudstats",
        folder=tmp_path,
        choice=TeacherChoice(component=component, config=component.tiny),
        grouped=False,
        recipe={},
    )
    for number, ref in enumerate(EPISODES):
        with GroupWriter(tmp_path / ref.digest) as writer:
            writer.create("embeddings", (2,), "float32")
            writer.append("embeddings", np.full((LENGTHS[number], 2), number, np.float32))
            writer.commit({})
    assert stored.embeddings(EPISODES)[:, 0].tolist() == [0, 0, 0, 1, 1]


def test_gather_returns_the_rows_of_many_episodes_in_order() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(n, 2, 3)).astype(np.float16) for n in (4, 1, 6)]
    table = EpisodeArrays(arrays)
    rows = rng.integers(0, 11, 50)
    assert len(table) == 11
    assert np.array_equal(table.gather(rows), np.concatenate(arrays)[rows])


def test_index_gives_episode_and_step_of_each_frame() -> None:
    index = FrameIndex.of([2, 3])
    assert index.episode.tolist() == [0, 0, 1, 1, 1]
    assert index.step.tolist() == [0, 1, 0, 1, 2]
    assert index.starts.tolist() == [0, 2, 5]
