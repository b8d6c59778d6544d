"""Mistakes that a user can make, and results that should not be taken at their word."""


class UserError(Exception):
    """A mistake in the input, said in one line: what, where, what was expected, the valid choices.

    The command line prints it without a traceback and exits with code 2. Characters that a terminal would obey, or that
    no encoding has, are escaped.
    """

    def __init__(self, line: str) -> None:
        super().__init__("".join(map(_printable, line)))


def _printable(character: str) -> str:
    if character.isprintable() or character.isspace():
        return character
    return character.encode("unicode_escape").decode("ascii")


class UnhealthyAttackWarning(UserWarning):
    """An attack whose signs of health say that it was weaker than it looks: robustness may be lower than measured."""


class MissingDatasetError(UserError):
    """A dataset that is neither in the data root nor can be downloaded."""
