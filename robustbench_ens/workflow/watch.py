"""Track the pieces of a plan in one place, whichever workers run them. No torch, no Ray.

A worker reports through a :class:`~robustbench_ens.workflow.status.Reporter`::

    reporter = Reporter(worker_name(), piece.title, post)
    reporter.begin()
    piece.run(replace(place, progress=reporter))

The driver keeps a :class:`Watch`, from any thread. The command line shows it (:mod:`robustbench_ens.cli.workers`)::

    watch = Watch([(piece.title, piece.seconds) for piece in pieces])
    watch.began(title, worker)  # optional: the first status of a worker does the same
    watch.receive(status_or_message)
    watch.ended(title)  # or failed(Failure(...)), retried(title, why), not_tried(title)
    watch.raise_if_failed()  # FailedPiecesError: exit code 1
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from robustbench_ens.errors import FailedPiecesError, Failure
from robustbench_ens.workflow.status import Clock, Message, Status

SILENT_S = 60.0
"""Seconds without a status after which a worker is shown as silent."""

SETTLED_S = 5.0
SETTLED_PIECES = 3
SETTLED_SHARE = 0.05
"""Rate and time left are shown after this many seconds, and after this many pieces or this share of the work."""

SHORTEST_S = 0.01
"""The shortest expected time of a piece. It keeps the weight of a plan above 0."""


@dataclass(frozen=True)
class Doing:
    """The present state of a worker.

    Attributes:
        status: the last status received.
        seconds: time since it began the piece.
        silent_s: time since the last status, if that is long, else None.
    """

    status: Status
    seconds: float
    silent_s: float | None


@dataclass(frozen=True)
class Snapshot:
    """The progress of all workers.

    Attributes:
        done: number of pieces that are done.
        total: number of all pieces.
        not_tried: number of pieces that need a failed one.
        retries: number of times that a piece began again.
        seconds: time since the first piece began.
        per_minute: pieces per minute; None at the beginning.
        left_s: expected seconds until all are done; None at the beginning.
        workers: the busy workers: silent ones first, then by name.
        failures: the failures of pieces, in order.
    """

    done: int
    total: int
    not_tried: int
    retries: int
    seconds: float
    per_minute: float | None
    left_s: float | None
    workers: tuple[Doing, ...]
    failures: tuple[Failure, ...]


class _AtWork:
    """A worker and its piece, as recorded by the driver."""

    def __init__(self, status: Status, now: float) -> None:
        self.status = status
        self.began = self.heard = now
        self._before: int | None = None

    def hear(self, status: Status, now: float) -> None:
        """Record the next status."""
        if self._before is None and status.total:
            self._before = status.done
        self.status = status
        self.heard = now

    @property
    def share_done(self) -> float:
        """The share of the piece that this worker has done, without that of an interrupted earlier run."""
        return self._share(self.status.done - (self._before or 0))

    @property
    def share_left(self) -> float:
        """The share of the piece that is left."""
        return 1.0 - self._share(self.status.done)

    def _share(self, units: int) -> float:
        return min(1.0, max(0.0, units / self.status.total)) if self.status.total > 0 else 0.0

    def left_s(self, seconds: float, now: float) -> float:
        """Return the seconds left for the piece: by the worker's rate, or else as if it took ``seconds`` in all."""
        status = self.status
        if status.total and status.rate:
            return max(0.0, (status.total - status.done) / status.rate)
        return max(0.0, seconds - (now - self.began))


class Watch:
    """The state of all pieces and workers. Every method may be called from any thread.

    Args:
        pieces: title and expected seconds of each. None stands for the mean of the known times.
        clock: a monotonic clock in seconds. Clocks of different nodes are never compared.
    """

    def __init__(self, pieces: Iterable[tuple[str, float | None]], clock: Clock = time.monotonic) -> None:
        expected = list(pieces)
        known = [seconds for _, seconds in expected if seconds is not None]
        usual = sum(known) / len(known) if known else 1.0
        self._weights = {title: max(SHORTEST_S, usual if s is None else s) for title, s in expected}
        self._due = Counter(title for title, _ in expected)
        self._total = len(expected)
        self._clock = clock
        self._lock = threading.RLock()
        self._began: float | None = None
        self._at_work: dict[str, _AtWork] = {}
        self._done = 0
        self._done_weight = 0.0
        self._took_s = 0.0
        self._took_weight = 0.0
        self._not_tried = 0
        self._retries = 0
        self._failures: list[Failure] = []
        self._lines: list[str] = []
        self._printed: set[str] = set()

    def began(self, piece: str, worker: str) -> None:
        """Record that a worker has begun a piece."""
        self.receive(Status(worker, piece))

    def receive(self, news: Status | Message) -> None:
        """Record what a worker posted. Statuses of pieces that are not due came late and are dropped."""
        with self._lock:
            if isinstance(news, Message):
                self._add_once(news)
            elif self._due[news.piece]:
                now = self._clock()
                self._began = now if self._began is None else self._began
                one = self._at_work.pop(news.worker, None)
                if one is None or one.status.piece != news.piece:
                    one = _AtWork(news, now)
                one.hear(news, now)
                self._at_work[news.worker] = one
                self._leave(news.piece, self._due[news.piece])

    def ended(self, piece: str) -> None:
        """Record that a piece is done. It counts once even if two workers computed it."""
        with self._lock:
            if not self._due[piece]:
                return
            for one in self._settle(piece):
                self._took_s += self._clock() - one.began
                self._took_weight += self._weights[piece]
            self._done += 1
            self._done_weight += self._weights[piece]

    def failed(self, failure: Failure) -> None:
        """Record that a piece failed and is not tried again."""
        with self._lock:
            self._settle(failure.piece)
            self._failures.append(failure)
            self._lines.append(f"failed: {failure}")

    def retried(self, piece: str, why: str) -> None:
        """Record that a piece begins again, for example because its worker died."""
        with self._lock:
            self._leave(piece, self._due[piece] - 1)
            self._retries += 1
            self._lines.append(f"tries again: {piece}: {why}")

    def not_tried(self, piece: str) -> None:
        """Record that a piece is given up because it needs one that failed."""
        with self._lock:
            self._settle(piece)
            self._not_tried += 1

    def raise_if_failed(self) -> None:
        """Check that no piece failed.

        Raises:
            FailedPiecesError: pieces failed; the error has all of them.
        """
        with self._lock:
            if self._failures:
                raise FailedPiecesError(self._failures, self._not_tried)

    def take_lines(self) -> list[str]:
        """Return the lines to print since the last call: failures, retries and messages, each message once."""
        with self._lock:
            lines = self._lines
            self._lines = []
            return lines

    def snapshot(self) -> Snapshot:
        """Return the progress of all workers."""
        with self._lock:
            now = self._clock()
            seconds = 0.0 if self._began is None else now - self._began
            done, left = self._weigh()
            enough = self._done >= SETTLED_PIECES or done >= SETTLED_SHARE * (done + left)
            settled = seconds >= SETTLED_S and enough
            per_minute = 60 * self._done / seconds if settled and self._done else None
            # Work left at the present speed; near the end a single long piece takes longer than that.
            left_s = max(seconds * left / done, self._longest(now)) if settled and done > 0 else None
            doing = [self._doing(one, now) for one in self._at_work.values()]
            doing.sort(key=lambda one: (-(one.silent_s or 0.0), one.status.worker))
            return Snapshot(
                done=self._done,
                total=self._total,
                not_tried=self._not_tried,
                retries=self._retries,
                seconds=seconds,
                per_minute=per_minute,
                left_s=left_s,
                workers=tuple(doing),
                failures=tuple(self._failures),
            )

    def _weigh(self) -> tuple[float, float]:
        """Return the expected seconds of the work that is done, and of the work that is left."""
        done = self._done_weight
        left = sum(self._weights[title] * number for title, number in self._due.items())
        for one in self._at_work.values():
            weight = self._weights[one.status.piece]
            done += weight * one.share_done
            left -= weight * (1.0 - one.share_left)
        return done, max(0.0, left)

    def _longest(self, now: float) -> float:
        """Return the seconds that the longest single piece still takes, which more workers do not shorten."""
        pace = self._took_s / self._took_weight if self._took_weight else 1.0
        running = Counter(one.status.piece for one in self._at_work.values())
        waiting = [self._weights[piece] for piece, number in self._due.items() if number > running[piece]]
        rests = [one.left_s(pace * self._weights[one.status.piece], now) for one in self._at_work.values()]
        return max([pace * weight for weight in waiting] + rests, default=0.0)

    def _doing(self, one: _AtWork, now: float) -> Doing:
        silent_s = now - one.heard
        return Doing(one.status, now - one.began, silent_s if silent_s >= SILENT_S else None)

    def _settle(self, piece: str) -> list[_AtWork]:
        """Count a piece as no longer due, and return the workers that ran it."""
        self._due[piece] = max(0, self._due[piece] - 1)
        return self._leave(piece, self._due[piece])

    def _leave(self, piece: str, most: int) -> list[_AtWork]:
        """Keep at most ``most`` workers of a piece, those with the latest statuses, and return the others.

        Two pieces may have one title. A status of a dead worker may arrive after another worker has taken its piece.
        """
        at_it = [worker for worker, one in self._at_work.items() if one.status.piece == piece]
        return [self._at_work.pop(worker) for worker in at_it[: max(0, len(at_it) - most)]]

    def _add_once(self, message: Message) -> None:
        """Keep a message, unless another worker printed the same."""
        if message.text not in self._printed:
            self._printed.add(message.text)
            self._lines.append(f"{message.worker}: {message.text}")
