"""Plan with the policy in this folder; needs torch. Run only a policy.pt2 that you trust."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch  # noqa: TID253

FOLDER = Path(__file__).resolve().parent


def load(folder: Path = FOLDER) -> tuple[Any, Any]:
    """Return policy.json and the program; exit with a message if a file is corrupt."""
    try:
        description = json.loads((folder / "policy.json").read_text())
        digests = {file["name"]: file["sha256"] for file in description["files"]}
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise SystemExit(f"{folder / 'policy.json'}: is missing or corrupt ({err})") from None
    for name, digest in digests.items():
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise SystemExit(f"{path}: is missing or corrupt; copy the folder again")
    return description, torch.export.load(folder / description["program"]).module()


def main() -> None:
    """Plan for the example, and compare with the plan that rgb2act made."""
    description, program = load()
    inputs = torch.load(FOLDER / "example.pt", weights_only=True)  # replace by your observation
    expected = inputs.pop("plan")
    # new noise: torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        plan = program(**inputs)
    names = [joint["name"] for joint in description["output"]["joints"]]
    print(f"{description['run']}: a plan of {len(plan)} steps for {', '.join(names)}")
    print("execute", description["n_action_steps"], "of them, then plan again")
    print(f"largest difference to rgb2act act: {float((plan - expected).abs().max()):.1e}")


if __name__ == "__main__":
    main()
