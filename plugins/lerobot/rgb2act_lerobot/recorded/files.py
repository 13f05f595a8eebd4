"""Guarded access to the files of a data set, which others wrote."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from string import Formatter
from typing import Any

from rgb2act_core import UserError, check_regular, check_within, parse_json, read_regular

REMEDY = "download or record it again, or leave the episode out with [environment] skip"
AGAIN = "download or record the data set again"
TEXT_LIMIT = 256 << 20  # bytes of a JSON file
State = tuple[int, int]  # time of the last change (ns) and size of a file, for caches
POINTER = b"version https://git-lfs"
PLACEHOLDERS = ("chunk_index", "file_index", "video_key", "episode_chunk", "episode_index")
FORMATS = ("", "d", *(f"0{width}d" for width in range(1, 10)))


def allowed_folder(root: Path) -> Path:
    """Return the folder that files of a data set may be links into.

    In the cache of the Hugging Face hub, files are links from ``snapshots/REVISION`` to ``blobs``.
    """
    root = root.resolve()
    return root.parents[1] if root.parent.name == "snapshots" else root


def check_file(path: Path, root: Path) -> State:
    """Return the state of a file of the data set in ``root``.

    Raises UserError unless it is a regular file.
    """
    try:
        check_within(path, allowed_folder(root))
        status = check_regular(path)
        pointer = status.st_size < 1024 and read_regular(path).startswith(POINTER)
    except FileNotFoundError:
        raise UserError(f"{path}: is missing; {REMEDY}") from None
    except OSError as err:
        raise UserError(f"{path}: cannot be read ({err.strerror}); {REMEDY}") from err
    if pointer:
        raise UserError(
            f"{path}: is a pointer of Git LFS, not the file; run git lfs pull in {root}"
        )
    return status.st_mtime_ns, status.st_size


def read_json(path: Path, root: Path) -> Any:
    """Return the value in a JSON file. Raises UserError if it is missing or damaged."""
    check_file(path, root)
    try:
        return parse_json(read_regular(path, TEXT_LIMIT))
    except (OSError, ValueError) as err:
        raise UserError(f"{path}: is not valid JSON ({err}); {AGAIN}") from err


def read_json_lines(path: Path, root: Path) -> list[dict[str, Any]]:
    """Return the objects in a file with one JSON object per line."""
    check_file(path, root)
    objects = []
    for number, line in enumerate(read_regular(path, TEXT_LIMIT).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = parse_json(line)
        except ValueError as err:
            raise UserError(f"{path}: line {number} is not valid JSON ({err}); {AGAIN}") from err
        if not isinstance(value, dict):
            raise UserError(f"{path}: line {number} is not a JSON object; {AGAIN}")
        objects.append(value)
    return objects


def check_template(path: Path, key: str, template: str) -> None:
    """Raise UserError for a path template with unknown placeholders or outside the data set."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as err:
        raise UserError(f"{path}: {key} {template!r} is not a path template ({err})") from None
    for _, name, form, conversion in parts:
        if name is None:
            continue
        if name not in PLACEHOLDERS or form not in FORMATS or conversion:
            raise UserError(
                f"{path}: {key} {template!r} has an unknown placeholder; use"
                f" {', '.join(PLACEHOLDERS)}"
            )
    relative = PurePosixPath(template)
    if relative.is_absolute() or ".." in relative.parts or "\0" in template:
        raise UserError(
            f"{path}: {key} {template!r} leaves the data set; use a path below its folder"
        )


def filled_template(root: Path, template: str, **values: Any) -> Path:
    """Return the path of a checked template for the given placeholders."""
    try:
        return root / template.format(**values)
    except (KeyError, ValueError) as err:
        raise UserError(
            f"{root}/meta/info.json: the path template {template!r} does not fit this format"
            f" ({err}); {AGAIN}"
        ) from err
