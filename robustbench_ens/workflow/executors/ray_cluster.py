"""An executor that runs pieces as Ray tasks (https://docs.ray.io). Ray is imported only when it is used."""

from __future__ import annotations

import itertools
import logging
import os
import socket
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, ClassVar, Self

from robustbench_ens.errors import Failure, UserError
from robustbench_ens.workflow.executors.base import Executor
from robustbench_ens.workflow.executors.nodes import ANSWER_S as START_S
from robustbench_ens.workflow.executors.nodes import check_nodes
from robustbench_ens.workflow.executors.worker import Ended, Order, carry_out, ordered, write_log
from robustbench_ens.workflow.lanes import PieceFailedError
from robustbench_ens.workflow.pieces import Piece
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.status import worker_name

RETRIES = 10
"""Retries of a piece whose worker or node dies. A training of days may lose several; it resumes each time."""

LOOK_S = 2.0
"""Seconds between two checks of the size of the cluster."""

TAKE_S = 0.5
"""Seconds between two checks for posts of the workers."""

ANSWER_S = 10.0
"""Seconds for a cluster to answer at its address."""

STORE_BYTES = 100 * 2**20
"""Size of Ray's object store on a node that is started here. It is small: data pass through the run directory."""


class RayCluster(Executor):
    """A runner of pieces on the nodes of a Ray cluster, which it joins or else starts on this machine.

    Ray sends a piece again if its worker or node dies. All nodes must share the run directory.
    """

    spreads: ClassVar[bool] = True

    def __init__(self, place: Workplace, most: int) -> None:
        self._ray = _imported()
        self._threads = place.threads or 1
        self._most = 1
        self._looked = 0.0
        self._gpus = 0.0
        self._under_way: dict[Any, Order] = {}
        self._sent = itertools.count()
        self._begun: dict[int, str] = {}
        self._mail: Any = None
        self._task: Any = None
        self._listener = threading.Thread(target=self._take, name="news of the workers", daemon=True)
        super().__init__(place, most)

    @property
    def most(self) -> int:
        """The number of pieces at a time: the one asked for, or as many as the present nodes have room for."""
        if self.place.crew.workers is not None:
            return self.place.crew.workers
        if time.monotonic() - self._looked >= LOOK_S:
            self._looked = time.monotonic()
            self._most = max(1, self._room())
        return self._most

    @most.setter
    def most(self, value: int) -> None:
        """Ignore the value: the cluster decides."""

    def _room(self) -> int:
        """Return the number of pieces for which the nodes have cores and GPUs."""
        room = 0
        for node in self._ray.nodes():
            if node["Alive"]:
                has = node["Resources"]
                by_cpu = int(has.get("CPU", 0) // self._threads)
                room += min(by_cpu, int(has.get("GPU", 0) / self._gpus)) if self._gpus else by_cpu
        return room

    def __enter__(self) -> Self:
        self._connect()
        try:
            self._gpus = self._gpus_per_task()
            if not self._room():
                raise UserError(
                    f"--executor ray: expected a node with {self._threads} free cores"
                    f"{f' and {self._gpus:g} GPUs' if self._gpus else ''} for a worker, got none; change --threads or "
                    "--gpus-per-task, or start nodes that have them"
                )
            check_nodes(self._ray, self.place.store)
            self._begin()
        except BaseException:
            self._ray.shutdown()
            raise
        return self

    def _connect(self) -> None:
        crew = self.place.crew
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        address = crew.address or os.environ.get("RAY_ADDRESS")
        _check_answers(address)
        if address is None:
            options |= {"address": "local", "include_dashboard": False, "object_store_memory": STORE_BYTES}
            if crew.workers is not None:
                options["num_cpus"] = crew.workers * self._threads
        try:
            self._ray.init(address, **options) if address else self._ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(
                f"--ray-address: expected a Ray cluster that can be joined from here, got {address or 'none'!r}: "
                f"{' '.join(str(error).split())[:300]}"
            ) from None

    def _gpus_per_task(self) -> float:
        """Return the GPUs of each worker: those asked for, else 1 if the cluster has any and the device is not cpu."""
        crew = self.place.crew
        there = self._ray.cluster_resources().get("GPU", 0)
        if crew.gpus_per_task is not None and not there:
            raise UserError(
                "--gpus-per-task: expected a cluster with GPUs, got one without; leave the option out, or start nodes "
                "that have them"
            )
        if crew.device.startswith("cuda") and not there:
            raise UserError("--device: expected a cluster with GPUs for cuda, got one without; use --device cpu")
        if crew.gpus_per_task is not None:
            return crew.gpus_per_task
        return 1.0 if there and crew.device != "cpu" else 0.0

    def _begin(self) -> None:
        """Start the mailbox of the workers on this node, and the thread that reads it."""
        strategies = self._ray.util.scheduling_strategies
        here = self._ray.get_runtime_context().get_node_id()
        on_this_node = strategies.NodeAffinitySchedulingStrategy(here, soft=False)
        self._mail = self._ray.remote(num_cpus=0, scheduling_strategy=on_this_node)(_Mail).remote()
        self._ray.get(self._mail.take.remote(), timeout=START_S)  # the actor must exist before the first piece begins
        # By default GPU workers end after each task. Kept alive, they load datasets and ensembles once.
        options = {"num_cpus": self._threads, "max_retries": RETRIES, "max_calls": 0, "scheduling_strategy": "SPREAD"}
        if self._gpus:
            options["num_gpus"] = self._gpus
        self._task = self._ray.remote(**options)(_run)
        self._listener.start()

    def submit(self, step: Piece, alone: bool) -> Future[None]:
        """Send the piece to Ray."""
        store = replace(self.place.store, root=self.place.store.root.resolve())
        place = replace(self.place, store=store, threads=self._threads)
        order = ordered(step, place, self._gpus)
        future: Future[None] = Future()
        reference = self._task.options(name=order.title).remote(order, self._mail, next(self._sent))
        self._under_way[reference] = order
        reference.future().add_done_callback(lambda ended: self._pass_on(reference, ended, future))
        return future

    def _pass_on(self, reference: Any, ended: Future[Ended], future: Future[None]) -> None:
        order = self._under_way.pop(reference)
        try:
            ended.result().check()
        except Exception as error:
            if type(error).__module__.startswith("ray."):  # worker, node or memory was lost too often
                error = PieceFailedError(self._lost(order, error))
            if not future.cancelled():
                future.set_exception(error)
        else:
            future.set_result(None)

    def _lost(self, order: Order, error: Exception) -> Failure:
        node = "a node of the cluster"
        message = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return Failure(node, order.title, write_log(self.place.store, order.title, node, str(error)), message)

    def _take(self) -> None:
        """Pass on the posts of the workers until the cluster is left."""
        while not self._stop.wait(TAKE_S):
            self._look()

    def _look(self) -> None:
        with suppress(self._ray.exceptions.RayError):  # the next call gets what this one missed
            for news in self._ray.get(self._mail.take.remote(), timeout=ANSWER_S):
                if isinstance(news, _Begun):
                    self._count(news)
                else:
                    self.watch.receive(news)

    def _count(self, begun: _Begun) -> None:
        """Count a retry if the piece had begun before, because Ray does not report that it sends one again."""
        before = self._begun.get(begun.number)
        if before is not None:
            self.watch.retried(begun.title, f"{before} or its node was lost")
        self._begun[begun.number] = begun.worker

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the cluster. After an error, cancel running pieces, which resume later where they were."""
        self.stop()
        self._listener.join()  # before leaving: Ray kills a thread that still asks it
        if error is None:
            self._look()
        else:
            for reference in list(self._under_way):
                with suppress(Exception):
                    self._ray.cancel(reference, force=True)
        self._ray.shutdown()


def _check_answers(address: str | None) -> None:
    """Check that something listens at ``host:port``, because Ray itself would try for minutes.

    Raises:
        UserError: nothing listens there.
    """
    host, colon, port = (address or "").rpartition(":")
    if not colon or "/" in host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--ray-address: expected a Ray cluster that can be joined from here, got none at {address!r} ({error}); "
            "start one with `ray start --head`"
        ) from None


class _Mail:
    """A mailbox for posts of the workers, as a Ray actor."""

    def __init__(self) -> None:
        self._news: list[object] = []

    def post(self, news: object) -> None:
        """Keep one status or message."""
        self._news.append(news)

    def take(self) -> list[object]:
        """Return the posts since the last call."""
        taken = self._news
        self._news = []
        return taken


@dataclass(frozen=True)
class _Begun:
    """A post that a worker has taken a piece.

    Attributes:
        number: number of the piece among those sent; the same if Ray sends it again.
        title: title of the piece.
        worker: name of the worker.
    """

    number: int
    title: str
    worker: str


def _run(order: Order, mail: Any, number: int) -> Ended:
    mail.post.remote(_Begun(number, order.title, worker_name()))
    return carry_out(order, lambda news: mail.post.remote(news))


def _imported() -> Any:
    """Import Ray with its usage reports and warnings switched off.

    Raises:
        UserError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DISABLE_IMPORT_WARNING", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray._private.worker
        import ray.util.scheduling_strategies
    except ImportError:
        raise UserError(
            "--executor ray: expected the extra 'ray' to be installed; run `pip install 'robustbench_ens[ray]'`"
        ) from None
    # Ray prints the deaths of nodes and the logs of their daemons whatever the options of `ray.init`.
    vars(ray._private.worker)["print_to_stdstream"] = lambda *_, **__: None
    return ray
