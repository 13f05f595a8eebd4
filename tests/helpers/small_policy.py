"""Small untrained policies with the backbones of ``mini``, and observations for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import small_aligner
import torch
from numpy.typing import NDArray

from rgb2act_core.features.encoder import Encoder, Stream
from rgb2act_core.plugins.components import Kind
from rgb2act_core.plugins.registry import find
from rgb2act_core.policy.batch_planner import BatchPlanner, PolicyEncoders
from rgb2act_core.policy.conditioning import feature_parts, token_size
from rgb2act_core.policy.config import PolicyConfig
from rgb2act_core.policy.policy import Policy
from rgb2act_core.spec import Tokens
from rgb2act_core.spec.conditions import CONDITIONS

Inputs = dict[str, NDArray[Any]]
IMAGE = (16, 24)
JOINTS = ("left_a", "left_gripper", "right_a", "right_gripper")
MOVED = (0, 1, 2)
DENOISERS: dict[str, dict[str, Any]] = {
    "mlp": {"width": 16, "blocks": 2},
    "unet": {"down_dims": [8, 16], "groups": 4},
    "transformer": {"width": 16, "layers": 2, "heads": 2},
}


def head(name: str = "diffusion", denoiser: str = "mlp", **options: Any) -> Any:
    """Return a small head of a component of the core."""
    from rgb2act_core.spec.reader import structure_config

    component = find(Kind.POLICY_HEAD, name)
    table = {"denoiser": denoiser, denoiser: DENOISERS[denoiser], "sample_steps": 4} | options
    return component.build(structure_config(component.config, table))


def encoders(
    count: int = 2, token_format: Tokens | None = None, extra: Any = None
) -> tuple[Encoder, ...]:
    """Return encoders of ``patchstats`` (12 channels) and of ``randconv`` (8), or of ``extra``."""
    found = []
    for name, options in (("patchstats", {"patch": 4}), ("randconv", {"dim": 8})):
        component = find(Kind.BACKBONE, name)
        found.append(Encoder(component.build(component.config(**options)), "cpu", token_format))
    if extra is not None:
        found[1] = Encoder(extra, "cpu", token_format, windowed=True)
    return tuple(found[:count])


def build(
    condition: str = "aligned",
    policy_head: Any = None,
    *,
    cameras: Sequence[str] = ("head", "left"),
    tasks: Sequence[str] = (),
    by_task: str = "shared",
    aligner: dict[str, Any] | None = None,
    capabilities: frozenset[Any] | None = None,
    token_format: Tokens | None = None,
    backbone: Any = None,
    **config: Any,
) -> tuple[Policy, tuple[Encoder, ...]]:
    """Return an untrained policy of a condition in eval mode, and its encoders."""
    chosen = CONDITIONS[condition]
    count = {"all": 2, "one": 1, "none": 0}[chosen.backbones]
    each = encoders(count, token_format, backbone)
    built = None
    if chosen.aligner is not None:
        stored = (token_format or Tokens()).grid
        grids = [stored or encoder.backbone.grid(*IMAGE) for encoder in each]
        built = small_aligner.build_nonzero(
            channels=tuple(encoder.backbone.info.dim for encoder in each),
            grids=tuple(grids),
            cameras=len(cameras),
            **aligner or {},
        )
    width = 4 if by_task == "embedding" else 0
    policy_config = PolicyConfig(
        condition=condition,
        proprio=True,
        parts=feature_parts(chosen, built, 12 * len(cameras), 0),
        tokens=token_size(chosen, built),
        states=(),
        cameras=tuple(cameras),
        image=IMAGE,
        action_names=JOINTS,
        action_index=MOVED,
        horizon=8,
        n_obs_steps=2,
        n_action_steps=4,
        tasks=tuple(tasks),
        by_task=by_task,
        task_width=width,
    )
    torch.manual_seed(1)
    policy = Policy(
        attrs.evolve(policy_config, **config),
        policy_head or head(),
        built,
        capabilities=find(Kind.POLICY_HEAD, "diffusion").capabilities
        if capabilities is None
        else capabilities,
        token_format=token_format or Tokens(),
    )
    with torch.no_grad():
        for name in ("joint_mean", "action_middle"):
            policy.get_buffer(name).normal_(0, 0.2)
        policy.joint_std.fill_(0.5)
        policy.action_half.fill_(0.8)
        _set_feature_statistics(policy, each)
    return policy.eval(), each


def _set_feature_statistics(policy: Policy, each: Sequence[Encoder]) -> None:
    """Normalise features over random images, so that plans depend on the images."""
    if not each:
        return
    shape = (16, len(policy.config.cameras), *IMAGE, 3)
    rgb = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    tokens = [Stream(encoder).tokens(rgb) for encoder in each]
    features = policy.eval().features(tokens, torch.zeros(len(rgb), 0))
    policy.feature_mean.copy_(features.vector.mean(0))
    policy.feature_std.copy_(features.vector.std(0).clamp_min(1e-3))
    if features.tokens is not None:
        policy.token_mean.copy_(features.tokens.mean((0, 1)))
        policy.token_std.copy_(features.tokens.std((0, 1)).clamp_min(1e-3))


def observation(
    inputs: dict[str, tuple[tuple[int, ...], torch.dtype]], seed: int = 0, task: int = 0
) -> Inputs:
    """Return random values of a policy graph's inputs; the noise is that of the seed."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    found: Inputs = {}
    for name, (shape, _) in inputs.items():
        if name.startswith("image_"):
            found[name] = rng.integers(0, 256, shape, np.uint8)
        elif name == "noise":
            draws = [torch.randn(shape[1:], generator=generator) for _ in range(shape[0])]
            found[name] = torch.stack(draws).numpy()
        elif name == "task":
            found[name] = np.array([task])
        else:
            found[name] = rng.standard_normal(shape).astype(np.float32)
    return found


def planner(policy: Policy, each: Sequence[Encoder]) -> BatchPlanner:
    """Return the planner that evaluation uses, for one episode."""
    opened = PolicyEncoders(encoders=tuple(each), fingerprint_errors=())
    return BatchPlanner(policy, opened, 1, "cpu")
