"""The number of frames encoded at once."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch

from rgb2act_core.errors import UserError
from rgb2act_core.features import batch_size
from rgb2act_core.features.batch_size import AutoBatchSize, fitting
from rgb2act_core.system.memory import is_out_of_memory

CPU = torch.device("cpu")


def sizes(batch: AutoBatchSize, count: int) -> list[int]:
    pieces = list(batch.map(count, lambda first, last: (first, last)))
    assert [(a, b) for a, b, _ in pieces] == [result for _, _, result in pieces]
    assert [a for a, _, _ in pieces] == [0, *(b for _, b, _ in pieces)][:-1]
    assert not pieces or pieces[-1][1] == count
    return [b - a for a, b, _ in pieces]


def test_a_requested_size_is_kept_and_batches_are_even() -> None:
    batch = AutoBatchSize("extract", 8, "cpu")
    assert sizes(batch, 8) == [8]
    assert sizes(batch, 17) == [6, 6, 5]
    assert sizes(batch, 3) == [3]
    assert sizes(batch, 0) == []


def test_automatic_size_follows_from_memory_of_two_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch_size, "available", lambda device: 100)
    used = contextlib.nullcontext(lambda: 12)
    monkeypatch.setattr(batch_size, "measure_peak_memory", lambda device: used)
    batch = AutoBatchSize("extract", 0, "cpu")
    assert sizes(batch, 1) == [1]  # an episode of one frame only warms up
    assert sizes(batch, 21) == [2, 7, 6, 6]  # 100 // 12 = 8


@pytest.mark.parametrize(
    ("used", "expected"), [(0, 64), (1, 64), (100, 8), (199, 4), (5000, 1), (None, 8)]
)
def test_the_automatic_size_is_a_power_of_two(
    monkeypatch: pytest.MonkeyPatch, used: int | None, expected: int
) -> None:
    monkeypatch.setattr(batch_size, "available", lambda device: 999)
    assert fitting(CPU, used) == expected


def test_available_memory_is_capped_on_a_cpu() -> None:
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 32):
            torch.set_num_threads(count)
            limit = min(count * batch_size.THREAD_BYTES, batch_size.HOST_BYTES)
            assert 0 < batch_size.available(CPU) <= limit
    finally:
        torch.set_num_threads(threads)


def test_running_out_of_memory_halves_the_size(capsys: pytest.CaptureFixture[str]) -> None:
    done: list[tuple[int, int]] = []

    def work(first: int, last: int) -> None:
        if last - first > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        done.append((first, last))

    batch = AutoBatchSize("extract vit", 16, "cpu")
    assert [b - a for a, b, _ in batch.map(16, work)] == [2] * 8
    assert done == [(i, i + 2) for i in range(0, 16, 2)]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "extract vit: out of memory with a batch of 16 frames; continuing with 8"
    assert len(lines) == 3
    list(batch.map(16, work))  # the smaller size is kept
    assert capsys.readouterr().err == ""


def test_a_frame_that_exceeds_the_memory_is_an_error() -> None:
    def work(first: int, last: int) -> None:
        raise MemoryError

    with pytest.raises(UserError, match=r"out of memory with a batch of one frame; choose another"):
        list(AutoBatchSize("extract", 2, "cpu").map(3, work))


def test_failed_allocations_are_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    with pytest.raises(MemoryError) as refused:
        np.empty(1 << 60, np.uint8)
    assert is_out_of_memory(refused.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("out of memory"))
