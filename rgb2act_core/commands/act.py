"""``rgb2act act SPEC|RUN``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..plugins.arguments import (
    add_json,
    add_progress,
    add_root,
    add_shard,
    add_spec,
    count,
    seed_range,
)
from ..plugins.components import Command
from ..plugins.hookspecs import hookimpl
from ..store.stage_id import Stage
from ..system.json_output import print_json
from .run import run_stages, warn_of_launcher

if TYPE_CHECKING:
    from ..spec import Spec


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield ``act``."""
    yield Command(
        name="act",
        summary="evaluate a finished run on other seeds or in another environment, or run a spec up"
        " to its evaluation",
        arguments=arguments,
        run=run,
        resumable=True,
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the spec or run and what to override in it."""
    add_spec(parser, "SPEC|RUN")
    parser.add_argument(
        "--episodes", type=count, metavar="N", help="number of episodes [as in the spec]"
    )
    parser.add_argument(
        "--seeds", type=seed_range, metavar="A:B", help="seeds, B excluded [as in the spec]"
    )
    parser.add_argument(
        "--workers",
        type=count,
        metavar="N",
        help="number of simulator processes; does not change results [as in the spec]",
    )
    add_shard(parser, "batches of episodes")
    add_root(parser)
    add_json(parser)
    add_progress(parser)


def run(args: argparse.Namespace) -> int:
    """Run a spec's stages up to ``act``, or evaluate the policy of a finished run again."""
    from ..pipeline.find_run import run_folder

    folder = run_folder(args.spec, args.root)
    if folder is None:
        return run_stages(args, Stage.ACT, _overrides(args))
    from ..pipeline.chain import write_report
    from ..pipeline.reevaluate import act_again
    from ..reporting.terminal import show_episodes

    warn_of_launcher(Stage.ACT, args.shard)
    evaluation = act_again(folder, _overrides_of_run(args, folder), args.shard)
    if evaluation is None:  # episodes are left to other shards
        if args.json:
            print_json("act", {"run": str(folder), "results": {}})
        return 0
    show_episodes(evaluation.results)
    page = write_report(folder)
    videos = [str(path) for path in evaluation.videos]
    if args.json:
        found = {"run": str(folder), "results": {"act": dict(evaluation.results)}}
        print_json("act", found | {"folder": str(evaluation.folder), "videos": videos})
    else:
        print(evaluation.folder / "stage.json", *videos, page, sep="\n")
    return 0


def _overrides_of_run(args: argparse.Namespace, folder: Path) -> Callable[[Spec], Spec]:
    """Return a function that puts the options into a finished run's spec.

    Raises UserError for a key that the policy, which is finished, depends on.
    """
    from ..spec.overrides import parse_overrides
    from ..spec.reader import override_spec

    overrides, change = parse_overrides(args.overrides), _overrides(args)
    problems = [
        f"{override.origin}: the policy of a finished run does not change; set only keys of act,"
        " compute and environment, or give the spec"
        for override in overrides
        if override.path[0] not in ("act", "compute", "environment")
    ]
    if problems:
        raise UserError(*problems)
    return lambda spec: change(override_spec(spec, overrides, folder).spec)


def _overrides(args: argparse.Namespace) -> Callable[[Spec], Spec]:
    """Return a function that puts the options into a spec."""
    import attrs

    from ..spec.validators import message_of

    seeds = args.seeds or ()
    if args.episodes and seeds and args.episodes > len(seeds):
        raise UserError(
            f"--episodes {args.episodes}: --seeds has only {len(seeds)} seeds; give more seeds or"
            " fewer episodes"
        )
    act: dict[str, Any] = {"first_seed": seeds[0], "seeds": None} if seeds else {}
    if args.episodes or seeds:
        act["episodes"] = args.episodes or len(seeds)
    compute = {"simulator_workers": args.workers} if args.workers else {}

    def change(spec: Spec) -> Spec:
        try:
            return attrs.evolve(
                spec,
                act=attrs.evolve(spec.act, **act),
                compute=attrs.evolve(spec.compute, **compute),
            )
        except ValueError as err:
            options = " ".join(n for n in ("episodes", "seeds", "workers") if getattr(args, n))
            raise UserError(f"--{options}: {message_of(err)}") from None

    return change
