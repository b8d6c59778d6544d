"""The sections of a report, one per file: blocks of text, tables and figures."""
