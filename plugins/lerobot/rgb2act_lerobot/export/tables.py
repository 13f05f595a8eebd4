"""The parquet files of a data set: frames, episodes and tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

FILE_MB = 100  # from this size on, the next episode begins a new file
INT, FLOAT = pa.int64(), pa.float32()


def data_schema(width: int) -> pa.Schema:
    """Return the columns of the frames."""
    vector = pa.list_(pa.field("element", FLOAT), width)
    columns = {"observation.state": vector, "action": vector, "timestamp": FLOAT}
    numbers = ("frame_index", "episode_index", "index", "task_index")
    return pa.schema([*columns.items(), *((name, INT) for name in numbers)])


class DataWriter:
    """The files with the numbers of all frames, one row group per episode."""

    def __init__(self, root: Path, template: str, width: int) -> None:
        self.root, self.template, self.schema = root, template, data_schema(width)
        self.file = -1
        self._writer: pq.ParquetWriter | None = None
        self._path = root

    def write(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, int]:
        """Append the rows of an episode and return the file that they are in."""
        if self._writer is not None and self._path.stat().st_size >= FILE_MB * 10**6:
            self.close()
        if self._writer is None:
            self.file += 1
            place = {"chunk_index": self.file // 1000, "file_index": self.file % 1000}
            self._path = self.root / self.template.format(**place)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self._path, self.schema, compression="snappy")
        arrays = [_array(columns[field.name], field.type) for field in self.schema]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self.schema))
        return {"chunk_index": self.file // 1000, "file_index": self.file % 1000}

    def close(self) -> None:
        """Finish the open file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _array(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1), FLOAT)
        return pa.FixedSizeListArray.from_arrays(flat, type=kind)
    return pa.array(values, kind)


def write_tasks(path: Path, texts: Sequence[str]) -> None:
    """Write the tasks, in the order of their numbers, as pandas writes a table with an index.

    LeRobot reads the texts from the index of this table, which the metadata names.
    """
    text_type = {"pandas_type": "unicode", "numpy_type": "object"}
    metadata = {
        "index_columns": ["task"],
        "column_indexes": [
            {"name": None, "field_name": None, **text_type, "metadata": {"encoding": "UTF-8"}}
        ],
        "columns": [
            {
                "name": "task_index",
                "field_name": "task_index",
                "pandas_type": "int64",
                "numpy_type": "int64",
                "metadata": None,
            },
            {"name": "task", "field_name": "task", **text_type, "metadata": None},
        ],
        "attributes": {},
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.3.3",
    }
    schema = pa.schema(
        [("task_index", INT), ("task", pa.string())],
        metadata={"pandas": json.dumps(metadata)},
    )
    columns = [pa.array(range(len(texts)), INT), pa.array(texts, pa.string())]
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), path, compression="snappy")


def write_episodes(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the episode table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: pa.array([row[name] for row in rows]) for name in rows[0]}
    pq.write_table(pa.table(columns), path, compression="snappy")
