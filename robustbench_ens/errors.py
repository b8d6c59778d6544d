"""Mistakes that a user can make."""


class UserError(Exception):
    """A mistake in the input, said in one line: what, where, what was expected, the valid choices.

    The command line prints it without a traceback and exits with code 2.
    """


class MissingDatasetError(UserError):
    """A dataset that is neither in the data root nor can be downloaded."""
