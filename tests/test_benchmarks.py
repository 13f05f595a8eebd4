"""The benchmarks run: what they time is the project's own code, which changes."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bench_align", "bench_features"])
def test_benchmark_prints_ratios(name: str) -> None:
    command = [sys.executable, BENCHMARKS / f"{name}.py", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert "1.00 x" in done.stdout
