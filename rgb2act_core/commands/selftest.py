"""``rgb2act selftest COMPONENT``."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import UserError, did_you_mean
from ..plugins import registry
from ..plugins.components import Command, Component, Kind
from ..plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from ..testing import Check


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield ``selftest``."""
    yield Command(
        name="selftest",
        summary="run the conformance checks of a component",
        arguments=arguments,
        run=run,
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the component's name and kind."""
    parser.add_argument("component", metavar="COMPONENT", help="name of the component in a spec")
    parser.add_argument(
        "--kind",
        choices=[*map(str, Kind)],
        help="needed if components of several kinds have this name",
    )


def run(args: argparse.Namespace) -> int:
    """Run the conformance checks of one component; exit code 1 if one fails."""
    from rich.table import Table
    from rich.text import Text

    from ..system.console import open_console
    from ..system.progress import progress_bar
    from ..testing import component_checks, light

    kind, component = _component(args.component, args.kind)
    table = Table(title=f"{kind.label} {component.name}, tiny config", title_justify="left")
    for column in ("check", "result", "CPU s"):
        table.add_column(column, justify="right" if column == "CPU s" else "left")
    checks = [light(component.build.__module__), *component_checks(kind, component)]
    problems: list[str] = []
    with progress_bar(f"selftest {component.name}", len(checks), "checks") as advance:
        for check in checks:
            start = time.process_time()
            problem = plain(_failure(check))
            seconds = f"{time.process_time() - start:.2f}"
            result = Text("failed", "red") if problem else Text("passed", "green")
            table.add_row(plain(check.summary), result, seconds)
            problems += [f"{check}: {problem}"] if problem else []
            advance()
    open_console().print(table)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def plain(text: str) -> str:
    """Return a docstring's text without the double backquotes of reStructuredText."""
    return text.replace("``", "")


def _failure(check: Check) -> str:
    """Return why a check fails, with the traceback if the component raised."""
    try:
        check()
    except AssertionError as err:
        cause = err.__cause__
        return "".join(traceback.format_exception(cause)) if cause else str(err)
    return ""


def _component(name: str, kind: str | None) -> tuple[Kind, Component]:
    if kind:
        return Kind(kind), registry.find(Kind(kind), name)
    known = registry.components()
    found = [(k, component) for k, component in known if component.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        kinds = " or ".join(k for k, _ in found)
        raise UserError(f"{name}: components of several kinds match; add --kind {kinds}")
    hint = did_you_mean(name, [component.name for _, component in known])
    broken = [s for s in registry.statuses() if s.error and s.name == name]
    if broken:
        raise UserError(f"{name}: the plugin {broken[0].distribution} fails: {broken[0].error}")
    raise UserError(f"{name}: no such component{hint or '; rgb2act plugins lists them'}")
