"""Convert parameters between real-stanford/diffusion_policy's ConditionalUnet1D and ``unet``.

The official network is the one with ``cond_predict_scale=True`` and no local condition. Its action
normalisation is not part of the network: plans are in the space in which it was trained.

Shapes: I and O = channels in and out, T = taps, E = step embedding, F = a block's scales and
shifts, G = width of what is observed
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from rgb2act_core.builtin.heads.unet import UnetDenoiser
from rgb2act_core.errors import UserError


def rename(net: UnetDenoiser) -> dict[str, str]:
    """Return the name of each official parameter, other than those of FiLM, in ``unet``."""
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
    """Yield the official names of the blocks, in the order of execution."""
    levels = len(net.shrink) + 1
    yield from (f"down_modules.{level}.{i}" for level in range(levels) for i in range(2))
    yield from (f"mid_modules.{i}" for i in range(2))
    yield from (f"up_modules.{level}.{i}" for level in range(levels - 1) for i in range(2))


def _permute(ours: str, weight: Tensor) -> Tensor:
    """Return a weight in the other layout; the conversion is its own inverse."""
    if weight.ndim < 3:
        return weight
    # transposed: (I, O, T) and (T, O, I); else (O, I, T) and (O, T, I)
    return weight.permute(2, 1, 0) if ours.startswith("grow.") else weight.permute(0, 2, 1)


@torch.no_grad()
def read_official(net: UnetDenoiser, state: Mapping[str, Tensor], name: str = "weights") -> None:
    """Load the official network's ``state_dict()`` into a network.

    Raises UserError, which begins with ``name``, if keys are missing or unknown or sizes differ;
    the network is unchanged then.
    """
    expected = write_official(net)
    missing, extra = expected.keys() - state.keys(), state.keys() - expected.keys()
    if missing or extra:
        problems = [
            f"{what} {min(keys)!r}"
            for what, keys in (("no", missing), ("an unknown", extra))
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
    own = {ours: _permute(ours, state[theirs]) for theirs, ours in rename(net).items()}
    films = [f"{block}.cond_encoder.1" for block in _block_names(net)]
    weight_FX = torch.cat([state[f"{film}.weight"] for film in films])
    own["film_step.weight"] = weight_FX[:, : net.step.dim]
    own["film_obs.weight"] = weight_FX[:, net.step.dim :]
    own["film_obs.bias"] = torch.cat([state[f"{film}.bias"] for film in films])
    readers = {k: v for k, v in net.state_dict().items() if k.startswith("observed.")}
    net.load_state_dict(own | readers)


def write_official(net: UnetDenoiser) -> dict[str, Tensor]:
    """Return the official network's ``state_dict()`` with this network's parameters.

    The token reader is left out; its output vector counts as part of the observations.
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
