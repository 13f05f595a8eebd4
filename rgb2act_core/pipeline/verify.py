"""Verify: what the policy sees and does online is what it was trained on.

Every stored array is checked against its digests. Then recorded episodes are replayed frame by
frame through the online path, and tokens, features and plans are compared with the offline ones.

Tolerances. Tokens are rounded to float16 (11 bits): two float32 results that differ in their last
bits, as they may when the batch has another size, round to neighbours at most, 2**-10 of a value;
twice that is allowed, and 2**-18 of the frame's largest value where a value is nearly zero.
Tokens stored as int8 may be one step of their scale apart besides.
Features are compared in units of their standard deviation and plans in units of the actions' half
range: rounding grows through the networks, hence 0.01 for both. A wrong frame, channel order or
layer is off by far more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from ..data.dataset import Dataset, EpisodeRef
from ..data.windows import window_index
from ..errors import UserError
from ..features.encoder import build_backbones
from ..features.reader import DequantizedTokens, StoredEmbeddings, StoredFeatures
from ..policy.conditioning import Features
from ..policy.planner import Planner
from ..policy.policy import Policy
from ..policy.samples import states_of
from ..policy.saving import load_policy
from ..spec.conditions import needed_backbones, seen_backbones, taught
from ..stages.keys import stored_embeddings, stored_features
from ..store.files import read_json
from ..store.group_writer import check_group, read_group
from ..store.keys import canonical
from ..store.run import Run
from ..system.devices import device_of
from ..system.progress import task
from .runs import open_run, stage_folder

TOKENS = 2.0**-9
CLOSE = 0.01
EPISODES = 3  # replayed unless said otherwise


@attrs.frozen(kw_only=True)
class Verified:
    """Hold what ``verify`` found; it passed when there are no problems."""

    stores: int  # groups whose digests were checked
    episodes: int  # replayed
    frames: int
    token_error: float  # largest, in units of the tolerance
    feature_error: float  # largest, in standard deviations
    action_error: float  # largest, in half ranges
    problems: tuple[str, ...]


def verify(folder: Path, episodes: int | None = None) -> Verified:
    """Check a finished run's stores, and replay demonstrations through the online path."""
    run, record, tasks, data = open_run(folder)
    stores, problems = _check_stores(run, data)
    place = stage_folder(folder, record, "train")
    policy = load_policy(place)
    device = device_of(run.spec.compute)
    policy.to(device)
    choices = seen_backbones(run.spec)
    problems += _check_backbones(place, [canonical(choice) for choice in choices])
    planner = Planner(policy, build_backbones(choices, device), 1, device)
    count = EPISODES if episodes is None else episodes
    some = [s for i in range(len(tasks)) for s in data.of(i).demonstrations[:count]]
    worst = np.zeros(3)
    frames = 0
    with task("replay", len(some), "episodes") as advance:
        for source in some:
            advance()
            try:
                errors = _replay(run, planner, source)
            except UserError as err:
                problems += [f"episode {source.name}: {problem}" for problem in err.args]
                continue
            for what, values in zip(("tokens", "features", "actions"), errors, strict=True):
                limit = 1.0 if what == "tokens" else CLOSE
                problems += [
                    f"episode {source.name}: frame {t}: {what} differ online by {values[t]:.3g},"
                    f" at most {limit} is allowed"
                    for t in np.flatnonzero(~(values <= limit))[:3]
                ]
            worst = np.maximum(worst, [np.max(values) for values in errors])
            frames += len(errors[0])
    return Verified(
        stores=stores,
        episodes=len(some),
        frames=frames,
        token_error=float(worst[0]),
        feature_error=float(worst[1]),
        action_error=float(worst[2]),
        problems=tuple(problems),
    )


def _check_backbones(policy_folder: Path, wanted: list[dict[str, Any]]) -> list[str]:
    """Compare the backbones that the policy was trained on with the run's."""
    place = policy_folder / "policy.json"
    found = read_json(place).get("backbones")
    if found == wanted:
        return []
    return [f"{place}: trained on backbones {found!r}, the run's are {wanted!r}; train again"]


def _check_stores(run: Run, data: Dataset) -> tuple[int, list[str]]:
    """Compare every array that the run reads with its digests, and what it says it was made of."""
    groups: list[tuple[EpisodeRef, Path, dict[str, Any]]] = [
        (source, source.path, {}) for source in data.sources if source.path is not None
    ]
    stored: list[StoredFeatures | StoredEmbeddings] = [
        *stored_features(run, needed_backbones(run.spec))
    ]
    if taught(run.spec):
        stored.append(stored_embeddings(run))
    for each in stored:
        groups += [
            (s, each.folder / s.digest, {"config": each.recipe, "episode_digest": s.digest})
            for s in data.sources
        ]
    problems: list[str] = []
    with task("check stores", len(groups), "groups") as advance:
        for source, group, origin in groups:
            problems += [f"episode {source.name}: {p}" for p in _check_group(group, origin)]
            advance()
    return len(groups), problems


def _check_group(path: Path, origin: dict[str, Any]) -> list[str]:
    try:
        check_group(path)
        found = read_group(path).attributes
    except UserError as err:
        return list(err.args)
    return [
        f"{path}: {name} is {found.get(name)!r}, the run's is {wanted!r}; delete it and run again"
        for name, wanted in origin.items()
        if found.get(name) != wanted
    ]


def _replay(run: Run, planner: Planner, source: EpisodeRef) -> tuple[NDArray[Any], ...]:
    """Return errors (T,) of tokens, features and plans of one episode, online against offline."""
    episode, policy = source.open(), planner.policy
    assert episode.joints is not None
    length = episode.rgb.shape[0]
    stored = [
        features.tokens([source]).parts[0]
        for features in stored_features(run, seen_backbones(run.spec))
    ]
    offline = _offline_features(policy, stored, episode)
    plans = _offline_plans(policy, offline, episode.joints, source.task)
    states = states_of(episode, policy.shape.states) if policy.shape.states else None
    known = policy.shape.tasks
    history = planner.history(known[source.task] if known else None)
    half_A = policy.half_of(source.task).cpu().numpy()
    errors = np.zeros((3, length))
    for t in range(length):
        history.add(np.asarray(episode.rgb[t : t + 1]), episode.joints[t : t + 1])
        online = planner.see([history], [] if states is None else [states[t : t + 1]])
        if stored:
            pairs = zip(online, stored, strict=True)
            errors[0, t] = max(
                _token_error(a[0].cpu().numpy(), b[t], isinstance(b, DequantizedTokens))
                for a, b in pairs
            )
        seen, _ = history.observation()
        if policy.shape.features:
            errors[1, t] = _feature_error(policy, seen[-1], offline[t])
        plan = planner.plan({0: history}, {0: torch.Generator().manual_seed(t)})[0][0]
        errors[2, t] = np.abs((plan - plans[t]) / half_A).max()
    return errors[0], errors[1], errors[2]


def _token_error(
    online: NDArray[np.float16], stored: NDArray[np.float16], whole: bool = False
) -> float:
    """Return the largest difference in units of the tolerance; ``whole`` was stored as int8."""
    a, b = online.astype(np.float32), stored.astype(np.float32)
    allowed = TOKENS * np.maximum(np.abs(b), np.abs(b).max() * TOKENS) + 1e-12
    if whole:  # what lies between two steps may be rounded to either
        allowed += np.abs(b).max(-1, keepdims=True) / 127
    return float((np.abs(a - b) / allowed).max())


def _feature_error(policy: Policy, online: Features, offline: Features) -> float:
    """Return the largest difference in standard deviations."""
    error = float(((online.vector - offline.vector) / policy.feature_std).abs().max())
    if online.tokens is None or offline.tokens is None:
        return error
    wrong = (online.tokens - offline.tokens) / policy.token_std
    return max(error, float(wrong.abs().max()))


def _offline_features(policy: Policy, stored: list[NDArray[Any]], episode: Any) -> Features:
    device = policy.action_half.device
    if policy.shape.states:
        states = torch.from_numpy(states_of(episode, policy.shape.states))
        return Features(vector=states.to(device))
    if not stored:
        return Features(vector=torch.zeros(episode.rgb.shape[0], 0, device=device))
    with torch.no_grad():
        tokens = [torch.from_numpy(np.array(part)).to(device) for part in stored]
        return policy.over_windows(policy.features(tokens))


def _offline_plans(
    policy: Policy, features_T: Features, joints: NDArray[np.float32], task: int
) -> NDArray[np.float32]:
    """Return plans (T, S, A) from the features and joints that training reads."""
    window = torch.from_numpy(window_index(np.arange(len(joints)), policy.shape.n_obs_steps))
    moved = torch.from_numpy(joints[:, list(policy.shape.action_index)]).to(
        features_T.vector.device
    )
    task_B = torch.full((len(joints),), task, device=moved.device)
    obs = policy.observe(features_T[window], moved[window], task_B=task_B)
    generators = [torch.Generator().manual_seed(t) for t in range(len(joints))]
    plans: NDArray[np.float32] = policy.plan(obs, generators).cpu().numpy()
    return plans
