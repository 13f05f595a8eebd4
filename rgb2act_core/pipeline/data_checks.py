"""Check recorded demonstrations before anything is computed from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from .. import linting
from ..data.dataset import Dataset
from ..errors import UserError, did_you_mean
from ..interfaces import Environment, Episode, Finding, Severity
from ..linting.rules import INVALID
from ..plugins.components import Capability
from ..stages.tasks import Task, Tasks
from ..system.progress import say

SAMPLE = linting.Sample()
ACCEPTABLE = tuple(name for name in linting.NAMES if name != INVALID)


def check_data(tasks: Tasks, data: Dataset) -> tuple[Finding, ...]:
    """Return the warnings and notes about the demonstrations of all tasks.

    Raises UserError with every error, unless ``collect.accept_findings`` lists its rule.
    """
    accepted = tasks.run.spec.collect.accept_findings
    _check_accepted(tasks, accepted)
    findings = [
        attrs.evolve(finding, severity=Severity.NOTE) if finding.rule in accepted else finding
        for i, task in enumerate(tasks)
        for finding in _of_task(tasks, task, data.of_task(i))
    ]
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    if errors:
        raise UserError(*map(_refusal, errors))
    return tuple(findings)


def report_findings(findings: Iterable[Finding]) -> None:
    """Print findings to stderr, one line each."""
    for finding in findings:
        say(f"data {finding.severity}: {finding}")


def findings_of(
    environment: Environment, checks: bool, episodes: Iterable[Episode], sample: linting.Sample
) -> list[Finding]:
    """Return the findings of the core's rules, and of the environment's own if it ``checks``."""
    found = linting.check_episodes(list(episodes), environment.info, sample)
    checker: Any = environment
    return linting.merged([*(checker.check_data() if checks else ()), *found])


def _of_task(tasks: Tasks, task: Task, data: Dataset) -> Iterator[Finding]:
    episodes = (ref.open() for ref in data.demonstrations)
    checks = task.can(Capability.DATA_CHECKS)
    for finding in findings_of(task.environment, checks, episodes, SAMPLE):
        several = len(tasks) > 1
        yield attrs.evolve(finding, source=f"{task.name}: {finding.source}") if several else finding


def _refusal(finding: Finding) -> str:
    return (
        f"{finding}; if the data is right, set [collect] accept_findings = {[finding.rule]!r}"
        if finding.rule != INVALID
        else str(finding)
    )


def _check_accepted(tasks: Tasks, accepted: tuple[str, ...]) -> None:
    """Raise UserError for a rule that does not exist. Those of environments are not known here."""
    components = {task.run.environment.component.name for task in tasks}
    for name in accepted:
        if name not in ACCEPTABLE and name.partition(".")[0] not in components:
            raise UserError(
                f"collect.accept_findings: there is no rule {name!r}"
                f"{did_you_mean(name, ACCEPTABLE)}; choose from {', '.join(ACCEPTABLE)}"
            )
