"""Names and sizes in the checkpoints of Depth Anything 3."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from rgb2act_core import UserError

from .config import DA3, VARIANTS, Sizes

PREFIX = "model.backbone.pretrained."
# depth and ray heads, cameras, Gaussians, which are not used
UNUSED = ("model.head.", "model.cam_enc.", "model.cam_dec.", "model.gs_head.", "model.gs_adapter.")
NETWORK = {
    "cls_token": "class_token",
    "camera_token": "camera_tokens",
    "pos_embed": "positions",
    "patch_embed.proj": "patches",
    "norm": "norm",
}
BLOCK = {
    "norm1": "attention_norm",
    "attn.qkv": "attention.qkv",
    "attn.q_norm": "attention.query_norm",
    "attn.k_norm": "attention.key_norm",
    "attn.proj": "attention.out",
    "ls1.gamma": "attention_scale",
    "norm2": "mlp_norm",
    "mlp.fc1": "mlp.up",
    "mlp.fc2": "mlp.down",
    "mlp.w12": "mlp.up",
    "mlp.w3": "mlp.down",
    "ls2.gamma": "mlp_scale",
}


def rename(key: str) -> str | None:
    """Return our name for an official key; None if it is not used, the key itself if it is
    unknown."""
    if key.startswith(UNUSED):
        return None
    if not key.startswith(PREFIX):
        return key
    name = key.removeprefix(PREFIX)
    if not name.startswith("blocks."):
        return _look_up(name, NETWORK) or key
    _, number, rest = name.split(".", 2)
    ours = _look_up(rest, BLOCK)
    return f"blocks.{number}.{ours}" if ours else key


def _look_up(name: str, table: Mapping[str, str]) -> str | None:
    """Return the entry of a table for ``name``, or for it without ``.weight`` or ``.bias``."""
    if name in table:
        return table[name]
    stem, _, leaf = name.rpartition(".")
    return f"{table[stem]}.{leaf}" if leaf in ("weight", "bias") and stem in table else None


def convert(tensors: Mapping[str, object], source: str) -> dict[str, Tensor]:
    """Return the backbone's tensors under our names; raise UserError if there are none."""
    if not any(str(key).startswith(PREFIX) for key in tensors):
        raise UserError(
            f"{source}: no key begins with {PREFIX!r}, so it is not Depth Anything 3;"
            " give model.safetensors of depth-anything/DA3-BASE or another variant"
        )
    named = {rename(str(key)): value for key, value in tensors.items()}
    return {name: value for name, value in named.items() if name and isinstance(value, Tensor)}


def sizes_of(tensors: Mapping[str, Tensor], source: str) -> Sizes:
    """Return the sizes of the network of converted tensors."""
    try:
        dim = tensors["class_token"].shape[-1]
        side = round((tensors["positions"].shape[1] - 1) ** 0.5)
        numbers = {int(name.split(".")[1]) for name in tensors if name.startswith("blocks.")}
        normed = [i for i in numbers if f"blocks.{i}.attention.query_norm.weight" in tensors]
        start = min(normed, default=None)
        width = 64
        if start is not None:
            width = tensors[f"blocks.{start}.attention.query_norm.weight"].shape[0]
        up, down = tensors["blocks.0.mlp.up.weight"], tensors["blocks.0.mlp.down.weight"]
        return Sizes(
            dim=dim,
            depth=max(numbers) + 1,
            heads=dim // width,
            views_from=start,
            gated=up.shape[0] == 2 * down.shape[1],
            side=side,
        )
    except (KeyError, IndexError, ValueError) as err:
        raise UserError(
            f"{source}: the backbone is incomplete ({err}); download the file again"
        ) from err


def check_variant(config: DA3, found: Sizes, source: str) -> None:
    """Raise UserError if a file contains another variant than that of the config."""
    expected = VARIANTS.get(config.variant, found)
    fits = [name for name, sizes in VARIANTS.items() if sizes == found]
    if fits and config.variant not in fits and expected != found:
        raise UserError(
            f"{source}: has the sizes of variant {' or '.join(map(repr, fits))}, not of"
            f" {config.variant!r}; set variant = {fits[0]!r} or give another file"
        )
