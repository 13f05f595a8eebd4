"""The episodes of a data set and the files that each is stored in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import pyarrow as pa

from rgb2act_core import UserError

from .files import AGAIN, filled_template, read_json_lines
from .parquet import read_table
from .schema import LARGEST_CHUNK, Schema, read_schema

LONGEST = 10**8  # frames of an episode
INTERRUPTED = (
    "the recording was interrupted before its episodes were listed; record it again, and end the"
    " recording with finalize()"
)


@attrs.frozen(kw_only=True)
class Clip:
    """The part of a video file with the frames of an episode."""

    path: Path
    start: float
    """Time of the first frame in the file, in seconds."""


@attrs.frozen(kw_only=True)
class EpisodeEntry:
    """One row of the episode table."""

    index: int
    length: int
    data: Path
    clips: Mapping[str, Clip]
    """The video of each camera by the key of its feature."""

    @property
    def name(self) -> str:
        """The name that specs and results use."""
        return episode_name(self.index)


@attrs.frozen(kw_only=True)
class Listing:
    """What the ``meta`` folder of a data set lists."""

    schema: Schema
    entries: tuple[EpisodeEntry, ...]
    """Episodes by rising number."""
    tasks: Mapping[int, str]
    """Texts of tasks by ``task_index``."""

    @property
    def missing(self) -> list[str]:
        """Names of episodes that ``total_episodes`` counts but that are not listed."""
        listed = {entry.index for entry in self.entries}
        count = min(self.schema.episodes, len(listed) + 1000)
        return [episode_name(i) for i in range(count) if i not in listed]


def episode_name(index: int) -> str:
    """Return the name of an episode."""
    return f"episode_{index:06d}"


def read_listing(root: Path) -> Listing:
    """Return the schema, the episodes and the tasks of a data set, without reading its data.

    Raises UserError for a version that cannot be read, or a damaged ``meta`` folder.
    """
    schema = read_schema(root)
    legacy = schema.version != "v3.0"
    tasks = _tasks_v2(schema) if legacy else _tasks_v3(schema)
    found = list(_entries_v2(schema) if legacy else _entries_v3(schema))
    entries = sorted(found, key=lambda entry: entry.index)
    for one, two in pairwise(entries):
        if one.index == two.index:
            raise UserError(f"{root}/meta: lists episode {one.index} twice; {AGAIN}")
    return Listing(schema=schema, entries=tuple(entries), tasks=tasks)


def check_complete(listing: Listing) -> None:
    """Raise UserError if ``total_episodes`` counts episodes that are not listed."""
    if listing.missing or not listing.entries:
        schema, missing = listing.schema, ", ".join(listing.missing[:3])
        raise UserError(
            f"{schema.root}/meta/info.json: total_episodes is {schema.episodes}, but"
            f" {len(listing.entries)} episodes are listed{missing and f', without {missing}'};"
            f" {AGAIN}, or correct total_episodes"
        )


def _tasks_v2(schema: Schema) -> dict[int, str]:
    path = schema.root / "meta/tasks.jsonl"
    return {
        _number(path, row, "task_index"): _text(path, row.get("task"))
        for row in read_json_lines(path, schema.root)
    }


def _tasks_v3(schema: Schema) -> dict[int, str]:
    """Return the tasks; their texts are in the column that is not ``task_index``."""
    path = schema.root / "meta/tasks.parquet"
    table = read_table(path, schema.root)
    texts = [
        field.name for field in table.schema if field.name != "task_index" and _is_text(field.type)
    ]
    if "task_index" not in table.column_names or not texts:
        raise UserError(f"{path}: has the columns {table.column_names}; {AGAIN}")
    name = "task" if "task" in texts else texts[0]
    rows = table.select(["task_index", name]).to_pylist()
    return {_number(path, row, "task_index"): _text(path, row[name]) for row in rows}


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)
    )


def _entries_v2(schema: Schema) -> Iterator[EpisodeEntry]:
    path = schema.root / "meta/episodes.jsonl"
    videos = [f.key for f in schema.features.values() if f.dtype == "video"]
    for row in read_json_lines(path, schema.root):
        index = _number(path, row, "episode_index")
        values = {"episode_index": index, "episode_chunk": index // schema.chunk_size}
        yield EpisodeEntry(
            index=index,
            length=_number(path, row, "length", 1, LONGEST),
            data=filled_template(schema.root, schema.data_path, **values),
            clips={
                key: Clip(
                    path=filled_template(schema.root, schema.video_path, video_key=key, **values),
                    start=0.0,
                )
                for key in videos
            },
        )


def _entries_v3(schema: Schema) -> Iterator[EpisodeEntry]:
    folder = schema.root / "meta/episodes"
    paths = sorted(folder.glob("*/*.parquet"))
    if not paths:
        raise UserError(f"{folder}: is missing or empty: {INTERRUPTED}")
    videos = [f.key for f in schema.features.values() if f.dtype == "video"]
    for path in paths:
        table = read_table(path, schema.root, without="stats/")
        for row in table.to_pylist():
            yield _entry_v3(schema, path, row, videos)


def _entry_v3(
    schema: Schema, path: Path, row: Mapping[str, Any], videos: list[str]
) -> EpisodeEntry:
    index = _number(path, row, "episode_index")
    clips = {}
    for key in videos:
        start = row.get(f"videos/{key}/from_timestamp")
        if not isinstance(start, int | float) or not 0 <= start <= LONGEST:
            raise UserError(
                f"{path}: episode {index}: videos/{key}/from_timestamp is {start!r}; {AGAIN}"
            )
        clips[key] = Clip(
            path=filled_template(
                schema.root,
                schema.video_path,
                video_key=key,
                chunk_index=_number(path, row, f"videos/{key}/chunk_index"),
                file_index=_number(path, row, f"videos/{key}/file_index"),
            ),
            start=float(start),
        )
    return EpisodeEntry(
        index=index,
        length=_number(path, row, "length", 1, LONGEST),
        data=filled_template(
            schema.root,
            schema.data_path,
            chunk_index=_number(path, row, "data/chunk_index"),
            file_index=_number(path, row, "data/file_index"),
        ),
        clips=clips,
    )


def _number(
    path: Path, row: Mapping[str, Any], key: str, low: int = 0, high: int = LARGEST_CHUNK
) -> int:
    value = row.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UserError(f"{path}: {key} is {value!r}, expected a number from {low}; {AGAIN}")
    return value


def _text(path: Path, value: Any) -> str:
    if not isinstance(value, str):
        raise UserError(f"{path}: the text of a task is {value!r}; {AGAIN}")
    return value
