"""Each logger whose library is installed passes the conformance checks."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rgb2act_core import Kind, UserError
from rgb2act_core.interfaces import LoggedRun
from rgb2act_core.plugins.registry import find
from rgb2act_core.testing import light

LIBRARIES = {"wandb": "wandb", "mlflow": "mlflow", "trackio": "trackio"}


def test_listing_components_imports_no_library() -> None:
    light("rgb2act_loggers")()
    code = (
        "import sys, rgb2act_loggers; list(rgb2act_loggers.rgb2act_loggers());"
        " assert not {'wandb', 'mlflow', 'trackio', 'PIL'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", LIBRARIES)
def test_logger_passes_the_conformance_checks(name: str, tmp_path: Path) -> None:
    pytest.importorskip(LIBRARIES[name], exc_type=ImportError)
    env = os.environ | {
        "RGB2ACT_QUIET": "1",
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "MLFLOW_TRACKING_URI": f"file:{tmp_path}/mlruns",  # a database takes seconds to create
        "MLFLOW_ALLOW_FILE_STORE": "true",
    }
    command = [sys.executable, "-m", "rgb2act_core", "selftest", name, "--kind", "logger"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_missing_library_is_named_with_its_extra(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(module: str) -> None:
        raise ModuleNotFoundError(name=module)

    component = find(Kind.LOGGER, name)
    logger = component.build(component.tiny)
    run = LoggedRun(name="run", id="0", folder=tmp_path, root=tmp_path, spec={}, text="")
    module = importlib.import_module("rgb2act_loggers.library")
    monkeypatch.setattr(module, "import_module", missing)
    with pytest.raises(UserError, match=rf"not installed; pip install 'rgb2act-loggers\[{name}\]'"):
        logger.start(run)


def test_doctor_lists_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def missing(package: str) -> str:
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", missing)
    component = find(Kind.LOGGER, "mlflow")
    assert component.diagnose is not None
    (found,) = component.diagnose(component.tiny)
    assert (found.ok, found.detail) == (False, "mlflow-skinny is not installed")
    assert found.remedy == "pip install 'rgb2act-loggers[mlflow]'"
