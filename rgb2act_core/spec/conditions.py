"""The policy conditions: what a policy observes, and which backbones and aligner it needs.

``CONDITIONS`` is the only place that defines them. A new condition is a new entry; all other code
reads the fields of ``Condition`` and compares no names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs


@attrs.frozen(kw_only=True)
class Condition:
    """What a policy observes in each frame, in addition to joint positions.

    The observation consists of, in this order: the aligner's embedding, if there is an aligner;
    its fused tokens, pooled per camera, with ``pooled_tokens``; the tokens of one backbone, pooled
    per camera, with ``backbones = "one"``; the true state, with ``state``, or the teacher's
    embedding of the true point cloud, with ``teacher``. With ``tokens``, the head also attends to
    all fused tokens.
    """

    name: str
    summary: str
    """For the documentation: what the head observes."""
    backbones: Literal["all", "one", "none"] = "none"
    """Backbones whose features are extracted; ``[policy] backbone`` selects the one."""
    aligner: Literal["trained", "finetuned", "random", "end_to_end"] | None = None
    """``trained``: the align stage's, frozen. ``finetuned``: the align stage's, trained further
    together with the head, without the teacher's loss. ``random``: frozen random weights.
    ``end_to_end``: random weights, trained together with the head."""
    pooled_tokens: bool = False
    tokens: bool = False
    state: bool = False
    teacher: bool = False

    def __attrs_post_init__(self) -> None:
        """Raise ValueError for fields that contradict each other."""
        if (self.aligner is not None) != (self.backbones == "all"):
            raise ValueError(f"condition {self.name}: an aligner needs all backbones")
        if self.aligner is None and (self.pooled_tokens or self.tokens):
            raise ValueError(f"condition {self.name}: fused tokens need an aligner")
        if self.state and self.teacher:
            raise ValueError(f"condition {self.name}: state and teacher exclude each other")

    @property
    def joints_only(self) -> bool:
        """Return whether joint positions are all that the policy observes."""
        return self.backbones == "none" and not self.privileged

    @property
    def privileged(self) -> bool:
        """Return whether the policy observes what only a simulator knows: true state or cloud."""
        return self.state or self.teacher

    @property
    def needs_teacher(self) -> bool:
        """Return whether the teacher's embeddings are extracted: for an aligner or the policy.

        An aligner that is not trained on them needs none.
        """
        return self.needs_alignment or self.teacher

    @property
    def needs_alignment(self) -> bool:
        """Return whether the policy begins with the aligner of the align stage."""
        return self.aligner in ("trained", "finetuned")

    @property
    def fused(self) -> Literal["none", "pooled", "all"]:
        """Return which of the aligner's fused tokens the policy observes."""
        return "all" if self.tokens else "pooled" if self.pooled_tokens else "none"

    @property
    def trains_aligner(self) -> bool:
        """Return whether the aligner is trained together with the head."""
        return self.aligner in ("finetuned", "end_to_end")

    @property
    def standardised(self) -> bool:
        """Return whether the policy standardises the features.

        An aligner that is trained from random weights changes their scale too much.
        """
        return self.aligner != "end_to_end"

    @property
    def is_baseline(self) -> bool:
        """Return whether ``[act] baselines`` can list it: it does without a trained aligner."""
        return not self.needs_alignment


_ALL = (
    Condition(
        name="aligned",
        summary="the embedding of the trained, frozen aligner",
        backbones="all",
        aligner="trained",
    ),
    Condition(
        name="dual",
        summary="the embedding, and the aligner's fused tokens, pooled per camera",
        backbones="all",
        aligner="trained",
        pooled_tokens=True,
    ),
    Condition(
        name="tokens",
        summary="the embedding, and all fused tokens through cross-attention",
        backbones="all",
        aligner="trained",
        tokens=True,
    ),
    Condition(
        name="finetuned",
        summary="the embedding of the trained aligner, which is trained further with the head",
        backbones="all",
        aligner="finetuned",
    ),
    Condition(
        name="single_backbone",
        summary="the tokens of one backbone, pooled per camera",
        backbones="one",
    ),
    Condition(
        name="random_aligner",
        summary="the embedding of an aligner with frozen random weights",
        backbones="all",
        aligner="random",
    ),
    Condition(
        name="end_to_end",
        summary="the embedding of an aligner trained with the head, without the teacher's loss",
        backbones="all",
        aligner="end_to_end",
    ),
    Condition(name="proprio_only", summary="joint positions only"),
    Condition(
        name="teacher",
        summary="the frozen teacher's embedding of the true point cloud",
        teacher=True,
    ),
    Condition(name="oracle", summary="the environment's ground-truth state", state=True),
)
CONDITIONS = {condition.name: condition for condition in _ALL}

if TYPE_CHECKING:
    ConditionName: TypeAlias = str
    BaselineName: TypeAlias = str
else:  # a spec accepts these names, and its reference lists them
    ConditionName = Literal[tuple(CONDITIONS)]
    BaselineName = Literal[tuple(name for name, c in CONDITIONS.items() if c.is_baseline)]
