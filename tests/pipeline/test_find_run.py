"""Names of runs and specs on the command line, and the messages about names that do not exist."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rgb2act_core import UserError, cli, find_run


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a root in the working directory with runs smoke@0, smoke@2 and other@1."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "runs"
    for folder, ended, form in (("smoke", "act", 2), ("smoke/2", "act", 3), ("other/1", "", 3)):
        (root / folder).mkdir(parents=True)
        content = {
            "name": folder.partition("/")[0],
            "version": "0.1.0",
            "created": "2026-01-02T03:04:05+0000",
            "spec": {},
            "stages": [],
            "ended": ended,
            "format": form,
        }
        (root / folder / "run.json").write_text(json.dumps(content))
    (tmp_path / "lift.toml").write_text("sede = 3\n")
    return root


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("smoke", "smoke/2"),
        ("smoke@2", "smoke/2"),
        ("smoke@0", "smoke"),
        ("smoke/2", "smoke/2"),
        ("runs/smoke", "smoke/2"),
        ("runs/smoke/2", "smoke/2"),
        ("other", "other/1"),
    ],
)
def test_a_run_is_named_in_several_ways(root: Path, name: str, folder: str) -> None:
    assert find_run(name).resolve() == root / folder
    assert find_run(name, root).resolve() == root / folder


def test_a_run_of_the_root_comes_before_a_folder_of_its_name(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = root.parent / "elsewhere"
    (elsewhere / "smoke/1").mkdir(parents=True)
    (elsewhere / "smoke/1/run.json").write_text((root / "smoke/2/run.json").read_text())
    monkeypatch.chdir(elsewhere)
    assert find_run("smoke", root) == root / "smoke/2"
    assert find_run("./smoke", root).resolve() == elsewhere / "smoke/1"
    assert find_run("smoke/1", root).resolve() == elsewhere / "smoke/1"


def test_the_root_is_that_of_the_environment_variable(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="smoke: no such run; runs has no runs"):
        find_run("smoke")
    monkeypatch.setenv("RGB2ACT_ROOT", str(root))
    assert find_run("smoke") == root / "smoke/2"
    assert cli.parse(["verify", "smoke"]).root == str(root)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("verify smok", "smok: no such run; did you mean 'smoke'?"),
        ("report unknown", "unknown: no such run; runs has other, smoke"),
        ("serve smoke@7", "smoke@7: no such run; smoke has 0, 2"),
        ("verify lift.toml", "lift.toml: is a file; give a run: its name, name@number or folder"),
        ("runs smok", "smok: no run has this name; did you mean 'smoke'?"),
        ("check smoke", "smoke: is a run; rgb2act check takes a spec, which is a TOML file;"),
        ("run smoke@2", "smoke@2: is a run; rgb2act run takes a spec, which is a TOML file;"),
        ("doctor lif", "lif: no such spec; did you mean 'lift.toml'?"),
        ("sweep lif.toml --set seed=0,1", "lif.toml: no such spec; did you mean 'lift.toml'?"),
        ("check lift.tml", "lift.tml: no such spec; did you mean 'lift.toml'?"),
        ("weights unknown", "unknown: no such file; give the path of a run spec"),
        ("check smok", "smok: no such spec; smoke is a run, and rgb2act check takes a spec, which"),
        ("act smoke@9", "smoke@9: no such run; smoke has 0, 2"),
        ("view smok", "smok: no such file, folder or run; did you mean 'smoke'?"),
        ("act smok", "smok: is neither a spec nor a run; did you mean 'smoke'?"),
        ("act lif.toml", "lif.toml: is neither a spec nor a run; did you mean 'lift.toml'?"),
        ("act unknown", "unknown: is neither a spec nor a run; give a TOML file, or a run that"),
    ],
)
def test_a_name_that_does_not_exist_is_an_error(
    root: Path, capsys: pytest.CaptureFixture[str], args: str, message: str
) -> None:
    assert cli.main(args.split()) == 2
    assert capsys.readouterr().err.startswith(message)


def test_a_run_is_no_command(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["other"])
    assert "other is a run, as in rgb2act show other" in capsys.readouterr().err
