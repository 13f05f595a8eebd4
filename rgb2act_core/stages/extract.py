"""Extract: each frame is encoded once and stored once, an episode at a time.

Features lie in ``store/features/<backbone>-<key>/<episode digest>``, embeddings of the teacher in
``store/embeddings/<teacher>-<key>/<episode digest>``. The key holds the component, its version and
config; the episode's digest holds the rest. So runs share episodes that they have in common.

Shapes: T = steps, B = frames at once, V = cameras, N = patches, C = channels, D = teacher's width
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from ..data.dataset import Dataset
from ..errors import UserError
from ..features.encoder import Encoder, Stream, build_backbones, check_grid
from ..features.extraction_workers import EntryEncoder, make_missing
from ..features.fingerprint_checks import register_fingerprint
from ..features.reader import StoredEmbeddings, StoredFeatures
from ..features.token_codec import decode_tokens, split_scales, stored_grid
from ..interfaces import Episode, GroupTokenTeacher, PointCloud, Teacher
from ..spec import Tokens
from ..store.group_writer import GroupWriter
from ..store.run import Run
from ..system.devices import devices_of


def extract_features(
    run: Run, features: StoredFeatures, data: Dataset, devices: Sequence[str] | None = None
) -> None:
    """Encode with one backbone the episodes that have no features yet.

    ``devices`` may name a device several times; by default they are what the spec says.
    """
    choice, devices = features.choice, devices or devices_of(run.spec.compute)

    def make(device: str) -> EntryEncoder:
        (backbone,) = build_backbones([choice], device)
        encoder = Encoder(backbone, device, features.token_format, choice.component.name)
        cameras, height, width, _ = data.sources[0].open().rgb.shape[1:]
        reference, error = register_fingerprint(features, encoder, (cameras, height, width))
        return _Features(features.recipe, encoder, reference.digest, error)

    title = f"extract {features.label}"
    make_missing(title, features.folder, data.sources, make, devices, run.spec.extract)


def extract_embeddings(
    run: Run, embeddings: StoredEmbeddings, data: Dataset, devices: Sequence[str] | None = None
) -> None:
    """Embed with the teacher the clouds of episodes that have no embeddings yet."""
    devices = devices or devices_of(run.spec.compute)

    def make(device: str) -> EntryEncoder:
        teacher = embeddings.choice.build().to(torch.device(device))
        return _Embeddings(embeddings, teacher)

    title = f"extract {embeddings.label}"
    make_missing(title, embeddings.folder, data.sources, make, devices, run.spec.extract)


@attrs.frozen(eq=False)
class _Features:
    recipe: Mapping[str, Any]
    encoder: Encoder
    fingerprint: str
    fingerprint_error: float

    def read(self, episode: Episode, first: int, last: int) -> Any:
        return np.array(episode.rgb[first:last])  # a copy: the file is read here

    def begin(self, episode: Episode) -> Callable[[int, Any], Tensor]:
        stream, image = Stream(self.encoder, packed=True), episode.rgb.shape[2:4]

        def encode(first: int, rgb_BVHW3: Any) -> Tensor:
            packed = stream.push(rgb_BVHW3)
            if self.encoder.form == Tokens():  # other forms were looked at before packing
                name = self.encoder.name
                check_grid(self.encoder.backbone, (image[0], image[1]), packed, name)
            return packed

        return encode

    def store(self, writer: GroupWriter, first: int, rows: Tensor) -> None:
        form, rows = self.encoder.form, rows.cpu()
        tokens_BVNC, whole = decode_tokens(form, rows), form.dtype == "int8"
        if first == 0:
            cameras, patches, channels = tokens_BVNC.shape[1:]
            shape, front = (cameras, patches, channels), ("time", "camera")
            writer.create("tokens", shape, form.dtype, dims=(*front, "patch", "channel"))
            writer.create("pooled", (cameras, channels), "float32", dims=(*front, "channel"))
            if whole:
                writer.create("scales", (cameras, patches), "float32", dims=(*front, "patch"))
        if whole:
            stored_BVNC, scales_BVN = split_scales(rows)
            writer.append("scales", scales_BVN.numpy())
            writer.append("tokens", stored_BVNC.numpy())
        else:
            writer.append("tokens", tokens_BVNC.numpy())
        writer.append("pooled", tokens_BVNC.float().mean(2).numpy())

    def describe(self, episode: Episode) -> dict[str, Any]:
        height, width = episode.rgb.shape[2:4]
        backbone = self.encoder.backbone
        grid = backbone.grid(height, width)
        return {
            "component": self.encoder.name,
            "config": self.recipe,
            "description": backbone.info.description,
            "grid": list(stored_grid(self.encoder.form, grid)),
            "backbone_grid": list(grid),
            "image": [height, width],
            "cameras": list(episode.cameras),
            "context": backbone.info.context,
            "fingerprint": self.fingerprint,
            "fingerprint_error": self.fingerprint_error,
        }


@attrs.frozen(eq=False)
class _Embeddings:
    stored: StoredEmbeddings
    teacher: Teacher

    def read(self, episode: Episode, first: int, last: int) -> Any:
        if episode.clouds is None:
            raise UserError("has no point clouds, which the teacher needs; record them")
        return [episode.clouds[i] for i in range(first, last)]

    def begin(self, episode: Episode) -> Callable[[int, Any], Tensor]:
        def embed(first: int, clouds: Sequence[PointCloud]) -> Tensor:
            try:
                with torch.inference_mode():
                    if not self.stored.grouped:
                        return self.teacher.embed(clouds)
                    assert isinstance(self.teacher, GroupTokenTeacher)
                    embedding_BD, groups_BGC = self.teacher.embed_groups(clouds)
                    return torch.cat([embedding_BD, groups_BGC.flatten(1)], 1)
            except UserError as err:
                place = f"frames {first} to {first + len(clouds) - 1}"
                raise UserError(*(f"{place}: {problem}" for problem in err.args)) from err

        return embed

    def store(self, writer: GroupWriter, first: int, rows: Tensor) -> None:
        info, rows = self.teacher.info, rows.float().cpu()
        if first == 0:
            dims = ("time", "channel")
            writer.create("embeddings", (info.dim,), "float32", dims=dims)
        writer.append("embeddings", rows[:, : info.dim].numpy())
        if not self.stored.grouped:
            return
        assert info.groups is not None
        if first == 0:
            writer.create("groups", info.groups, "float16", dims=("time", "group", "channel"))
        writer.append("groups", rows[:, info.dim :].unflatten(1, info.groups).half().numpy())

    def describe(self, episode: Episode) -> dict[str, Any]:
        return {
            "component": self.stored.choice.component.name,
            "config": self.stored.recipe,
            "description": self.teacher.info.description,
        }
