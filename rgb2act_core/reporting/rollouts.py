"""Videos of evaluated episodes, and how their joints and hands moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.episode_store import read_episode
from ..data.video import read_mp4
from ..errors import UserError
from ..evaluation.rollout_files import RolloutFile, read_rollout, rollout_path, video_path
from .blocks import Block, Charts, Folded, Paragraph, Video, Videos, guarded, note
from .charts import Chart, Points, chart
from .episodes import episode_title, failures_first, outcome
from .media import data_uri
from .stage_results import StageResults

SHOWN = 4  # episodes whose motion is drawn
DEMONSTRATIONS = 5  # drawn behind each joint
POINTS = 120  # drawn of each curve of a joint
CURVES = (  # of an episode, and the charts' titles
    ("joints", "joint steps, rad"),
    ("hands", "steps of the fastest hand, m"),
    ("seams", "seam per plan"),
)
Episode = Mapping[str, Any]
Demonstrations = Sequence[NDArray[np.float32]]  # actions (T, A) of each


def videos(act: StageResults) -> Iterator[Block]:
    """Yield the videos of an evaluation, failures first."""
    filmed = [
        (e, path) for e in failures_first(act.results["episodes"]) if (path := _video(act, e))
    ]
    if not filmed:
        yield Paragraph("No videos were recorded.")
        return
    shown = []
    for episode, path in filmed:
        try:
            shown.append(_shown_video(path, episode))
        except UserError as err:
            yield note(str(err))
    yield Videos(shown)
    yield Paragraph("rgb2act film RUN --seeds A,B films other episodes.")


def _video(act: StageResults, episode: Episode) -> Path | None:
    """Return the path of an episode's video: that of its results, or one that was filmed later.

    Results name the last two parts of its path. A task name with "/" adds more, which are found
    by the file's name.
    """
    later = video_path(act.folder, int(episode["seed"]), episode.get("task"))
    if later.exists() or not episode.get("video"):
        return later if later.exists() else None
    ending = Path(str(episode["video"])).parts
    found = sorted((act.folder / "videos").rglob("*.mp4"))
    named = act.folder / str(episode["video"])
    return next((file for file in found if file.parts[-len(ending) :] == ending), named)


def _shown_video(path: Path, episode: Episode) -> Video:
    read_mp4(path)
    return Video(
        source=data_uri("video/mp4", path.read_bytes()),
        caption=f"{episode_title(episode)}, {int(episode['steps'])} steps",
        outcome=outcome(episode["success"]),
    )


def motion(act: StageResults, demonstrations: Demonstrations) -> Iterator[Block]:
    """Yield, for the first filmed episodes, curves of steps and seams and of each joint."""
    filmed = [e for e in failures_first(act.results["episodes"]) if _video(act, e)]
    known = [e for e in filmed if _rollout_path(act, e).exists()][:SHOWN]
    if not known:
        yield Paragraph("No motion was recorded.")
        return
    yield Paragraph(
        "Commands and observed joints of the filmed episodes, over steps, in radians, grippers 0 to"
        " 1."
        + (
            f" Behind them the commands of {len(demonstrations)} demonstrations, which started"
            " from other seeds."
            if demonstrations
            else ""
        )
    )
    for episode in known:
        title = f"{episode_title(episode)}: {outcome(episode['success']).text}"
        yield Folded(title, guarded(partial(_episode_motion, act, episode, demonstrations)))


def _rollout_path(act: StageResults, episode: Episode) -> Path:
    return rollout_path(act.folder, int(episode["seed"]), episode.get("task"))


def _episode_motion(
    act: StageResults, episode: Episode, demonstrations: Demonstrations
) -> Iterator[Block]:
    rollout, name = read_rollout(_rollout_path(act, episode)), episode_title(episode)
    curves = rollout.curves()
    smoothness = [
        chart(f"{name}: {title}", {key: list(enumerate(curves[key], 1))})
        for key, title in CURVES
        if curves.get(key)
    ]
    joints = [_joint_chart(rollout, int(a), demonstrations) for a in rollout.moved]
    yield Charts([*smoothness, *joints])


def _joint_chart(rollout: RolloutFile, a: int, demonstrations: Demonstrations) -> Chart:
    names = list(rollout.action_names)
    behind = [_points(d[:, a]) for d in demonstrations if d.shape[1] == len(names)]
    observed = zip(rollout.observed.tolist(), rollout.joints[:, a].tolist(), strict=True)
    curves = {"command": _points(rollout.commands[:, a]), "observed": list(observed)}
    return chart(names[a], curves, background=behind, smooth=False)


def _points(values_T: NDArray[np.float32]) -> Points:
    """Return the values over steps from 1 on, at most ``POINTS`` of them."""
    steps = np.unique(np.linspace(0, len(values_T) - 1, POINTS).round().astype(int))
    return [(int(t) + 1, round(float(values_T[t]), 4)) for t in steps]


def demonstrated_actions(folder: Path | None) -> Demonstrations:
    """Return the actions of some recorded demonstrations in a folder of the store."""
    paths = sorted(p for p in folder.glob("episode_*") if not p.suffix) if folder else []
    if not paths:
        return []
    wanted = {round(i) for i in np.linspace(0, len(paths) - 1, DEMONSTRATIONS)}
    found = [read_episode(paths[i]).actions for i in sorted(wanted)]
    return [np.asarray(actions[:]) for actions in found if actions is not None]
