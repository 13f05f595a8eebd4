"""Commands in the documentation run, and the files and make targets it names exist.

Bash blocks behind the comment ``<!-- run -->`` are executed in a folder that contains
``examples/``. All other commands are only parsed: they install packages, take minutes, or are
executed by the test of another page.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import rgb2act_process

from rgb2act_core.cli import parse

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUN = re.findall(r"<!-- run -->\n```bash\n(.*?)```", README, re.DOTALL)


def blocks(page: Path) -> list[str]:
    """Return the lines of a page's bash blocks."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return [line for block in found for line in block.splitlines() if line.strip()]


@pytest.mark.slow
def test_commands_of_the_readme_work(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    script = rgb2act_process.executable(tmp_path / "bin" / "rgb2act")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    env = os.environ | {"PATH": f"{script.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    for command in "".join(RUN).splitlines():
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert (tmp_path / "runs" / "smoke" / "1" / "report.html").exists()


def test_python_of_the_readme_works_on_a_smoke_run(smoke_done: Path, tmp_path: Path) -> None:
    (code,) = re.findall(
        r"^## From Python\n\n[^`\n]*\n\n```python\n(.*?)```", README, re.DOTALL | re.MULTILINE
    )
    (tmp_path / "runs").symlink_to(smoke_done)
    checks = """
import sys
assert (actions.dtype, actions.shape) == (np.float32, (config.n_action_steps, len(joints)))
assert np.isfinite(actions).all() and actions.any()
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code + checks],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr


def test_readme_has_commands_that_are_run() -> None:
    assert "rgb2act run examples/smoke.toml" in "".join(RUN)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_a_page_can_be_parsed(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([\w-]+):", makefile, re.MULTILINE)
    for line in blocks(page):
        program, *words = shlex.split(line, comments=True)
        if program == "rgb2act":
            parse(words)
        elif program == "make":
            assert set(words) <= set(targets), line
        for before, after in itertools.pairwise(words):
            if before == "-e" and not after.startswith("./"):
                folder = after.partition("[")[0]  # without extras
                assert (ROOT / folder / "pyproject.toml").exists(), line


def test_make_targets_that_are_named_exist() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for target in set(re.findall(r"`make ([\w-]+)`", text)):
        assert subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True).returncode == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_exist(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", text)
    places = [page.parent / link for link in links if "://" not in link]
    assert [str(p) for p in places if not p.exists()] == []


def test_readme_names_every_plugin() -> None:
    for folder in (path.parent for path in ROOT.glob("plugins/*/pyproject.toml")):
        assert f"`rgb2act-{folder.name}`" in README
