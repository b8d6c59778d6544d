"""What outcomes say: accuracies, intervals, tests, health. Pure functions of frames, no torch."""
