"""What is made once for all processes of a test run, however many there are."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return the folder ``name`` of this run, filled by ``make`` in the process that asks first.

    The others wait for it. If ``make`` fails, the next process tries again.
    """
    base = tmp_path_factory.getbasetemp()
    # Under pytest-xdist each worker has a folder of its own inside that of the run.
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = root / name
    with open(root / f"{name}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        finished = root / f"{name}.finished"
        if not finished.exists():
            make(folder)
            finished.touch()
    return folder


def needs_advertorch() -> None:
    """Skip a test, or a module, if the extra is missing; `importorskip` fails on advertorch as its authors left it."""
    if find_spec("advertorch") is None:
        pytest.skip("advertorch is not installed", allow_module_level=True)
