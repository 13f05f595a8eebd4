"""``make`` refuses a Python that rgb2act does not support before it installs anything."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
OLD = """#!/bin/sh
exec {python} -c "import sys; sys.version_info = (3, 10); exec(sys.argv[1])" "$2"
"""


def test_python_that_is_too_old_is_refused_at_once(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    old = tmp_path / "python3"
    old.write_text(OLD.format(python=sys.executable))
    old.chmod(0o755)
    for target in ("demo", "test"):
        done = subprocess.run(
            ["make", target, f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 2
        assert "is too old; install Python 3.11 to 3.14" in done.stderr
    assert not (tmp_path / ".venv").exists()
