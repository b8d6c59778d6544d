"""Accuracies, intervals, tests and health from outcomes. Pure functions of frames, no torch."""
