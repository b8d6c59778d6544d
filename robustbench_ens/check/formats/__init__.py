"""The forms in which a check is printed."""
