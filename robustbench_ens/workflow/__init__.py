"""What is to be done, in which order, and doing it."""
