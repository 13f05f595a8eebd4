"""Tokens in memory, tokens from the store and prefetched tokens are the same numbers."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rgb2act_core.features import frames as frames_module
from rgb2act_core.features.frames import TokenFrames, load_into_memory
from rgb2act_core.features.prefetch import Gather, TokenPrefetcher
from rgb2act_core.features.reader import DequantizedTokens, EpisodeArrays, FrameIndex
from rgb2act_core.features.token_grids import Interpolation, TokenSample
from rgb2act_core.pipeline import chain
from rgb2act_core.spec.reader import read_spec

RNG = np.random.default_rng(0)
PARTS = [RNG.standard_normal((length, 2, 6, 3)).astype(np.float16) for length in (5, 1, 70)]


def quantised(length: int) -> DequantizedTokens:
    tokens = RNG.integers(-127, 128, (length, 2, 6, 3)).astype(np.int8)
    return DequantizedTokens(tokens, RNG.random((length, 2, 6)).astype(np.float32))


def stored() -> TokenFrames:
    tables = [EpisodeArrays(PARTS), EpisodeArrays([quantised(length) for length in (5, 1, 70)])]
    return TokenFrames(tokens=tables, index=FrameIndex.of([5, 1, 70]), episodes=[], device="cpu")


def sample() -> TokenSample:
    interpolations = tuple(Interpolation(needed=torch.tensor(at)) for at in ([1, 4], [0, 2, 5]))
    return TokenSample(cells=torch.tensor([1, 4]), interpolations=interpolations)


@pytest.mark.parametrize("tokens", [None, sample()], ids=["all", "drawn"])
def test_memory_and_store_give_the_same_tokens(tokens: TokenSample | None) -> None:
    plain = stored()
    kept = load_into_memory(plain, "test")
    assert kept.resident is not None
    rows = np.array([75, 0, 5, 4, 6, 6, 33])
    for a, b in zip(plain.gather(rows, tokens), kept.gather(rows, tokens), strict=True):
        assert a.dtype == b.dtype == torch.float16
        assert torch.equal(a, b)
    (first, *_) = plain.gather(rows, tokens)
    expected = torch.from_numpy(np.concatenate(PARTS)[rows])
    assert torch.equal(first, expected if tokens is None else expected[:, :, [1, 4]])


def test_few_large_frames_are_gathered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = stored()
    assert frames.bytes == 2 * 2 * (2 * 6 * 3)
    rows = np.arange(76)
    assert frames.gather_limit(50) == 50
    assert frames.evenly_spaced(rows, 4).tolist() == [0, 25, 50, 75]
    for size, fits in ((10 * frames.bytes + 1, 10), (2 * frames.bytes, 2), (1, 1)):
        monkeypatch.setattr(frames_module, "GATHER_BYTES", size)
        assert frames.gather_limit(50) == fits
        assert len(frames.evenly_spaced(rows, 50)) == fits
    monkeypatch.setattr(frames_module, "GATHER_BYTES", 2 * frames.bytes)
    assert frames.evenly_spaced(rows, 50).tolist() == [0, 75]


def test_tokens_are_loaded_if_they_fit_into_half_of_the_free_memory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    size = 2 * 2 * 76 * 2 * 6 * 3
    for free, kept in ((2 * size, True), (2 * size - 2, False)):
        monkeypatch.setattr(frames_module, "free_memory", lambda _, free=free: free)
        assert (load_into_memory(stored(), "align").resident is not None) is kept
    first, second = capsys.readouterr().err.splitlines()
    assert first == "align: loading all tokens into memory (10.9 kB)"
    assert second.startswith("align: reading tokens from the store during training: 10.9 kB do not")


def done(root: Path) -> set[Path]:
    return set(root.glob("store/align/*/aligner.safetensors"))


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    "align",
    [
        {},
        {"tokens": 2},
        {"loss": {"negatives": "gradcache", "infonce": 1.0}, "micro_batch": 3, "batch_size": 8},
        {"augment": {"token_dropout": 0.3, "noise": 0.1}},
        {"sample": "window", "window": 3},
    ],
    ids=["plain", "sampled", "gradcache", "augmented", "windows"],
)
def test_an_aligner_has_the_same_bits_from_memory_and_from_the_store(
    spec_file: Callable[..., Path],
    puppet_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    align: dict[str, Any],
) -> None:
    spec = read_spec(spec_file(align={**align, "weight_decay": 0.01}))  # not cached yet
    gathered: list[list[bool]] = []  # of each run, whether a request was gathered in the thread
    begin = TokenPrefetcher.__init__

    def watched(self: TokenPrefetcher, gather: Gather) -> None:
        threads: list[bool] = []
        gathered.append(threads)

        def noted(*args: Any) -> Any:
            threads.append(threading.current_thread().name.startswith("tokens"))
            return gather(*args)

        begin(self, noted)

    monkeypatch.setattr(TokenPrefetcher, "__init__", watched)
    weights = []
    for free in (10**9, 10):
        monkeypatch.setattr(frames_module, "free_memory", lambda _, free=free: free)
        before = done(puppet_root)
        chain.run_pipeline(spec, puppet_root, "align")
        (file,) = done(puppet_root) - before
        weights.append(file.read_bytes())
        shutil.rmtree(file.parent)
    assert weights[0] == weights[1]
    parts = 2 * 3 if "micro_batch" in align else 1
    memory, store = gathered
    assert not any(memory)
    assert sum(store) == 11 * parts  # all but the first step
