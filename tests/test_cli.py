"""The command line, each time in a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEEDS_FULL = pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
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
        "run check collect extract align distill train act plugins weights doctor inspect selftest"
        " new-plugin new-spec sweep completion report verify serve"
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


@pytest.mark.parametrize(
    "error",
    ["MemoryError()", 'RuntimeError("can\'t start new thread")', 'OSError(12, "no memory")'],
)
def test_memory_that_runs_out_is_one_line(tmp_path: Path, error: str) -> None:
    code = INSTEAD.format(body=f"raise {error}")
    done = python("-c", code, "run", "x.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("out of memory (")
    assert len(done.stderr.splitlines()) == 1


def test_missing_run_is_a_user_error(tmp_path: Path) -> None:
    for command in ("report", "verify", "serve"):
        done = rgb2act(command, "absent", cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr == ("absent: no such run; runs has no runs, give another --root\n")


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
        "from rgb2act_core.pipeline import find_spec\n"
        "def given_spec(*args, **kwargs): raise KeyboardInterrupt\n"
        "find_spec.given_spec = given_spec\nsys.exit",
    )
    done = python("-c", code, "doctor", "x.toml")
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_sigterm_ends_a_command_as_ctrl_c_does() -> None:
    body = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    done = python("-c", INSTEAD.format(body=body), "run", "x.toml")
    assert done.returncode == 143
    assert done.stderr == ("interrupted; progress is saved, resume with: rgb2act run x.toml\n")


def test_ctrl_c_that_a_library_turns_into_its_own_error_is_an_interrupt() -> None:
    body = """import os, signal
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        raise ImportError("numpy failed to import") from None"""
    done = python("-c", INSTEAD.format(body=body), "run", "x.toml")
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


def test_ctrl_c_in_a_destructor_is_an_interrupt() -> None:
    body = """import os, signal, time
    class Last:
        def __del__(self): os.kill(os.getpid(), signal.SIGINT)
    Last()
    time.sleep(60)"""
    done = python("-c", INSTEAD.format(body=body), "run", "x.toml")
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


IMPORTING = """
import os, signal, sys
from rgb2act_core.__main__ import start
class Press:
    def find_spec(self, name, *_):
        if name == "rgb2act_core.cli":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Press())
sys.exit(start())
"""


def test_ctrl_c_while_the_program_is_imported_is_silent() -> None:
    done = python("-c", IMPORTING)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def shell(script: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT), "RGB2ACT": f"{sys.executable} -m rgb2act_core"}
    return subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, timeout=120, env=env, cwd=cwd
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_change_no_exit_code(tmp_path: Path, closed: str) -> None:
    assert shell(f"$RGB2ACT plugins {closed}", tmp_path).returncode == 0
    assert shell(f"$RGB2ACT check absent.toml {closed}", tmp_path).returncode == 2


def test_a_file_does_not_take_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    body = """import sys
    file = open("a.txt", "w")
    assert file.fileno() > 2
    print("results")
    os.write(1, b"of a library")
    return 0"""
    (tmp_path / "call.py").write_text("import os\n" + INSTEAD.format(body=body))
    done = shell(f"{sys.executable} call.py run x.toml >&-", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "a.txt").read_text() == ""


@NEEDS_FULL
@pytest.mark.parametrize("unbuffered", ["", "PYTHONUNBUFFERED=1"])
def test_a_full_stdout_is_one_line(tmp_path: Path, unbuffered: str) -> None:
    done = shell(f"{unbuffered} $RGB2ACT plugins > /dev/full", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("stdout: cannot be written (no space left on device); ")
    assert done.stderr.count("\n") == 1


@NEEDS_FULL
def test_a_full_stderr_changes_no_exit_code(tmp_path: Path) -> None:
    assert shell("$RGB2ACT plugins 2> /dev/full", tmp_path).returncode == 0
    assert shell("$RGB2ACT check absent.toml 2> /dev/full", tmp_path).returncode == 2


def test_progress_that_cannot_be_printed_stops_no_run(tmp_path: Path) -> None:
    body = """from rgb2act_core.system.progress import progress_bar, say
    say("line")
    with progress_bar("task", 2, "steps") as advance:
        advance(2)
    print("results")
    return 0"""
    (tmp_path / "call.py").write_text(INSTEAD.format(body=body))
    done = shell(f"{sys.executable} call.py run x.toml 2> /dev/full", tmp_path)
    assert (done.returncode, done.stdout) == (0, "results\n")


def test_stage_commands_stop_after_their_stage() -> None:
    code = INSTEAD.format(body="print(args.command, last, args.spec, args.root); return 0")
    assert python("-c", code, "run", "a.toml").stdout == "run None a.toml runs\n"
    for name in ("collect", "extract", "align", "distill", "train"):
        done = python("-c", code, name, "a.toml", "--root", "b")
        assert done.stdout == f"{name} {name} a.toml b\n"


def test_every_module_of_commands_is_a_command() -> None:
    code = """
from rgb2act_core import commands
from rgb2act_core.plugins import registry
names = [command.name for command in registry.core_commands()]
assert names[2:8] == ["collect", "extract", "align", "distill", "train", "act"], names
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


def pipe_without_reader() -> int:
    read, write = os.pipe()
    os.close(read)
    return write


def full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


@pytest.mark.parametrize(
    "unwritable", [pipe_without_reader, pytest.param(full_disk, marks=NEEDS_FULL)]
)
@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ("raise KeyboardInterrupt", 130, "interrupted"),
        ("from rgb2act_core.errors import UserError; raise UserError('key: wrong')", 2, "key: "),
        ("1 / 0", 1, "Traceback"),
    ],
)
def test_an_error_whose_json_nobody_reads_stays_that_error(
    tmp_path: Path, unwritable: Callable[[], int], body: str, code: int, message: str
) -> None:
    (tmp_path / "call.py").write_text(INSTEAD.format(body=body))
    stdout = unwritable()
    done = subprocess.run(
        [sys.executable, "call.py", "run", "x.toml", "--json"],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
    )
    os.close(stdout)
    assert done.returncode == code
    assert done.stderr.startswith(message)
    assert "Broken" not in done.stderr
    assert "space left" not in done.stderr


def test_broken_pipe_of_something_else_is_a_bug() -> None:
    done = python("-c", INSTEAD.format(body="raise BrokenPipeError"), "run", "x.toml")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_errors_are_json_where_results_would_be(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("sede = 3\n")
    done = rgb2act("check", "bad.toml", "--json", cwd=tmp_path)
    assert done.returncode == 2
    found = json.loads(done.stdout)
    assert found["schema"] == "rgb2act.error/1"
    assert found["error"]["exit_code"] == 2
    assert "\n".join(found["error"]["problems"]) == done.stderr.rstrip("\n")


def test_plugins_are_listed_for_scripts() -> None:
    listed = json.loads(rgb2act("plugins", "--json").stdout)["plugins"]
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
