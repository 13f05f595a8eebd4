"""``rgb2act inspect PATH``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..plugins import registry
from ..plugins.arguments import add_json
from ..plugins.components import Capability, Command, Kind
from ..plugins.hookspecs import hookimpl
from ..spec.conditions import CONDITIONS
from ..system.formatting import format_bytes

if TYPE_CHECKING:
    from rich.table import Table

    from ..interfaces import DatasetSummary, EpisodeOverview, Finding
    from ..plugins.components import Component

LISTED = 30  # episodes printed one by one
POSITIONS = 8  # in each episode, at which the data checks read images and point clouds
CALLED = ("images", "environments")  # of the summary: functions
HEAD = """\
# Written by rgb2act inspect as a starting point. The backbone and the teacher need no weights and
# are enough to check that the data is read correctly. Replace them with pretrained ones;
# rgb2act plugins lists what is installed.
"""


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield ``inspect``."""
    yield Command(
        name="inspect",
        summary="summarise a recorded data set and list damaged episodes",
        arguments=arguments,
        run=run,
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the data set and the files to write."""
    parser.add_argument("path", metavar="PATH", help="folder or file of the data set")
    add_json(parser)
    parser.add_argument("--sheet", metavar="FILE", help="write a contact sheet of frames (PNG)")
    parser.add_argument("--write-spec", metavar="FILE", help="write a run spec to start from")


def run(args: argparse.Namespace) -> int:
    """Summarise a data set; exit code 1 if an episode is damaged or a finding is an error."""
    import attrs

    path = Path(args.path)
    with _reading(path):
        component, found = _summary(path)
    findings = _findings(component, found)
    if args.sheet:
        _sheet(found, Path(args.sheet))
    if args.write_spec:
        _write_spec(found, Path(args.write_spec))
    if args.json:
        fields = attrs.asdict(found, filter=lambda field, _: field.name not in CALLED)
        fields["findings"] = [attrs.asdict(finding) for finding in findings]
        print(json.dumps(fields, indent=1, default=str))
    else:
        _show(found)
        _show_findings(findings)
    damaged = any(episode.problems for episode in found.episodes)
    return 1 if damaged or any(finding.severity == "error" for finding in findings) else 0


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise UserError for a folder or file at or below ``path`` that cannot be read."""
    try:
        yield
    except OSError as err:
        name = err.filename if isinstance(err.filename, str) else path
        reason = str(err.strerror or err).lower()
        raise UserError(
            f"{name}: cannot be read ({reason}); allow reading and entering it"
        ) from err


def _findings(component: Component, found: DatasetSummary) -> list[Finding]:
    """Return what the data checks find in the intact episodes."""
    from .. import linting
    from ..pipeline.data_checks import findings_of

    findings: list[Finding] = []
    try:
        for environment in found.environments():
            checks = Capability.DATA_CHECKS in component.capabilities
            sample = linting.Sample(episodes=len(found.episodes), positions=POSITIONS)
            findings += findings_of(environment, checks, environment.recorded(), sample)
    except UserError as err:
        findings += [linting.invalid(str(message), found.path) for message in err.args]
    return findings


def _summary(path: Path) -> tuple[Component, DatasetSummary]:
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give the path of a data set")
    readers = [
        component
        for kind, component in registry.components()
        if kind is Kind.ENVIRONMENT and component.inspect is not None
    ]
    for component in readers:
        assert component.inspect is not None
        if (found := component.inspect(path)) is not None:
            return component, found
    known = ", ".join(component.name for component in readers) or "none"
    raise UserError(
        f"{path}: no installed plugin finds episodes in it (tried {known}); give the folder with"
        " the episodes' files"
    )


def _show(found: DatasetSummary) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    intact = [episode for episode in found.episodes if not episode.problems]
    facts = [
        ("path", found.path),
        ("layouts", ", ".join(sorted({e.layout for e in found.episodes if e.layout}))),
        ("episodes", f"{len(found.episodes)}, {len(intact)} of them intact"),
        ("frames", str(sum(episode.frames for episode in intact))),
        *found.facts,
        ("missing", ", ".join(found.missing[:LISTED]) or "none"),
        ("disk", format_bytes(found.bytes)),
    ]
    console.print(_table(("", ""), facts, header=False))
    cameras = [
        (name, ", ".join(f"{height} x {width}" for height, width in sizes))
        for name, sizes in found.cameras.items()
    ]
    console.print(_table(("camera", "height x width"), cameras))
    ranges = [(name, f"{low:.3f}", f"{high:.3f}") for name, low, high in found.actions]
    console.print(_table(("action", "lowest", "highest"), ranges))
    rows = [(e.name, e.task, str(e.frames), _state(e)) for e in found.episodes[:LISTED]]
    console.print(_table(("episode", "task", "frames", ""), rows))
    if len(found.episodes) > LISTED:
        console.print(f"and {len(found.episodes) - LISTED} more; use --json to list all")
    for episode in found.episodes:
        for problem in episode.problems:
            console.print(Text(problem), soft_wrap=True)


def _show_findings(findings: Iterable[Finding]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for finding in findings:
        console.print(Text(f"{finding.severity}: {finding}"), soft_wrap=True)


def _state(episode: EpisodeOverview) -> str:
    return f"{len(episode.problems)} problems" if episode.problems else "intact"


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]], header: bool = True) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=header, box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _sheet(found: DatasetSummary, path: Path) -> None:
    """Write a PNG with one labelled row of frames per camera."""
    from PIL import Image, ImageDraw

    rows = [(label, images) for label, images in found.images() if len(images)]
    if not rows:
        raise UserError(f"{found.path}: has no intact episode to show; repair or record one first")
    line, gap = 14, 2
    widths = [len(images) * (images.shape[2] + gap) for _, images in rows]
    height = sum(images.shape[1] + line + gap for _, images in rows)
    sheet = Image.new("RGB", (max(widths), height), "white")
    draw, top = ImageDraw.Draw(sheet), 0
    for label, images in rows:
        draw.text((gap, top), label, fill="black")
        for i, image in enumerate(images):
            sheet.paste(Image.fromarray(image), (i * (image.shape[1] + gap), top + line))
        top += images.shape[1] + line + gap
    try:
        sheet.save(path, "PNG")
    except OSError as err:
        raise UserError(f"{path}: {str(err.strerror).lower()}; choose another file name") from err


def _write_spec(found: DatasetSummary, path: Path) -> None:
    """Write a spec that passes ``rgb2act check``; never overwrite a file."""
    from ..reporting.formats import toml

    for kind, name in ((Kind.BACKBONE, "patchstats"), (Kind.TEACHER, "cloudstats")):
        registry.find(kind, name)  # raises UserError if it is not installed
    if not any(not episode.problems for episode in found.episodes):
        raise UserError(
            f"{found.path}: has no intact episode to train on; repair or record one first"
        )
    folder = path.resolve().parent
    environment = {
        key: os.path.relpath(value, folder) if isinstance(value, Path) else value
        for key, value in found.environment.items()
    }
    text = f"{HEAD}{toml(_spec(environment, found.clouds))}\n"
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise UserError(f"{path}: already exists; choose another file name") from None
    except OSError as err:
        raise UserError(f"{path}: {str(err.strerror).lower()}; choose another file name") from err


def _spec(environment: Mapping[str, Any], clouds: bool) -> dict[str, Any]:
    """Return a spec; alignment needs point clouds."""
    return {
        "name": str(environment.get("task", "recorded")).replace("_", "-"),
        "seed": 0,
        "environment": dict(environment),
        "backbone": [{"use": "patchstats"}],
        "teacher": {"use": "cloudstats"},
        "align": {"fusion": {"use": "weighted"}},
        "policy": {
            "head": {"use": "diffusion"},
            "condition": _condition(clouds),
        },
    }


def _condition(clouds: bool) -> str:
    """Return the first condition with a trained aligner; without clouds, with one backbone."""
    conditions = CONDITIONS.values()
    if clouds:
        return next(c.name for c in conditions if c.aligner == "trained")
    return next(c.name for c in conditions if c.backbones == "one")
