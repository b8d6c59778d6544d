"""One table per file: pure functions from data frames to a data frame of text."""
