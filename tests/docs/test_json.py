"""The fields on the page about JSON output are those that the commands print."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import rgb2act_process

from rgb2act_core.interfaces import DatasetSummary, EpisodeOverview, JointMotion

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
SECTIONS = dict(
    re.findall(r"^## ([a-z][\w, -]+)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE),
)
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "object": (dict,),
    "any": (object,),
}


@attrs.frozen
class Field:
    """A documented field."""

    path: str
    types: tuple[type, ...]
    optional: bool

    @property
    def pattern(self) -> re.Pattern[str]:
        """Return what matches the field's path; capitals are keys of any name."""
        escaped = re.sub(r"\b[A-Z]+\b", "\0", re.escape(self.path)).replace("\0", r"[^.\[\]]+")
        inside = r"(\W.*)?" if dict in self.types or object in self.types else ""
        return re.compile(escaped + inside)


def fields(section: str) -> list[Field]:
    """Return the fields of a section's table."""
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", SECTIONS[section], re.MULTILINE)
    found = []
    for path, kind in rows:
        names = kind.strip().removesuffix(", optional").split(" or ")
        types = tuple(each for name in names for each in TYPES[name])
        found.append(Field(path, types, kind.strip().endswith("optional")))
    return found


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and value of everything that is not an object or a list."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, f"{path}.{name}".removeprefix("."))
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, f"{path}[]")
    else:
        yield path, value


def check(section: str, printed: Any, complete: bool = True) -> None:
    """Fail unless every printed value is documented and, if complete, the other way round."""
    documented = fields(section)
    printed_paths = {path for path, _ in leaves(printed)}
    for path, value in leaves(printed):
        matching = [field for field in documented if field.pattern.fullmatch(path)]
        assert matching, f"{section}: {path} is not documented"
        if not {dict, object} & set(matching[0].types):
            assert type(value) in matching[0].types, f"{section}: {path} is {value!r}"
    empty = {path for path, value in containers(printed) if not value}
    for field in documented if complete else ():
        inside_empty = any(field.path.startswith((f"{path}[]", f"{path}.")) for path in empty)
        assert (
            field.optional
            or inside_empty
            or any(field.pattern.fullmatch(path) for path in printed_paths)
        ), f"{section}: {field.path} is documented but not printed"


def containers(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and value of every list and object."""
    if isinstance(value, dict | list):
        yield path, value
        for name, item in value.items() if isinstance(value, dict) else (("[]", v) for v in value):
            yield from containers(item, f"{path}{name if name == '[]' else f'.{name}'}".lstrip("."))


@pytest.mark.parametrize("section", SECTIONS)
def test_example_has_documented_fields(section: str) -> None:
    (example,) = re.findall(r"```json\n(.*?)```", SECTIONS[section], re.DOTALL)
    check(section, json.loads(example))


@pytest.mark.parametrize(
    ("section", "command"),
    [
        ("run, act", ["act", "smoke", "--root", "{root}"]),
        ("align", ["align", "{root}/smoke.toml", "--root", "{root}"]),
        ("collect, extract, train", ["train", "{root}/smoke.toml", "--root", "{root}"]),
        ("check", ["check", "{root}/smoke.toml", "--root", "{root}"]),
        ("check", ["check", "{root}/smoke.toml", "--root", "{root}/absent", "--no-time"]),
        ("plugins", ["plugins"]),
        ("weights", ["weights", "{root}/smoke.toml"]),
        ("doctor", ["doctor", "{root}/smoke.toml"]),
        ("film", ["film", "smoke", "--root", "{root}", "--seeds", "0"]),
        ("runs", ["runs", "--root", "{root}"]),
        ("show", ["show", "smoke", "--root", "{root}"]),
        ("verify", ["verify", "smoke", "--root", "{root}", "--episodes", "1"]),
        ("report", ["report", "smoke", "--root", "{root}"]),
        ("new-spec", ["new-spec", "--env", "tabletop", "--out", "{root}/new.toml"]),
        ("selftest", ["selftest", "weighted"]),
        ("push", ["push", "smoke", "{root}/pushed", "--root", "{root}"]),
        ("export", ["export", "smoke", "--root", "{root}", "--to=torch", "--into", "{root}/out"]),
    ],
)
def test_output_has_documented_fields(
    smoke_root: Path, cli: Callable[..., Any], section: str, command: list[str]
) -> None:
    done = cli(*(word.format(root=smoke_root) for word in command), "--json")
    assert done.returncode == 0, done.stderr
    check(section, json.loads(done.stdout))


def test_output_of_run_has_documented_fields(smoke_done: Path) -> None:
    check("run, act", json.loads((smoke_done / "stdout").read_text()))


def test_output_of_serve_has_documented_fields(smoke_done: Path) -> None:
    with subprocess.Popen(
        [*rgb2act_process.command(), "serve", str(smoke_done / "smoke"), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
        assert process.wait(60) == 0
    check("serve", json.loads(line))


def test_inspect_documents_the_fields_of_a_summary() -> None:
    documented = {re.split(r"[.\[]", field.path)[0] for field in fields("inspect")}
    names = {f.name for f in attrs.fields(DatasetSummary)} - {"images", "environments"}
    assert documented == names | {"findings", "schema"}
    of_episode = {f.path for f in fields("inspect") if f.path.startswith("episodes[].")}
    names = {path.removeprefix("episodes[].").rstrip("[]") for path in of_episode}
    assert names == {f.name for f in attrs.fields(EpisodeOverview)}
    of_motion = {f.path.partition(".")[2] for f in fields("inspect") if f.path[:7] == "motion."}
    assert of_motion == {f.name for f in attrs.fields(JointMotion)}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_object_names_its_format(section: str) -> None:
    assert fields(section)[0].path == "schema"
    (example,) = re.findall(r"```json\n(.*?)```", SECTIONS[section], re.DOTALL)
    name, version = json.loads(example)["schema"].split("/")
    assert name.removeprefix("rgb2act.") in section.split(", ")
    assert version == "1"


# words of the commands that do not take exactly one
WORDS = {"plugins": [], "new-spec": [], "push": ["x", "y"], "export": ["x", "--into=y"]}


def test_every_command_with_json_has_a_section() -> None:
    from rgb2act_core.cli import parse
    from rgb2act_core.plugins.registry import core_commands

    documented = {name for title in SECTIONS for name in title.split(", ")}
    words: dict[str, list[str]] = {"plugins": [], "push": ["x", "y"], "export": ["x", "--into=y"]}
    with_json = set()
    for command in core_commands():
        try:
            words = WORDS.get(command.name, ["x"])
            parse([command.name, *words, "--json"])
        except SystemExit:
            continue
        with_json.add(command.name)
    assert documented == with_json
    others = {command.name for command in core_commands()} - with_json
    assert others == {"completion", "new-plugin"}  # which answer with a script, and with files
