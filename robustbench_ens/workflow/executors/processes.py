"""An executor that runs pieces in processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from multiprocessing.managers import SyncManager
from types import TracebackType
from typing import Any, ClassVar, Self

from robustbench_ens.errors import Failure
from robustbench_ens.workflow.executors.base import Executor
from robustbench_ens.workflow.executors.worker import Ended, Order, carry_out, ordered, write_log
from robustbench_ens.workflow.lanes import PieceFailedError
from robustbench_ens.workflow.pieces import Piece
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.status import worker_name

MOST_ATTEMPTS = 5
"""The most attempts at a piece whose process is killed, by the system or a user."""

_END = None
"""The message that ends the listening thread."""


class Processes(Executor):
    """A runner of pieces in processes that share nothing but the run directory."""

    spreads: ClassVar[bool] = True

    def __init__(self, place: Workplace, most: int) -> None:
        super().__init__(place, most)
        # Workers fork from a process that has imported all they need, so that a dead one is replaced at once.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([carry_out.__module__])
        self._manager = SyncManager(ctx=self._context)
        self._manager.start(_end_with_the_driver)
        self._news: Any = self._manager.Queue()
        # A pool ends as a whole when one of its processes dies. With one process each, no other piece is lost.
        self._idle: queue.SimpleQueue[ProcessPoolExecutor] = queue.SimpleQueue()
        self._pools: list[ProcessPoolExecutor] = []
        for _ in range(most):
            self._idle.put(self._new_pool())
        self._listener = threading.Thread(target=self._listen, name="news of the workers", daemon=True)
        threads = place.threads or max(1, usable_cores() // most)
        self._sent = replace(place, threads=threads)

    def __enter__(self) -> Self:
        self._listener.start()
        return self

    def _new_pool(self) -> ProcessPoolExecutor:
        pool = ProcessPoolExecutor(1, self._context, _begin, (self._news,))
        self._pools.append(pool)
        return pool

    def submit(self, step: Piece, alone: bool) -> Future[None]:
        """Send the piece to an idle process."""
        future: Future[None] = Future()
        self._send(ordered(step, self._sent), future, 1)
        return future

    def _send(self, order: Order, future: Future[None], attempt: int) -> None:
        pool = self._idle.get()
        try:
            sent = pool.submit(_run, order)
        except BrokenProcessPool:  # its process died while it was idle
            pool = self._new_pool()
            sent = pool.submit(_run, order)
        sent.add_done_callback(lambda ended: self._pass_on(order, pool, ended, future, attempt))

    def _pass_on(
        self, order: Order, pool: ProcessPoolExecutor, ended: Future[Ended], future: Future[None], attempt: int
    ) -> None:
        if ended.cancelled():
            future.cancel()
            return
        error = ended.exception()
        killed = isinstance(error, BrokenProcessPool)
        self._idle.put(self._new_pool() if killed else pool)
        if killed and attempt < MOST_ATTEMPTS and not self._stop.is_set():
            self.watch.retried(order.title, "its process was killed")
            self._send(order, future, attempt + 1)
            return
        try:
            if killed:
                raise PieceFailedError(self._killed(order, attempt))
            ended.result().check()
        except Exception as failed:
            future.set_exception(failed)
        else:
            future.set_result(None)

    def _killed(self, order: Order, attempts: int) -> Failure:
        node = worker_name().partition(":")[0]
        message = f"its process was killed {attempts} times"
        return Failure(node, order.title, write_log(self.place.store, order.title, node, message), message)

    def _listen(self) -> None:
        while True:
            try:
                news = self._news.get()
            except (EOFError, OSError, queue.Empty):  # the manager has ended
                return
            if news is _END:
                return
            self.watch.receive(news)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the processes. After an error, terminate them. Their pieces resume later where they were."""
        if error is not None:
            self.stop()
            for pool in self._pools:
                for process in list((pool._processes or {}).values()):
                    process.terminate()
        for pool in self._pools:
            pool.shutdown(cancel_futures=True)
        with suppress(OSError, EOFError):
            self._news.put(_END)
        self._listener.join()
        self._manager.shutdown()


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Sender:
    """The queue on which this process sends news to the driver."""

    news: Any = None


def _begin(news: Any) -> None:
    """Prepare a process. Ctrl-C is left to the driver, which ends all of its processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_the_driver()
    _Sender.news = news


def _end_with_the_driver() -> None:
    """Make this process end with the driver, even if that is killed. It would otherwise wait for work for ever."""
    driver = multiprocessing.parent_process()
    if driver is None:
        return

    def wait() -> None:
        driver.join()
        os._exit(1)

    threading.Thread(target=wait, name="end with the driver", daemon=True).start()


def _run(order: Order) -> Ended:
    def post(news: object) -> None:
        with suppress(OSError, EOFError):  # the driver has ended
            _Sender.news.put(news)

    return carry_out(order, post)
