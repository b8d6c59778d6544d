"""The DVERGE paper's tables and figures, beside those of here."""
