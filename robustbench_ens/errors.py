"""The one exception for mistakes a user can make."""


class UserError(Exception):
    """A mistake in the input, said in one line: what, where, what was expected, the valid choices.

    The command line prints it without a traceback and exits with code 2.
    """
