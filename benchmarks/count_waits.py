"""Count the calls of training steps that wait for a GPU: ``count_waits.py SPEC ROOT DEVICE``.

Features must be stored. Both models are trained again, for 200 steps with seed 7. Without a GPU,
nothing waits and the counts are 0.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import attrs
import torch

from rgb2act_core.pipeline.chain import run_pipeline
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.training.learner import Learner
from rgb2act_core.training.recent_steps import RecentSteps

STEPS = 200


def main() -> None:
    path, root, device = sys.argv[1:]
    spec = read_spec(Path(path))
    assert spec.align is not None
    spec = attrs.evolve(
        spec,
        seed=7,
        align=attrs.evolve(spec.align, steps=STEPS),
        policy=attrs.evolve(spec.policy, steps=STEPS),
        compute=attrs.evolve(spec.compute, device=device),
    )
    counts: dict[str, list[int]] = {"learn": [], "read": []}
    for owner, name in ((Learner, "learn"), (RecentSteps, "read")):
        setattr(owner, name, counting(getattr(owner, name), counts[name], device))
    run_pipeline(spec, root=Path(root), until="train")
    for name, found in counts.items():
        print(f"  {name}: {sum(found)} waits in {len(found)} calls")


def counting(method: Any, found: list[int], device: str) -> Any:
    """Return a method that counts the waits of each call."""

    def counted(self: Any, *args: Any) -> Any:
        if device == "cpu":
            found.append(0)
            return method(self, *args)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                return method(self, *args)
        finally:
            torch.cuda.set_sync_debug_mode("default")
            found.append(sum("synchroniz" in str(w.message) for w in caught))

    return counted


if __name__ == "__main__":
    main()
