from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from synchronisations import Counting
from torch import Tensor, nn

from rgb2act_core.errors import UserError
from rgb2act_core.training.budget import steps_within
from rgb2act_core.training.checkpoint import Checkpoint
from rgb2act_core.training.job import Optimization, TrainingJob, learning_rate
from rgb2act_core.training.learner import Learner
from rgb2act_core.training.loop import train_loop
from rgb2act_core.training.randomness import Purpose, step_generator
from rgb2act_core.training.ranks import Ranks
from rgb2act_core.training.sampler import BatchSampler, Rows

OPTIMIZATION = Optimization(
    lr=1e-2, betas=(0.9, 0.999), weight_decay=0.0, warmup=5, grad_clip=1.0, ema=0.9
)


def job(
    folder: Path, module: nn.Module | None = None, ema: float = 0.9, **changes: Any
) -> TrainingJob[nn.Module]:
    """Return a job whose loss draws noise of its own, and whose module has dropout."""
    torch.manual_seed(0)
    net = module or nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.Linear(8, 1))
    data = torch.randn(50, 3, generator=torch.Generator().manual_seed(1))

    def loss(rows: Rows, step: int) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        noise = torch.randn(16, 3, generator=step_generator(3, step, Purpose.AUGMENTATION))
        x = data[torch.from_numpy(rows)] + 0.1 * noise
        return (net(x) - x.sum(1, keepdim=True)).square().mean(), {"part": 1.0}

    options: dict[str, Any] = {
        "title": "toy",
        "module": net,
        "sampler": BatchSampler(np.arange(50), 16, 3, replacement=False),
        "loss": loss,
        "describe": lambda rows: f"episode_{rows[0]}",
        "evaluate": lambda _: {"loss": float(torch.rand(()))},
        "steps": 40,
        "evaluations": 4,
        "optimization": attrs.evolve(OPTIMIZATION, ema=ema),
        "seed": 3,
        "folder": folder,
        "curves": None,
        "checkpoint_seconds": 0.0,
    }
    return TrainingJob(**(options | changes))


class StoppedError(Exception):
    pass


def bits(module: nn.Module) -> list[bytes]:
    return [tensor.numpy().tobytes() for tensor in module.state_dict().values()]


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 22, 39])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_resumed_training_gives_the_same_bits(tmp_path: Path, stop: int, ema: float) -> None:
    folders = [tmp_path / "uninterrupted", tmp_path / "interrupted"]
    for folder in folders:
        folder.mkdir()
    expected = train_loop(job(folders[0], ema=ema)).module
    begun = job(folders[1], ema=ema)

    def stop_later(rows: Rows, step: int) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        if step == stop:
            raise StoppedError
        return begun.loss(rows, step)

    with pytest.raises(StoppedError):
        train_loop(attrs.evolve(begun, loss=stop_later))
    result = train_loop(job(folders[1], ema=ema))
    assert result.steps == 40 - stop
    assert bits(result.module) == bits(expected)
    assert len({(f / "metrics.jsonl").read_bytes() for f in folders}) == 1


def test_the_next_steps_rows_are_prefetched_before_they_are_used(tmp_path: Path) -> None:
    calls: list[tuple[str, int, list[int]]] = []
    plain = job(tmp_path, steps=3)

    def loss(rows: Rows, step: int) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        calls.append(("loss", step, rows.tolist()))
        return plain.loss(rows, step)

    def prefetch(rows: Rows, step: int) -> None:
        calls.append(("prefetch", step, rows.tolist()))

    train_loop(attrs.evolve(plain, loss=loss, prefetch=prefetch))
    order = [("prefetch", 1), ("loss", 0), ("prefetch", 2), ("loss", 1), ("loss", 2)]
    assert [(what, step) for what, step, _ in calls] == order
    for step in (1, 2):
        rows = [rows for _, number, rows in calls if number == step]
        assert rows[0] == rows[1] == plain.sampler.indices(step).tolist()


def test_a_loss_that_is_not_finite_names_the_step_and_its_episodes(tmp_path: Path) -> None:
    def loss(rows: Rows, step: int) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        return net(torch.full((2, 3), torch.inf if step == 2 else 1.0)).sum(), {}

    net = nn.Linear(3, 1)
    bad = job(tmp_path, net, loss=loss)
    first = bad.sampler.indices(2)[0]
    with pytest.raises(UserError, match=rf"toy: step 2: loss is .*batch of episode_{first};"):
        train_loop(bad)


def test_the_device_is_read_at_most_once_in_50_steps(tmp_path: Path) -> None:
    counting = Counting()
    long = job(tmp_path, steps=200, evaluations=1, checkpoint_seconds=1e9)
    with counting:
        train_loop(attrs.evolve(long, evaluate=lambda _: {}))
    assert counting.found.total() / 200 <= 0.02
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 201


def test_metrics_are_written_before_the_checkpoint_that_follows_them(tmp_path: Path) -> None:
    saves: list[int] = []

    def written() -> int:
        return len((tmp_path / "metrics.jsonl").read_text().splitlines())

    class Saved(Checkpoint):
        def save(self, step: int, **meta: Any) -> None:
            saves.append(step)
            assert written() >= step
            super().save(step, **meta)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rgb2act_core.training.learner.Checkpoint", Saved)
        train_loop(job(tmp_path, steps=7))
    assert saves == [1, 2, 3, 4, 5, 6, 7]


def test_no_checkpoint_holds_weights_that_are_not_finite(tmp_path: Path) -> None:
    def loss(rows: Rows, step: int) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        return net(torch.full((2, 3), torch.nan if step == 30 else 1.0)).sum(), {}

    net = nn.Linear(3, 1)
    with pytest.raises(UserError, match="toy: step 30: loss is nan"):
        train_loop(job(tmp_path, net, loss=loss, evaluations=1, checkpoint_seconds=0.0))
    resumed = job(tmp_path, nn.Linear(3, 1), loss=loss, evaluations=1)
    state = Learner(resumed).checkpoint().load()
    assert state is not None
    assert state["step"] == 30
    assert all(p.isfinite().all() for p in resumed.module.parameters())


def test_an_error_that_follows_from_a_bad_step_names_that_step(tmp_path: Path) -> None:
    def loss(rows: Rows, step: int) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        if step == 5:
            raise ValueError("a distribution refuses nan")
        return net(torch.full((2, 3), torch.nan if step == 3 else 1.0)).sum(), {}

    net = nn.Linear(3, 1)
    bad = job(tmp_path, net, loss=loss, evaluations=1, checkpoint_seconds=1e9)
    with pytest.raises(UserError, match="toy: step 3: loss is nan"):
        train_loop(bad)


def test_the_learning_rate_warms_up_and_decays_to_zero(tmp_path: Path) -> None:
    rates = [learning_rate(job(tmp_path), step) for step in range(40)]
    assert rates[0] == pytest.approx(0.002)
    assert max(rates) == pytest.approx(0.01, rel=0.05)  # the peak may be between two steps
    assert rates[-1] < 1e-4
    assert rates[5:] == sorted(rates[5:], reverse=True)


def test_a_budget_is_measured_once_and_does_not_change_the_weights(tmp_path: Path) -> None:
    toy = job(tmp_path)
    before = bits(toy.module)
    steps = steps_within(toy, 1.0)
    assert steps >= 1
    assert bits(toy.module) == before
    assert steps_within(toy, 100.0) == steps


def test_several_processes_do_not_train_a_module_that_normalises_over_the_batch(
    tmp_path: Path,
) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    with pytest.raises(UserError, match="toy: the module normalises over the batch, and 2"):
        train_loop(job(tmp_path, net, ranks=Ranks(0, 2)))
