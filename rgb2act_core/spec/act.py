"""The table ``[act]``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

import attrs
from attrs.validators import ge, le, optional

from ..interfaces.fields import Mark, added_later, marked
from .conditions import BaselineName
from .validators import LARGEST_SEED, MOST, between

POLICY_ONLY = (
    *("candidates", "warm_start", "temporal_ensemble", "delay", "continuation"),
    *("compile", "baselines"),
)

Continuation: TypeAlias = Literal["none", "freeze", "blend"]


@attrs.frozen(kw_only=True)
class Act:
    """Closed-loop evaluation of the policy."""

    episodes: int = marked(Mark.EVALUATION_ONLY, default=50, validator=between(1, MOST))
    """Episodes to evaluate."""
    first_seed: int | None = marked(
        Mark.EVALUATION_ONLY, default=None, validator=optional(between(0, LARGEST_SEED))
    )
    """Seed of the first episode; the following episodes use the next seeds. The default is the
    environment's own first evaluation seed if it has one (RoboTwin: 100,000 * (1 + ``seed``)), and
    0 otherwise."""
    seeds: Path | None = marked(Mark.FILE, Mark.EVALUATION_ONLY, default=None)
    """JSON file with the seeds to evaluate, instead of consecutive seeds: a list of numbers, or
    the ``seeds.json`` of another run, so that both policies are evaluated on the same scenes."""
    parallel_episodes: int = attrs.field(default=20, validator=between(1, MOST))
    """Episodes that run in parallel. Their action chunks are planned in one batch."""
    candidates: int = attrs.field(default=1, validator=between(1, 10_000))
    """Action chunks sampled at each planning step. The one that best continues the previous chunk
    is executed."""
    warm_start: float = added_later(default=0.0, validator=[ge(0), le(1)])
    """Noise level (0 to 1) for warm-starting: sampling starts from the unexecuted rest of the
    previous chunk with this much noise and needs about that fraction of the denoising steps. 0
    starts from pure noise."""
    temporal_ensemble: bool = False
    """Execute the weighted mean of all chunks that overlap at a step (arXiv 2304.13705). Needs a
    small ``policy.n_action_steps``, so that chunks overlap."""
    ensemble_decay: float = attrs.field(default=0.01, validator=ge(0))
    """Decay of the weights in that mean: chunk i, counted from the oldest, has the weight
    ``exp(-ensemble_decay * i)``."""
    delay: int = added_later(default=0, validator=between(0, 10_000))
    """Steps that a plan takes to compute on the robot: a plan made from the observation of step t
    takes effect at step t + ``delay``. Until then, the previous plan is executed; before the first
    plan takes effect, the joints hold their first position, and it then starts with its first
    action. At most ``policy.n_action_steps``."""
    continuation: Continuation = added_later(default="none")
    """How a plan continues the previous one. With ``"freeze"``, the steps that are executed before
    the plan takes effect are held fixed while it is sampled (arXiv 2506.07339). With ``"blend"``,
    the actions change linearly from the previous plan to the new one, over the steps that both
    plans have, at most ``policy.n_action_steps``."""
    compile: bool = marked(Mark.ADDED_LATER, Mark.EVALUATION_ONLY, default=False)
    """Compile the head's network with ``torch.compile`` for evaluation. The first compilation takes
    about half a minute, later ones a few seconds. On a CPU, the UNet and the transformer then plan
    in 0.84 to 0.88 of the time. Needs a C++ compiler. Evaluations during training are not
    compiled."""
    max_steps: int | None = added_later(default=None, validator=optional(between(1, MOST)))
    """Steps after which an episode ends as a failure. If omitted, the environment's own limit. A
    lower limit shortens failed episodes; choose one well above the length of successful ones."""
    videos: int = marked(Mark.EVALUATION_ONLY, default=4, validator=between(0, MOST))
    """Episodes to film after the evaluation, failures first. Any other can be filmed later, with
    ``rgb2act film``."""
    baselines: tuple[BaselineName, ...] = marked(Mark.EVALUATION_ONLY, default=())
    """Policy conditions to compare with. Each is trained for the CPU time that the run's
    alignment and policy training took together, and evaluated on the same seeds."""
    replay: bool = marked(Mark.ADDED_LATER, Mark.EVALUATION_ONLY, default=False)
    """Execute the recorded actions of each demonstration from its own seed instead of a policy's,
    to check the data set, its timing and the environment. Nothing is extracted or trained."""
    replay_stride: int = marked(
        Mark.ADDED_LATER, Mark.EVALUATION_ONLY, default=1, validator=between(1, MOST)
    )
    """With ``replay``, execute every n-th recorded action."""

    def __attrs_post_init__(self) -> None:
        """Raise ValueError for keys that have no effect."""
        unused = self.ensemble_decay != attrs.fields(Act).ensemble_decay.default
        if unused and not self.temporal_ensemble:
            raise ValueError(
                f"ensemble_decay = {self.ensemble_decay} is used only with"
                " temporal_ensemble = true; remove it"
            )
        if self.continuation == "freeze" and not self.delay:
            raise ValueError(
                "continuation = 'freeze' has no effect with delay = 0; remove it or set delay"
            )
        if self.continuation == "blend" and self.temporal_ensemble:
            raise ValueError(
                "continuation = 'blend' cannot be combined with temporal_ensemble = true, which"
                " mixes plans already; remove one of them"
            )
        if self.replay_stride != 1 and not self.replay:
            raise ValueError(
                f"replay_stride = {self.replay_stride} is used only with replay = true; remove it"
            )
        for name in POLICY_ONLY if self.replay else ():
            if (value := getattr(self, name)) != getattr(attrs.fields(Act), name).default:
                raise ValueError(
                    f"{name} = {value!r} is not used with replay = true, which runs no policy;"
                    " remove it"
                )

    def timing_problem(self, horizon: int, n_action_steps: int) -> str | None:
        """Return why plans of these sizes cannot meet this timing, or None if they can."""
        if self.delay > n_action_steps:
            return (
                f"act.delay: {self.delay} is more than policy.n_action_steps ({n_action_steps}), so"
                " a plan would start before the previous one is ready; reduce delay or increase"
                " n_action_steps"
            )
        last = n_action_steps + self.delay
        if self.delay and last > horizon:
            return (
                f"act.delay: {self.delay} needs plans of at least n_action_steps + delay = {last}"
                f" steps, but policy.horizon is {horizon}; reduce delay or n_action_steps"
            )
        if self.continuation == "blend" and last == horizon:
            return (
                "act.continuation: 'blend' needs steps that two plans share, but n_action_steps +"
                f" delay equals policy.horizon ({horizon}); reduce n_action_steps or delay"
            )
        return None

    def limit(self, own: int) -> int:
        """Return the steps of an episode in an environment whose own limit is ``own``."""
        return min(own, self.max_steps or own)

    @property
    def start(self) -> int:
        """Return the seed of the first episode."""
        return self.first_seed or 0
