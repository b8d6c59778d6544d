"""Whose code may be imported: a recipe that a person names may bring its own, a file that is only read may not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from robustbench_ens.config.finding import OWN, is_outside
from robustbench_ens.errors import UserError

_allowed: ContextVar[bool] = ContextVar("whether code from outside may be imported", default=True)


class OutsideCodeError(UserError):
    """Code from outside the project that would have to be imported where nobody asked for it."""


@contextmanager
def no_outside_code() -> Iterator[None]:
    """Refuse, inside this context, to import anything but the project itself."""
    token = _allowed.set(False)
    try:
        yield
    finally:
        _allowed.reset(token)


def may_import_outside_code() -> bool:
    """Return whether code from outside the project may be imported here."""
    return _allowed.get()


def check_may_import(spec: str, where: str) -> None:
    """Check that ``package.module:Name`` may be imported here.

    Raises:
        OutsideCodeError: it is from outside the project, inside :func:`no_outside_code`.
    """
    if not _allowed.get() and is_outside(spec):
        raise OutsideCodeError(f"{where}: expected code of {OWN} itself, got {spec!r}, which is not imported here")
