"""Reports from outcome files alone: tables, figures, the page. Imports neither torch nor models."""

from typing import TYPE_CHECKING, Any

from robustbench_ens.reporting.tables.summaries import summaries
from robustbench_ens.reporting.tables.summary import summary

if TYPE_CHECKING:
    from robustbench_ens.reporting.page import render_report

__all__ = ["render_report", "summaries", "summary"]


def __getattr__(name: str) -> Any:
    """Import the page when it is asked for: its figures need matplotlib, which takes a second and caches fonts."""
    if name != "render_report":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from robustbench_ens.reporting.page import render_report

    return render_report
