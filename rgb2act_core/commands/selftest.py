"""``rgb2act selftest COMPONENT``."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs

from ..errors import UserError, did_you_mean
from ..plugins import registry
from ..plugins.arguments import add_json
from ..plugins.components import Command, Component, Kind
from ..plugins.hookspecs import hookimpl
from ..system.json_output import print_json

if TYPE_CHECKING:
    from rich.table import Table

    from ..spec import Spec
    from ..testing import Check


COLOURS = {"passed": "green", "failed": "red", "not tested": "yellow"}


@attrs.frozen
class Subject:
    """What is tested: a component with one config, and its checks."""

    title: str
    checks: list[Check]


@attrs.frozen
class Outcome:
    """The result of one check."""

    check: Check
    seconds: float
    failure: str = ""
    not_tested: str = ""

    @property
    def result(self) -> str:
        """``passed``, ``failed`` or ``not tested``."""
        return "failed" if self.failure else "not tested" if self.not_tested else "passed"

    def to_json(self) -> dict[str, Any]:
        """Return JSON data."""
        return {
            "check": plain(self.check.summary),
            "result": self.result,
            "reason": self.failure or self.not_tested or None,
            "cpu_seconds": round(self.seconds, 3),
        }


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
    """Add the component's name and kind, and the spec."""
    parser.add_argument("component", metavar="COMPONENT", help="name of the component in a spec")
    parser.add_argument(
        "--kind",
        choices=[*map(str, Kind)],
        help="needed if components of several kinds have this name",
    )
    parser.add_argument(
        "--spec",
        metavar="SPEC",
        help="test the component as this spec configures it, with its files and weights",
    )
    add_json(parser)
    parser.set_defaults(overrides=[], takes_runs=False)


def run(args: argparse.Namespace) -> int:
    """Run the conformance checks of one component; exit code 1 if one fails."""
    from ..system.console import open_console

    outcomes, results = list[Outcome](), list[dict[str, Any]]()
    for subject in _subjects(args):
        found = _run(subject)
        results.append({"title": subject.title, "checks": [each.to_json() for each in found]})
        if not args.json:
            open_console().print(_table(subject.title, found))
        outcomes += found
    if args.json:
        passed = not any(outcome.failure for outcome in outcomes)
        print_json("selftest", {"passed": passed, "subjects": results})
        return 0 if passed else 1
    for outcome in outcomes:
        if outcome.not_tested:
            print(f"not tested: {outcome.check}: {outcome.not_tested}")
    failures = [outcome for outcome in outcomes if outcome.failure]
    for outcome in failures:
        print(f"{outcome.check}: {outcome.failure}", file=sys.stderr)
    return 1 if failures else 0


def _subjects(args: argparse.Namespace) -> list[Subject]:
    """Return the tiny config, or each config that the spec has for this component."""
    from ..testing import component_checks, light

    if args.spec:
        from ..pipeline.find_spec import given_spec

        return _of_spec(args, given_spec(args).spec)
    kind, component = _component(args.component, args.kind)
    checks = [light(component.build.__module__), *component_checks(kind, component)]
    return [Subject(f"{kind.label} {component.name}, tiny config", checks)]


def _of_spec(args: argparse.Namespace, spec: Spec) -> list[Subject]:
    from ..testing import config_checks

    choices = [choice for choice in spec.choices if choice.component.name == args.component]
    choices = [choice for choice in choices if args.kind in (None, str(choice.kind))]
    if not choices:
        names = [choice.component.name for choice in spec.choices]
        hint = did_you_mean(args.component, names) or f"; it uses {', '.join(dict.fromkeys(names))}"
        raise UserError(f"{args.spec}: does not use {args.component!r}{hint}")
    if any(choice.kind is Kind.LOGGER for choice in choices):
        raise UserError(
            f"{args.component}: a logger of a spec would record test values where its runs are; "
            f"omit --spec, which tests its tiny config"
        )
    image = None
    if any(choice.kind is Kind.BACKBONE for choice in choices):
        image = spec.environments[0].build().info.image
    subjects = []
    for number, choice in enumerate(choices, 1):
        count = f" ({number} of {len(choices)})" if len(choices) > 1 else ""
        title = f"{choice.kind.label} {args.component}{count}, as in {args.spec}"
        checks = config_checks(choice.kind, choice.component, choice.config, image)
        subjects.append(Subject(title, checks))
    return subjects


def _run(subject: Subject) -> list[Outcome]:
    from ..system.progress import progress_bar
    from ..testing import NotTested

    found = []
    label = f"selftest {subject.title.partition(',')[0]}"
    with progress_bar(label, len(subject.checks), "checks") as advance:
        for check in subject.checks:
            start, failure, not_tested = time.process_time(), "", ""
            try:
                failure = plain(_failure(check))
            except NotTested as reason:
                not_tested = str(reason)
            seconds = time.process_time() - start
            found.append(Outcome(check, seconds, failure, not_tested))
            advance()
    return found


def _table(title: str, outcomes: list[Outcome]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for column in ("check", "result", "CPU s"):
        table.add_column(column, justify="right" if column == "CPU s" else "left")
    for outcome in outcomes:
        result = Text(outcome.result, COLOURS[outcome.result])
        table.add_row(plain(outcome.check.summary), result, f"{outcome.seconds:.2f}")
    return table


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
