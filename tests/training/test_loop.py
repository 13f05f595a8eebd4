from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rgb2act_core.errors import UserError
from rgb2act_core.training.loop import TrainingJob, learning_rate, train_loop


def job(folder: Path, module: nn.Module | None = None, **changes: Any) -> TrainingJob:
    torch.manual_seed(0)
    net = module or nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.Linear(8, 1))

    def loss() -> tuple[Tensor, Mapping[str, float | Tensor]]:
        x = torch.randn(16, 3)
        return (net(x) - x.sum(1, keepdim=True)).square().mean(), {"part": 1.0}

    options: dict[str, Any] = {
        "title": "toy",
        "module": net,
        "loss": loss,
        "episodes": lambda: "episode_7",
        "evaluate": lambda _: {"seen": float(torch.rand(()))},
        "steps": 40,
        "evaluations": 4,
        "lr": 1e-2,
        "betas": (0.9, 0.999),
        "weight_decay": 0.0,
        "warmup": 5,
        "clip": 1.0,
        "ema": 0.9,
        "seed": 3,
        "folder": folder,
        "tensorboard": None,
        "checkpoint_seconds": 0.0,
    }
    return TrainingJob(**(options | changes))


class StoppedError(Exception):
    pass


def test_a_stopped_training_ends_in_the_same_bits(tmp_path: Path) -> None:
    folders = [tmp_path / "whole", tmp_path / "stopped"]
    for folder in folders:
        folder.mkdir()
    whole = train_loop(job(folders[0])).module.state_dict()
    begun = job(folders[1])
    calls = 0

    def stop_later() -> tuple[Tensor, Mapping[str, float | Tensor]]:
        nonlocal calls
        calls += 1
        if calls == 23:
            raise StoppedError
        return begun.loss()

    with pytest.raises(StoppedError):
        train_loop(job(folders[1], begun.module, loss=stop_later))
    again = train_loop(job(folders[1])).module.state_dict()
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert len({(f / "metrics.jsonl").read_bytes() for f in folders}) == 1


def test_a_loss_that_is_not_finite_names_the_step_and_the_episodes(tmp_path: Path) -> None:
    def loss() -> tuple[Tensor, Mapping[str, float | Tensor]]:
        return net(torch.full((2, 3), torch.inf)).sum(), {}

    net = nn.Linear(3, 1)
    with pytest.raises(UserError, match=r"toy: step 0: loss is .*episode_7"):
        train_loop(job(tmp_path, net, loss=loss))


def test_the_learning_rate_warms_up_and_falls_to_nothing(tmp_path: Path) -> None:
    rates = [learning_rate(job(tmp_path), step) for step in range(40)]
    assert rates[0] == pytest.approx(0.002)
    assert max(rates) == pytest.approx(0.01, rel=0.05)
    assert rates[-1] < 1e-4
    assert rates[5:] == sorted(rates[5:], reverse=True)
