"""Keys and values of specs that have another name now, so that the error can name it.

This table is for specs written before the first release, and can be deleted after it.
"""

from __future__ import annotations

KEYS = {
    "collect.noise": "action_noise_std",
    "extract.codec": "compression",
    "extract.batch": "batch_size",
    "align.dim": "embedding_dim",
    "align.width": "token_dim",
    "align.hidden": "mlp_dim",
    "align.maps": "keypoint_maps",
    "align.values": "keypoint_values",
    "align.batch": "batch_size",
    "align.clip": "grad_clip",
    "align.loss.tau": "temperature",
    "align.loss.learned_tau": "learn_temperature",
    "align.loss.near": "exclude_within_steps",
    "align.loss.similar": "exclude_above_cosine",
    "align.augment.token_drop": "token_dropout",
    "align.augment.backbone_drop": "backbone_dropout",
    "policy.batch": "batch_size",
    "policy.clip": "grad_clip",
    "act.batch": "parallel_episodes",
    "act.ensemble": "temporal_ensemble",
    "compute.workers": "simulator_workers",
}

_CONDITIONS = {
    "single": "single_backbone",
    "unaligned": "random_aligner",
    "direct": "end_to_end",
    "blind": "proprio_only",
}
VALUES = {
    "align.loss.negatives": {"cached": "gradcache"},
    "policy.condition": _CONDITIONS,
    "policy.tasks": {"heads": "separate_heads"},
    "policy.head.use": {"replay": "[act] replay = true"},
    "act.baselines": _CONDITIONS,
}


def key_message(path: str) -> str | None:
    """Return the message for a retired key such as ``align.loss.tau``; None for other keys."""
    return f"is called {KEYS[path]}" if path in KEYS else None


def value_message(path: str, value: object) -> str | None:
    """Return the message for a retired value of a key; None for other values."""
    names = VALUES.get(path, {})
    if not isinstance(value, str) or value not in names:
        return None
    return f"{value!r} is called {names[value]!r}"
