"""The spec that a command names, with the closest known name if there is none."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from ..errors import UserError, closest
from ..spec.overrides import parse_overrides
from ..spec.reader import SpecSource, read_source
from ..store.run_folders import RunId, all_runs
from ..system.default_root import default_root
from .find_run import find_run, run_folder


def given_spec(
    args: argparse.Namespace,
    files: bool = True,
    options: Iterable[tuple[str, str]] | None = None,
) -> SpecSource:
    """Return the spec of the arguments that ``plugins.arguments.add_spec`` added.

    With ``files=False``, files that the spec names need not exist. ``options`` override keys in
    place of those of the arguments. Raises UserError with all problems of the spec and of the
    options, or if the name is that of a run or of nothing.
    """
    root = Path(getattr(args, "root", None) or default_root())
    _check(args.spec, args.command, root, args.takes_runs)
    overrides = parse_overrides(args.overrides if options is None else options)
    return read_source(Path(args.spec), overrides, files=files)


def _check(text: str, command: str, root: Path, takes_runs: bool) -> None:
    path = Path(text)
    if path.is_file():
        return
    if run_folder(text, root):
        raise UserError(
            f"{text}: is a run; rgb2act {command} takes a spec, which is a TOML file; rgb2act show"
            f" {text} prints that of the run"
        )
    specs = {name: p.name for p in _specs(path.parent) for name in (p.name, p.stem)}
    runs = {id.name for id in all_runs(root)}
    if takes_runs and (id := RunId.parse(text)) and id.name in runs:
        find_run(text, root)  # raises UserError, with the numbers of the runs
    near = closest(path.name, [*specs, *sorted(runs)])
    if near is not None and not path.exists():
        what = "is neither a spec nor a run" if takes_runs else "no such spec"
        hint = f"did you mean {specs.get(near, near)!r}?"
        if not takes_runs and near not in specs:
            hint = f"{near} is a run, and rgb2act {command} takes a spec, which is a TOML file"
        raise UserError(f"{text}: {what}; {hint}")
    if takes_runs and not path.exists():
        raise UserError(
            f"{text}: is neither a spec nor a run; give a TOML file, or a run that rgb2act runs"
            " lists"
        )


def _specs(folder: Path) -> list[Path]:
    try:
        return sorted(folder.glob("*.toml"))
    except OSError:
        return []
