"""What a spec says of acting: how the policy is tried out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import attrs

from ..interfaces.fields import Mark, added_later, marked
from .checks import at_least, default, optional, within


@attrs.frozen(kw_only=True)
class Act:
    """Say how the policy is tried out."""

    episodes: int = marked(Mark.EVALUATION_ONLY, default=50, validator=at_least(1))
    """Episodes to act in."""
    first_seed: int | None = marked(
        Mark.EVALUATION_ONLY, default=None, validator=optional(at_least(0))
    )
    """Seed of the first episode; the next ones follow. Left out, it is the environment's own, or
    0; RoboTwin's is 100,000 times one more than the run's ``seed``."""
    seeds: Path | None = marked(Mark.FILE, Mark.EVALUATION_ONLY, default=None)
    """A JSON file of seeds to act on, in place of those in a row: a list of numbers, or the
    ``seeds.json`` of another policy's trials, so that both meet the same scenes."""
    parallel_episodes: int = attrs.field(default=20, validator=at_least(1))
    """Episodes that run side by side, planned for in one batch."""
    candidates: int = attrs.field(default=1, validator=at_least(1))
    """Plans drawn each time; the one that best continues the plan before is executed."""
    warm_start: float = added_later(default=0.0, validator=within(0, 1))
    """Share of the noise that sampling begins with, laid over what the plan before still meant to
    do; takes about that share of the steps. 0 begins each plan with noise alone."""
    temporal_ensemble: bool = False
    """Whether actions are the mean of all plans that say something of a step; give
    ``policy.n_action_steps`` a small value, so that several do (arXiv 2304.13705)."""
    ensemble_decay: float = attrs.field(default=0.01, validator=at_least(0))
    """How much less each newer plan counts in that mean."""
    compile: bool = marked(Mark.ADDED_LATER, Mark.EVALUATION_ONLY, default=False)
    """Whether the head's network is compiled (torch.compile) before it plans, which takes half a
    minute the first time and seconds later; then plans of the UNet and the transformer take 0.84 to
    0.88 of their time on a CPU. It needs a C++ compiler. Trials in training are not compiled."""
    videos: int = marked(Mark.EVALUATION_ONLY, default=4, validator=at_least(0))
    """Episodes to film."""
    baselines: tuple[
        Literal["proprio_only", "single_backbone", "end_to_end", "random_aligner", "oracle"], ...
    ] = marked(Mark.EVALUATION_ONLY, default=())
    """Conditions trained for the same time and tried on the same seeds, for comparison."""

    def __attrs_post_init__(self) -> None:
        """Refuse a weight of plans that are not blended."""
        if not self.temporal_ensemble and self.ensemble_decay != default(Act, "ensemble_decay"):
            raise ValueError(
                f"ensemble_decay = {self.ensemble_decay} is read only with"
                " temporal_ensemble = true; remove it"
            )

    @property
    def start(self) -> int:
        """Return the seed of the first episode."""
        return self.first_seed or 0
