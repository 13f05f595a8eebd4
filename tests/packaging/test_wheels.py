"""The wheels and sdists that a release uploads, installed and run outside the checkout."""

from __future__ import annotations

import email
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
PROJECTS = [
    ROOT,
    *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml")),
    *(path.parent for path in ROOT.glob("client/pyproject.toml")),
]
pytestmark = pytest.mark.slow


def distribution(project: Path) -> str:
    name: str = tomllib.loads((project / "pyproject.toml").read_text())["project"]["name"]
    return name


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a wheel and an sdist of every distribution."""
    out = tmp_path_factory.mktemp("dist")
    for project in PROJECTS:
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "--directory", out],
            cwd=project,
            check=True,
            capture_output=True,
        )
    return out


def wheel_of(built: Path, project: Path) -> Path:
    (found,) = built.glob(f"{distribution(project).replace('-', '_')}-*.whl")
    return found


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of an environment with core, tabletop and mini from their wheels.

    Third-party packages are those of this interpreter, through links.
    """
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    libraries = folder / "libraries"
    libraries.mkdir()
    for entry in Path(torch.__file__).parents[1].iterdir():
        if not re.match(r"_*(editable_*)?(impl_)?rgb2act", entry.name, re.IGNORECASE):
            (libraries / entry.name).symlink_to(entry)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text(f"{libraries}\n")
    names = {"rgb2act", "rgb2act-client", "rgb2act-tabletop", "rgb2act-mini"}
    wheels = [wheel_of(built, p) for p in PROJECTS if distribution(p) in names]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", site, *wheels], check=True)
    return folder / "venv/bin/python"


def test_the_smoke_run_works_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples/smoke.toml", tmp_path)

    def rgb2act(*args: str) -> str:
        return subprocess.run(
            [installed, "-I", "-m", "rgb2act_core", *args],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    listed = rgb2act("plugins")
    assert "rgb2act-tabletop" in listed
    assert "croco" not in listed
    rgb2act("run", "smoke.toml")
    assert (tmp_path / "runs/smoke/1/report.html").is_file()
    assert "passed" in rgb2act("verify", "smoke")


@pytest.mark.parametrize("project", PROJECTS, ids=distribution)
def test_wheel_and_sdist_hold_the_licence_and_no_tests(built: Path, project: Path) -> None:
    wheel = wheel_of(built, project)
    inside = zipfile.ZipFile(wheel)
    licence = (ROOT / "LICENSE").read_text()
    (member,) = [n for n in inside.namelist() if n.endswith("licenses/LICENSE")]
    assert inside.read(member).decode() == licence
    (sdist,) = built.glob(f"{wheel.name.partition('-')[0]}-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
        assert "LICENSE" in names
        assert not [name for name in names if name.startswith(("tests/", "plugins/", "docs/"))]
    assert sdist.stat().st_size < 1_000_000  # no weights, no recorded data


@pytest.mark.parametrize("project", PROJECTS, ids=distribution)
def test_metadata_is_what_pypi_shows(built: Path, project: Path) -> None:
    wheel = zipfile.ZipFile(wheel_of(built, project))
    (member,) = [n for n in wheel.namelist() if n.endswith(".dist-info/METADATA")]
    metadata = email.message_from_string(wheel.read(member).decode())
    urls = [line.partition(",")[0] for line in metadata.get_all("Project-URL", [])]
    assert {"Homepage", "Documentation", "Source", "Issues", "Changelog"} <= {*urls}
    classifiers = metadata.get_all("Classifier", [])
    assert "Intended Audience :: Science/Research" in classifiers
    assert metadata["License-Expression"] == "Apache-2.0"
    text = str(metadata.get_payload())
    assert text.startswith("# ")
    assert not re.findall(r"\]\((?!https?://|#)[^)]*\)", text)  # a relative link is dead on PyPI


def test_plugins_ask_for_a_compatible_core() -> None:
    for project in PROJECTS:
        needs = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]
        core = [need for need in needs if re.match(r"rgb2act\b(?!-)", need)]
        assert core in ([], ["rgb2act>=0.1,<0.2"]), project
