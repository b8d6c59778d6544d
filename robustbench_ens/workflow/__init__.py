"""Plan what is to be done, and do it through an executor."""
