"""`rbe` in processes of its own, forked from one that has imported torch already: importing took most of their time."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from types import TracebackType

PRELOADED = [
    "robustbench_ens.cli.app",
    "robustbench_ens.workflow.execute",
    "robustbench_ens.training.trainer",
    "robustbench_ens.evaluation.runner",
    "sklearn.datasets",
    "torch._dynamo",  # which torch imports when the first optimiser is made
]
PATIENCE_S = 240.0

_number = count()


class Command:
    """A command that was begun in a process of its own, with what it printed so far.

    Attributes:
        process: what runs it.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        """Begin it in the working directory ``folder``."""
        self._printed = folder.parent / f"{folder.name}-{next(_number)}.out"
        self._printed.touch()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self.process = context.Process(target=_call, args=(folder, arguments, self._printed, dict(os.environ)))
        self.process.start()

    def __enter__(self) -> Command:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, if it has not ended."""
        self.kill()

    @property
    def printed(self) -> str:
        """What it printed so far, errors included."""
        return self._printed.read_text(encoding="utf-8")

    def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        self.process.kill()
        self.process.join()

    def ended(self) -> str:
        """Wait for its end, which is to be a success, and return what it printed."""
        self.process.join(PATIENCE_S)
        assert self.process.exitcode == 0, self.printed
        return self.printed

    def until_printed(self, text: str) -> None:
        """Wait until it has printed ``text``."""
        until = time.monotonic() + PATIENCE_S
        while text not in self.printed:
            assert self.process.is_alive() and time.monotonic() < until, f"expected {text!r}, got {self.printed}"
            time.sleep(0.02)


def _call(folder: Path, arguments: tuple[str, ...], printed: Path, environment: Mapping[str, str]) -> None:
    """Call ``rbe`` in this process, as a command line would."""
    from robustbench_ens.cli import app

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    with open(printed, "a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115  # for the whole process
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
    app.main([*arguments, "--threads", "1"])
