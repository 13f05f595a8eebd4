"""The lines of keys in TOML texts, against tomllib's understanding of them."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from rgb2act_core.spec.toml_lines import Path, key_lines

TEXT = '''\
name = "a # no comment"   # a comment
dotted.inner . "quoted.key" = 1
long = """
[not.a.table]
x = 1
"""
lists = [
  1, # one
  [2,
   3],
  { a = 1, b = { c = [
    4 ] } },
]

[plain]
'raw key' = 'C:\\'
[ plain . sub ]
k = ""

[[many]]
a = 1
[[many]]
b = 2
[many.deep]
c = 3
[[many.list]]
d = 4
[[many.list]]
d = 5
'''


def test_each_form_of_key_has_its_line() -> None:
    lines = key_lines(TEXT)
    expected: dict[Path, int] = {
        ("name",): 1,
        ("dotted",): 2,
        ("dotted", "inner", "quoted.key"): 2,
        ("long",): 3,
        ("lists",): 7,
        ("lists", 0): 8,
        ("lists", 1): 9,
        ("lists", 1, 1): 10,
        ("lists", 2): 11,
        ("lists", 2, "b", "c"): 11,
        ("lists", 2, "b", "c", 0): 12,
        ("plain",): 15,
        ("plain", "raw key"): 16,
        ("plain", "sub", "k"): 18,
        ("many",): 20,
        ("many", 0, "a"): 21,
        ("many", 1): 22,
        ("many", 1, "b"): 23,
        ("many", 1, "deep", "c"): 25,
        ("many", 1, "list", 1): 28,
        ("many", 1, "list", 1, "d"): 29,
    }
    assert {path: lines.get(path) for path in expected} == expected
    assert ("not",) not in lines
    assert set(paths(tomllib.loads(TEXT))) == set(lines)


def paths(data: Any, at: Path = ()) -> list[Path]:
    items = data.items() if isinstance(data, dict) else enumerate(data)
    found: list[Path] = []
    for key, value in items:
        found.append((*at, key))
        if isinstance(value, (dict, list)):
            found += paths(value, (*at, key))
    return found


# carriage returns are left out: tomllib turns them into newlines before it reads
words = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=8)
values = st.recursive(
    st.one_of(st.integers(-9, 9), st.booleans(), words, st.floats(allow_nan=False)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


def text_of(value: Any, spread: bool) -> str:
    """Write a value as TOML, lists over several lines when ``spread``."""
    gap = "\n  # [x]\n" if spread else " "
    if isinstance(value, dict):
        pairs = (f"{quoted(k)} = {text_of(v, spread)}" for k, v in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{gap}{f',{gap}'.join(text_of(item, spread) for item in value)}{gap}]"
    return repr(value) if isinstance(value, float) else quoted(value)


def quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def document(data: dict[str, Any], at: str, spread: bool) -> str:
    """Write tables and arrays of tables under headers, and the rest inline."""
    plain, below = "", ""
    for key, value in data.items():
        header = f"{at}.{quoted(key)}" if at else quoted(key)
        if isinstance(value, dict):
            below += f"[ {header} ]\n{document(value, header, spread)}"
        elif value and isinstance(value, list) and all(isinstance(v, dict) for v in value):
            below += "".join(f"[[{header}]] # x\n{document(v, header, spread)}" for v in value)
        else:
            plain += f"{quoted(key)} = {text_of(value, spread)}\n"
    return plain + below


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.dictionaries(words, values, max_size=4), st.booleans())
@example({"": [{"": [{}, {"a": 1}]}]}, False)
def test_every_key_that_tomllib_sees_has_a_line(data: dict[str, Any], spread: bool) -> None:
    text = document(data, "", spread)
    assert tomllib.loads(text) == data
    assert set(paths(tomllib.loads(text))) == set(key_lines(text))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(st.sampled_from(list("ab=[]{}.,#\"'\\\n 1")), max_size=40))
def test_any_text_is_survived_and_what_tomllib_reads_is_located(text: str) -> None:
    lines = key_lines(text)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(paths(data)) <= set(lines)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())
