"""Scripts for shell completion name commands, options and installed components."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from rgb2act_core.cli import main
from rgb2act_core.commands.completion import SHELLS


@pytest.mark.parametrize("shell", SHELLS)
def test_script_names_commands_options_and_components(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("sweep", "record-robotwin", "write-spec", "tabletop", "patchstats"):
        assert word in script


def test_bash_completes_a_command_and_an_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    main(["completion", "bash"])
    (tmp_path / "script").write_text(capsys.readouterr().out)
    for words, answer in (("rgb2act sw", "sweep"), ("rgb2act new-spec --env tab", "tabletop")):
        *before, last = words.split()
        call = (
            f"source ./script; COMP_WORDS=({words}); COMP_CWORD={len(before)};"
            f" _shtab_rgb2act rgb2act {last} {before[-1]}; echo ${{COMPREPLY[@]}}"
        )
        done = subprocess.run([bash, "-c", call], cwd=tmp_path, capture_output=True, text=True)
        assert done.stdout.split() == [answer], done.stderr
