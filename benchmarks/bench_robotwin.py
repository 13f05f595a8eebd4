"""Time reading RoboTwin's images beside cv2 and h5py on the same file.

Run: python benchmarks/bench_robotwin.py [EPISODE.hdf5] [--rounds 7]
Without a file a 160-frame episode of the tests' images is written. CPU time of one thread; the
frames are compared first. Needs opencv-python-headless beside rgb2act-robotwin.
"""

import argparse
import importlib
import importlib.util
import io
import tempfile
from pathlib import Path

import h5py
import numpy as np
import torch
from PIL import Image
from rgb2act_robotwin import Robotwin, build
from side_by_side import compare, timed
from torchvision.io import decode_jpeg

SAMPLE = Path(__file__).parents[1] / "plugins/robotwin/tests/data/beat_block_hammer/demo_cpu/data"
CAMERA, BLOCK, FRAMES = "head_camera", 16, 160


cv2 = importlib.import_module("cv2") if importlib.util.find_spec("cv2") else None


def plain(path: Path) -> np.ndarray:
    """Read frame by frame, as RoboTwin's own scripts do."""
    with h5py.File(path) as file:
        data = file[f"observation/{CAMERA}/rgb"]
        return np.stack([cv2.imdecode(np.frombuffer(one, np.uint8), 1) for one in data])


def read(path: Path, decode) -> np.ndarray:
    """Read all JPEGs at once, and decode them with one of the other decoders."""
    with h5py.File(path) as file:
        return np.stack([decode(bytes(one)) for one in file[f"observation/{CAMERA}/rgb"][:]])


def pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))[..., ::-1]


def torchvision(data: bytes) -> np.ndarray:
    image_3HW = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    return image_3HW.permute(1, 2, 0).numpy()[..., ::-1]


def longer(path: Path, folder: Path) -> Path:
    """Write an episode of a file's frames, repeated."""
    target = folder / "episode0.hdf5"
    with h5py.File(path) as old, h5py.File(target, "w") as new:
        for key in (f"observation/{CAMERA}/rgb", "joint_action/vector"):
            new[key] = np.resize(old[key][:], (FRAMES, *old[key].shape[1:]))
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("episode", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    if cv2 is None:
        print("nothing to compare with: pip install opencv-python-headless")
        return
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = args.episode or longer(next(SAMPLE.glob("*.hdf5")), Path(folder))
        config = Robotwin(task="beat_block_hammer", data=path, clouds="none")
        (episode,) = build(config).recorded()
        frames, length = episode.rgb, episode.rgb.shape[0]

        def ours() -> None:
            for first in range(0, length, BLOCK):
                frames[first : first + BLOCK]

        same = plain(path)[:length]
        print(f"same frames: {np.array_equal(same, frames[:][:, 0])}")
        work = {
            "cv2 and h5py, frame by frame": timed(lambda: plain(path), length + 1),
            "rgb2act-robotwin, blocks of 16": timed(ours, length),
            "rgb2act-robotwin, frame by frame": timed(
                lambda: [frames[t] for t in range(length)], length
            ),
            "pillow": timed(lambda: read(path, pillow), length + 1),
            "torchvision": timed(lambda: read(path, torchvision), length + 1),
            "rgb2act-robotwin, opening it": timed(lambda: build(config).recorded(), length),
        }
        height, width = frames.shape[2:4]
        compare(f"a frame of {height}x{width}", "ms", work, args.rounds)


if __name__ == "__main__":
    main()
