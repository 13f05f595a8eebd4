"""Measure whether the token at an object tells the target of ``lift_shape`` from the distractors.

A small classifier is trained on tokens at the centres of the three objects in two thirds of the
scenes. In each other scene, it chooses one of the three objects; chance is 1/3.

    python benchmarks/pattern_probe.py --size 96 --scenes 450

Shapes: S = scenes, V = cameras, O = objects, H W = pixels, G J = rows and columns of a grid,
C = channels
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import torch
from rgb2act_tabletop import Tabletop, build
from torch.nn.functional import binary_cross_entropy_with_logits

from rgb2act_core import Kind
from rgb2act_core.plugins import registry

LITE = {"model": "tf_efficientnet_lite0", "weights": "package"}
BACKBONES: list[tuple[str, dict]] = [
    ("patchstats", {}),
    ("randconv", {}),
    ("timm", {**LITE, "layer": "stride8"}),
    ("timm", {**LITE, "layer": "stride8", "scale": 2.0}),
]
STEPS = 400


def scenes(config: Tabletop, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images (S, V, H, W, 3) and the objects' centres in them (S, V, O, 2), in pixels."""
    env = build(config).make()
    geoms = [env.world.model.geom(body.name).id for body in env.task.bodies]
    images, centres = [], []
    for seed in range(count):
        env.start(np.random.default_rng(seed))
        views = env.look()
        images.append([view.rgb for view in views])
        centres.append([[_centre(view.segmentation == g) for g in geoms] for view in views])
    return np.array(images), np.array(centres)


def _centre(visible: np.ndarray) -> np.ndarray:
    return np.argwhere(visible).mean(0) if visible.any() else np.zeros(2)


def tokens_at(name: str, fields: dict, images: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return the tokens (S, V, O, C) at the objects' centres."""
    component = registry.find(Kind.BACKBONE, name)
    backbone, (height, width) = component.build(component.config(**fields)), images.shape[2:4]
    rows, columns = backbone.grid(height, width)
    parts = torch.from_numpy(images)[:, None].split(32)
    tokens = torch.cat([backbone.encode(part) for part in parts])
    grid_SVGJC = tokens.unflatten(2, (rows, columns)).numpy()
    place = (centres / (height, width) * (rows, columns)).astype(int)
    scene, camera = np.ogrid[: images.shape[0], : images.shape[1]]
    return grid_SVGJC[scene[..., None], camera[..., None], place[..., 0], place[..., 1]]


def share_right(tokens_SOC: np.ndarray, hidden: int) -> float:
    """Return the share of held-out scenes in which the classifier chooses the target."""
    train = np.arange(len(tokens_SOC)) < len(tokens_SOC) * 2 // 3
    mean, std = tokens_SOC[train].mean((0, 1)), tokens_SOC[train].std((0, 1)) + 1e-6
    x_SOC = torch.tensor((tokens_SOC - mean) / std, dtype=torch.float32)
    width = x_SOC.shape[-1]
    torch.manual_seed(0)
    layers = [torch.nn.Linear(width, hidden), torch.nn.ReLU()] if hidden else []
    net = torch.nn.Sequential(*layers, torch.nn.Linear(hidden or width, 1))
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3 if hidden else 1e-2, weight_decay=0.1)
    target_SO = torch.tensor([[1.0, 0.0, 0.0]]).expand(int(train.sum()), 3)
    for _ in range(STEPS):
        optimiser.zero_grad()
        scores_SO = net(x_SOC[train])[..., 0]
        binary_cross_entropy_with_logits(scores_SO, target_SO, weight=1 + target_SO).backward()
        optimiser.step()
    with torch.no_grad():
        return float((net(x_SOC[~train])[..., 0].argmax(1) == 0).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--scenes", type=int, default=450)
    parser.add_argument("--colour-jitter", type=float, default=0.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = Tabletop(task="lift_shape", size=args.size, colour_jitter=args.colour_jitter)
    images, centres = scenes(config, args.scenes)
    print("| backbone | camera | linear | one hidden layer |\n|---|---|---|---|")
    for name, fields in BACKBONES:
        tokens_SVOC = tokens_at(name, fields, images, centres)
        for view, camera in enumerate(config.cameras):
            found = [share_right(tokens_SVOC[:, view], hidden) for hidden in (0, 64)]
            print(f"| {name} {json.dumps(fields)} | {camera} | {found[0]:.2f} | {found[1]:.2f} |")


if __name__ == "__main__":
    main()
