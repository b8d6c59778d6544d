"""The optional exports of a report: tidy tables as CSV, and tables and figures for a paper as LaTeX."""
