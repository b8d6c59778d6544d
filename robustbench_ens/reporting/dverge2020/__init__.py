"""The DVERGE paper (arXiv:2009.14720) beside our outcomes, entered through :func:`sections`."""

from robustbench_ens.reporting.dverge2020.section import sections

__all__ = ["sections"]
