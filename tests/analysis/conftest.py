"""Evaluations shared with the tests of reports."""

from tests.reporting.conftest import files, relabelled, seeds

__all__ = ["files", "relabelled", "seeds"]
