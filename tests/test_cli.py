"""The command line, each time in a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "numpy", "zarr", "diffusers", "rich", "cattrs", "mujoco", "gymnasium")

LOADED = f"""
import sys
from rgb2act_core.cli import main
try:
    main(sys.argv[1:])
except SystemExit as err:
    assert not err.code
print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""

# replaces the function that runs stages
INSTEAD = """
import sys
from rgb2act_core.cli import main
from rgb2act_core.commands import run
def call(args, last=None):
    {body}
run.run_stages = call
sys.exit(main(sys.argv[1:]))
"""


def python(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k != "RGB2ACT_STRICT"} | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *args], capture_output=True, text=True, timeout=120, env=env, cwd=cwd
    )


def rgb2act(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return python("-m", "rgb2act_core", *args, cwd=cwd)


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["plugins"], ["run", "--help"]])
def test_light_commands_import_nothing_heavy(args: list[str]) -> None:
    done = python("-c", LOADED, *args)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"


def test_bad_spec_is_reported_before_torch_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("sede = 3\n")
    done = python("-c", LOADED, "run", str(tmp_path / "bad.toml"))
    assert "bad.toml:1: sede: unknown key; did you mean 'seed'?" in done.stderr
    assert not {"torch", "zarr"} & set(eval(done.stderr.splitlines()[-1]))


def test_every_command_has_its_help() -> None:
    names = (
        "run check collect extract align train act plugins weights doctor inspect selftest"
        " new-plugin report verify serve"
    )
    text = rgb2act("--help").stdout
    for name in names.split():
        assert f" {name} " in text or f" {name}\n" in text


def test_user_error_is_exit_code_2_without_traceback(tmp_path: Path) -> None:
    done = rgb2act("check", "absent.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "absent.toml: no such file; give the path of a run spec\n"


@pytest.mark.parametrize("args", [[], ["rnu"], ["run"], ["verify", "x", "--episodes", "0"]])
def test_wrong_usage_is_exit_code_2(args: list[str]) -> None:
    done = rgb2act(*args)
    assert done.returncode == 2
    assert "usage: rgb2act" in done.stderr


def test_missing_run_is_a_user_error(tmp_path: Path) -> None:
    for command in ("report", "verify", "serve"):
        done = rgb2act(command, "absent", cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr == (
            "absent: no such run; give the folder of a run, or its name and --root (runs has no"
            " absent/run.json)\n"
        )


def test_bug_keeps_its_traceback() -> None:
    done = python("-c", INSTEAD.format(body="1 / 0"), "run", "x.toml")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_interrupt_prints_how_to_resume() -> None:
    code = INSTEAD.format(body="raise KeyboardInterrupt")
    done = python("-c", code, "run", "my run.toml", "--root", "there")
    assert done.returncode == 130
    assert done.stderr == (
        "interrupted; progress is saved, resume with: rgb2act run 'my run.toml' --root there\n"
    )


def test_interrupt_of_a_command_without_progress_is_one_word(tmp_path: Path) -> None:
    code = INSTEAD.format(body="pass").replace(
        "sys.exit",
        "run.add_spec = call\nfrom rgb2act_core.spec import reader\n"
        "def read_spec(*args, **kwargs): raise KeyboardInterrupt\n"
        "reader.read_spec = read_spec\nsys.exit",
    )
    done = python("-c", code, "doctor", "x.toml")
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_stage_commands_stop_after_their_stage() -> None:
    code = INSTEAD.format(body="print(args.command, last, args.spec, args.root); return 0")
    assert python("-c", code, "run", "a.toml").stdout == "run None a.toml runs\n"
    for name in ("collect", "extract", "align", "train"):
        done = python("-c", code, name, "a.toml", "--root", "b")
        assert done.stdout == f"{name} {name} a.toml b\n"


def test_every_module_of_commands_is_a_command() -> None:
    code = """
from rgb2act_core import commands
from rgb2act_core.plugins import registry
names = [command.name for command in registry.core_commands()]
assert names[:7] == ["run", "check", "collect", "extract", "align", "train", "act"], names
for module in commands.modules():
    own = [c.name for c in getattr(__import__(f"rgb2act_core.commands.{module}"),
           "commands").__dict__[module].rgb2act_commands()]
    assert own and set(own) <= set(names), module
"""
    done = python("-c", code)
    assert done.returncode == 0, done.stderr


def test_closed_stdout_is_no_error() -> None:
    code = INSTEAD.format(body="[print('x' * 100) for _ in range(100_000)]; return 0")
    with subprocess.Popen(
        [sys.executable, "-c", code, "run", "x.toml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == ""


def test_broken_pipe_of_something_else_is_a_bug() -> None:
    done = python("-c", INSTEAD.format(body="raise BrokenPipeError"), "run", "x.toml")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_plugins_are_listed_for_scripts() -> None:
    listed = json.loads(rgb2act("plugins", "--json").stdout)
    core = listed[0]
    assert core["name"] == "builtin"
    assert core["error"] is None
    names = {(part["kind"], part["name"]) for part in core["components"]}
    assert names >= {("fusion", "weighted"), ("fusion", "moe")}


def test_plugins_are_listed_for_people() -> None:
    done = rgb2act("plugins")
    assert done.returncode == 0
    assert "fusion" in done.stdout
    assert "weighted" in done.stdout
