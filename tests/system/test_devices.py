from __future__ import annotations

import pytest
import torch

from rgb2act_core.errors import UserError
from rgb2act_core.system import devices


def test_free_memory_is_positive_and_below_the_total() -> None:
    assert 0 < devices.free_memory("cpu") < devices.psutil.virtual_memory().total


def test_peak_memory_of_a_block_includes_released_memory() -> None:
    with devices.measure_peak_memory("cpu") as used:
        assert float(torch.ones(16 << 20).sum()) > 0  # 64 MiB
        peak = used()
    if peak is None:
        pytest.skip("the kernel does not measure it")
    assert 60 << 20 < peak < 90 << 20  # the rest is what torch allocates on first use


def test_peak_memory_is_unknown_where_it_cannot_be_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "_reset_peak", lambda: False)
    for device in ("cpu", "mps"):
        with devices.measure_peak_memory(device) as used:
            assert used() is None


def test_peak_memory_of_the_process_covers_its_present_size() -> None:
    assert devices.peak_memory() >= devices.psutil.Process().memory_info().rss * 0.9


def test_a_worker_per_core_unless_configured() -> None:
    assert devices.workers_of(0) == devices.core_count() >= 1
    assert devices.workers_of(3) == 3


def test_a_gpu_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(UserError, match=r"compute\.device: 'cuda:99' does not exist"):
        devices.device_of("cuda:99")


def test_a_named_device_is_the_only_one_that_extracts() -> None:
    assert devices.devices_of("cpu") == ("cpu",)
