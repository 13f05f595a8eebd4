"""Shares of a policy's loss sum to the loss of one process, and so do their gradients."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from rgb2act_core.plugins.components import Kind
from rgb2act_core.plugins.registry import find
from rgb2act_core.policy.conditioning import Observation
from rgb2act_core.policy.config import PolicyConfig
from rgb2act_core.policy.policy import Policy
from rgb2act_core.policy.shared_batch import SharedBatch
from rgb2act_core.spec import Tokens
from rgb2act_core.training.randomness import seed_modules
from rgb2act_core.training.ranks import Ranks
from rgb2act_core.training.row_draws import RowDraws

ROWS = 9
TASK_B = torch.tensor([0, 0, 0, 0, 0, 1, 1, 0, 1])  # the first of 2 and of 3 processes has one task
SAME = 1e-10  # float64 sums of some 1e3 terms below 10


@pytest.fixture(autouse=True)
def in_float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def build(by_task: str, head: str) -> Policy:
    torch.manual_seed(0)
    component = find(Kind.POLICY_HEAD, head)
    config = PolicyConfig(
        condition="oracle",
        proprio=True,
        parts=(2,),
        tokens=None,
        states=("cube",),
        cameras=("head",),
        image=(8, 8),
        action_names=("a", "b", "c"),
        action_index=(0, 1, 2),
        horizon=4,
        n_obs_steps=2,
        n_action_steps=2,
        tasks=("one", "two"),
        by_task=by_task,
    )
    built, capabilities = component.build(component.tiny), component.capabilities
    return Policy(config, built, None, capabilities=capabilities, token_format=Tokens())


def gradients(policy: Policy, size: int) -> tuple[Tensor, list[Tensor | None]]:
    """Return the sum of the shares of ``size`` processes and of their gradients."""
    generator = torch.Generator().manual_seed(1)
    vector = torch.randn(ROWS, 2, 5, generator=generator)
    actions = torch.rand(ROWS, 4, 3, generator=generator)
    mask = torch.rand(ROWS, 4, generator=generator) < 0.7
    policy.zero_grad()
    total = torch.zeros(())
    for rank in range(size):
        own = Ranks(rank, size).own(ROWS)
        batch = SharedBatch(task_B=TASK_B.numpy(), steps_B=mask.sum(1).numpy(), own=own)
        seed_modules(0, 5)
        obs = Observation(vector=vector[own], task=TASK_B[own])
        if size == 1:
            loss = policy.loss(obs, actions, mask)
        else:
            with RowDraws({own.stop - own.start: batch.rows()}):
                loss = policy.loss(obs, actions[own], mask[own], batch)
        loss.backward()
        total += loss.detach()
    return total, [p.grad for p in policy.parameters()]


@pytest.mark.parametrize("head", ["diffusion", "flow"])
@pytest.mark.parametrize("by_task", ["shared", "separate_heads"])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_shares_sum_to_the_loss_and_gradients_of_one_process(
    head: str, by_task: str, size: int
) -> None:
    policy = build(by_task, head).double()
    loss, expected = gradients(policy, 1)
    found_loss, found = gradients(policy, size)
    assert abs(found_loss - loss) < SAME
    for one, other in zip(expected, found, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert float((one - other).abs().max()) < SAME


def test_steps_that_are_masked_do_not_count() -> None:
    steps = np.array([4, 4, 0, 1])
    batch = SharedBatch(task_B=np.array([0, 1, 1, 1]), steps_B=steps, own=slice(1, 3))
    assert batch.fraction() == 4 / 9
    assert batch.fraction(1) == 4 / 5
    assert batch.fraction(0) == 0.0
