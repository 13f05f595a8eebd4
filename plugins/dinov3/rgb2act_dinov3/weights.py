"""Names and sizes in DINOv3's checkpoints, for timm's network.

Three layouts are recognised by their keys: Meta (``storage_tokens``), Hugging Face transformers
(``embeddings.cls_token``) and timm (``reg_token``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import attrs
import torch
from torch import Tensor

from rgb2act_core import UserError, parse_json, read_regular
from rgb2act_core.weights import named_tensors, read_checkpoint

from .config import Dinov3, Sizes

PERIODS = "rope.periods"  # a non-persistent buffer of timm's network
# official names and timm's; '#' is the number of a block, '*' weight or bias, None is not used
META: dict[str, str | None] = {
    "cls_token": "cls_token",
    "storage_tokens": "reg_token",
    "mask_token": None,
    "rope_embed.periods": PERIODS,
    "patch_embed.proj.*": "patch_embed.proj.*",
    "blocks.#.norm1.*": "blocks.#.norm1.*",
    "blocks.#.attn.qkv.*": "blocks.#.attn.qkv.*",
    "blocks.#.attn.qkv.bias_mask": "blocks.#.attn.qkv.bias_mask",
    "blocks.#.attn.proj.*": "blocks.#.attn.proj.*",
    "blocks.#.ls1.gamma": "blocks.#.gamma_1",
    "blocks.#.norm2.*": "blocks.#.norm2.*",
    "blocks.#.mlp.fc1.*": "blocks.#.mlp.fc1.*",
    "blocks.#.mlp.fc2.*": "blocks.#.mlp.fc2.*",
    "blocks.#.mlp.w1.*": "blocks.#.mlp.fc1_g.*",
    "blocks.#.mlp.w2.*": "blocks.#.mlp.fc1_x.*",
    "blocks.#.mlp.w3.*": "blocks.#.mlp.fc2.*",
    "blocks.#.ls2.gamma": "blocks.#.gamma_2",
    "norm.*": "norm.*",
    "local_cls_norm.*": None,  # for class tokens of small crops
}
HUGGING_FACE: dict[str, str | None] = {
    "embeddings.cls_token": "cls_token",
    "embeddings.register_tokens": "reg_token",
    "embeddings.mask_token": None,
    "embeddings.patch_embeddings.*": "patch_embed.proj.*",
    "layer.#.norm1.*": "blocks.#.norm1.*",
    "layer.#.attention.q_proj.*": "blocks.#.attn.q.*",
    "layer.#.attention.k_proj.*": "blocks.#.attn.k.*",
    "layer.#.attention.v_proj.*": "blocks.#.attn.v.*",
    "layer.#.attention.o_proj.*": "blocks.#.attn.proj.*",
    "layer.#.layer_scale1.lambda1": "blocks.#.gamma_1",
    "layer.#.norm2.*": "blocks.#.norm2.*",
    "layer.#.mlp.up_proj.*": "blocks.#.mlp.up.*",
    "layer.#.mlp.gate_proj.*": "blocks.#.mlp.fc1_g.*",
    "layer.#.mlp.down_proj.*": "blocks.#.mlp.fc2.*",
    "layer.#.layer_scale2.lambda1": "blocks.#.gamma_2",
    "norm.*": "norm.*",
}
LAYOUTS = {"storage_tokens": META, "embeddings.cls_token": HUGGING_FACE, "reg_token": None}


def ours(key: str, table: Mapping[str, str | None]) -> str | None:
    """Return timm's name for a key; None if it is not used, the key itself if it is unknown."""
    number = re.search(r"(?<=^blocks\.)\d+(?=\.)|(?<=^layer\.)\d+(?=\.)", key)
    kind = re.search(r"(?<=\.)(weight|bias)$", key)
    form = key if number is None else f"{key[: number.start()]}#{key[number.end() :]}"
    form = re.sub(r"(?<=\.)(weight|bias)$", "*", form)
    if form not in table:
        return key
    name = table[form]
    if name is None:
        return None
    return name.replace("#", number[0] if number else "").replace("*", kind[0] if kind else "")


def rename(tensors: Mapping[str, Tensor], source: str | Path) -> dict[str, Tensor]:
    """Return tensors under timm's names; unknown keys are kept, so that loading rejects them."""
    mark = next((mark for mark in LAYOUTS if mark in tensors), None)
    if mark is None:
        held = ", ".join(list(tensors)[:4]) or "nothing"
        raise UserError(
            f"{source}: is not a DINOv3 checkpoint (keys: {held}); give a file of Meta, of"
            " facebook/dinov3-* or of timm"
        )
    table = LAYOUTS[mark]
    if table is None:
        return dict(tensors)
    named = ((ours(key, table), tensor) for key, tensor in tensors.items())
    found = {name: tensor for name, tensor in named if name is not None}
    return _joined(found) if table is HUGGING_FACE else _split(found, source)


def _split(found: dict[str, Tensor], source: str | Path) -> dict[str, Tensor]:
    """Split the bias of qkv into those of queries and values; that of keys is masked."""
    for name in [name for name in found if name.endswith(".qkv.bias")]:
        stem = name.removesuffix("qkv.bias")
        bias, mask = found.pop(name), found.pop(f"{name}_mask", None)
        if bias.ndim != 1 or len(bias) % 3 or (mask is not None and mask.shape != bias.shape):
            raise UserError(
                f"{source}: {name} has shape {list(bias.shape)}; download the file again"
            )
        query, key, value = (bias if mask is None else bias * mask).chunk(3)
        if not key.is_meta and key.count_nonzero():
            raise UserError(
                f"{source}: {name} has a key bias, unlike DINOv3; give an official file"
            )
        found |= {f"{stem}q_bias": query, f"{stem}v_bias": value}
    return found


def _joined(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join the weights of queries, keys and values, and name the parts of the MLP."""
    gated = any(".mlp.fc1_g." in name for name in found)
    for name in list(found):
        stem, _, leaf = name.partition(".attn.q.weight")
        parts = [f"{stem}.attn.{part}.weight" for part in "qkv"]
        if name == parts[0] and not leaf and all(part in found for part in parts):
            found[f"{stem}.attn.qkv.weight"] = torch.cat([found.pop(part) for part in parts])
    renamed = {}
    for name, tensor in found.items():
        name = re.sub(r"\.attn\.([qv])\.bias$", r".attn.\1_bias", name)
        name = name.replace(".mlp.up.", ".mlp.fc1_x." if gated else ".mlp.fc1.")
        renamed[name] = tensor
    return renamed


def read_network(path: Path, config: Dinov3) -> tuple[Sizes, dict[str, Tensor]]:
    """Return the sizes of the network in a file, and its tensors."""
    tensors = named_tensors(read_checkpoint(path), tuple(LAYOUTS), path)
    found = rename(tensors, path)
    try:
        sizes = _sizes(found)
    except (KeyError, IndexError, ValueError) as err:
        raise UserError(
            f"{path}: the network is incomplete ({err}); download the file again"
        ) from err
    heads = config.heads or _heads(found, sizes.dim, path)
    if heads < 1 or sizes.dim % heads or (sizes.dim // heads) % 4:
        raise UserError(
            f"{path}: {sizes.dim} channels are not divisible by 4 x {heads} heads; set heads"
        )
    return attrs.evolve(sizes, heads=heads), found


def _sizes(found: Mapping[str, Tensor]) -> Sizes:
    gated = "blocks.0.mlp.fc1_g.weight" in found
    return Sizes(
        dim=found["patch_embed.proj.weight"].shape[0],
        depth=1 + max(int(name.split(".")[1]) for name in found if name.startswith("blocks.")),
        heads=1,
        hidden=found[f"blocks.0.mlp.{'fc1_g' if gated else 'fc1'}.weight"].shape[0],
        gated=gated,
        bias="blocks.0.attn.q_bias" in found,
        registers=found["reg_token"].shape[1],
        patch=found["patch_embed.proj.weight"].shape[2],
    )


def _heads(found: Mapping[str, Tensor], dim: int, path: Path) -> int:
    """Return the number of heads: from the rotary periods, from config.json, or by the variant."""
    if PERIODS in found:
        return dim // (4 * max(1, found[PERIODS].numel()))
    config_path = (path if path.is_dir() else path.parent) / "config.json"
    try:
        stated = parse_json(read_regular(config_path))
        heads = stated.get("num_attention_heads") if isinstance(stated, dict) else None
    except (OSError, ValueError):
        heads = None
    if type(heads) is int and heads > 0:
        return heads
    return dim // (128 if dim == 4096 else 64)
