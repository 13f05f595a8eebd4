"""``rgb2act collect``, ``extract``, ``align`` and ``train``: run a spec up to one stage."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from ..plugins.components import Command
from ..plugins.hookspecs import hookimpl
from ..store.stage_id import Stage
from .run import WITH_RESULTS, arguments, run_stages, without_results

SUMMARIES = {
    Stage.COLLECT: "record the demonstrations",
    Stage.EXTRACT: "run the stages up to the features of all backbones and of the teacher",
    Stage.ALIGN: "run the stages up to the trained aligner",
    Stage.TRAIN: "run the stages up to the trained policy",
}


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield one command for each stage before ``act``."""
    for stage, summary in SUMMARIES.items():
        yield Command(
            name=str(stage),
            summary=summary,
            arguments=arguments if stage in WITH_RESULTS else without_results,
            run=functools.partial(run_stages, last=stage),
            resumable=True,
        )
