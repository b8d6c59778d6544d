"""Pieces that do what tests ask for, in a worker process."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from robustbench_ens.errors import UserError


@dataclass(frozen=True)
class Told:
    """A piece that writes what its process has into ``<name>`` of the run directory, after what it is told to do."""

    name: str
    do: str = "nothing"
    needs: frozenset = frozenset()
    makes: frozenset = frozenset()
    seconds: float | None = None

    @property
    def title(self):
        return f"piece {self.name}"

    def is_done(self, place):
        return False

    def run(self, place):
        path = Path(place.store.root) / self.name
        tried = path.with_suffix(".tried")
        again = tried.exists()
        tried.touch()
        if self.do == "fail":
            raise UserError(f"{self.name}: expected a piece that works, got this one")
        if self.do == "break":
            raise ZeroDivisionError("a fault of its own")
        if self.do == "die" and not again:
            time.sleep(0.5)  # what it has posted is on its way
            os.kill(os.getpid(), signal.SIGKILL)
        if self.do == "die always":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.do == "wait":
            time.sleep(0.5)
        if self.do == "wait long":
            time.sleep(60)
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
        path.write_text(f"{torch.get_num_threads()} {place.threads} {place.device} {gpus} {os.getpid()}")
