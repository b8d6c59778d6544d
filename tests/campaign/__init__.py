"""Seeded mutations of every kind of file and argument, through the command line."""
