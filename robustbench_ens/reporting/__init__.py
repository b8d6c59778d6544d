"""Reports from outcome files alone: tables, figures, the page. Imports neither torch nor models."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustbench_ens.reporting.page import render_report
    from robustbench_ens.reporting.tables.summaries import summaries
    from robustbench_ens.reporting.tables.summary import summary

__all__ = ["render_report", "summaries", "summary"]

_PLACES = {"render_report": "page", "summaries": "tables.summaries", "summary": "tables.summary"}


def __getattr__(name: str) -> Any:
    """Import a function when it is asked for: statistics and matplotlib take seconds, and matplotlib caches fonts."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
