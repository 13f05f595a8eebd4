"""``rgb2act selftest COMPONENT``."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import UserError, near
from ..plugins import registry
from ..plugins.components import Component, Kind
from ..system.progress import task
from ..testing import Check, component_checks, light


def selftest(args: argparse.Namespace) -> int:
    """Run the conformance kit on one component; exit code 1 if a check fails."""
    kind, component = _component(args.component, args.kind)
    table = Table(title=f"{kind.label} {component.name}, tiny config", title_justify="left")
    for column in ("check", "result", "CPU s"):
        table.add_column(column, justify="right" if column == "CPU s" else "left")
    some = [light(component.build.__module__), *component_checks(kind, component)]
    problems: list[str] = []
    with task(f"selftest {component.name}", len(some), "checks") as advance:
        for check in some:
            start = time.process_time()
            problem = _run(check)
            spent = f"{time.process_time() - start:.2f}"
            result = Text("failed", "red") if problem else Text("passed", "green")
            table.add_row(check.summary, result, spent)
            problems += [f"{check}: {problem}"] if problem else []
            advance()
    Console().print(table)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _run(check: Check) -> str:
    """Return what a check says, with the traceback if the component raised."""
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
        raise UserError(f"{name}: several kinds have this name; add --kind {kinds}")
    hint = near(name, [component.name for _, component in known])
    broken = [s for s in registry.statuses() if s.error and s.name == name]
    if broken:
        raise UserError(f"{name}: the plugin {broken[0].distribution} fails: {broken[0].error}")
    raise UserError(f"{name}: no such component{hint or '; rgb2act plugins lists them'}")
