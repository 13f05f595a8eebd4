from collections.abc import Set
from pathlib import Path
from typing import Any

import pytest
import torch

from rgb2act_core.errors import UserError
from rgb2act_core.plugins.components import Capability, Kind
from rgb2act_core.plugins.registry import find
from rgb2act_core.policy.conditioning import Features, Observation
from rgb2act_core.policy.config import PolicyConfig
from rgb2act_core.policy.policy import Policy
from rgb2act_core.policy.saving import load_policy, save_policy
from rgb2act_core.spec import FusionChoice, HeadChoice, Tokens

HEAD, WEIGHTED = find(Kind.POLICY_HEAD, "diffusion"), find(Kind.FUSION, "weighted")


def shape(**changes: Any) -> PolicyConfig:
    options: dict[str, Any] = {
        "condition": "oracle",
        "proprio": True,
        "parts": (2,),
        "tokens": None,
        "states": ("cube",),
        "cameras": ("head",),
        "image": (8, 8),
        "action_names": ("left_a", "left_b", "left_gripper"),
        "action_index": (0, 1, 2),
        "horizon": 4,
        "n_obs_steps": 2,
        "n_action_steps": 2,
    }
    return PolicyConfig(**(options | changes))


def build(capabilities: Set[Capability] = HEAD.capabilities, **changes: Any) -> Policy:
    torch.manual_seed(0)
    head = HEAD.build(HEAD.tiny)
    options: dict[str, Any] = {"capabilities": capabilities, "token_format": Tokens()}
    return Policy(shape(**changes), head, None, **options).eval()


def fitted(
    capabilities: Set[Capability] = HEAD.capabilities,
) -> tuple[Policy, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(100, 2, generator=generator) * torch.tensor([1.0, 0.1]) + 5
    joints = torch.randn(100, 3, generator=generator)
    actions = torch.rand(100, 3, generator=generator) * 4 - 1
    actions[:, 2] = 0.7  # never changes
    policy = build(capabilities)
    policy.set_statistics(Features(vector=features), joints, actions)
    return policy, features, joints, actions


def generators(n: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(i) for i in range(n)]


def test_plans_stay_in_the_demonstrated_range_and_constant_dimensions_stay_constant() -> None:
    policy, _, _, actions = fitted()
    obs = Observation(vector=torch.randn(8, 2, 5))
    plans = policy.plans(obs, generators(8)).actions.flatten(0, 2)
    # float32: the middle and half of the range, each rounded at values near 1
    assert (plans[:, :2] >= actions[:, :2].min(0).values - 1e-5).all()
    assert (plans[:, :2] <= actions[:, :2].max(0).values + 1e-5).all()
    # the half range of what never changes is set to 1e-3, and plans are clipped to the range
    assert torch.allclose(plans[:, 2], torch.tensor(0.7), atol=2e-3)


def test_nearly_constant_features_stay_small() -> None:
    policy, features, joints, _ = fitted()
    seen = policy.observe(Features(vector=features), joints).vector
    assert seen[:, 0].std() == pytest.approx(1.0, abs=1e-3)  # float32
    assert seen[:, 1].std() < 0.2
    assert torch.allclose(seen[:, 2:].std(0), torch.ones(3), atol=1e-4)


def test_noise_is_added_to_features_only() -> None:
    policy, features, joints, _ = fitted()
    seen = Features(vector=features)
    clean, noisy = policy.observe(seen, joints).vector, policy.observe(seen, joints, 0.5).vector
    assert torch.equal(clean[:, 2:], noisy[:, 2:])
    assert (clean[:, :2] - noisy[:, :2]).std() == pytest.approx(
        0.5, rel=0.2
    )  # deviation of the draws is below 0.05


def test_a_proprio_only_policy_observes_joints_only() -> None:
    policy = build(condition="proprio_only", parts=(), states=())
    seen = policy.observe(Features(vector=torch.zeros(1, 2, 0)), torch.ones(1, 2, 3))
    assert seen.vector.shape == (1, 2, 3)


@pytest.mark.parametrize("capabilities", [HEAD.capabilities, frozenset()])
def test_several_plans_per_row_differ_and_start_with_the_single_plan(
    capabilities: Set[Capability],
) -> None:
    policy, _, _, _ = fitted(capabilities)
    seen = Observation(vector=torch.randn(3, 2, 5))
    plans = policy.plans(seen, generators(3), 4).actions
    assert plans.shape == (3, 4, 4, 3)
    # 12 rows in place of 3: float32 sums in another order, over a few sampling steps
    assert torch.allclose(plans[:, 0], policy.plans(seen, generators(3)).actions[:, 0], atol=1e-4)
    assert not torch.allclose(plans[:, 0], plans[:, 1], atol=1e-2)
    assert torch.equal(policy.plans(seen, generators(3), 4).actions, plans)


def test_compiling_a_head_that_cannot_is_an_error() -> None:
    with pytest.raises(UserError, match="this head does not compile its network"):
        build(capabilities=frozenset()).compile_plans()


def test_a_saved_policy_plans_the_same_bits(tmp_path: Path) -> None:
    policy, _, _, _ = fitted()
    save_policy(
        tmp_path,
        policy,
        HeadChoice(component=HEAD, config=HEAD.tiny),
        FusionChoice(component=WEIGHTED, config=WEIGHTED.tiny),
        (),
    )
    loaded, obs = load_policy(tmp_path), Observation(vector=torch.randn(3, 2, 5))
    plans = [one.plans(obs, generators(3)).actions for one in (loaded, policy)]
    assert torch.equal(*plans)
    assert loaded.config == policy.config
    assert loaded.capabilities == HEAD.capabilities
    assert {p.name for p in tmp_path.iterdir()} == {"policy.json", "policy.safetensors"}
    assert str(tmp_path) not in (tmp_path / "policy.json").read_text()


def test_each_head_has_its_own_ranges_and_plans_independently() -> None:
    policy = build(tasks=("lift", "reach"), by_task="separate_heads")
    actions = torch.rand(40, 3, generator=torch.Generator().manual_seed(1))
    task = torch.arange(40) % 2
    actions[task == 1] += 5
    policy.set_statistics(
        Features(vector=torch.randn(40, 2)), torch.randn(40, 3), actions, task_N=task
    )
    assert policy.state_dict()["action_middle"].shape == (2, 3)
    assert torch.allclose(policy.half_range(1), (actions[1::2].amax(0) - actions[1::2].amin(0)) / 2)
    again = policy.physical(policy.normalised(actions[:, None], task), task)
    assert torch.allclose(again[:, 0], actions, atol=1e-5)  # float32 rounds 6 by 5e-7
    vector = torch.randn(4, 2, 5)
    mixed = Observation(vector=vector, task=torch.tensor([0, 1, 1, 0]))
    plans = policy.plans(mixed, generators(4)).actions[:, 0]
    for place in (0, 1):
        same = Observation(vector=vector, task=torch.full((4,), place))
        alone = policy.plans(same, generators(4)).actions[:, 0]
        assert torch.equal(plans[mixed.task == place], alone[mixed.task == place])
    assert (plans[1:3] > 3).all()
    assert (plans[[0, 3]] < 3).all()
    loss = policy.loss(mixed, plans, torch.ones(4, 4, dtype=torch.bool))
    loss.backward()
    assert all(p.grad is not None for p in policy.head.parameters())
