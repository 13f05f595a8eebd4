"""Bimanual robot policies from RGB: load finished runs, and write plugins.

Every name in ``__all__`` is stable, and so are the packages ``interfaces``, ``pointclouds``,
``recordings``, ``serving``, ``testing`` and ``weights``. All other modules may change in any
release.
"""

from __future__ import annotations

from ._version import __version__
from .errors import EnvironmentLost, Problems, UserError, did_you_mean, first_line
from .system.lazy_exports import lazy_exports

TYPE_CHECKING = False  # not from typing, whose import delays the handling of Ctrl-C
if TYPE_CHECKING:
    from .alignment.saving import load_aligner
    from .data.video import write_mp4
    from .features.image_encoder import ImageEncoder, backbone
    from .hub.transfer import push_folder
    from .pipeline.demonstrations import Demonstrations, open_demonstrations
    from .pipeline.find_run import find_run
    from .pipeline.finished_run import FinishedRun, SuccessRate, open_run, runs
    from .plugins.components import Capability, Command, Component, Engine, Kind
    from .plugins.hookspecs import hookimpl
    from .policy.planner import Planner, load_planner
    from .policy.saving import load_policy
    from .spec.reader import read_spec
    from .store.array_digests import arrays_digest
    from .store.file_digests import file_digest
    from .store.files import atomic_folder
    from .store.keys import key_of
    from .system.devices import workers_of
    from .system.input_files import (
        check_memory,
        check_regular,
        check_within,
        parse_json,
        read_regular,
    )
    from .system.progress import progress_bar, say
else:  # ``rgb2act --help`` imports none of these
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "Capability": "plugins.components",
            "Command": "plugins.components",
            "Component": "plugins.components",
            "Demonstrations": "pipeline.demonstrations",
            "Engine": "plugins.components",
            "FinishedRun": "pipeline.finished_run",
            "SuccessRate": "pipeline.finished_run",
            "ImageEncoder": "features.image_encoder",
            "Kind": "plugins.components",
            "Planner": "policy.planner",
            "arrays_digest": "store.array_digests",
            "atomic_folder": "store.files",
            "backbone": "features.image_encoder",
            "check_memory": "system.input_files",
            "check_regular": "system.input_files",
            "check_within": "system.input_files",
            "file_digest": "store.file_digests",
            "find_run": "pipeline.find_run",
            "hookimpl": "plugins.hookspecs",
            "key_of": "store.keys",
            "load_aligner": "alignment.saving",
            "load_planner": "policy.planner",
            "load_policy": "policy.saving",
            "open_demonstrations": "pipeline.demonstrations",
            "open_run": "pipeline.finished_run",
            "push_folder": "hub.transfer",
            "parse_json": "system.input_files",
            "read_regular": "system.input_files",
            "read_spec": "spec.reader",
            "runs": "pipeline.finished_run",
            "say": "system.progress",
            "progress_bar": "system.progress",
            "workers_of": "system.devices",
            "write_mp4": "data.video",
        },
    )

__all__ = [
    "Capability",
    "Command",
    "Component",
    "Demonstrations",
    "Engine",
    "EnvironmentLost",
    "FinishedRun",
    "ImageEncoder",
    "Kind",
    "Planner",
    "Problems",
    "SuccessRate",
    "UserError",
    "__version__",
    "arrays_digest",
    "atomic_folder",
    "backbone",
    "check_memory",
    "check_regular",
    "check_within",
    "did_you_mean",
    "file_digest",
    "find_run",
    "first_line",
    "hookimpl",
    "key_of",
    "load_aligner",
    "load_planner",
    "load_policy",
    "open_demonstrations",
    "open_run",
    "parse_json",
    "progress_bar",
    "push_folder",
    "read_regular",
    "read_spec",
    "runs",
    "say",
    "workers_of",
    "write_mp4",
]
