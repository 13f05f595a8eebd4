"""The chain: which stages a spec needs, which are cached, and running the others in order."""

from __future__ import annotations

import contextlib
import functools
import platform
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs

from . import __version__
from .cache import StageFolder, canonical, difference, guard, read_json, write_json
from .context import Run
from .dataset import Dataset
from .errors import UserError
from .progress import say
from .reading import unstructure
from .records import Environment
from .spec import Policy, Spec

STAGES = ("collect", "extract", "align", "train", "act")
VERSIONS = {
    "align": 1,
    "train": 1,
    "act": 1,
}  # raise one when its code begins to give other numbers
LEARNED = ("aligned", "unaligned", "direct")  # conditions whose policy sees the backbones' tokens


@attrs.define
class Timer:
    """Measure wall and CPU seconds, worker processes included."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @contextlib.contextmanager
    def measure(self) -> Iterator[None]:
        """Add what passes inside."""
        wall, cpu = time.monotonic(), _cpu()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - wall
            self.cpu_seconds += _cpu() - cpu


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


class Record:
    """Keep ``run.json``: what each stage of this run was, and where its output lies."""

    def __init__(self, run: Run) -> None:
        self.run, self.path = run, run.folder / "run.json"
        self.before: dict[str, Any] = {}
        with contextlib.suppress(UserError):
            self.before = {s["stage"]: s for s in read_json(self.path)["stages"]}
        self.stages: list[dict[str, Any]] = []
        self.pictures: dict[str, Any] = {}

    def add(
        self, stage: str, key: str, path: Path, cached: bool, reason: str, timer: Timer
    ) -> None:
        """Note a stage and write the file."""
        self.stages.append(
            {
                "stage": stage,
                "key": key,
                "path": str(path.relative_to(self.run.root)),
                "cached": cached,
                "reason": reason,
                "seconds": round(timer.seconds, 2),
                "cpu_seconds": round(timer.cpu_seconds, 2),
            }
        )
        self.write()

    def write(self) -> None:
        """Write the file whole."""
        with guard(self.run.folder):
            self.run.folder.mkdir(parents=True, exist_ok=True)
        data = {
            "name": self.run.spec.name,
            "version": __version__,
            "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "spec": unstructure(self.run.spec),
            "stages": self.stages,
            "pictures": self.pictures,
            "environment": versions(),
        }
        write_json(self.path, data)


def versions() -> dict[str, str]:
    """Return versions of what computes, and the processor."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in ("torch", "numpy", "zarr", "diffusers", "mujoco"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def run(spec: Spec, root: Path, until: str | None = None) -> Path:
    """Run the chain up to a stage, or all of it and the report; return the run's folder."""
    chain = Chain(Run(spec=spec, root=root))
    chain.collect()
    if until in (None, *STAGES[1:]):
        chain.extract()
    if until in (None, *STAGES[2:]):
        chain.align()
    if until in (None, *STAGES[3:]):
        chain.train()
    if until in (None, *STAGES[4:]):
        chain.act()
        chain.baselines()
    if until is None:
        from . import report

        say(f"report: {report.write(chain.run.folder)}")
    return chain.run.folder


class Chain:
    """Run stages one after another, each from what the ones before it left."""

    def __init__(self, run: Run) -> None:
        from .check import check_fit

        self.run = run
        self.environment: Environment = run.spec.environment.build()
        check_fit(run.spec, self.environment.info)
        self.record = Record(run)
        self.data: Dataset
        self.aligner: StageFolder | None = None
        self.policy: StageFolder

    def collect(self) -> None:
        """Record the demonstrations that are missing, or find those that lie on disk."""
        from . import collect

        timer, reason = Timer(), ""
        with timer.measure():
            data = collect.dataset_of(self.run, self.environment)
            if data is None:
                episodes, packs = collect.missing(self.run)
                reason = f"{episodes} demonstrations and {packs} packs of scenes are missing"
                _announce("collect", reason)
                collect.collect(self.run)
                data = collect.dataset_of(self.run, self.environment)
                assert data is not None
        if not reason:
            _announce("collect", "")
        self.data = data
        path = collect.folder_of(self.run)
        self.record.add("collect", data.key, path, not reason, reason, timer)

    def extract(self) -> None:
        """Encode with each backbone, and embed with the teacher, what has no features yet."""
        from . import encode, extract

        spec = self.run.spec
        for label, choice in zip(encode.labels_of(spec.backbone), spec.backbone, strict=True):
            folder = extract.features_folder(self.run, choice)
            work = functools.partial(extract.extract, self.run, choice, self.data)
            self._per_episode(f"extract/{label}", folder, work)
        folder = extract.embeddings_folder(self.run, spec.teacher)
        title = f"teacher/{spec.teacher.component.name}"
        self._per_episode(title, folder, lambda: extract.teach(self.run, self.data))
        self._note_pictures()

    def _per_episode(self, stage: str, folder: Path, work: Callable[[], None]) -> None:
        from . import extract

        timer = Timer()
        left = len(extract.missing(folder, self.data.sources))
        reason = f"{left} of {len(self.data.sources)} episodes are not encoded yet" if left else ""
        _announce(stage, reason)
        if left:
            with timer.measure():
                work()
        key = folder.name.rpartition("-")[2]
        self.record.add(stage, key, folder, not left, reason, timer)

    def _note_pictures(self) -> None:
        from . import encode, extract

        source = self.data.demonstrations[0]
        backbones = self.run.spec.backbone
        folders = [extract.features_folder(self.run, choice) for choice in backbones]
        self.record.pictures = {
            "episode": str(source.path.relative_to(self.run.root)) if source.path else None,
            "features": {
                label: str((folder / source.digest).relative_to(self.run.root))
                for label, folder in zip(encode.labels_of(backbones), folders, strict=True)
            },
        }
        self.record.write()

    def align(self) -> None:
        """Train the aligner, unless the policy does without one."""
        if self.run.spec.policy.condition != "aligned":
            say(f"align: not needed (condition = {self.run.spec.policy.condition!r})")
            return
        from . import align

        folder = self._folder("align", align_inputs(self.run, self.data) | {"stage": "align"})
        self._stage("align", folder, lambda at, board: align.align(self.run, self.data, at, board))
        self.aligner = folder

    def train(self) -> None:
        """Train the policy."""
        self.policy = self._train(self.run, "train", None)

    def act(self) -> None:
        """Try the policy in the environment."""
        self._act(self.run, "act", self.policy)

    def baselines(self) -> None:
        """Train each baseline for as long as the run's own policy took, and try it."""
        spec = self.run.spec
        spent = self.policy.meta()["results"]["cpu_seconds"]
        if self.aligner is not None:
            spent += self.aligner.meta()["results"]["cpu_seconds"]
        for condition in spec.act.baselines:
            policy = attrs.evolve(spec.policy, condition=condition)
            tries = attrs.evolve(spec.act, videos=0, baselines=())
            other = attrs.evolve(self.run, spec=attrs.evolve(spec, policy=policy, act=tries))
            trained = self._train(other, f"train/{condition}", spent)
            self._act(other, f"act/{condition}", trained)

    def _train(self, run: Run, stage: str, budget: float | None) -> StageFolder:
        from . import train

        aligner = self.aligner if run.spec.policy.condition == "aligned" else None
        inputs = train_inputs(run, self.data, aligner) | {"stage": "train"}
        if budget is not None:
            inputs["budget"] = {"policy": self.policy.key, "cpu_seconds": round(budget, 1)}
        folder = self._folder("policy", inputs)
        info, path = self.environment.info, aligner.path if aligner else None
        self._stage(
            stage,
            folder,
            lambda at, board: train.train(
                run, self.data, info, path, at, board, stage.replace("/", " "), budget
            ),
        )
        return folder

    def _act(self, run: Run, stage: str, policy: StageFolder) -> None:
        from . import act

        folder = self._folder("act", act_inputs(run, policy))
        info = self.environment.info
        self._stage(
            stage,
            folder,
            lambda at, _: act.act(run, info, policy.path, at, stage.replace("/", " ")),
        )
        results = folder.meta()["results"]
        low, high = results["interval"]
        say(
            f"{stage}: success rate {results['rate']:.2f} ({results['successes']} of"
            f" {len(results['episodes'])}, 95 % interval {low:.2f} to {high:.2f})"
        )

    def _folder(self, place: str, inputs: Mapping[str, Any]) -> StageFolder:
        return StageFolder.of(self.run.store / place, inputs)

    def _stage(
        self,
        stage: str,
        folder: StageFolder,
        work: Callable[[Path, Path], dict[str, Any]],
    ) -> None:
        """Run a stage under its lock unless it is done, and note it."""
        timer, reason = Timer(), ""
        board = self.run.folder / "tensorboard"
        if not folder.done:
            with folder.lock():
                if not folder.done:  # another run may have finished it while we waited
                    reason = self._reason(stage, folder)
                    _announce(stage, reason)
                    at = folder.open()
                    with timer.measure():
                        results = work(at, board)
                    (at / "checkpoint.safetensors").unlink(missing_ok=True)
                    folder.commit(
                        seconds=timer.seconds, cpu_seconds=timer.cpu_seconds, results=results
                    )
        if not reason:
            _announce(stage, "")
            _show_curves(folder.path / "metrics.jsonl", board, stage)
        self.record.add(stage, folder.key, folder.path, not reason, reason, timer)

    def _reason(self, stage: str, folder: StageFolder) -> str:
        if folder.partial.exists():
            return "it was begun and not finished: resumes"
        before = self.record.before.get(stage)
        if before is None:
            return "not done yet"
        with contextlib.suppress(UserError, KeyError):
            old = read_json(self.run.root / before["path"] / "stage.json")["inputs"]
            changes = difference(old, folder.inputs)
            return "; ".join(changes[:4]) + (" ..." if len(changes) > 4 else "")
        return "its output was deleted"


def _announce(stage: str, reason: str) -> None:
    say(f"{stage}: {f'runs, {reason}' if reason else 'cached'}")


def _show_curves(curves: Path, board: Path, stage: str) -> None:
    """Give the event files of a stage that another run has done."""
    if curves.exists() and not (board / stage.replace("/", " ")).exists():
        from . import journal

        journal.export(curves, board, stage.replace("/", " "))


def align_inputs(run: Run, data: Dataset) -> dict[str, Any]:
    """Return what the aligner's weights depend on."""
    from .encode import recipe

    return {
        "version": VERSIONS["align"],
        "data": data.key,
        "backbones": [recipe(choice) for choice in run.spec.backbone],
        "teacher": canonical(run.spec.teacher),
        "align": canonical(run.spec.align),
        "seed": run.spec.seed,
    }


def train_inputs(run: Run, data: Dataset, aligner: StageFolder | None) -> dict[str, Any]:
    """Return what the policy's weights depend on."""
    policy: Policy = run.spec.policy
    # how often it acts on a plan changes no weight, but lies in the policy's folder
    inputs = {
        "version": VERSIONS["train"],
        "data": data.key,
        "policy": canonical(policy),
        "seed": run.spec.seed,
    }
    if aligner is not None:
        inputs["aligner"] = aligner.key
    elif policy.condition in LEARNED:
        inputs["aligner"] = align_inputs(run, data)
    return inputs


def act_inputs(run: Run, policy: StageFolder) -> dict[str, Any]:
    """Return what the outcome of acting depends on."""
    tries = canonical(run.spec.act)
    del tries["baselines"]
    return {
        "stage": "act",
        "version": VERSIONS["act"],
        "policy": policy.key,
        "environment": canonical(run.spec.environment),
        "act": tries,
    }
