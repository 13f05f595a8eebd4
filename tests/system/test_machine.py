"""What is recorded about the machine and its software."""

from __future__ import annotations

import platform

import numpy as np

from rgb2act_core.system import machine


def test_machine_names_processor_memory_and_system() -> None:
    found = machine.machine()
    assert found["machine"] == platform.machine()
    assert found["processor"].endswith(" cores")
    assert found["memory"].endswith("B")
    assert platform.system() in found["system"]


def test_versions_of_libraries_and_of_plugins_are_found() -> None:
    found = machine.versions("rgb2act", libraries=("numpy", "surely-not-installed"))
    assert found["numpy"] == np.__version__
    assert "surely-not-installed" not in found
    assert "rgb2act-mini" in found
