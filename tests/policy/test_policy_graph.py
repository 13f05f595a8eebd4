"""The policy as one function plans as the evaluation does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import small_policy
import torch

from rgb2act_core.interfaces import BackboneInfo
from rgb2act_core.policy.plan_reference import noise_of, reference_plan
from rgb2act_core.policy.policy_graph import PolicyGraph
from rgb2act_core.spec import Tokens

CLOSE = 5e-5  # float32 sums in another order over four steps, features amplified up to 1000 times


class Recent:
    """A backbone of three frames that computes part of its tokens per frame."""

    info = BackboneInfo(dim=8, context=3)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        return height // 8, width // 8

    def encode_frames(self, rgb: torch.Tensor) -> dict[str, torch.Tensor]:
        patches = rgb.float().unflatten(2, (-1, 8)).unflatten(4, (-1, 8)).mean((3, 5)) / 255
        return {"patches": patches.flatten(2, 3)}

    def encode_windows(self, parts: Any, image: tuple[int, int]) -> torch.Tensor:
        oldest, middle, newest = parts["patches"].unbind(1)
        return torch.cat([oldest, middle - newest, newest[..., :2]], -1)

    def encode(self, rgb: torch.Tensor) -> torch.Tensor:
        parts = {"patches": torch.stack([self.encode_frames(f)["patches"] for f in rgb])}
        return self.encode_windows(parts, (rgb.shape[3], rgb.shape[4]))


def error(policy: Any, encoders: Any, task: int = 0) -> float:
    """Return the largest difference between the function's plan and the evaluation's."""
    graph = PolicyGraph(policy, encoders).eval()
    inputs = small_policy.observation(graph.inputs, seed=3, task=task)
    if "noise" in inputs:
        inputs["noise"] = noise_of(graph, 3)
    with torch.no_grad():
        plan = graph(**{name: torch.from_numpy(value) for name, value in inputs.items()})
    expected = reference_plan(small_policy.planner(policy, encoders), graph, inputs, 3)
    assert np.abs(expected).max() > 0.1
    return float(np.abs(plan.numpy() - expected).max())


@pytest.mark.parametrize("denoiser", ["mlp", "unet", "transformer"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("diffusion", {}),
        ("diffusion", {"sampler": "ddpm", "prediction": "epsilon", "clip_sample": False}),
        ("diffusion", {"sampler": "dpm++"}),
        ("flow", {"solver": "midpoint"}),
    ],
)
def test_it_plans_as_the_evaluation_with_every_head(
    denoiser: str, name: str, options: dict[str, Any]
) -> None:
    head = small_policy.head(name, denoiser, **options)
    assert error(*small_policy.build("tokens", head)) < CLOSE


@pytest.mark.parametrize(
    "condition",
    ["aligned", "dual", "tokens", "finetuned", "single_backbone", "random_aligner", "end_to_end"],
)
@pytest.mark.parametrize("cameras", [("head",), ("head", "left")])
def test_it_plans_as_the_evaluation_with_every_condition(
    condition: str, cameras: tuple[str, ...]
) -> None:
    assert error(*small_policy.build(condition, cameras=cameras)) < CLOSE


@pytest.mark.parametrize(
    ("options", "ages"),
    [
        ({}, [1, 0]),
        ({"n_obs_steps": 1}, [0]),
        ({"n_obs_steps": 3, "history_stride": 4}, [8, 4, 0]),
        ({"aligner": {"window": 3, "stride": 2}}, [5, 4, 3, 2, 1, 0]),
        ({"aligner": {"window": 2, "stride": 3, "aggregate": "attention"}}, [4, 3, 1, 0]),
        ({"history_stride": 4, "backbone": Recent()}, [6, 5, 4, 2, 1, 0]),
    ],
)
def test_its_frames_are_those_that_a_plan_depends_on(
    options: dict[str, Any], ages: list[int]
) -> None:
    policy, encoders = small_policy.build("dual", **options)
    assert PolicyGraph(policy, encoders).frame_ages.tolist() == ages
    assert error(policy, encoders) < CLOSE


@pytest.mark.parametrize("by_task", ["shared", "embedding", "separate_heads"])
def test_it_plans_for_the_given_task(by_task: str) -> None:
    policy, encoders = small_policy.build(tasks=("push", "pull"), by_task=by_task)
    if by_task == "separate_heads":
        policy.action_middle = torch.tensor([[0.0] * 3, [0.5] * 3])
        policy.action_half = torch.tensor([[1.0] * 3, [0.5] * 3])
    assert max(error(policy, encoders, task) for task in (0, 1)) < CLOSE
    assert ("task" in PolicyGraph(policy, encoders).inputs) == (by_task != "shared")


def test_a_policy_of_joints_needs_no_images_and_one_of_images_no_joints() -> None:
    joints_only = small_policy.build("proprio_only")
    assert list(PolicyGraph(*joints_only).inputs) == ["joints", "noise"]
    assert error(*joints_only) < CLOSE
    images_only = small_policy.build(proprio=False)
    assert list(PolicyGraph(*images_only).inputs) == ["image_head", "image_left", "noise"]
    assert error(*images_only) < CLOSE


@pytest.mark.parametrize("token_format", [Tokens(grid=(2, 3)), Tokens(dtype="int8")])
def test_tokens_are_rounded_as_the_stored_ones(token_format: Tokens) -> None:
    assert error(*small_policy.build(token_format=token_format)) < CLOSE


def test_another_image_gives_another_plan() -> None:
    policy, encoders = small_policy.build()
    graph = PolicyGraph(policy, encoders).eval()
    inputs = small_policy.observation(graph.inputs)
    expected = reference_plan(small_policy.planner(policy, encoders), graph, inputs, 0)
    for frame in (0, 1):
        changed = {name: value.copy() for name, value in inputs.items()}
        changed["image_left"][frame] //= 2
        with torch.no_grad():
            plan = graph(**{name: torch.from_numpy(value) for name, value in changed.items()})
        assert np.abs(plan.numpy() - expected).max() > 100 * CLOSE
