"""``rgb2act inspect PATH``."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..plugins import registry
from ..plugins.arguments import add_json
from ..plugins.components import Capability, Command, Kind
from ..plugins.hookspecs import hookimpl
from ..system.formatting import format_bytes
from ..system.json_output import print_json

if TYPE_CHECKING:
    from rich.table import Table

    from ..interfaces import DatasetSummary, EpisodeOverview, Finding
    from ..plugins.components import Component

LISTED = 30  # episodes printed one by one
POSITIONS = 8  # in each episode, at which the data checks read images and point clouds
CALLED = ("images", "environments")  # of the summary: functions


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield ``inspect``."""
    yield Command(
        name="inspect",
        summary="summarise a data set or episodes of the store and list damaged episodes",
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
    stored = stored_summary_of(path)
    if stored is None:
        component, found = summary_of(path)
        findings = _findings(component, found)
    elif args.write_spec:
        raise UserError(
            f"{path}: these episodes belong to the environment that recorded them; write a spec of"
            " it with rgb2act new-spec --env NAME"
        )
    else:
        found, findings = stored, []
    if args.sheet:
        _sheet(found, Path(args.sheet))
    if args.write_spec:
        _write_spec(component, found, Path(args.write_spec))
    if args.json:
        fields = attrs.asdict(found, filter=lambda field, _: field.name not in CALLED)
        fields["findings"] = [attrs.asdict(finding) for finding in findings]
        print_json("inspect", fields)
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


def stored_summary_of(path: Path) -> DatasetSummary | None:
    """Return a summary of episodes of the store; None if the path has none."""
    from ..data.episode_summary import stored_episodes, summarise_stored

    with _reading(path):
        return summarise_stored(path) if stored_episodes(path) else None


def summary_of(path: Path, component: Component | None = None) -> tuple[Component, DatasetSummary]:
    """Return the environment that reads a data set, and its summary of it.

    ``component`` is the only one that is asked, if it is given. Raises UserError if none reads it.
    """
    with _reading(path):
        return _summary(path, component)


def _summary(path: Path, component: Component | None) -> tuple[Component, DatasetSummary]:
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give the path of a data set")
    environments = [each for kind, each in registry.components() if kind is Kind.ENVIRONMENT]
    asked = environments if component is None else [component]
    readers = [each for each in asked if each.inspect is not None]
    for reader in readers:
        assert reader.inspect is not None
        if (found := reader.inspect(path)) is not None:
            return reader, found
    known = ", ".join(reader.name for reader in readers) or "none"
    raise UserError(
        f"{path}: no installed plugin finds episodes in it (tried {known}); give the folder with"
        " the episodes' files"
    )


def _show(found: DatasetSummary) -> None:
    from rich.text import Text

    from ..system.console import open_console

    console = open_console()
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
    from rich.text import Text

    from ..system.console import open_console

    console = open_console()
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


def _write_spec(component: Component, found: DatasetSummary, path: Path) -> None:
    """Write a spec that passes ``rgb2act check``; never overwrite a file."""
    from ..scaffold.run_spec import of_data_set, spec_text, write_spec

    if not any(not episode.problems for episode in found.episodes):
        raise UserError(
            f"{found.path}: has no intact episode to train on; repair or record one first"
        )
    write_spec(path, spec_text(of_data_set(component, found), folder=path.parent))
