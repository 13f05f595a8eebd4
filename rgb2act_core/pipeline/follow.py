"""Take part in the training of a run whose stages another process runs.

``Team`` starts this module as a program; under a launcher such as torchrun, the command line calls
``follow`` in all processes but the first.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

from ..errors import UserError
from ..system.interrupts import recorded
from ..system.memory import reuse_freed_memory
from ..system.progress import quiet
from ..training.place import Place, place_in
from .training_jobs import TrainingJob

if TYPE_CHECKING:
    from ..training.group import Group


def follow(place: Place) -> int:
    """Do the jobs of the first process until it ends; return the exit code.

    Errors that a user can fix are printed by the first process.
    """
    from ..training.group import Group

    with quiet():
        try:
            group = Group(place)
        except UserError:
            return 2
        try:
            with group.explained():
                for job in group.jobs():
                    _take_part(group, TrainingJob.from_json(job))
        except UserError:
            return 2
        finally:
            group.close()
    return 0


def _take_part(group: Group, job: TrainingJob) -> None:
    compute = job.run.spec.compute
    device = group.place.device(compute.device, compute.threads)
    job.take_part(group.ranks(device))


def end_with_parent() -> None:
    """End this process when the one that has started it ends, however that happens."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):  # not buffered: that has a lock, which an exit needs
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main() -> int:
    """Follow the process that has started this one."""
    end_with_parent()
    reuse_freed_memory()
    place = place_in()
    assert place is not None
    with recorded():
        try:
            return follow(place)
        except KeyboardInterrupt:
            return 130


if __name__ == "__main__":
    sys.exit(main())
