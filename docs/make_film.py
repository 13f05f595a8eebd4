"""Write docs/quickstart.gif: four episodes of a finished tabletop run, side by side.

Each episode is simulated twice with the same seed and actions: at the size that the policy sees,
and larger for the film.

    python docs/make_film.py runs/quickstart
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from PIL import Image

from rgb2act_core import FinishedRun, open_run

OUT = Path(__file__).parent / "quickstart.gif"
SIZE = 180  # pixels per episode
SEEDS = (0, 1, 2, 3)


def film_of(run: FinishedRun, planner: Any, seed: int) -> list[np.ndarray]:
    """Return frames (H, W, 3) of the first camera in one episode."""
    choice = run.spec.environments[0]
    small = choice.build().make()
    large = choice.component.build(attrs.evolve(choice.config, size=SIZE)).make()
    planner.reset(seed)
    observation, _ = small.reset(seed=seed)
    frames = [large.reset(seed=seed)[0]["rgb"][0]]
    over = False
    planner.observe(observation["rgb"], observation["joints"])
    while not over:
        for action in planner.act():
            observation, _, success, cut, _ = small.step(action)
            frames.append(large.step(action)[0]["rgb"][0])
            over = success or cut
            if over:
                break
            planner.observe(observation["rgb"], observation["joints"])
    return frames


def main() -> None:
    """Play the episodes and write the film."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished run on tabletop")
    run = open_run(parser.parse_args().run)
    planner = run.planner(device="cpu")
    films = [film_of(run, planner, seed) for seed in SEEDS]
    length = max(map(len, films)) + 8  # hold the last frame
    padded = [film + [film[-1]] * (length - len(film)) for film in films]
    rows = [Image.fromarray(np.concatenate(frames, axis=1)) for frames in zip(*padded, strict=True)]
    palette = [row.quantize(64, dither=Image.Dither.NONE) for row in rows]
    palette[0].save(OUT, save_all=True, append_images=palette[1:], duration=100, loop=0)
    print(f"{OUT}: {len(rows)} frames, {OUT.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
