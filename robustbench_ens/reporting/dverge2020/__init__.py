"""The DVERGE paper (arXiv:2009.14720) beside our outcomes, entered through :func:`sections` and :func:`tables`."""

from robustbench_ens.reporting.dverge2020.section import sections, tables

__all__ = ["sections", "tables"]
