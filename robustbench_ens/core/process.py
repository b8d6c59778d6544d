"""Settings of the process that PyTorch lets a caller change, and that nothing computed here may depend on.

Draws and arrays name their type and device where they are made. What cannot be named there is set here and put back.
The thread count is set by :func:`~robustbench_ens.core.parallel.share_cores`. Deterministic algorithms and PyTorch's
seeds stay as the caller has them, for an external model may depend on them and nothing else does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch


class _Shared:
    """A setting of the whole process that several threads may want changed at the same time.

    The first that enters changes it, the last that leaves puts it back.
    """

    def __init__(self, get: Callable[[], Any], put: Callable[[Any], None], ours: Any) -> None:
        self._get, self._put, self._ours = get, put, ours
        self._lock = threading.Lock()
        self._inside, self._before = 0, ours

    @contextmanager
    def changed(self) -> Iterator[None]:
        with self._lock:
            if self._inside == 0:
                self._before = self._get()
                self._put(self._ours)
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self._put(self._before)


def _matmul_precisions() -> list[str]:
    return [backend.matmul.fp32_precision for backend in _BACKENDS]


def _set_matmul_precisions(precisions: list[str]) -> None:
    for backend, precision in zip(_BACKENDS, precisions, strict=True):
        backend.matmul.fp32_precision = precision


_BACKENDS: list[Any] = [
    backend
    for backend in (torch.backends.cuda, torch.backends.mkldnn)
    if hasattr(getattr(backend, "matmul", None), "fp32_precision")
]
_PRECISION = (
    _Shared(_matmul_precisions, _set_matmul_precisions, ["ieee"] * len(_BACKENDS))
    if _BACKENDS
    else _Shared(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest")
)
_DTYPE = _Shared(torch.get_default_dtype, torch.set_default_dtype, torch.float32)


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute in fp32 with gradients in here, whatever autocast, no_grad or inference mode the caller is in."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(_PRECISION.changed())
        yield


@contextmanager
def usual_defaults() -> Iterator[None]:
    """Build and train in here as if no default type and no default device had been set, in :func:`full_precision`.

    Not for a model that was built outside: its forward pass may count on the defaults that it was built under.
    """
    with full_precision(), _DTYPE.changed(), torch.device("cpu"):
        yield
