"""The figures of reports, one per file: pure functions from a data frame and a width to a drawing."""
