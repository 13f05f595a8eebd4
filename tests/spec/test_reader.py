"""Each bad spec in tests/specs/ gives exactly the messages in its .txt file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from toy_components import PARTS, Crop, Gray, Toy, find

from rgb2act_core import Kind, UserError
from rgb2act_core.spec import Spec
from rgb2act_core.spec.reader import read_spec, structure, structure_config, unstructure

SPECS = Path(__file__).parents[1] / "specs"
BAD = sorted(path.stem for path in SPECS.glob("*.toml") if path.stem != "good")


def read(text: str, folder: Path) -> Spec:
    path = folder / "run.toml"
    path.write_text(text)
    return read_spec(path, find)


def refusal(text: str, folder: Path) -> list[str]:
    with pytest.raises(UserError) as caught:
        read(text, folder)
    return [problem.replace(f"{folder}/", "") for problem in caught.value.args]


GOOD = (SPECS / "good.toml").read_text()


@pytest.mark.parametrize("name", BAD)
def test_bad_spec_gives_the_messages_of_its_text_file(name: str) -> None:
    with pytest.raises(UserError) as caught:
        read_spec(SPECS / f"{name}.toml", find)
    message = str(caught.value).replace(f"{SPECS}/", "")
    assert message == (SPECS / f"{name}.txt").read_text().rstrip("\n")


def test_each_text_file_has_its_spec() -> None:
    assert {p.stem for p in SPECS.glob("*.txt")} == set(BAD)


def test_good_spec_is_read_into_frozen_records() -> None:
    spec = read_spec(SPECS / "good.toml", find)
    assert spec.name == "good"
    assert [choice.component.name for choice in spec.backbone] == ["gray", "gray"]
    assert spec.backbone[1].config == Gray(
        patch=4, layers=(1, 2), crop=Crop(size=(4, 6), scale=2.0), weights=SPECS / "good.toml"
    )
    assert type(spec.backbone[1].config.crop.scale) is float
    assert spec.act.baselines == ("proprio_only", "end_to_end")


@pytest.mark.parametrize(
    ("condition", "baselines", "replay", "needed"),
    [
        ("aligned", [], False, {"teacher": "aligned", "align": "aligned"}),
        ("proprio_only", [], False, {}),
        ("proprio_only", ["end_to_end"], False, {"align": "end_to_end"}),
        ("random_aligner", [], False, {"align": "random_aligner"}),
        ("teacher", [], False, {"teacher": "teacher"}),
        ("aligned", [], True, {}),
    ],
)
def test_teacher_and_align_are_needed_where_something_reads_them(
    tmp_path: Path, condition: str, baselines: list[str], replay: bool, needed: dict[str, str]
) -> None:
    text = GOOD.replace('[teacher]\nuse = "shape"\n', "").replace("good.toml", "run.toml")
    text = text.replace('[align]\nfusion = { use = "sum" }\nsteps = 10\n', "")
    text = text.replace("[policy.head]", f'[policy]\ncondition = "{condition}"\n[policy.head]')
    text = text[: text.index("[act]")] + f"[act]\nbaselines = {baselines}\n"
    text = text + "replay = true\n" if replay else text
    if not needed:
        spec = read(text, tmp_path)
        assert spec.teacher is None
        assert spec.align is None
        assert structure(Spec, json.loads(json.dumps(unstructure(spec))), find) == spec
        return
    tables = {"teacher": "use = ...", "align": "fusion = { use = ... }"}
    assert refusal(text, tmp_path) == [
        f"run.toml:1: {table}: missing, and {needed[table]!r} needs it; add a table [{table}] with"
        f" {tables[table]}"
        for table in sorted(needed)
    ]


def test_spec_survives_json() -> None:
    spec = read_spec(SPECS / "good.toml", find)
    plain = unstructure(spec)
    assert plain["backbone"][1]["use"] == "gray"
    assert plain["backbone"][1]["layers"] == [1, 2]
    assert structure(Spec, json.loads(json.dumps(plain)), find) == spec


def test_unstructure_leaves_out_runtime_fields() -> None:
    plain = unstructure(Gray(threads=3), runtime=False)
    assert "threads" not in plain
    assert "patch" in plain


def test_paths_start_at_the_folder_of_the_spec(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "good.toml").touch()
    text = GOOD.replace('task = "reach"', 'task = "reach"\ndata = "data"')
    spec = read(text, tmp_path)
    assert spec.environment.config.data == tmp_path / "data"


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = structure(Toy, {"task": "x", "data": "~"}, folder=Path("elsewhere"))
    assert config.data == tmp_path


def test_files_need_not_exist_with_files_false(tmp_path: Path) -> None:
    config = structure(Toy, {"task": "x", "data": "gone"}, folder=tmp_path, files=False)
    assert config.data == tmp_path / "gone"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"patch": True}, "patch: expected int, got bool True"),
        ({"patch": "8"}, "patch: expected int, got str '8'"),
        ({"patch": 8.0}, "patch: expected int, got float 8.0"),
        (
            {"patch": 10**30},
            "patch: expected an int of at most 9223372036854775807, got an int of 31 digits",
        ),
        (
            {"patch": -(10**400)},
            "patch: expected an int of at most 9223372036854775807, got an int of 401 digits",
        ),
        (
            {"patch": 1 << 100_000},  # str refuses integers of more than 4300 digits
            "patch: expected an int of at most 9223372036854775807, got an int of 30103 digits",
        ),
        ({"patch": 0}, "patch: must be at least 1, got 0"),
        ({"layers": 3}, "layers: expected a list, got int 3"),
        ({"layers": "12"}, "layers: expected a list, got str '12'"),
        ({"layers": [1, "2"]}, "layers[1]: expected int, got str '2'"),
        ({"crop": {"size": [1]}}, "crop.size: expected a list of 2, got 1 items"),
        ({"crop": {"scale": float("nan")}}, "crop.scale: expected a finite float, got nan"),
        ({"crop": {"scale": float("-inf")}}, "crop.scale: expected a finite float, got -inf"),
        ({"crop": {"scale": 10**400}}, "crop.scale: expected float, got an int of 401 digits"),
        ({"crop": {"sise": [1]}}, "crop.sise: unknown key; did you mean 'size'?"),
        ({"weights": 3}, "weights: expected 'hub' or 'random' or a path, got int 3"),
        ({"weights": "a\0b"}, r"weights: expected 'hub' or 'random' or a path, got str 'a\x00b'"),
        ({"weights": "x" * 5000}, "name too long"),
        ({"zzz": 1}, "zzz: unknown key; known: patch, weights, layers, crop, threads"),
    ],
)
def test_config_refuses(data: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        structure_config(PARTS[Kind.BACKBONE, "gray"], data)
    assert message in str(caught.value)
    assert len(caught.value.args) == 1


def test_int_is_converted_to_a_float() -> None:
    assert type(structure_config(Crop, {"scale": 3}).scale) is float


def test_bug_in_a_config_class_keeps_its_traceback() -> None:
    @attrs.frozen
    class Faulty:
        size: int = 1

        def __attrs_post_init__(self) -> None:
            raise ZeroDivisionError

    Faulty.__annotations__["size"] = int  # what its own module would have resolved
    with pytest.raises(ZeroDivisionError):
        structure(Faulty, {"size": 2})


def test_config_may_report_several_problems_with_their_fields(tmp_path: Path) -> None:
    text = GOOD.replace('use = "mlp"', 'use = "mlp"\ndepth = 100')
    assert refusal(text, tmp_path)[-2:] == [
        "run.toml:25: policy.head.width: too wide for that depth",
        "run.toml:27: policy.head.depth: too deep for that width",
    ]


def test_all_problems_are_reported_at_once_by_line(tmp_path: Path) -> None:
    text = (
        GOOD.replace("patch = 4", "patch = true").replace('"reach"', "3").replace("use", "uze", 1)
    )
    lines = [int(problem.split(":")[1]) for problem in refusal(text, tmp_path)]
    assert lines == sorted(lines)
    assert len(lines) >= 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "run.toml: not UTF-8 at byte 0; save it as UTF-8"),
        (b"#" * 1_000_001, "run.toml: larger than 1 MB; give the path of a run spec"),
        (b"a = " + b"[" * 5000, "run.toml: lists or tables are nested too deeply; flatten them"),
        (b"a = " + b"9" * 5000, "run.toml:1: not valid TOML: exceeds the limit"),
        (b"seed = 1\nseed = 2\n", "run.toml:2: not valid TOML: cannot overwrite a value"),
        (b'seed = 1\n\nname = "a', "run.toml:3: not valid TOML: "),
    ],
)
def test_file_that_is_not_toml(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_spec(path, find)
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(message)


def test_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    text = GOOD.replace('"reach"', "3").replace("good.toml", str(path))
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    with pytest.raises(UserError, match=r"run\.toml:6: environment\.task: expected str"):
        read_spec(path, find)


def test_missing_file_suggests_a_similar_name(tmp_path: Path) -> None:
    (tmp_path / "quickstart.toml").touch()
    with pytest.raises(UserError, match=r"no such file; did you mean 'quickstart\.toml'\?"):
        read_spec(tmp_path / "quikstart.toml", find)


def test_folder_is_not_a_spec(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"):
        read_spec(tmp_path, find)
