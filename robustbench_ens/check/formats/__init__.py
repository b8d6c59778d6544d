"""The output formats of a check."""
