"""The tables of reports, one per file: pure functions from data frames to a data frame of text."""
