"""Line numbers of the keys in a TOML text, which tomllib does not provide."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

Path = tuple[str | int, ...]

_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|'[^'\n]*'|"(?:\\.|[^"\\\n])*\"""")
_TEXT = re.compile(
    r'''"""(?:\\.|[^\\])*?"{3,5}|\'{3}.*?'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*\'''', re.DOTALL
)
_SCALAR = re.compile(r"[^,\]}#\n]*")


def key_lines(text: str) -> dict[Path, int]:
    """Return the line number, from 1, of each table, key and list item in a TOML text.

    A path consists of keys and list indices, such as ``("backbone", 0, "dim")``. For text that is
    not valid TOML, only the lines before the error are complete.
    """
    scan = _Scan(text)
    scan.document()
    return scan.lines


class _Scan:
    """One pass over a TOML text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {}
        self.tables: dict[Path, int] = {}  # number of tables so far in each array of tables
        self.newlines = [m.start() for m in re.finditer("\n", text)]

    def document(self) -> None:
        table: Path = ()
        while self.skip(_BLANK) < len(self.text):
            start = self.at
            if self.text.startswith("[", start):
                table = self.header()
            else:
                self.pair(table)
            if self.at == start:
                return  # not valid TOML

    def skip(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.at

    def take(self, mark: str) -> bool:
        found = self.text.startswith(mark, self.at)
        self.at += len(mark) if found else 0
        return found

    def mark(self, path: Path, at: int) -> None:
        self.lines.setdefault(path, bisect_right(self.newlines, at - 1) + 1)

    def key(self) -> list[str]:
        """Read a dotted key."""
        parts: list[str] = []
        while True:
            self.skip(_SPACE)
            match = _KEY.match(self.text, self.at)
            if match is None:
                return parts
            self.at = match.end()
            parts.append(_plain(match.group()))
            self.skip(_SPACE)
            if not self.take("."):
                return parts

    def header(self) -> Path:
        start = self.at
        many = self.take("[[") or not self.take("[")
        path: Path = ()
        parts = self.key()
        self.take("]]" if many else "]")
        for i, part in enumerate(parts):
            path = (*path, part)
            self.mark(path, start)
            if many and i == len(parts) - 1:
                self.tables[path] = self.tables.get(path, 0) + 1
            if path in self.tables:
                path = (*path, self.tables[path] - 1)
                self.mark(path, start)
        return path

    def pair(self, table: Path) -> None:
        start = self.at
        path = table
        for part in self.key():
            path = (*path, part)
            self.mark(path, start)
        self.skip(_SPACE)
        if self.take("="):
            self.skip(_SPACE)
            self.value(path)

    def value(self, path: Path) -> None:
        if self.take("["):
            self.items(path)
        elif self.take("{"):
            self.inline(path)
        elif (match := _TEXT.match(self.text, self.at)) is not None:
            self.at = match.end()
        else:
            self.skip(_SCALAR)

    def items(self, path: Path) -> None:
        index = 0
        while self.skip(_BLANK) < len(self.text) and not self.take("]"):
            start = self.at
            self.mark((*path, index), start)
            self.value((*path, index))
            self.skip(_BLANK)
            index += self.take(",")
            if self.at == start:
                return

    def inline(self, path: Path) -> None:
        while self.skip(_BLANK) < len(self.text) and not self.take("}"):
            start = self.at
            self.pair(path)
            self.skip(_BLANK)
            self.take(",")
            if self.at == start:
                return


def _plain(key: str) -> str:
    if not key.startswith(("'", '"')):
        return key
    try:
        return str(tomllib.loads(f"k = {key}")["k"])
    except ValueError:
        return key
