"""An event file of TensorBoard, written by the calling thread.

torch's ``SummaryWriter`` writes in a thread of its own, which prints a traceback when the disk is
full.
"""

from __future__ import annotations

import io
import itertools
import os
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_numbers = itertools.count()


class EventFile:
    """A new event file in ``folder``; TensorBoard reads those of a folder in order.

    With ``supersedes``, TensorBoard drops what it has read from the older ones.
    """

    def __init__(self, folder: Path, *, supersedes: bool = False) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        folder.mkdir(parents=True, exist_ok=True)
        process = f"{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self._path = folder / f"events.out.tfevents.{int(time.time()):010d}.{process}"
        events = [Event(file_version="brain.Event:2")]
        if supersedes:
            events.append(Event(session_log=SessionLog(status=SessionLog.START)))
        self._append(events)

    def add(self, step: int, *summaries: Any) -> None:
        """Append summaries of a step; all of them are in the file when this returns."""
        from tensorboard.compat.proto.event_pb2 import Event

        self._append(Event(step=step, summary=summary) for summary in summaries)

    def _append(self, events: Iterable[Any]) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        data = io.BytesIO()
        records = RecordWriter(data)
        for event in events:
            event.wall_time = time.time()
            records.write(event.SerializeToString())
        with self._path.open("ab") as file:
            file.write(data.getbuffer())
