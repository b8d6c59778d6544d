"""Mistakes that a user can make, and results that should not be taken at their word."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass


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


@dataclass(frozen=True)
class Failure:
    """One piece of the work that failed while others went on.

    Attributes:
        node: the machine that it failed on.
        piece: its title.
        log: path of the worker's log, or nothing.
        message: why, in one line.
    """

    node: str
    piece: str
    log: str
    message: str

    def __str__(self) -> str:
        log = f" (log: {self.log})" if self.log else ""
        return _one_line(f"{self.piece}, on {self.node}: {self.message}{log}")


class FailedPiecesError(Exception):
    """Pieces that failed with several workers: a heading, and a line for each.

    The command line prints it without a traceback and exits with code 1. Everything else that could be done is done.

    Attributes:
        failures: of each piece.
        not_tried: how many pieces need one that failed.
    """

    def __init__(self, failures: Sequence[Failure], not_tried: int = 0) -> None:
        super().__init__(failures, not_tried)
        self.failures = tuple(failures)
        self.not_tried = not_tried

    def __str__(self) -> str:
        failed = f"{len(self.failures):,} piece{'' if len(self.failures) == 1 else 's'} failed"
        waiting = f", and {self.not_tried:,} that need a failed one were not tried" if self.not_tried else ""
        heading = f"{failed}{waiting}; all others are done, and the same command goes on from there"
        return "\n  ".join([heading, *map(str, self.failures)])


def _one_line(text: str) -> str:
    """Return ``text`` on one line, with escapes for what a terminal would obey."""
    return escaped(" ".join(text.split()), keep="")
