"""Extract: each frame is encoded once and stored once, an episode at a time.

Features lie in ``store/features/<backbone>-<key>/<episode digest>``, embeddings of the teacher in
``store/embeddings/<teacher>-<key>/<episode digest>``. The key holds the component, its version and
config; the episode's digest holds the rest. So runs share episodes that they have in common.

Shapes: T = steps, B = frames at once, V = cameras, N = patches, C = channels, D = teacher's width
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from . import __version__
from .cache import guard, locked
from .context import Run, device_of
from .dataset import Dataset, Source, missing
from .encode import build_backbones, check_grid, encode, windows_of
from .errors import UserError
from .keys import embeddings_folder, features_folder, labels_of, recipe
from .progress import task
from .records import Backbone, Teacher
from .shards import GroupWriter, sweep
from .spec import BackboneChoice


def extract(run: Run, choice: BackboneChoice, data: Dataset) -> None:
    """Encode with one backbone the episodes that have no features yet."""
    device = device_of(run.spec.compute)
    (backbone,) = build_backbones([choice], device)

    def write(source: Source, path: Path, advance: Callable[..., None]) -> None:
        _encode_episode(run, choice, backbone, source, path, device, advance)

    label = labels_of(run.spec.backbone)[run.spec.backbone.index(choice)]
    _each(f"extract {label}", features_folder(run, choice), data.sources, write)


def teach(run: Run, data: Dataset) -> None:
    """Embed with the teacher the clouds of episodes that have no embeddings yet."""
    device = device_of(run.spec.compute)
    teacher: Teacher = run.spec.teacher.build().to(torch.device(device))

    def write(source: Source, path: Path, advance: Callable[..., None]) -> None:
        _embed_episode(run, teacher, source, path, advance)

    folder = embeddings_folder(run, run.spec.teacher)
    _each(f"extract {run.spec.teacher.component.name}", folder, data.sources, write)


def _each(
    title: str,
    folder: Path,
    sources: Sequence[Source],
    write: Callable[[Source, Path, Callable[..., None]], None],
) -> None:
    """Write the entries that are missing under the folder's lock, with progress in frames."""
    with locked(folder.with_name(folder.name + ".lock")):
        with guard(folder):
            folder.mkdir(parents=True, exist_ok=True)
            sweep(folder)
        wanted = missing(folder, sources)
        frames = [source.open().rgb.shape[0] for source in wanted]
        with task(title, sum(frames), "frames") as advance:
            for source in wanted:
                try:
                    write(source, folder / source.digest, advance)
                except UserError as err:
                    raise UserError(
                        *(f"{title}: episode {source.name}: {p}" for p in err.args)
                    ) from err
                except Exception as err:
                    err.add_note(f"in {title}, episode {source.name}")
                    raise


def _encode_episode(
    run: Run,
    choice: BackboneChoice,
    backbone: Backbone,
    source: Source,
    path: Path,
    device: str,
    advance: Callable[..., None],
) -> None:
    episode = source.open()
    frames = episode.rgb
    length, _, height, width, _ = frames.shape
    batch = run.spec.extract.batch
    with GroupWriter(path, codec=run.spec.extract.codec) as writer:
        for first in range(0, length, batch):
            last = min(first + batch, length)
            window = windows_of(frames, first, last, backbone.info.context)
            tokens_BVNC = encode(backbone, window, device).cpu()
            if first == 0:
                check_grid(backbone, (height, width), tokens_BVNC, choice.component.name)
                shape = tuple(tokens_BVNC.shape[1:])
                writer.create(
                    "tokens", shape, "float16", dims=("time", "camera", "patch", "channel")
                )
                pooled = (shape[0], shape[2])
                writer.create("pooled", pooled, "float32", dims=("time", "camera", "channel"))
            writer.append("tokens", tokens_BVNC.numpy())
            writer.append("pooled", tokens_BVNC.float().mean(2).numpy())
            advance(last - first)
        writer.commit(
            _provenance(
                run, choice.component.name, recipe(choice), source, backbone.info.description
            )
            | {
                "grid": list(backbone.grid(height, width)),
                "image": [height, width],
                "cameras": list(episode.cameras),
                "context": backbone.info.context,
            }
        )


def _embed_episode(
    run: Run, teacher: Teacher, source: Source, path: Path, advance: Callable[..., None]
) -> None:
    clouds = source.open().clouds
    if clouds is None:
        raise UserError("has no point clouds, which the teacher needs; record them")
    with GroupWriter(path) as writer, torch.inference_mode():
        writer.create("embeddings", (teacher.info.dim,), "float32", dims=("time", "channel"))
        for first in range(0, len(clouds), run.spec.extract.batch):
            last = min(first + run.spec.extract.batch, len(clouds))
            try:
                embeddings = teacher.embed([clouds[i] for i in range(first, last)])
            except UserError as err:
                raise UserError(*(f"frames {first} to {last - 1}: {p}" for p in err.args)) from err
            writer.append("embeddings", embeddings.float().cpu().numpy())
            advance(last - first)
        choice = run.spec.teacher
        writer.commit(
            _provenance(
                run, choice.component.name, recipe(choice), source, teacher.info.description
            )
        )


def _provenance(
    run: Run, component: str, config: dict[str, Any], source: Source, description: str
) -> dict[str, Any]:
    return {
        "component": component,
        "config": config,
        "episode": source.name,
        "episode_digest": source.digest,
        "description": description,
        "rgb2act": __version__,
        "torch": torch.__version__,
    }
