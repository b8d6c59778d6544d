"""Global settings of PyTorch that a caller may change, and on which no result may depend.

Draws and arrays state their type and device explicitly. Settings that cannot be stated so are set here and restored.
:func:`~robustbench_ens.core.parallel.share_cores` sets the thread count. Deterministic algorithms and PyTorch's seeds
stay as the caller set them: an external model may depend on them, and nothing else does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch


class _Shared:
    """A setting of the whole process that several threads may change at the same time.

    The first thread that enters changes it, and the last that leaves restores it.
    """

    def __init__(self, get: Callable[[], Any], put: Callable[[Any], None], ours: Any) -> None:
        self._get = get
        self._put = put
        self._ours = ours
        self._lock = threading.Lock()
        self._inside = 0
        self._before = ours

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
    """Compute in fp32 with gradients inside this context, even under autocast, no_grad or inference mode."""
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
    """Reset PyTorch's default type and device inside this context, which includes :func:`full_precision`.

    It serves building and training. A model that was built elsewhere may depend on the defaults it was built under.
    """
    with full_precision(), _DTYPE.changed(), torch.device("cpu"):
        yield
