"""Reports made from outcome files alone: tables, figures and pages. It imports neither torch nor models."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustbench_ens.reporting.page import render_report
    from robustbench_ens.reporting.tables.summaries import summaries
    from robustbench_ens.reporting.tables.summary import summary

__all__ = ["render_report", "summaries", "summary"]


def __getattr__(name: str) -> Any:
    """Import a function on first use: its libraries for statistics and figures take about a second to import."""
    if name == "render_report":
        from robustbench_ens.reporting.page import render_report

        return render_report
    if name == "summaries":
        from robustbench_ens.reporting.tables.summaries import summaries

        return summaries
    if name == "summary":
        from robustbench_ens.reporting.tables.summary import summary

        return summary
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
