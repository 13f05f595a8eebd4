"""Names and sizes in VGGT's checkpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from rgb2act_core import UserError

from .config import Sizes

PREFIX = "aggregator."
# of the heads, which are not used
UNUSED = ("camera_head.", "point_head.", "depth_head.", "track_head.")
# official names without the prefix, and ours; '#' is the number of a block, '*' weight or bias
NETWORK: dict[str, str | None] = {
    "camera_token": "camera_tokens",
    "register_token": "register_tokens",
    "patch_embed.cls_token": "inner.cls_token",
    "patch_embed.pos_embed": "inner.pos_embed",
    "patch_embed.register_tokens": "inner.reg_token",
    "patch_embed.mask_token": None,
    "patch_embed.patch_embed.proj.*": "inner.patch_embed.proj.*",
    "patch_embed.blocks.#.norm1.*": "inner.blocks.#.norm1.*",
    "patch_embed.blocks.#.attn.qkv.*": "inner.blocks.#.attn.qkv.*",
    "patch_embed.blocks.#.attn.proj.*": "inner.blocks.#.attn.proj.*",
    "patch_embed.blocks.#.ls1.gamma": "inner.blocks.#.ls1.gamma",
    "patch_embed.blocks.#.norm2.*": "inner.blocks.#.norm2.*",
    "patch_embed.blocks.#.mlp.fc1.*": "inner.blocks.#.mlp.fc1.*",
    "patch_embed.blocks.#.mlp.fc2.*": "inner.blocks.#.mlp.fc2.*",
    "patch_embed.blocks.#.ls2.gamma": "inner.blocks.#.ls2.gamma",
    "patch_embed.norm.*": "inner.norm.*",
}
BLOCK = {
    "norm1.*": "attention_norm.*",
    "attn.qkv.*": "attention.qkv.*",
    "attn.q_norm.*": "attention.query_norm.*",
    "attn.k_norm.*": "attention.key_norm.*",
    "attn.proj.*": "attention.out.*",
    "ls1.gamma": "attention_scale",
    "norm2.*": "mlp_norm.*",
    "mlp.fc1.*": "up.*",
    "mlp.fc2.*": "down.*",
    "ls2.gamma": "mlp_scale",
}
NAMES = NETWORK | {
    f"{kind}_blocks.#.{theirs}": f"{kind}_blocks.#.{ours}"
    for kind in ("frame", "global")
    for theirs, ours in BLOCK.items()
}


def rename(key: str) -> str | None:
    """Return our name for an official key; None if it is not used, the key itself if it is
    unknown."""
    if key.startswith(UNUSED):
        return None
    if not key.startswith(PREFIX):
        return key
    number = re.search(r"(?<=blocks\.)\d+(?=\.)", key)
    kind = re.search(r"(?<=\.)(weight|bias)$", key)
    form = re.sub(r"(?<=\.)(weight|bias)$", "*", key.removeprefix(PREFIX))
    form = re.sub(r"(?<=blocks\.)\d+(?=\.)", "#", form)
    if form not in NAMES:
        return key
    name = NAMES[form]
    if name is None:
        return None
    return name.replace("#", number[0] if number else "").replace("*", kind[0] if kind else "")


def convert(tensors: Mapping[str, object], source: str) -> dict[str, Tensor]:
    """Return the aggregator's tensors under our names; raise UserError if there are none.

    The position embedding of the class token is added to the class token, as in timm.
    """
    if not any(str(key).startswith(PREFIX) for key in tensors):
        held = ", ".join(map(str, list(tensors)[:4])) or "nothing"
        raise UserError(
            f"{source}: no key begins with {PREFIX!r} (keys: {held}), so it is not VGGT; give"
            " model.safetensors or model.pt of facebook/VGGT-1B"
        )
    named = {rename(str(key)): value for key, value in tensors.items()}
    found = {name: value for name, value in named.items() if name and isinstance(value, Tensor)}
    positions, cls = found.get("inner.pos_embed"), found.get("inner.cls_token")
    if positions is not None and cls is not None and positions.ndim == 3:
        found["inner.cls_token"] = cls + positions[:, :1]
        found["inner.pos_embed"] = positions[:, 1:]
    return found


def sizes_of(tensors: Mapping[str, Tensor], source: str) -> Sizes:
    """Return the sizes of the network of converted tensors."""

    def count(prefix: str) -> int:
        rest = (name.removeprefix(prefix) for name in tensors if name.startswith(prefix))
        return 1 + max(int(name.partition(".")[0]) for name in rest)

    try:
        dim = tensors["camera_tokens"].shape[-1]
        head = tensors["frame_blocks.0.attention.query_norm.weight"].shape[0]
        side = round(tensors["inner.pos_embed"].shape[1] ** 0.5)
        return Sizes(
            dim=dim,
            inner=count("inner.blocks."),
            depth=count("frame_blocks."),
            heads=dim // head,
            inner_registers=tensors["inner.reg_token"].shape[1],
            registers=tensors["register_tokens"].shape[2],
            patch=tensors["inner.patch_embed.proj.weight"].shape[2],
            side=side,
        )
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as err:
        raise UserError(
            f"{source}: the aggregator is incomplete ({err}); download the file again"
        ) from err
