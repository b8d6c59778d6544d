"""The worker's side of executors: run a piece that was sent, and return how it ended."""

from __future__ import annotations

import hashlib
import os
import pickle
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from robustbench_ens.core.devices import device_of
from robustbench_ens.core.locks import HeldError
from robustbench_ens.core.store import Store, write_text
from robustbench_ens.core.text import slug
from robustbench_ens.errors import Failure, UserError
from robustbench_ens.workflow.executors.base import run_step
from robustbench_ens.workflow.lanes import PieceFailedError
from robustbench_ens.workflow.pieces import Piece
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.status import Post, Reporter, worker_name

LOGS = "logs"
"""Folder of the run directory for logs of failed pieces."""


@dataclass(frozen=True)
class Order:
    """A piece on its way to a worker.

    Attributes:
        title: title of the piece.
        piece: the pickled piece. Bytes, so that unpickling imports code from outside after the change of folder.
        place: the pickled place. A worker gets the same bytes many times and keeps what it loaded for them.
        folder: the working directory, in which code from outside is found.
        gpus: GPUs of the worker, or a fraction of one; None if the device is that of the place.
    """

    title: str
    piece: bytes
    place: bytes
    folder: str
    gpus: float | None = None


@dataclass(frozen=True)
class Ended:
    """The result of a piece.

    Attributes:
        how: whether it is done, held by another process, or failed.
        holder: the process that holds it.
        what: the artefact that is held.
        failure: why it failed.
    """

    how: Literal["done", "held", "failed"]
    holder: str = ""
    what: str = ""
    failure: Failure | None = None

    def check(self) -> None:
        """Check that the piece is done.

        Raises:
            HeldError: another process holds it.
            PieceFailedError: it failed.
        """
        if self.failure is not None:
            raise PieceFailedError(self.failure)
        if self.how == "held":
            error = HeldError(f"{self.what} is in use by process {self.holder}")
            error.what = self.what
            error.holder = self.holder
            raise error


def ordered(piece: Piece, place: Workplace, gpus: float | None = None) -> Order:
    """Return the order for a piece.

    Raises:
        UserError: it cannot be sent to another process.
    """
    try:
        content = pickle.dumps(piece)
    except Exception as error:
        text = " ".join(str(error).split())
        raise UserError(
            f"--executor: expected a step that can be sent to another process, got {piece.title!r} ({text[:160]}); "
            "use --executor local without --workers"
        ) from None
    return Order(piece.title, content, pickle.dumps(place), os.getcwd(), gpus)


_PLACES: dict[bytes, Workplace] = {}
"""The place of this process, kept so that datasets and ensembles are loaded once."""


def carry_out(order: Order, post: Post) -> Ended:
    """Run a piece in this process.

    Args:
        order: the piece and its place.
        post: receives statuses and messages meanwhile.
    """
    worker = worker_name()
    reporter = Reporter(worker, order.title, post)
    reporter.begin()
    node = worker.partition(":")[0]
    place: Workplace | None = None
    try:
        os.chdir(order.folder)
        place = _place(order)
        piece: Piece = pickle.loads(order.piece)
        run_step(piece, replace(place, progress=reporter))
    except HeldError as held:
        return Ended("held", held.holder, held.what)
    except Exception as error:
        message = str(error) if isinstance(error, UserError | OSError) else f"{type(error).__name__}: {error}"
        log = "" if place is None else write_log(place.store, order.title, node, traceback.format_exc())
        return Ended("failed", failure=Failure(node, order.title, log, message))
    return Ended("done")


def write_log(store: Store, title: str, node: str, text: str) -> str:
    """Write the error of a piece to its log, and return the log's path, or an empty text if that fails."""
    name = f"{slug(title)}-{hashlib.sha256(title.encode()).hexdigest()[:8]}.log"
    path = Path(store.root) / LOGS / name
    moment = time.strftime("%Y-%m-%d %H:%M:%S %z")
    with suppress(OSError):
        write_text(path, f"{moment} on {node}: {title}\n{text.rstrip()}\n")
        return str(path)
    return ""


def _place(order: Order) -> Workplace:
    if order.place not in _PLACES:
        _PLACES.clear()
        place: Workplace = pickle.loads(order.place)
        if order.gpus is not None:
            place = replace(place, device=worker_device(place.crew.device, order.gpus))
            _share_gpu(place.device, order.gpus)
        _PLACES[order.place] = place
    return _PLACES[order.place]


def worker_device(asked: str, gpus: float) -> str:
    """Return the device of a worker. One without GPUs computes on the CPU, because Ray hides no GPU from it."""
    return device_of(asked) if gpus else "cpu"


def _share_gpu(device: str, gpus: float) -> None:
    """Limit this process to its fraction of a GPU's memory."""
    if device == "cpu" or not 0 < gpus < 1:
        return
    import torch

    cuda: Any = torch.cuda
    cuda.set_per_process_memory_fraction(gpus)
