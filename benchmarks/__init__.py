"""How fast training is, measured against a textbook version of the same step."""
