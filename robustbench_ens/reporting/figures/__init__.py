"""One figure per file: pure functions from a data frame and a width to a drawing."""
