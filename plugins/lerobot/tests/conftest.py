"""Fixtures: copies of the sample data sets, which LeRobot wrote, and edits of their files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rgb2act_lerobot import LeRobot, build
from rgb2act_lerobot.environment import LeRobotEnvironment

DATA = Path(__file__).parent / "data"

Copied = Callable[[str], Path]
Opened = Callable[..., LeRobotEnvironment]
EditColumn = Callable[[Path, str, Callable[[list[Any]], list[Any]]], None]
EditInfo = Callable[[Path, Callable[[dict[str, Any]], Any]], None]


@pytest.fixture
def copied(tmp_path: Path) -> Copied:
    """Return a function that copies a sample."""

    def call(name: str) -> Path:
        return Path(shutil.copytree(DATA / name, tmp_path / name))

    return call


@pytest.fixture
def opened() -> Opened:
    """Return a function that opens a data set, or a sample by its name, as an environment."""

    def call(data: Path | str, **options: Any) -> LeRobotEnvironment:
        path = DATA / data if isinstance(data, str) else data
        return build(LeRobot(data=path, **options))

    return call


@pytest.fixture
def edit_column() -> EditColumn:
    """Return a function that rewrites a column of a parquet file, or adds it."""

    def call(path: Path, name: str, change: Callable[[list[Any]], list[Any]]) -> None:
        table = pq.read_table(path)
        old = table[name] if name in table.column_names else None
        values = change(old.to_pylist() if old is not None else [None] * len(table))
        column = pa.array(values, old.type if old is not None else None)
        index = table.column_names.index(name) if old is not None else table.num_columns
        if old is not None:
            table = table.remove_column(index)
        pq.write_table(table.add_column(index, name, column), path)

    return call


@pytest.fixture
def edit_info() -> EditInfo:
    """Return a function that changes ``meta/info.json``."""

    def call(root: Path, change: Callable[[dict[str, Any]], Any]) -> None:
        path = root / "meta/info.json"
        info = json.loads(path.read_text())
        change(info)
        path.write_text(json.dumps(info))

    return call
