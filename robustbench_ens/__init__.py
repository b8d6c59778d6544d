"""An adversarial-robustness benchmark for ensembles of image classifiers."""

from __future__ import annotations

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
    from robustbench_ens import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
