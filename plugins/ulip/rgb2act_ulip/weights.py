"""Names and sizes in the checkpoints of ULIP-2."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import torch
from torch import Tensor

from rgb2act_core import UserError

from .config import Sizes, Ulip

EPS = 1e-5  # of batch normalisation
NETWORK = {
    "point_encoder.cls_token": "class_token",
    "point_encoder.cls_pos": "class_position",
    "point_encoder.encoder.first_conv.0": "encoder.lift",
    "point_encoder.encoder.first_conv.3": "encoder.widen",
    "point_encoder.encoder.second_conv.0": "encoder.mix",
    "point_encoder.encoder.second_conv.3": "encoder.narrow",
    "point_encoder.reduce_dim": "reduce",
    "point_encoder.pos_embed.0": "position.0",
    "point_encoder.pos_embed.2": "position.2",
    "point_encoder.norm": "norm",
    "pc_projection": "projection",
}
NORMS = {  # batch normalisations, and the layers they are folded into
    "point_encoder.encoder.first_conv.1": "encoder.lift",
    "point_encoder.encoder.second_conv.1": "encoder.mix",
}
BLOCK = {
    "norm1": "attention_norm",
    "attn.qkv": "qkv",
    "attn.proj": "out",
    "norm2": "mlp_norm",
    "mlp.fc1": "up",
    "mlp.fc2": "down",
}
USED = ("point_encoder.", "pc_projection")


def rename(key: str) -> str | None:
    """Return our name for an official key; None if it is not used, the key itself if it is unknown.

    Entries of batch normalisations are called ``<layer>.normal.<entry>``; ``convert`` folds them
    into their layer.
    """
    name = key.removeprefix("module.")
    if not name.startswith(USED):
        return None  # text and image side, temperature
    stem, _, leaf = name.rpartition(".")
    if stem in NORMS:
        return None if leaf == "num_batches_tracked" else f"{NORMS[stem]}.normal.{leaf}"
    if name in NETWORK:
        return NETWORK[name]
    if stem in NETWORK:
        return f"{NETWORK[stem]}.{leaf}"
    if name.startswith("point_encoder.blocks.blocks."):
        number, _, part = stem.removeprefix("point_encoder.blocks.blocks.").partition(".")
        if part in BLOCK:
            return f"blocks.{number}.{BLOCK[part]}.{leaf}"
    return key


def convert(tensors: Mapping[str, object], source: str) -> dict[str, Tensor]:
    """Return the point encoder's tensors under our names; raise UserError if there are none."""
    named = {rename(key): tensor for key, tensor in tensors.items()}
    ours = {name: t for name, t in named.items() if name and isinstance(t, Tensor)}
    if "projection" not in ours:
        raise UserError(
            f"{source}: has no 'pc_projection', so it is not a ULIP-2 PointBERT; give"
            " ULIP-2-PointBERT-10k-xyzrgb-pc-vit_g-objaverse_shapenet-pretrained.pt"
        )
    try:
        for layer in ("encoder.lift", "encoder.widen", "encoder.mix", "encoder.narrow"):
            ours[f"{layer}.weight"] = ours[f"{layer}.weight"].squeeze(-1)  # a convolution of 1
        for layer in NORMS.values():
            _fold(ours, layer)
    except (KeyError, RuntimeError) as err:
        raise UserError(
            f"{source}: the encoder is incomplete ({err}); download the file again"
        ) from err
    return ours


def _fold(ours: dict[str, Tensor], layer: str) -> None:
    """Fold a batch normalisation into the layer before it."""
    entry = {
        leaf: ours.pop(f"{layer}.normal.{leaf}").double()
        for leaf in ("weight", "bias", "running_mean", "running_var")
    }
    scale = entry["weight"] / torch.sqrt(entry["running_var"] + EPS)
    weight, bias = ours[f"{layer}.weight"].double(), ours[f"{layer}.bias"].double()
    ours[f"{layer}.weight"] = (weight * scale[:, None]).float()
    ours[f"{layer}.bias"] = ((bias - entry["running_mean"]) * scale + entry["bias"]).float()


def sizes_of(ours: Mapping[str, Tensor], config: Ulip, source: str) -> Sizes:
    """Return the sizes of the network of converted tensors.

    Raises UserError for a file of another variant. Files do not contain the number of heads.
    """
    try:
        lift, up = ours["encoder.lift.weight"], ours["blocks.0.up.weight"]
        found = Sizes(
            inputs=lift.shape[1],
            dim=ours["reduce.weight"].shape[0],
            depth=1 + max(int(name.split(".")[1]) for name in ours if name.startswith("blocks.")),
            heads=config.sizes.heads,
            encoder=ours["reduce.weight"].shape[1],
            hidden=up.shape[0] // up.shape[1],
            out=ours["projection"].shape[1],
        )
    except (KeyError, IndexError, ValueError) as err:
        raise UserError(
            f"{source}: the encoder is incomplete ({err}); download the file again"
        ) from err
    if found.inputs != config.sizes.inputs:
        fits = {3: "xyz", 6: "xyzrgb"}.get(found.inputs)
        if fits is None:
            raise UserError(
                f"{source}: takes {found.inputs} values per point, as no variant does; give another"
                " file"
            )
        raise UserError(
            f"{source}: has the sizes of variant {fits!r}, not of {config.variant!r}; set"
            f" variant = {fits!r} or give another file"
        )
    if found.dim % found.heads:
        raise UserError(
            f"{source}: {found.dim} channels are not divisible by {found.heads} heads; set heads"
        )
    return attrs.evolve(found)
