"""Compare reading RoboTwin images with cv2 and h5py on the same file.

Without a file, a 160-frame episode is written from the images of the tests. The decoded frames are
first compared for equality. Times are CPU time of one thread. Needs opencv-python-headless and
rgb2act-robotwin.

    python benchmarks/bench_robotwin.py [EPISODE.hdf5] [--rounds 7]
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
from shared import compare, timed
from torchvision.io import decode_jpeg

SAMPLE = Path(__file__).parents[1] / "plugins/robotwin/tests/data/beat_block_hammer/demo_cpu/data"
CAMERA, BLOCK, FRAMES = "head_camera", 16, 160


cv2 = importlib.import_module("cv2") if importlib.util.find_spec("cv2") else None


def plain(path: Path) -> np.ndarray:
    """Read frame by frame, as RoboTwin's own scripts do."""
    with h5py.File(path) as file:
        data = file[f"observation/{CAMERA}/rgb"]
        return np.stack([cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1) for jpeg in data])


def read(path: Path, decode) -> np.ndarray:
    """Read all JPEGs at once and decode them with ``decode``."""
    with h5py.File(path) as file:
        return np.stack([decode(bytes(jpeg)) for jpeg in file[f"observation/{CAMERA}/rgb"][:]])


def pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))[..., ::-1]


def torchvision(data: bytes) -> np.ndarray:
    image_3HW = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    return image_3HW.permute(1, 2, 0).numpy()[..., ::-1]


def repeated(path: Path, folder: Path) -> Path:
    """Write an episode that repeats the frames of a file and return its path."""
    target = folder / "episode0.hdf5"
    with h5py.File(path) as old, h5py.File(target, "w") as new:
        for key in (f"observation/{CAMERA}/rgb", "joint_action/vector"):
            new[key] = np.resize(old[key][:], (FRAMES, *old[key].shape[1:]))
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("episode", nargs="?", type=Path, help="HDF5 file of an episode")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds")
    args = parser.parse_args()
    if cv2 is None:
        print("cv2 is not installed; run pip install opencv-python-headless")
        return
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = args.episode or repeated(next(SAMPLE.glob("*.hdf5")), Path(folder))
        config = Robotwin(task="beat_block_hammer", data=path, clouds="none")
        (episode,) = build(config).recorded()
        frames, length = episode.rgb, episode.rgb.shape[0]

        def read_blocks() -> None:
            for first in range(0, length, BLOCK):
                frames[first : first + BLOCK]

        same = plain(path)[:length]
        print(f"frames are equal: {np.array_equal(same, frames[:][:, 0])}")
        work = {
            "cv2 and h5py, frame by frame": timed(lambda: plain(path), length + 1),
            "rgb2act-robotwin, blocks of 16": timed(read_blocks, length),
            "rgb2act-robotwin, frame by frame": timed(
                lambda: [frames[t] for t in range(length)], length
            ),
            "pillow": timed(lambda: read(path, pillow), length + 1),
            "torchvision": timed(lambda: read(path, torchvision), length + 1),
            "rgb2act-robotwin, opening the file": timed(lambda: build(config).recorded(), length),
        }
        height, width = frames.shape[2:4]
        compare(f"Per frame of {height}x{width}", "ms", work, args.rounds)


if __name__ == "__main__":
    main()
