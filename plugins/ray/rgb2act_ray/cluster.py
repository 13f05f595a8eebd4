"""Run jobs as Ray tasks, and call a check on every node.

A node that vanishes loses its tasks, which Ray starts again on other nodes. The jobs continue where
they were, as their results are in the shared store.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import attrs
import ray
from ray.exceptions import AuthenticationError, GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rgb2act_core import UserError, first_line
from rgb2act_core.interfaces import EngineOptions, GroupMember, LostJobError

from .group import run_group

T = TypeVar("T")
RETRIES = 5  # of a task that was lost
CONNECT_SECONDS = 10.0
PROBE_SECONDS = 120.0  # that a node has to start a worker and answer


@contextlib.contextmanager
def connect(options: EngineOptions) -> Iterator[RayCluster]:
    """Yield the cluster at an address; the default is ``RAY_ADDRESS``, or a cluster of this host.

    Raises UserError if there is none.
    """
    address = options.address or os.environ.get("RAY_ADDRESS", "auto")
    connected = ray.is_initialized()
    if not connected:
        _initialize(address)
    try:
        yield RayCluster.of(options)
    finally:
        if not connected:
            ray.shutdown()


def _initialize(address: str) -> None:
    try:
        _check_address(address)
        ray.init(address=address, logging_level="ERROR")
    except AuthenticationError as err:
        raise UserError(
            f"compute.engine_address: the Ray cluster at {address!r} asks for its token; set"
            " RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or ~/.ray/auth_token as on its first node"
        ) from err
    except (OSError, OverflowError, ValueError, RuntimeError, RayError) as err:
        reason = getattr(err, "strerror", None) or first_line(err)
        raise UserError(
            f"compute.engine_address: cannot connect to Ray at {address!r} ({reason}); start Ray on"
            " the nodes with ray start, or set the address"
        ) from err


def _check_address(address: str) -> None:
    """Raise OSError unless a server listens at a host and port: Ray itself retries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


@attrs.frozen(kw_only=True)
class RayCluster:
    """The nodes of a Ray cluster, and how many jobs run on them."""

    workers: int
    gpu: bool  # whether a job has a GPU
    nodes: Sequence[Mapping[str, float]]  # resources of those that can run jobs

    @classmethod
    def of(cls, options: EngineOptions) -> RayCluster:
        """Return the cluster to which this process is connected.

        By default, there is one task for each GPU or, without GPUs, for each node.
        """
        nodes = [node["Resources"] for node in _nodes().values()]
        gpus = _total(nodes, "GPU") if options.gpu else 0
        nodes = [node for node in nodes if node.get("GPU" if gpus else "CPU", 0) >= 1]
        if not nodes:
            raise UserError("compute.engine: no node of the Ray cluster has a CPU; add nodes")
        return cls(workers=options.workers or gpus or len(nodes), gpu=gpus > 0, nodes=nodes)

    def resources(self, count: int) -> dict[str, float]:
        """Return what each of ``count`` processes has: a GPU, and its part of a node's CPUs."""
        if self.gpu:
            cpus = min(int(node.get("CPU", 1)) // int(node["GPU"]) for node in self.nodes)
            return {"CPU": max(cpus, 1), "GPU": 1}
        on_node = math.ceil(count / len(self.nodes))
        smallest = min(int(node["CPU"]) for node in self.nodes)
        return {"CPU": max(smallest // on_node, 1)}

    def probe(self, check: Callable[[], Sequence[str]]) -> Mapping[str, Sequence[str]]:
        """Call ``check`` once on each node; return the problems that it found."""
        nodes = _nodes()
        calls = {identity: _call_on(identity, check) for identity in nodes}
        answers = {identity: _answer(call) for identity, call in calls.items()}
        alive = _nodes()  # for up to half a minute, Ray also lists nodes that have vanished
        return {
            f"{nodes[identity]['NodeManagerHostname']} ({identity[:8]})": problems
            for identity, problems in answers.items()
            if identity in alive
        }

    def run(self, jobs: Sequence[Callable[[], T]]) -> Iterator[T]:
        """Run jobs as tasks and yield their results. Raises the first exception of one."""
        resources = self.resources(self.workers)
        task = ray.remote(
            num_cpus=resources["CPU"],
            num_gpus=resources.get("GPU", 0),
            max_retries=RETRIES,
            retry_exceptions=[LostJobError],
            max_calls=1,  # a process for each job
        )(_call)
        running = [task.remote(job) for job in jobs]
        try:
            while running:
                done, running = ray.wait(running)
                yield from ray.get(done)
        except RayTaskError as err:
            raise err.cause from err
        except RayError as err:
            raise UserError(f"ray: {first_line(err)}; check the nodes and run again") from err
        finally:
            for reference in running:
                ray.cancel(reference, force=True)

    def run_group(self, size: int, job: Callable[[GroupMember], None]) -> None:
        """Run a job in ``size`` actors. Raises UserError if the cluster has no room for them."""
        kind = "GPU" if self.gpu else "CPU"
        if size > (room := _total(self.nodes, kind)):
            raise UserError(
                f"compute.devices: {size} processes need a {kind} each, and the Ray cluster has"
                f" {room}; lower it, or add nodes"
            )
        run_group(size, self.resources(size), job)


def _total(nodes: Sequence[Mapping[str, float]], kind: str) -> int:
    return sum(int(node.get(kind, 0)) for node in nodes)


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
        return (first_line(err),)
