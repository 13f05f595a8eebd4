"""Plan with the policy in this folder; needs numpy and onnxruntime."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

FOLDER = Path(__file__).resolve().parent


def load(folder: Path = FOLDER) -> tuple[Any, Any]:
    """Return policy.json and the model; exit with a message if a file is corrupt."""
    try:
        description = json.loads((folder / "policy.json").read_text())
        digests = {file["name"]: file["sha256"] for file in description["files"]}
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise SystemExit(f"{folder / 'policy.json'}: is missing or corrupt ({err})") from None
    for name, digest in digests.items():
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise SystemExit(f"{path}: is missing or corrupt; copy the folder again")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    model = str(folder / description["program"])
    return description, onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])


def main() -> None:
    """Plan for the example, and compare with the plan that rgb2act made."""
    description, session = load()
    inputs = dict(np.load(FOLDER / "example.npz"))  # replace by your cameras and joints
    expected = inputs.pop("plan")
    # new noise: np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    (plan,) = session.run(None, inputs)
    names = [joint["name"] for joint in description["output"]["joints"]]
    print(f"{description['run']}: a plan of {len(plan)} steps for {', '.join(names)}")
    print("execute", description["n_action_steps"], "of them, then plan again")
    print(f"largest difference to rgb2act act: {np.abs(plan - expected).max():.1e}")


if __name__ == "__main__":
    main()
