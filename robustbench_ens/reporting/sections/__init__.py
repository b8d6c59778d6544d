"""One section of the report per file: blocks of text, tables and figures."""
