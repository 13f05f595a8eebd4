"""Apply all rules to a data set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import attrs

from ..data.dataset import check_episode
from ..errors import UserError
from ..interfaces import EnvironmentInfo, Episode, Finding, Severity
from .recordings import LEAVE_OUT, Recordings, Sample, recordings_of
from .rules import CONTENT_RULES, INVALID, MOTION_RULES, UNIT_RULES

ORDER = list(Severity)
CAUSES = {"jump": "outlier", "drift": "dead_joint"}  # a finding's cause, about the same subject


def check_episodes(
    episodes: Sequence[Episode], info: EnvironmentInfo, sample: Sample | None = None
) -> list[Finding]:
    """Return what is wrong with the episodes of an environment, the worst first.

    Joints, actions and states of all episodes are judged, and ``sample`` of the images and point
    clouds; None reads neither. Findings of one rule about one subject are merged.
    """
    findings: list[Finding] = []
    valid: list[Episode] = []
    for episode in episodes:
        problems = _invalid(episode, info)
        findings += problems
        if not problems:
            valid.append(episode)
    data = recordings_of(info, valid, sample)
    if data.each:
        findings += _findings(data)
    return merged(findings)


def _findings(data: Recordings) -> Iterator[Finding]:
    """Yield the findings of all rules that apply, without consequences of other findings."""
    wrong_units = [finding for rule in UNIT_RULES for finding in rule.find(data)]
    yield from wrong_units
    if not any(finding.severity is Severity.ERROR for finding in wrong_units):
        found = [finding for rule in MOTION_RULES for finding in rule.find(data)]
        causes = {(f.rule, f.source, f.subject) for f in found}
        for finding in found:
            cause = CAUSES.get(finding.rule, "")
            if (cause, finding.source, finding.subject) not in causes:
                yield finding
    for rule in CONTENT_RULES:
        yield from rule.find(data)


def _invalid(episode: Episode, info: EnvironmentInfo) -> list[Finding]:
    """Return why no stage could use an episode: shapes, types or values that are not finite."""
    try:
        check_episode(episode, info)
    except UserError as err:
        return [invalid(str(message), f"episode {episode.name}") for message in err.args]
    return []


def invalid(message: str, source: str) -> Finding:
    """Return an error in the form ``place: problem; remedy`` as a finding about a source."""
    problem, _, remedy = message.removeprefix(f"{source}: ").rpartition("; ")
    return Finding(
        severity=Severity.ERROR,
        rule=INVALID,
        source=source,
        subject=message,
        problem=problem or message,
        remedy=remedy if problem else f"record it again, or {LEAVE_OUT}",
    )


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Return one finding per rule and subject, which counts the others, the worst first."""
    first: dict[tuple[str, str, str], Finding] = {}
    for finding in findings:
        key = (finding.severity, finding.rule, finding.subject)
        known = first.get(key)
        first[key] = finding if known is None else attrs.evolve(known, others=known.others + 1)
    return sorted(first.values(), key=lambda finding: ORDER.index(finding.severity))
