"""``rgb2act show RUN``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..plugins.arguments import add_json, add_run
from ..plugins.components import Command
from ..plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from ..pipeline.run_summary import RunSummary

SCHEMA = "rgb2act.show/1"


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield ``show``."""
    yield Command(
        name="show",
        summary="print a run's spec without the defaults, its stages, versions and machine",
        arguments=arguments,
        run=run,
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run, ``--root`` and ``--json``."""
    add_run(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print one run; its spec is TOML that can be run again."""
    from ..pipeline.find_run import find_run
    from ..pipeline.run_summary import summary
    from ..spec.differences import without_defaults
    from ..store.run_file import read_run_file

    folder = find_run(args.run, args.root)
    record, found = read_run_file(folder), summary(folder)
    spec = without_defaults(record.spec)
    if args.json:
        print(json.dumps(_to_json(found, spec)))
        return 0
    from ..reporting.formats import toml

    print("\n".join(f"# {line}" for line in _lines(found)))
    print()
    print(toml(spec), end="")
    return 0


def _to_json(found: RunSummary, spec: dict[str, Any]) -> dict[str, Any]:
    assert found.record is not None
    stages = [stage.to_json() | {"scenes": stage.scenes} for stage in found.stages]
    return {
        "schema": SCHEMA,
        **found.to_json(),
        "origin": dict(found.record.origin) or None,
        "spec": spec,
        "stages": stages,
        "versions": {"rgb2act": found.record.version, **found.record.environment},
    }


def _lines(found: RunSummary) -> Iterator[str]:
    """Yield what is known of the run, one fact per line."""
    from ..system.formatting import format_bytes, format_duration

    record = found.record
    assert record is not None
    yield f"{found.id}, {found.state}, {record.created}"
    yield f"folder: {found.folder}"
    if origin := record.origin:
        at = f" at commit {origin['commit']}" if origin.get("commit") else ""
        yield f"pulled from {origin.get('repository')}{at}; its success is what was stated there"
    if success := found.success:
        yield (
            f"success: {success.rate:.0%}, {success.successes} of {success.episodes} episodes, 95%"
            f" interval {success.low:.0%} to {success.high:.0%}"
        )
    for change in found.changes:
        yield f"changed: {change}"
    for stage in found.stages:
        yield f"{stage.id}: {format_duration(stage.seconds)}, {stage.path}"
    yield f"time: {format_duration(found.seconds)}; size: {format_bytes(found.bytes)}"
    versions = {"rgb2act": record.version, **record.environment}
    yield ", ".join(f"{name} {version}" for name, version in versions.items())
