"""Reports from outcome files alone: tables, figures, the page. Imports neither torch nor models."""

from robustbench_ens.reporting.page import render_report
from robustbench_ens.reporting.tables.summaries import summaries
from robustbench_ens.reporting.tables.summary import summary

__all__ = ["render_report", "summaries", "summary"]
