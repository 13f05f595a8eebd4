"""Convert parameters between ConditionalUnet1D of real-stanford/diffusion_policy and ``unet``.

The official network must have ``cond_predict_scale=True`` and no local condition. Action
normalisation is not part of the network, so plans are in its normalised action space.

Shapes: I and O = channels in and out, T = kernel size, F = scales and shifts of a block,
X = width of the step embedding and the observations
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from rgb2act_core.builtin.heads.unet import UnetDenoiser
from rgb2act_core.errors import UserError


def rename(net: UnetDenoiser) -> dict[str, str]:
    """Map official parameter names to names in ``unet``, except for the FiLM layers."""
    names = {"diffusion_step_encoder.1": "step.inner", "diffusion_step_encoder.3": "step.outer"}
    for i, theirs in enumerate(_block_names(net)):
        ours = f"blocks.{i}"
        for j, name in enumerate(("first", "second")):
            names[f"{theirs}.blocks.{j}.block.0"] = f"{ours}.{name}.conv"
            names[f"{theirs}.blocks.{j}.block.1"] = f"{ours}.{name}.norm"
        if net.get_submodule(ours).skip is not None:
            names[f"{theirs}.residual_conv"] = f"{ours}.skip"
    for i in range(len(net.shrink)):
        names[f"down_modules.{i}.2.conv"] = f"shrink.{i}"
        names[f"up_modules.{i}.2.conv"] = f"grow.{i}"
    names["final_conv.0.block.0"], names["final_conv.0.block.1"] = "final.conv", "final.norm"
    names["final_conv.1"] = "out"
    return {
        f"{theirs}.{part}": f"{ours}.{part}"
        for theirs, ours in names.items()
        for part in ("weight", "bias")
    }


def _block_names(net: UnetDenoiser) -> Iterator[str]:
    """Yield the official names of the blocks in the order of execution."""
    levels = len(net.shrink) + 1
    yield from (f"down_modules.{level}.{i}" for level in range(levels) for i in range(2))
    yield from (f"mid_modules.{i}" for i in range(2))
    yield from (f"up_modules.{level}.{i}" for level in range(levels - 1) for i in range(2))


def _permute(ours: str, weight: Tensor) -> Tensor:
    """Convert a weight to the other memory layout; the conversion is its own inverse."""
    if weight.ndim < 3:
        return weight
    # transposed convolutions: (I, O, T) <-> (T, O, I); others: (O, I, T) <-> (O, T, I)
    return weight.permute(2, 1, 0) if ours.startswith("grow.") else weight.permute(0, 2, 1)


@torch.no_grad()
def read_official(net: UnetDenoiser, state: Mapping[str, Tensor], name: str = "weights") -> None:
    """Load the official network's ``state_dict()`` into ``net``.

    Raises UserError, prefixed with ``name``, if keys are missing or unknown or if shapes differ.
    The network is not modified in that case.
    """
    expected = write_official(net)
    missing, extra = expected.keys() - state.keys(), state.keys() - expected.keys()
    if missing or extra:
        problems = [
            f"{kind} {min(keys)!r}"
            for kind, keys in (("no", missing), ("an unknown", extra))
            if keys
        ]
        raise UserError(
            f"{name}: has {' and '.join(problems)} ({len(missing)} missing, {len(extra)} unknown"
            " in total); pass the state dict of a ConditionalUnet1D with the same down_dims"
        )
    for key, weight in expected.items():
        if state[key].shape != weight.shape:
            raise UserError(
                f"{name}: {key!r} is {tuple(state[key].shape)}, the network's is"
                f" {tuple(weight.shape)}; use the kernel_size, down_dims, step_dim and observation"
                " width of the weights"
            )
    state_for_net = {ours: _permute(ours, state[theirs]) for theirs, ours in rename(net).items()}
    films = [f"{block}.cond_encoder.1" for block in _block_names(net)]
    weight_FX = torch.cat([state[f"{film}.weight"] for film in films])
    state_for_net["film_step.weight"] = weight_FX[:, : net.step.dim]
    state_for_net["film_obs.weight"] = weight_FX[:, net.step.dim :]
    state_for_net["film_obs.bias"] = torch.cat([state[f"{film}.bias"] for film in films])
    readers = {k: v for k, v in net.state_dict().items() if k.startswith("observed.")}
    net.load_state_dict(state_for_net | readers)


def write_official(net: UnetDenoiser) -> dict[str, Tensor]:
    """Return the parameters of ``net`` as the official network's ``state_dict()``.

    The token reader is not included: its output counts as part of the observations.
    """
    state = net.state_dict()
    official = {theirs: _permute(ours, state[ours]) for theirs, ours in rename(net).items()}
    weight_FX = torch.cat([state["film_step.weight"], state["film_obs.weight"]], dim=1)
    for block, weight, bias in zip(
        _block_names(net),
        weight_FX.split(net.film_sizes),
        state["film_obs.bias"].split(net.film_sizes),
        strict=True,
    ):
        official[f"{block}.cond_encoder.1.weight"] = weight
        official[f"{block}.cond_encoder.1.bias"] = bias
    return {key: weight.contiguous() for key, weight in official.items()}
