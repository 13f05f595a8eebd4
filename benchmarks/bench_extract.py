"""Compare extraction with a bare loop over a backbone, and streaming with encoding each window.

The bare loop reads the same stored frames in the same batches, encodes them, and drops the tokens
or saves them as float16 .npy files. Extraction also stores means and digests, checks values, syncs
to disk, records provenance, and encodes one probe image for the fingerprint. Streaming encodes each
frame once and reuses the result in later windows; the alternative encodes every window from
scratch.

Weights are random, and building the backbone is not measured. Times are CPU time of all threads
(torch uses one), so overlapping work is counted in full. Each is the median of alternating rounds.

    python benchmarks/bench_extract.py [--rounds 2] [--quick] [--full]

``--full`` uses the sizes of the official checkpoints and needs 5 GB of memory and half an hour.
``--quick`` only shows that the script works: it uses tiny networks and few frames.

Shapes: B = frames, K = context, V = cameras, H W = pixels, N = patches, C = channels
"""

from __future__ import annotations

import argparse
import functools
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from shared import compare, episodes, lift_distractors, timed
from torch import Tensor

from rgb2act_core.data.dataset import Dataset
from rgb2act_core.data.windows import window_index
from rgb2act_core.features.encoder import Encoder, Stream
from rgb2act_core.interfaces import Backbone
from rgb2act_core.plugins.components import Capability, Component, Kind
from rgb2act_core.plugins.registry import find
from rgb2act_core.spec import BackboneChoice
from rgb2act_core.stages.extract import extract_features
from rgb2act_core.stages.keys import stored_features
from rgb2act_core.stages.run import Run


def chosen(name: str, **config: Any) -> BackboneChoice:
    """Return a backbone choice whose ``build`` is cached."""
    component: Component = find(Kind.BACKBONE, name)
    built = attrs.evolve(component, build=functools.cache(component.build))
    return BackboneChoice(component=built, config=component.config(**config))


def bare(
    choice: BackboneChoice, data: Dataset, batch: int, save: Callable[[list[Tensor]], None]
) -> None:
    backbone: Backbone = choice.build()
    with torch.inference_mode():
        for source in data.episodes:
            frames, tokens = source.open().rgb, []
            for first in range(0, len(frames), batch):
                rgb_BVHW3 = torch.from_numpy(np.array(frames[first : first + batch]))
                tokens.append(backbone.encode(rgb_BVHW3[:, None]))
            save(tokens)


def overhead(
    title: str, run: Run, choice: BackboneChoice, data: Dataset, batch: int, rounds: int
) -> None:
    numbers = itertools.count()
    backbone: Backbone = choice.build()
    backbone.encode(torch.from_numpy(np.array(data.episodes[0].open().rgb[:1]))[:, None])

    def save(tokens: list[Tensor]) -> None:
        np.save(run.root / f"{next(numbers)}.npy", torch.cat(tokens).half().numpy())

    def extract(batch: int) -> None:
        config = attrs.evolve(run.spec.extract, batch_size=batch)
        spec = attrs.evolve(run.spec, backbone=(choice,), extract=config)
        new_run = Run(spec=spec, root=run.root / str(next(numbers)))
        extract_features(new_run, stored_features(new_run)[0], data)

    frames = sum(len(source.open().rgb) for source in data.episodes)
    work = {
        "bare loop": lambda: bare(choice, data, batch, lambda tokens: None),
        "bare loop and np.save": lambda: bare(choice, data, batch, save),
        "extraction": lambda: extract(batch),
    }
    title = f"{title}, {frames} frames of {len(data.episodes)} episodes, two cameras, batch {batch}"
    compare(title, "ms/frame", {name: timed(job, frames) for name, job in work.items()}, rounds)


def streaming(title: str, choice: BackboneChoice, steps: int, batch: int, rounds: int) -> None:
    backbone: Backbone = choice.build()
    context = backbone.info.context
    rng = np.random.default_rng(0)
    video_TVHW3 = rng.integers(0, 256, (steps, 1, 240, 320, 3), np.uint8)
    windows_TK = window_index(np.arange(steps), context)

    def windows() -> list[Tensor]:
        with torch.inference_mode():
            batches = [windows_TK[i : i + batch] for i in range(0, steps, batch)]
            return [backbone.encode(torch.from_numpy(video_TVHW3[b])).half() for b in batches]

    def streamed() -> list[Tensor]:
        stream = Stream(Encoder(backbone, "cpu", windowed=choice.can(Capability.WINDOWED)))
        return [stream.tokens(video_TVHW3[i : i + batch]) for i in range(0, steps, batch)]

    gap = (torch.cat(windows()).float() - torch.cat(streamed()).float()).abs().max()
    work = {
        "every window encoded from scratch": timed(windows, steps),
        "every frame encoded once": timed(streamed, steps),
    }
    title = f"{title}, context {context}, {steps} frames (largest difference {float(gap):.1g})"
    compare(title, "ms/frame", work, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="timed rounds")
    parser.add_argument("--full", action="store_true", help="sizes of the official checkpoints")
    parser.add_argument("--quick", action="store_true", help="use tiny networks and few frames")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        run = lift_distractors(Path(name))
        small = episodes(run.root / "small", count=2 if args.quick else 20, steps=30, size=64)
        for choice in run.spec.backbone:
            overhead(choice.component.name, run, choice, small, 64, args.rounds)
        large = episodes(run.root / "large", count=2, steps=3 if args.quick else 20, size=224)
        variant = "v2-large" if args.full else "v2-base"
        depth = {"depth": 2} if args.quick else {}
        croco = chosen("croco", weights="random", variant=variant, **depth)
        overhead(f"croco {variant}", run, croco, large, 4, max(args.rounds - 1, 1))
    variant, size = ("large", 504) if args.full else ("tiny" if args.quick else "small", 140)
    for context in (4, 8):
        da3 = chosen("da3", weights="random", variant=variant, size=size, context=context)
        title = f"da3 {variant}, longest side {size}"
        streaming(title, da3, context + 4, 4, args.rounds)


if __name__ == "__main__":
    main()
