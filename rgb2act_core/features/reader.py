"""Read features and embeddings for training: frames of many episodes behind one index.

Shapes: F = frames of all episodes, T = frames of one, V = cameras, N = patches, C = channels
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from ..data.dataset import EpisodeRef, missing
from ..errors import UserError
from ..spec import BackboneChoice, TeacherChoice, Tokens
from ..store.group_reader import Group, read_group


class DequantizedTokens:
    """Show int8 tokens (T, V, N, C) with scales (T, V, N) as the float16 array they stand for."""

    dtype = np.dtype(np.float16)

    def __init__(self, tokens: NDArray[np.int8], scales: NDArray[np.float32]) -> None:
        self.tokens, self.scales, self.shape = tokens, scales, tokens.shape

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, at: Any) -> NDArray[np.float16]:
        return dequantised(np.array(self.tokens[at]), np.array(self.scales[at]))

    def some(self, frame: int, tokens: NDArray[np.int64]) -> NDArray[np.float16]:
        """Return some tokens (V, n, C) of a frame."""
        return dequantised(self.tokens[frame][:, tokens], self.scales[frame][:, tokens])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:] if dtype is None else self[:].astype(dtype)


def dequantised(tokens: NDArray[np.int8], scales: NDArray[np.float32]) -> NDArray[np.float16]:
    """Return int8 tokens (..., C) times their scales (...), rounded to float16.

    By torch, which is faster than numpy here and gives the same bits. Best frame by frame: what is
    larger than the caches takes many times longer.
    """
    import torch

    whole, scale = torch.from_numpy(tokens), torch.from_numpy(scales)
    found: NDArray[np.float16] = whole.float().mul_(scale[..., None]).half().numpy()
    return found


def tokens_of(group: Group) -> Any:
    """Return a group's tokens (T, V, N, C) float16, to be indexed by frame, whatever their form."""
    if "scales" in group:
        return DequantizedTokens(group["tokens"], group["scales"])
    return group["tokens"]


class EpisodeArrays:
    """Gather rows from the memory-mapped arrays of many episodes."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = parts
        self.lengths = np.array([len(part) for part in parts], np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def frame(self) -> tuple[int, ...]:
        """Return the shape of one row."""
        return tuple(self.parts[0].shape[1:])

    def gather(
        self, rows: NDArray[np.int64], tokens: NDArray[np.int64] | None = None
    ) -> NDArray[Any]:
        """Return a copy of the rows (n, ...) in the order given, or of some of their tokens.

        ``tokens`` are places in the second dimension of a row; what is not named is not read.
        """
        if tokens is not None:
            return self._gather_tokens(rows, tokens)
        out = np.empty((len(rows), *self.frame), self.parts[0].dtype)
        owners = np.searchsorted(self.starts, rows, side="right") - 1
        offsets = rows - self.starts[owners]
        for i in np.argsort(rows):  # as they lie in the store: neighbours share pages and reads
            out[i] = self.parts[owners[i]][offsets[i]]
        return out

    def _gather_tokens(self, rows: NDArray[np.int64], tokens: NDArray[np.int64]) -> NDArray[Any]:
        cameras, _, *rest = self.frame
        out = np.empty((len(rows), cameras, len(tokens), *rest), self.parts[0].dtype)
        owners = np.searchsorted(self.starts, rows, side="right") - 1
        offsets = rows - self.starts[owners]
        for i in np.argsort(rows):
            part = self.parts[owners[i]]
            if isinstance(part, DequantizedTokens):
                out[i] = part.some(int(offsets[i]), tokens)
            else:
                np.take(part[offsets[i]], tokens, axis=1, out=out[i], mode="clip")
        return out


@attrs.frozen(eq=False, kw_only=True)
class FrameIndex:
    """Tell for each of F frames which episode it is of and which step of it."""

    episode: NDArray[np.int64]  # (F,)
    step: NDArray[np.int64]  # (F,)
    starts: NDArray[np.int64]  # (episodes + 1,) first row of each episode

    @classmethod
    def of(cls, lengths: Sequence[int]) -> FrameIndex:
        """Make the index of episodes laid one behind another."""
        count = np.array(lengths, np.int64)
        return cls(
            episode=np.repeat(np.arange(len(count)), count),
            step=np.concatenate([np.arange(n) for n in count]),
            starts=np.concatenate([[0], np.cumsum(count)]),
        )


@attrs.frozen(eq=False, kw_only=True)
class StoredFeatures:
    """One backbone's stored features: where they are, and readers for given episodes."""

    label: str  # unique among the run's backbones
    folder: Path  # one entry per episode, named by the episode's digest
    choice: BackboneChoice
    token_format: Tokens
    recipe: Mapping[str, Any]  # canonical data that determines the features
    passed_checks: Path  # folder where passed fingerprint checks are recorded

    def missing(self, episodes: Sequence[EpisodeRef]) -> list[EpisodeRef]:
        """Return the episodes that have no features yet."""
        return missing(self.folder, episodes)

    def tokens(self, episodes: Sequence[EpisodeRef]) -> EpisodeArrays:
        """Open the tokens (F, V, N, C) float16 of the episodes."""
        return EpisodeArrays([_entry(self.folder, episode, "tokens") for episode in episodes])

    def pooled(self, episodes: Sequence[EpisodeRef]) -> EpisodeArrays:
        """Open the means over patches (F, V, C) float32 of the episodes' tokens."""
        return EpisodeArrays([_entry(self.folder, episode, "pooled") for episode in episodes])

    def grid(self, episode: EpisodeRef) -> tuple[int, int]:
        """Return rows and columns of the stored token grid of one episode."""
        rows, columns = _group(self.folder / episode.digest).attributes["grid"]
        return int(rows), int(columns)


@attrs.frozen(eq=False, kw_only=True)
class StoredEmbeddings:
    """A teacher's stored embeddings: where they are, and readers for given episodes."""

    label: str
    folder: Path  # one entry per episode, named by the episode's digest
    choice: TeacherChoice
    grouped: bool  # whether entries also hold group tokens
    recipe: Mapping[str, Any]  # canonical data that determines the embeddings

    def missing(self, episodes: Sequence[EpisodeRef]) -> list[EpisodeRef]:
        """Return the episodes that have no embeddings yet."""
        return missing(self.folder, episodes)

    def embeddings(self, episodes: Sequence[EpisodeRef]) -> NDArray[np.float32]:
        """Read the embeddings (F, D) float32 of the episodes."""
        return np.concatenate([_entry(self.folder, episode, "embeddings") for episode in episodes])

    def groups(self, episodes: Sequence[EpisodeRef]) -> EpisodeArrays:
        """Open the group tokens (F, G, C) float16 of the episodes."""
        return EpisodeArrays([_entry(self.folder, episode, "groups") for episode in episodes])


def stored_grids(
    features: Sequence[StoredFeatures], episodes: Sequence[EpisodeRef]
) -> tuple[tuple[int, int], ...] | None:
    """Return the token grid of each backbone, or None while one has no features."""
    grids = []
    for each in features:
        absent = {episode.digest for episode in each.missing(episodes)}
        first = next((e for e in episodes if e.digest not in absent), None)
        if first is None:
            return None
        grids.append(each.grid(first))
    return tuple(grids)


def _entry(folder: Path, source: EpisodeRef, name: str) -> NDArray[Any]:
    group = _group(folder / source.digest)
    array: NDArray[Any] = tokens_of(group) if name == "tokens" else group[name]
    length = source.open().rgb.shape[0]
    if len(array) != length:
        raise UserError(
            f"{folder / source.digest}: {name} of episode {source.name} has {len(array)} frames,"
            f" the episode has {length}; delete the folder and run again"
        )
    return array


def _group(path: Path) -> Group:
    if not path.exists():
        raise UserError(f"{path}: features are missing; run 'rgb2act extract' again")
    return read_group(path)
