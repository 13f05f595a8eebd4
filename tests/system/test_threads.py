"""Prefetching, background writing and parallel tasks: order, bounds, errors, no leftover thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from rgb2act_core.system.threads import BackgroundWriter, prefetch, run_parallel

PATIENCE = 20.0  # seconds after which a hanging test fails


def test_items_are_computed_while_earlier_ones_are_used() -> None:
    made = [threading.Event() for _ in range(5)]

    def items() -> Iterator[int]:
        for i in range(4):
            made[i].set()
            yield i

    made[4].set()
    with prefetch(items(), 1) as taken:
        for i, item in enumerate(taken):
            assert item == i
            assert made[i + 1].wait(PATIENCE)  # the next item is computed while this one is in use


@pytest.mark.parametrize("depth", [1, 3])
def test_at_most_depth_items_are_computed_in_advance(depth: int) -> None:
    count, full = 0, threading.Event()

    def items() -> Iterator[int]:
        nonlocal count
        while True:
            count += 1
            if count == depth:
                full.set()
            yield count

    with prefetch(items(), depth) as taken:
        assert full.wait(PATIENCE)
        before = count
        assert next(taken) == 1
    assert before == depth
    assert count <= depth + 1


def test_an_error_is_raised_at_the_position_of_its_item() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("second")

    with prefetch(items(), 5) as taken:
        assert next(taken) == 1
        with pytest.raises(KeyError, match="second"):
            next(taken)


def test_leaving_early_ends_the_thread() -> None:
    threads = threading.active_count()

    def leave() -> None:
        with prefetch(iter(range(1000)), 2) as taken:
            next(taken)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        leave()
    assert threading.active_count() == threads


def test_jobs_run_in_order_and_finish_before_the_block_ends() -> None:
    done: list[int] = []
    started, resume = threading.Event(), threading.Event()

    def first() -> None:
        started.set()
        assert resume.wait(PATIENCE)
        done.append(0)

    with BackgroundWriter(3) as writer:
        writer.put(first)
        assert started.wait(PATIENCE)
        writer.put(lambda: done.append(1))
        assert done == []  # the caller continues before the job has finished
        resume.set()
    assert done == [0, 1]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_submitted_jobs_finish_although_the_block_raises(error: type[BaseException]) -> None:
    done: list[int] = []

    def block() -> None:
        with BackgroundWriter(2) as writer:
            writer.put(lambda: done.append(1))
            writer.put(lambda: done.append(2))
            raise error

    with pytest.raises(error):
        block()
    assert done == [1, 2]


def test_a_failed_job_raises_and_later_jobs_are_skipped() -> None:
    done: list[int] = []

    def fail() -> None:
        raise OSError("disk")

    def block(puts: int) -> None:
        with BackgroundWriter(1) as writer:
            writer.put(fail)
            for i in range(puts):
                writer.put(lambda i=i: done.append(i))  # type: ignore[misc]

    for puts in (0, 5):
        with pytest.raises(OSError, match="disk"):
            block(puts)
    assert done == []


def test_tasks_run_in_parallel_and_stop_when_one_fails() -> None:
    both, ends = threading.Barrier(2), []

    def lasting(stop: Callable[[], bool]) -> None:
        both.wait(PATIENCE)
        while not stop():
            pass
        ends.append("stopped")

    def failing(stop: Callable[[], bool]) -> None:
        both.wait(PATIENCE)
        raise KeyError("device")

    with pytest.raises(KeyError, match="device"):
        run_parallel([lasting, failing])
    assert ends == ["stopped"]


def test_a_single_task_runs_in_the_calling_thread() -> None:
    found = []
    run_parallel([lambda stop: found.append(threading.current_thread())])
    assert found == [threading.current_thread()]
