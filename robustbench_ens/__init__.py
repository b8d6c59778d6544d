"""An adversarial-robustness benchmark for ensembles of image classifiers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from robustbench_ens.errors import UnhealthyAttackWarning
from robustbench_ens.version import __version__

if TYPE_CHECKING:
    from robustbench_ens.api import evaluate, load_ensemble

__all__ = ["UnhealthyAttackWarning", "__version__", "evaluate", "load_ensemble"]


def __getattr__(name: str) -> Any:
    """Import the functions of :mod:`robustbench_ens.api` when they are asked for: they need PyTorch."""
    if name not in ("evaluate", "load_ensemble"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # First, so that a system that is not supported gets its one line, whatever else does not load there.
    from robustbench_ens.core import system  # noqa: F401

    return getattr(import_module("robustbench_ens.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
