"""Checks of free memory before something large is read, and of errors for memory that ran out."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from robustbench_ens.errors import UserError

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """Return the bytes that this process can still take without swapping, as the system reports them.

    A container's lower limit counts. If the system does not report its free memory, all memory is taken as free.
    """
    try:
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        free = _all_memory()
    try:
        limit = int((CGROUP / "memory.max").read_text())
        used = int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no container, or one without a limit, whose file reads "max"
        return free
    return max(min(free, limit - used), 0)


def _all_memory() -> int:
    """Return the bytes of the machine's memory, or ``sys.maxsize`` if the system does not report them."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return sys.maxsize


def check_fits(needed: int, where: str, what: str, hint: str) -> None:
    """Check that ``needed`` bytes fit into memory.

    Raises:
        UserError: fewer bytes are available. The error states both numbers.
    """
    available = available_bytes()
    if needed > available:
        raise UserError(
            f"{where}: expected {what} that fit in memory, {_gib(available)} available, got {_gib(needed)}; {hint}"
        )


_EXHAUSTED = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out, on the device or on the host."""
    # PyTorch's error is recognised by its name, so that this module does not import PyTorch.
    by_name = type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError)
    return by_name or (isinstance(error, RuntimeError) and any(text in str(error) for text in _EXHAUSTED))


def _gib(count: int) -> str:
    return f"{count:,} bytes ({count / 2**30:,.1f} GiB)"
