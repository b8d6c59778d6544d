"""Evaluation: one module per kind of protocol, all through one harness."""
