"""One figure per file: pure functions from a data frame to a matplotlib figure."""
