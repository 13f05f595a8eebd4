"""Names and sizes in CroCo's checkpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from rgb2act_core import UserError
from rgb2act_core.weights import listed, named_tensors, read_checkpoint

from .config import Architecture

LARGEST = 100_000  # size of a layer in croco_kwargs
LARGEST_IMAGE = 4096  # pixels per side
MARK = "patch_embed.proj.weight"  # only CroCo's
# official names and ours; '#' is the number of a block, '*' weight or bias
NAMES = {
    "patch_embed.proj.*": "patches.*",
    "enc_pos_embed": "positions",  # v1 only
    "enc_blocks.#.norm1.*": "blocks.#.attention_norm.*",
    "enc_blocks.#.attn.qkv.*": "blocks.#.attention.qkv.*",
    "enc_blocks.#.attn.proj.*": "blocks.#.attention.out.*",
    "enc_blocks.#.norm2.*": "blocks.#.mlp_norm.*",
    "enc_blocks.#.mlp.fc1.*": "blocks.#.widen.*",
    "enc_blocks.#.mlp.fc2.*": "blocks.#.narrow.*",
    "enc_norm.*": "norm.*",
}
# of the decoder, which is not used
UNUSED = {
    "mask_token",
    "decoder_embed.*",
    "dec_pos_embed",  # v1 only
    "dec_blocks.#.norm1.*",
    "dec_blocks.#.attn.qkv.*",
    "dec_blocks.#.attn.proj.*",
    "dec_blocks.#.cross_attn.projq.*",
    "dec_blocks.#.cross_attn.projk.*",
    "dec_blocks.#.cross_attn.projv.*",
    "dec_blocks.#.cross_attn.proj.*",
    "dec_blocks.#.norm2.*",
    "dec_blocks.#.norm3.*",
    "dec_blocks.#.norm_y.*",
    "dec_blocks.#.mlp.fc1.*",
    "dec_blocks.#.mlp.fc2.*",
    "dec_norm.*",
    "prediction_head.*",
}


def ours(key: str) -> str | None:
    """Return our name for an official key; None if it is not used, the key itself if it is
    unknown."""
    number = re.search(r"(?<=_blocks\.)\d+(?=\.)", key)
    kind = re.search(r"(?<=\.)(weight|bias)$", key)
    form = re.sub(r"(?<=_blocks\.)\d+(?=\.)", "#", re.sub(r"(?<=\.)(weight|bias)$", "*", key))
    if form in UNUSED:
        return None
    if form not in NAMES:
        return key
    name = NAMES[form].replace("#", number[0] if number else "")
    return name.replace("*", kind[0] if kind else "")


def rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the encoder's tensors under our names; unknown keys are kept, so that loading rejects
    them."""
    named = ((ours(key), tensor) for key, tensor in tensors.items())
    return {name: tensor for name, tensor in named if name is not None}


def read_encoder(path: Path) -> tuple[Architecture, dict[str, Tensor]]:
    """Return the architecture in a checkpoint, and the tensors of its encoder."""
    found = read_checkpoint(path)
    model, stated = named_tensors(found, (MARK,), path), found.get("croco_kwargs", {})
    if MARK not in model:
        raise UserError(
            f"{path}: is not a CroCo checkpoint (keys: {listed(found)}); give the official"
            " file, which holds 'model' and 'croco_kwargs'"
        )
    if not isinstance(stated, dict):
        raise UserError(f"{path}: croco_kwargs is {stated!r}, not a dict; give the official file")
    found_architecture = architecture(stated, path)
    if found_architecture.depth > len(model):
        raise _unfit(path, "enc_depth", found_architecture.depth)
    return found_architecture, rename(model)


def architecture(stated: Mapping[str, Any], path: Path) -> Architecture:
    """Return the architecture in ``croco_kwargs``, with the defaults of CroCo v1."""
    standard = Architecture()

    def integer(key: str, default: int) -> int:
        value = stated.get(key, default)
        if type(value) is not int or not 0 < value <= LARGEST:
            raise _unfit(path, key, value)
        return value

    widening = stated.get("mlp_ratio", standard.widening)
    if type(widening) not in (int, float) or not 0 < widening < 1000:
        raise _unfit(path, "mlp_ratio", widening)
    return Architecture(
        dim=integer("enc_embed_dim", standard.dim),
        depth=integer("enc_depth", standard.depth),
        heads=integer("enc_num_heads", standard.heads),
        patch=integer("patch_size", standard.patch),
        widening=float(widening),
        rope=_rope(stated.get("pos_embed", "cosine"), path),
        image=_image(stated.get("img_size", 224), path),
    )


def _rope(value: Any, path: Path) -> float | None:
    if value == "cosine":
        return None
    stated = re.fullmatch(r"RoPE(\d+(?:\.\d+)?)", value) if isinstance(value, str) else None
    if stated is None or float(stated[1]) <= 0:
        raise _unfit(path, "pos_embed", value)
    return float(stated[1])


def _image(value: Any, path: Path) -> tuple[int, int]:
    sides = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(sides) != 2 or not all(type(n) is int and 0 < n <= LARGEST_IMAGE for n in sides):
        raise _unfit(path, "img_size", value)
    return sides[0], sides[1]


def _unfit(path: Path, key: str, value: Any) -> UserError:
    return UserError(
        f"{path}: croco_kwargs[{key!r}] is {value!r}, which is unknown; give the official file"
    )
