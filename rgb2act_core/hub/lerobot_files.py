"""Files by which LeRobot loads a pushed policy with the distribution ``lerobot_policy_rgb2act``.

LeRobot's pre- and post-processor are the default ones and normalise nothing, as the policy does so
itself. The format is that of LeRobot 0.6.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

CONFIG = "config.json"
PREPROCESSOR, POSTPROCESSOR = "policy_preprocessor.json", "policy_postprocessor.json"


def lerobot_files(config: Mapping[str, Any]) -> dict[str, bytes]:
    """Return LeRobot's files for a policy with this ``config`` of ``policy.json``, by name."""
    joints = [len(config["action_names"])]
    inputs = {
        f"observation.images.{camera}": {"type": "VISUAL", "shape": [3, *config["image"]]}
        for camera in config["cameras"]
    }
    inputs["observation.state"] = {"type": "STATE", "shape": joints}
    outputs = {"action": {"type": "ACTION", "shape": joints}}
    files = {
        CONFIG: {"type": "rgb2act", "input_features": inputs, "output_features": outputs},
        PREPROCESSOR: _pipeline(
            "policy_preprocessor",
            rename_observations_processor={"rename_map": {}},
            to_batch_processor={},
            device_processor={"device": "cpu", "float_dtype": None},
            normalizer_processor=_unchanged(inputs | outputs),
        ),
        POSTPROCESSOR: _pipeline(
            "policy_postprocessor",
            unnormalizer_processor=_unchanged(outputs),
            device_processor={"device": "cpu", "float_dtype": None},
        ),
    }
    return {name: json.dumps(data, indent=1).encode() for name, data in files.items()}


def _pipeline(name: str, **steps: Any) -> dict[str, Any]:
    listed = [{"registry_name": step, "config": config} for step, config in steps.items()]
    return {"name": name, "steps": listed}


def _unchanged(features: Mapping[str, Any]) -> dict[str, Any]:
    kinds = ("VISUAL", "STATE", "ACTION")
    return {"eps": 1e-08, "features": features, "norm_map": dict.fromkeys(kinds, "IDENTITY")}
