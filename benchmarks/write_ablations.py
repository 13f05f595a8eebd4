"""Write the specs in examples/ablations: variants of the quickstart with a few keys changed.

Specs cannot include other specs, so each file is a complete copy of the quickstart with the changes
applied. Its first line lists them. A value of ``None`` removes the key.

    python benchmarks/write_ablations.py
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

EXAMPLES = Path(__file__).parents[1] / "examples"
BASE, FOLDER = EXAMPLES / "quickstart.toml", EXAMPLES / "ablations"

# file name without suffix: new values by dotted path in the spec
CHANGES: dict[str, dict[str, Any]] = {
    "align_moe": {"align.fusion.use": "moe"},
    "align_infonce": {"align.loss.mse": 0.0, "align.loss.infonce": 1.0},
    "align_sigmoid": {"align.loss.infonce": 0.0, "align.loss.sigmoid": 0.1},
    "align_sigmoid_alone": {
        "align.loss.infonce": 0.0,
        "align.loss.mse": 0.0,
        "align.loss.sigmoid": 1.0,
    },
    "align_mse": {"align.loss.infonce": 0.0},
    "align_token_drop": {"align.augment.token_dropout": 0.1},
    "align_noise": {"align.augment.noise": 0.2},
    "align_backbone_drop": {"align.augment.backbone_dropout": 0.2},
    "align_patchstats": {"backbone": [{"use": "patchstats"}]},
    "align_randconv": {"backbone": [{"use": "randconv"}]},
    "align_window": {"align.sample": "window", "align.window": 4},
    "align_attention": {"align.pool": "attention"},
    "align_seed_form": {  # the seed system's layers and losses, with a smaller token_dim
        "align.adapter": "wide",
        "align.token_dim": 64,
        "align.context.layers": 2,
        "align.pool": "mean",
        "align.loss.mse_on": "normalised",
        "align.loss.infonce": 1.0,
        "align.loss.temperature": 0.07,
    },
    "align_none": {"policy.condition": "random_aligner"},
    # steps are chosen to take the CPU time of the quickstart's alignment and policy together
    "condition_single_backbone": {"policy.condition": "single_backbone", "policy.steps": 8000},
    "condition_end_to_end": {
        "policy.condition": "end_to_end",
        "policy.steps": 2600,
        "policy.batch_size": 32,
    },
    "condition_dual": {"policy.condition": "dual"},
    "condition_tokens": {
        "policy.condition": "tokens",
        "policy.steps": 1650,
        "policy.batch_size": 32,
    },
    "condition_random_aligner": {"policy.condition": "random_aligner", "policy.steps": 8000},
    "condition_proprio_only": {"policy.condition": "proprio_only", "policy.steps": 8000},
    "condition_oracle": {"policy.condition": "oracle", "policy.steps": 8000},
}


def changed(base: Mapping[str, Any], name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a renamed copy of the base spec with the changes applied."""
    spec: dict[str, Any] = json.loads(json.dumps(base)) | {"name": name.replace("_", "-")}
    for path, value in changes.items():
        *tables, key = path.split(".")
        table = spec
        for name_of_table in tables:
            table = table.setdefault(name_of_table, {})
        if value is None:
            del table[key]
        else:
            table[key] = value
    return spec


def text(name: str, base: Mapping[str, Any]) -> str:
    """Return the text of an ablation's spec file."""
    changes = CHANGES[name]
    described = ", ".join(
        f"without {path}" if value is None else f"{path} = {_inline(value)}"
        for path, value in changes.items()
    )
    return f"# The quickstart with {described}.\n{tomli_w.dumps(changed(base, name, changes))}"


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_inline(v)}" for key, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value)


def main() -> None:
    """Write all spec files and delete those that are no longer listed."""
    base = tomllib.loads(BASE.read_text(encoding="utf-8"))
    FOLDER.mkdir(exist_ok=True)
    for name in CHANGES:
        (FOLDER / f"{name}.toml").write_text(text(name, base), encoding="utf-8")
    for path in FOLDER.glob("*.toml"):
        if path.stem not in CHANGES:
            path.unlink()


if __name__ == "__main__":
    main()
