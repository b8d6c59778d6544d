"""Mistakes that a user can make, and results that should not be taken at their word."""

import unicodedata


def escaped(text: str, keep: str = "\n\t") -> str:
    """Return ``text`` with escapes for characters that a terminal would obey or that no encoding has.

    Args:
        text: of any origin.
        keep: control characters that stay as they are.
    """
    return "".join(c if c in keep or _is_printable(c) else c.encode("unicode_escape").decode("ascii") for c in text)


def _is_printable(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


class UserError(Exception):
    """A mistake in the input, said in one line: what, where, what was expected, the valid choices.

    The command line prints it without a traceback and exits with code 2. It is :func:`escaped`.
    """

    def __init__(self, line: str) -> None:
        super().__init__(escaped(line))


class UnhealthyAttackWarning(UserWarning):
    """An attack whose signs of health say that it was weaker than it looks: robustness may be lower than measured."""


class MissingDatasetError(UserError):
    """A dataset that is neither in the data root nor can be downloaded."""


class UnsupportedSystemError(UserError, ImportError):
    """An operating system on which the package cannot run."""
