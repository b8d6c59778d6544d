"""The parts of the documentation that are read from the code."""
