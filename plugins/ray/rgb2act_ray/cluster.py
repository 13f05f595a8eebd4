"""Run jobs as Ray tasks, and call a check on every node.

A node that vanishes loses its tasks, which Ray starts again on other nodes. The jobs continue where
they were, as their results are in the shared store.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rgb2act_core import UserError
from rgb2act_core.interfaces import EngineOptions, LostJobError

RETRIES = 5  # of a task that was lost
PROBE_SECONDS = 120.0  # that a node has to start a worker and answer


@contextlib.contextmanager
def connect(options: EngineOptions) -> Iterator[RayCluster]:
    """Yield the cluster at an address; the default is ``RAY_ADDRESS``, or a cluster of this host.

    Raises UserError if there is none.
    """
    address = options.address or os.environ.get("RAY_ADDRESS", "auto")
    connected = ray.is_initialized()
    try:
        if not connected:
            ray.init(address=address, logging_level="ERROR")
        yield RayCluster.of(options)
    except (ConnectionError, ValueError) as err:
        reason = (str(err).splitlines() or [type(err).__name__])[0].rstrip(".")
        raise UserError(
            f"compute.engine_address: cannot connect to Ray at {address!r} ({reason}); start Ray on"
            " the nodes with ray start, or set the address"
        ) from err
    finally:
        if not connected:
            ray.shutdown()


@attrs.frozen(kw_only=True)
class RayCluster:
    """The nodes of a Ray cluster, and what a task needs of one."""

    workers: int
    cpus: int  # of a task
    gpus: int  # of a task

    @classmethod
    def of(cls, options: EngineOptions) -> RayCluster:
        """Return the cluster to which this process is connected.

        By default, there is one task for each GPU or, without GPUs, for each node.
        """
        nodes = [node["Resources"] for node in _nodes().values()]
        gpus = sum(int(node.get("GPU", 0)) for node in nodes) if options.gpu else 0
        nodes = [node for node in nodes if node.get("GPU" if gpus else "CPU", 0) >= 1]
        if not nodes:
            raise UserError("compute.engine: no node of the Ray cluster has a CPU; add nodes")
        workers = options.workers or gpus or len(nodes)
        on_node = math.ceil(workers / len(nodes))
        smallest = min(int(node.get("CPU", 1)) for node in nodes)
        return cls(workers=workers, cpus=max(smallest // on_node, 1), gpus=min(gpus, 1))

    def probe(self, check: Callable[[], Sequence[str]]) -> Mapping[str, Sequence[str]]:
        """Call ``check`` once on each node; return the problems that it found."""
        calls = {
            f"{node['NodeManagerHostname']} ({identity[:8]})": _call_on(identity, check)
            for identity, node in _nodes().items()
        }
        return {name: _answer(call) for name, call in calls.items()}

    def run(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Run jobs as tasks. Raises the exception of the first one that fails."""
        task = ray.remote(
            num_cpus=self.cpus,
            num_gpus=self.gpus,
            max_retries=RETRIES,
            retry_exceptions=[LostJobError],
            max_calls=1,  # a process for each job
        )(_call)
        running = [task.remote(job) for job in jobs]
        try:
            while running:
                done, running = ray.wait(running)
                ray.get(done)
        except RayTaskError as err:
            raise err.cause from err
        except RayError as err:
            raise UserError(
                f"ray: {str(err).splitlines()[0]}; check the nodes and run again"
            ) from err
        finally:
            for reference in running:
                ray.cancel(reference, force=True)


def _nodes() -> dict[str, dict[str, Any]]:
    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}


def _call(job: Callable[[], Any]) -> Any:
    return job()


def _call_on(node: str, check: Callable[[], Sequence[str]]) -> Any:
    strategy = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=strategy)(_call).remote(check)


def _answer(call: Any) -> Sequence[str]:
    try:
        problems: Sequence[str] = ray.get(call, timeout=PROBE_SECONDS)
        return problems
    except GetTimeoutError:
        return (f"did not answer within {PROBE_SECONDS:.0f} s",)
    except RayTaskError as err:  # such as a module that is not installed there
        return (f"{type(err.cause).__name__}: {err.cause}",)
    except RayError as err:
        return (str(err).splitlines()[0],)
