"""The FASTEN paper (IEEE TIFS, 10329935) beside our outcomes, entered through :func:`sections` and :func:`tables`."""

from robustbench_ens.reporting.fasten2023.section import sections, tables

__all__ = ["sections", "tables"]
