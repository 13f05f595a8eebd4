"""What a server prints about the policy that it serves, and how it stops."""

from __future__ import annotations

import argparse
import contextlib
import signal
import threading

import pytest

from rgb2act_core.serving import PolicyInfo, announce, serve_in_thread


@pytest.mark.parametrize("encoding", ["", "av1"])
def test_the_encoding_of_the_recordings_is_named(
    encoding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    info = PolicyInfo(
        run="fold",
        tasks=(),
        cameras=("top",),
        image=(48, 64),
        action_names=("left_waist",),
        n_obs_steps=2,
        n_action_steps=8,
        history_stride=1,
        batch=1,
        image_encoding=encoding,
    )
    announce(argparse.Namespace(json=False), ("127.0.0.1", 8790), info)
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith("serving fold on 127.0.0.1:8790")
    told = "the policy was trained on images encoded as av1; images that are sent must have passed"
    assert [line.startswith(told) for line in others] == ([True] if encoding else [])


class Looping(contextlib.AbstractContextManager["Looping"]):
    """A server that Ctrl-C interrupts while it starts, and that waits for the end of its loop."""

    def __init__(self) -> None:
        self.stopping, self.ended = threading.Event(), threading.Event()

    def __enter__(self) -> Looping:
        signal.raise_signal(signal.SIGINT)
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        assert self.ended.wait(60)

    def loop(self) -> None:
        assert self.stopping.wait(60)
        self.ended.set()


def test_the_loop_of_a_server_runs_before_an_interrupt_ends_it() -> None:
    with pytest.raises(KeyboardInterrupt):
        serve_in_thread(Looping(), Looping.loop)


def test_the_error_of_a_loop_is_raised() -> None:
    def fail(_: None) -> None:
        raise RuntimeError("can't start new thread")

    with pytest.raises(RuntimeError, match="can't start new thread"):
        serve_in_thread(contextlib.nullcontext(), fail)
