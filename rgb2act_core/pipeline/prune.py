"""Free what no run needs: output in the store that cannot be reached from any run's record.

A run that is under way is never removed, and neither is what it uses or will use. While something
is removed, a run that starts waits at the point where it states what it needs.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from ..errors import UserError
from ..store.locks import locked
from ..store.run_folders import NUMBER, RunId, all_runs
from ..store.run_marks import is_under_way
from ..store.run_needs import PRUNE_LOCK, Needs, read_needs
from ..store.run_numbers import LAST
from ..store.unneeded import Unneeded, remove, size_of, unneeded


@attrs.frozen(kw_only=True)
class Pruned:
    """What is removed, or would be."""

    runs: tuple[Path, ...]
    """Folders of the runs to remove."""
    run_bytes: int
    """Size of their records, reports and event files."""
    items: tuple[Unneeded, ...]

    @property
    def bytes(self) -> int:
        """Bytes that are freed."""
        return self.run_bytes + sum(item.bytes for item in self.items)

    def to_json(self) -> dict[str, Any]:
        """Return JSON data."""
        return {
            "runs": [str(RunId.of(folder)) for folder in self.runs],
            "items": [
                {"path": str(item.path), "kind": item.kind, "bytes": item.bytes}
                for item in self.items
            ],
            "bytes": self.bytes,
        }


def prune(
    root: Path, runs: Sequence[Path] = (), *, keep_days: float = 0.0, dry: bool = True
) -> Pruned:
    """Remove runs, and what the others do not need; with ``dry``, only return what would be.

    Raises UserError if a run to remove is under way or in another root, or if another run cannot
    be read.
    """
    if not root.is_dir():
        return Pruned(runs=(), run_bytes=0, items=())
    root = root.resolve()
    doomed = {folder.resolve() for folder in runs}
    if dry:
        return _find(root, doomed, keep_days)
    with locked(root / "store" / PRUNE_LOCK):
        found = _find(root, doomed, keep_days)
        parts = [part for folder in found.runs for part in _parts(folder)]
        remove(root, [*parts, *(item.path for item in found.items)])
        return found


def _find(root: Path, doomed: set[Path], keep_days: float) -> Pruned:
    known = _known(root)
    for folder in doomed:
        if folder not in known:
            raise UserError(f"{folder}: is not a run in {root}; set --root to its folder of runs")
        if is_under_way(folder):
            raise UserError(f"{RunId.of(folder)}: is under way; stop it first, or wait")
    needs = {folder: _needs(folder) for folder in known - doomed}
    unknown = any(n.provisional and is_under_way(folder) for folder, n in needs.items())
    items = unneeded(
        root,
        functools.reduce(operator.or_, needs.values(), Needs()),
        keep_trained=unknown,
        keep_days=keep_days,
    )
    sizes = [size_of(part) for folder in doomed for part in _parts(folder)]
    return Pruned(runs=tuple(sorted(doomed)), run_bytes=sum(sizes), items=tuple(items))


def _known(root: Path) -> set[Path]:
    """Return the folders of all runs."""
    try:
        return {folder.resolve() for folder in all_runs(root, strict=True).values()}
    except OSError as err:
        raise UserError(
            f"{err.filename}: cannot be read ({err.strerror}); until then, rgb2act prune does not"
            " know what its runs need"
        ) from err


def _needs(folder: Path) -> Needs:
    """Return what a run needs, with provisional needs as definite ones."""
    try:
        found = read_needs(folder)
    except UserError as err:
        raise UserError(
            f"{err}; until then, rgb2act prune does not know what {RunId.of(folder)} needs"
        ) from err
    return attrs.evolve(found, folders=found.folders | found.provisional)


def _parts(folder: Path) -> list[Path]:
    """Return what belongs to a run: its folder or, of a run without number, what is in it."""
    if RunId.of(folder).number:
        return [folder]
    return [path for path in folder.iterdir() if not _of_name(path)]


def _of_name(path: Path) -> bool:
    """Return whether a path in the folder of a name belongs to no run or to a numbered one."""
    numbers = NUMBER.fullmatch(path.name) or path.name == LAST
    return bool(numbers) or path.suffix == ".lock" or path.match("sweep-*.html")
