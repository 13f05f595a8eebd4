"""The commands that run a spec's chain or look at a run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..store.stage_id import Stage, StageId
from ..system.formatting import in_bytes, in_time

if TYPE_CHECKING:
    from ..pipeline.forecast import Forecast
    from ..spec import Spec


def run(args: argparse.Namespace, change: Callable[[Spec], Spec] | None = None) -> int:
    """Run the chain up to the stage that the command names, ``run`` all of it."""
    from ..spec.reader import read_spec

    spec = read_spec(Path(args.spec))
    spec = change(spec) if change else spec
    from ..pipeline import (
        chain as stages,  # after reading: a bad spec is told before torch is loaded
    )

    root = Path(args.root)
    folder = stages.run_pipeline(spec, root, None if args.command == "run" else args.command)
    kind = Stage.ALIGN if args.command == "align" else Stage.ACT
    results = _results(folder, root, kind)
    if "measured" in results.get("align", {}):  # no aligner, or one that was measured before that
        from .measured import show

        show(results["align"])
    if getattr(args, "json", False):
        print(json.dumps({"run": str(folder), "results": results}))
    return 0


def act(args: argparse.Namespace) -> int:
    """Try a policy: run a spec's chain up to ``act``, or act with a finished run's policy."""
    folder = _run_folder(args.spec, args.root)
    if folder is None:
        return run(args, _tries(args))
    from ..pipeline import reevaluate
    from .tables import show

    results = reevaluate.act_again(folder, _tries(args))
    show(results)
    if args.json:
        print(json.dumps({"run": str(folder), "results": {"act": results}}))
    return 0


def _tries(args: argparse.Namespace) -> Callable[[Spec], Spec]:
    """Return what puts the command line's episodes, seeds and workers into a spec."""
    import attrs

    seeds = args.seeds or ()
    if args.episodes and seeds and args.episodes > len(seeds):
        raise UserError(
            f"--episodes {args.episodes}: --seeds names {len(seeds)}; give as many seeds"
        )
    act: dict[str, Any] = {"first_seed": seeds[0], "seeds": None} if seeds else {}
    if args.episodes or seeds:
        act["episodes"] = args.episodes or len(seeds)
    compute = {"workers": args.workers} if args.workers else {}

    def change(spec: Spec) -> Spec:
        return attrs.evolve(
            spec,
            act=attrs.evolve(spec.act, **act),
            compute=attrs.evolve(spec.compute, **compute),
        )

    return change


def _results(folder: Path, root: Path, kind: Stage) -> dict[str, Any]:
    """Return what the aligner, or ``act`` and its baselines, reached, by stage."""
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    found = {}
    for stage in record["stages"]:
        if StageId.parse(stage["stage"]).stage is kind:
            path = root / stage["path"] / "stage.json"
            found[stage["stage"]] = json.loads(path.read_text(encoding="utf-8"))["results"]
    return found


def check(args: argparse.Namespace) -> int:
    """Say what is known of a spec before it runs."""
    from ..spec.reader import read_spec

    spec = read_spec(Path(args.spec))
    from ..pipeline.status import check as look

    result = look(spec, Path(args.root), args.time)
    if args.json:
        print(json.dumps(result.to_json()))
        return 0
    rows = [_row(stage) for stage in result.stages]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    for stage in result.stages:
        if stage.basis:
            print(f"  {stage.status.id}: {stage.basis}")
    print(
        f"disk: {in_bytes(result.bytes_needed)} needed{_unknown(result.unknown_bytes)};"
        f" {in_bytes(result.bytes_free)} free"
    )
    print(f"time: {in_time(result.seconds_needed)} needed{_unknown(result.unknown_seconds)}")
    memory = max((stage.memory or 0 for stage in result.stages), default=0)
    if memory:
        print(f"memory: {in_bytes(memory)} at peak")
    return 0


def _row(stage: Forecast) -> tuple[str, ...]:
    status = stage.status
    if not status.state.pending:
        return str(status.id), str(status), "", ""
    return (
        str(status.id),
        str(status),
        "size unknown" if stage.bytes is None else in_bytes(stage.bytes),
        "time unknown" if stage.seconds is None else in_time(stage.seconds),
    )


def _unknown(stages: Sequence[StageId]) -> str:
    return f", unknown for {', '.join(map(str, stages))}" if stages else ""


def report(args: argparse.Namespace) -> int:
    """Write a run's page and print its path."""
    folder = folder_of(args)
    from ..reporting.report import write

    print(write(folder))
    return 0


def verify(args: argparse.Namespace) -> int:
    """Replay demonstrations through the online path; exit code 1 if anything differs."""
    folder = folder_of(args)
    from ..pipeline.verify import verify as replay

    found = replay(folder, args.episodes)
    for problem in found.problems:
        print(problem, file=sys.stderr)
    print(
        f"{found.stores} stores read, {found.episodes} episodes replayed ({found.frames} frames):"
        f" tokens differ by {found.token_error:.3g} of the tolerance, features by"
        f" {found.feature_error:.3g} standard deviations, actions by {found.action_error:.3g}"
        f" half ranges: {f'{len(found.problems)} problems' if found.problems else 'passed'}"
    )
    return 1 if found.problems else 0


def _run_folder(name: str, root: str) -> Path | None:
    for folder in (Path(name), Path(root) / name):
        if (folder / "run.json").is_file():
            return folder
    return None


def folder_of(args: argparse.Namespace) -> Path:
    """Return the folder of the run that a command names."""
    if folder := _run_folder(args.run, args.root):
        return folder
    raise UserError(f"{args.run}: no run with a run.json; give its folder, or --root and its name")
