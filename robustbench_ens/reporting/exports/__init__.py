"""What a report writes beside its pages when asked: tidy tables as CSV, tables and figures for a paper as LaTeX."""
