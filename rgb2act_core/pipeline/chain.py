"""The chain: which stages a spec needs, which are cached, and running the others in order."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from ..data.dataset import Dataset, joined
from ..errors import UserError
from ..evaluation.success_rates import rates
from ..features.reader import StoredEmbeddings, StoredFeatures
from ..spec import Spec
from ..spec.conditions import ALIGNED, needed_backbones, replays, taught
from ..stages import collect
from ..stages.keys import (
    act_folder,
    align_folder,
    policy_folder,
    stored_embeddings,
    stored_features,
)
from ..stages.tasks import Task, Tasks, dataset_of, open_tasks
from ..store.files import read_json
from ..store.keys import difference
from ..store.run import Run
from ..store.stage_folder import StageFolder
from ..system.progress import say
from . import timings
from .preflight import check_compatibility, check_weights_load
from .reevaluate import trials
from .run_record import Record, Timer
from .stage_runner import announce, finish, show_curves
from .status import stage_states


def run_pipeline(spec: Spec, root: Path, until: str | None = None) -> Path:
    """Run the chain up to a stage, or all of it and the report; return the run's folder."""
    chain = Chain(Run(spec=spec, root=root.resolve()))
    if until in (None, "act"):
        _check_acts(chain.tasks)
    steps = {
        "collect": (chain.collect,),
        "extract": (chain.extract,),
        "align": (chain.align,),
        "train": (chain.train,),
        "act": (chain.act, chain.baselines),
    }
    wanted = list(steps)[: list(steps).index(until) + 1] if until else list(steps)
    if until != "collect":
        chain.prove_weights(wanted)
    for stage, work in steps.items():
        for each in work:
            each()
        if stage == until:
            break
    else:
        from ..reporting import report

        say(f"report: {report.write(chain.run.folder)}")
    return chain.run.folder


def _check_acts(tasks: Tasks) -> None:
    for task in tasks:
        if not task.info.acts:
            raise UserError(
                f"environment {task.run.spec.environments[0].component.name}: has recorded episodes"
                f" of {task.name} only, nothing to act in; rgb2act train runs all stages before"
                " that"
            )


def _cause(spec: Spec) -> str:
    """Return why a stage is not needed, in the spec's words."""
    return "head = 'replay'" if replays(spec) else f"condition = {spec.policy.condition!r}"


class Chain:
    """Run stages one after another, each from what the ones before it left."""

    def __init__(self, run: Run) -> None:
        self.tasks = open_tasks(run)
        self.run = run = self.tasks.run
        check_compatibility(run.spec, self.tasks.info)
        self.record = Record(run)
        self.data: Dataset
        self.aligner: StageFolder | None = None
        self.policy: StageFolder

    def prove_weights(self, wanted: Sequence[str]) -> None:
        """Load what reads weights, if a wanted stage is to run: a bad file is told before hours."""
        kinds = {"teacher": "extract"}
        for stage, state in stage_states(self.run, self.tasks, dataset_of(self.tasks)):
            kind = stage.partition("/")[0]
            if kinds.get(kind, kind) in wanted and state not in ("cached", "not needed"):
                check_weights_load(self.run.spec, self.tasks.info.image)
                return

    def collect(self) -> None:
        """Record the demonstrations that are missing, or find those that lie on disk."""
        self.data = joined(self.tasks.names, [self._collect(task) for task in self.tasks])

    def _collect(self, task: Task) -> Dataset:
        stage, timer, reason = self.tasks.label("collect", task), Timer(), ""
        with timer.measure():
            data = collect.dataset_of(task.run, task.environment)
            if data is None:
                episodes, packs = collect.missing(task.run)
                reason = f"{episodes} demonstrations and {packs} packs of scenes are missing"
                announce(stage, reason)
                data = self._record(task, episodes, packs)
        if not reason:
            announce(stage, "")
        path = collect.folder_of(task.run)
        self.record.add(stage, data.key, path, not reason, reason, timer)
        return data

    def _record(self, task: Task, episodes: int, packs: int) -> Dataset:
        timer = Timer()
        with timer.measure():
            collect.collect(task.run)
        data = collect.dataset_of(task.run, task.environment)
        assert data is not None
        new = [*data.demonstrations[-episodes or len(data.demonstrations) :], *data.scenes[:packs]]
        frames = sum(source.open().rgb.shape[0] for source in new)
        timings.note(task.run, timings.of_collect(task.run), frames, timer.seconds)
        return data

    def extract(self) -> None:
        """Encode and embed what a policy of the run needs and has no features yet."""
        from ..stages import extract

        spec = self.run.spec
        backbones = needed_backbones(spec)
        for features in stored_features(self.run):
            if features.choice not in backbones:
                say(f"extract/{features.label}: not needed ({_cause(spec)})")
                continue
            work = functools.partial(extract.extract_features, self.run, features, self.data)
            self._per_episode(f"extract/{features.label}", features, work)
        if taught(spec):
            embeddings = stored_embeddings(self.run)
            work = functools.partial(extract.extract_embeddings, self.run, embeddings, self.data)
            self._per_episode(f"teacher/{embeddings.label}", embeddings, work)
        self._note_pictures()

    def _per_episode(
        self,
        stage: str,
        stored: StoredFeatures | StoredEmbeddings,
        work: Callable[[], None],
    ) -> None:
        timer, folder = Timer(), stored.folder
        left = stored.missing(self.data.sources)
        reason = f"{len(left)} of {len(self.data.sources)} episodes are not encoded yet"
        announce(stage, reason if left else "")
        if left:
            with timer.measure():
                work()
            frames = sum(source.open().rgb.shape[0] for source in left)
            subject = timings.of_features(self.run, stored.choice, self.tasks.info)
            timings.note(self.run, subject, frames, timer.seconds)
        key = folder.name.rpartition("-")[2]
        self.record.add(stage, key, folder, not left, reason if left else "", timer)

    def _note_pictures(self) -> None:
        source = self.data.demonstrations[0]
        needed = stored_features(self.run, needed_backbones(self.run.spec))
        self.record.pictures = {
            "episode": str(source.path.relative_to(self.run.root)) if source.path else None,
            "features": {
                features.label: str((features.folder / source.digest).relative_to(self.run.root))
                for features in needed
            },
        }
        self.record.write()

    def align(self) -> None:
        """Train the aligner, unless the policy does without one."""
        self.aligner = align_folder(self.run, self.data)
        if self.aligner is None:
            say(f"align: not needed ({_cause(self.run.spec)})")
            return
        from ..stages import align

        def work(folder: Path, board: Path) -> dict[str, Any]:
            return align.align(self.run, self.data, folder, board)

        self._stage("align", self.aligner, work)

    def train(self) -> None:
        """Train the policy, unless there is none."""
        if replays(self.run.spec):
            self.policy = policy_folder(self.run, self.data, None)
            say(f"train: not needed ({_cause(self.run.spec)})")
            return
        self.policy = self._train(self.run, "train", None)

    def act(self) -> None:
        """Try the policy in the environment."""
        self._act(self.run, "act", self.policy)

    def baselines(self) -> None:
        """Train each baseline for as long as the run's own policy took, and try it.

        What trains the aligner's network end to end takes the aligner's batch: each step encodes
        n_obs_steps frames a sample, and with the policy's batch there would be few steps.
        """
        spec = self.run.spec
        if not spec.act.baselines:
            return
        spent = self.policy.meta()["results"]["cpu_seconds"]
        if self.aligner is not None:
            spent += self.aligner.meta()["results"]["cpu_seconds"]
        for condition in spec.act.baselines:
            batch = spec.align.batch_size if condition == "end_to_end" else spec.policy.batch_size
            policy = attrs.evolve(spec.policy, condition=condition, backbone="", batch_size=batch)
            tries = attrs.evolve(spec.act, videos=0, baselines=())
            other = attrs.evolve(self.run, spec=attrs.evolve(spec, policy=policy, act=tries))
            trained = self._train(other, f"train/{condition}", round(spent, 1))
            self._act(other, f"act/{condition}", trained)

    def _train(self, run: Run, stage: str, budget: float | None) -> StageFolder:
        from ..stages import train

        aligner = self.aligner if run.spec.policy.condition in ALIGNED else None
        limit = None if budget is None else {"as": self.policy.key, "cpu_seconds": budget}
        target = policy_folder(run, self.data, aligner, limit)
        info, source = self.tasks.info, aligner.path if aligner else None

        def work(folder: Path, board: Path) -> dict[str, Any]:
            title = stage.replace("/", " ")
            return train.train(run, self.data, info, source, folder, board, title, budget)

        self._stage(stage, target, work)
        return target

    def _act(self, run: Run, stage: str, policy: StageFolder) -> None:
        target = act_folder(run, policy)
        attempt = trials(run, self.tasks, self.data, policy)
        self._stage(stage, target, lambda folder, _: attempt(folder, stage.replace("/", " ")))
        for line in rates(target.meta()["results"]):
            say(f"{stage}: {line}")

    def _stage(
        self,
        stage: str,
        target: StageFolder,
        work: Callable[[Path, Path], dict[str, Any]],
    ) -> None:
        """Run a stage under its lock unless it is done, and note it."""
        timer, reason = Timer(), ""
        board = self.run.folder / "tensorboard"
        if not target.done:
            with target.lock():
                if not target.done:  # another run may have finished it while we waited
                    reason = self._reason(stage, target)
                    announce(stage, reason)
                    whole = not target.partial.exists()
                    finish(stage, target, timer, lambda folder: work(folder, board))
                    if whole:
                        timings.note_stage(self.run, stage, target.path, timer.seconds)
        if not reason:
            meta = target.meta()
            timer = Timer(meta["seconds"], meta["cpu_seconds"])  # what it took when it ran
            announce(stage, "")
            show_curves(target.path / "metrics.jsonl", board, stage.replace("/", " "))
        self.record.add(stage, target.key, target.path, not reason, reason, timer)

    def _reason(self, stage: str, target: StageFolder) -> str:
        if target.partial.exists():
            return "it was begun and not finished: resumes"
        before = self.record.before.get(stage)
        if before is None:
            return "not done yet"
        with contextlib.suppress(UserError, KeyError):
            old = read_json(self.run.root / before["path"] / "stage.json")["inputs"]
            changes = difference(old, target.inputs)
            return "; ".join(changes[:4]) + (" ..." if len(changes) > 4 else "")
        return "its output was deleted"
