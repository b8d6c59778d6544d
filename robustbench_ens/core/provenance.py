"""The provenance of results: software and hardware, as recorded in every file of results."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

from robustbench_ens.version import __version__

CPUINFO = Path("/proc/cpuinfo")
"""The file in which Linux names the processor. Elsewhere Python's own answer is recorded."""


@cache
def commit() -> str | None:
    """Return the commit of the checkout that this package runs from, or none outside a checkout.

    ``-dirty`` is appended if files differ from the commit.
    """
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def software() -> dict[str, str | None]:
    """Return the versions of software that can change a number."""
    return {
        "robustbench_ens": __version__,
        "commit": commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


@cache
def _processor() -> str:
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def hardware(device: torch.device) -> dict[str, Any]:
    """Return the type and name of the device that computes, and its number of CPU threads."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {"device": device.type, "name": name, "threads": torch.get_num_threads()}


def now() -> str:
    """Return the time in UTC, in ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
