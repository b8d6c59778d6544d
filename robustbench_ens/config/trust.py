"""The permission to import code from outside: a recipe that a user names may import it, a file only read may not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from robustbench_ens.config.finding import OWN, is_outside
from robustbench_ens.errors import UserError

_allowed: ContextVar[bool] = ContextVar("whether code from outside may be imported", default=True)


class OutsideCodeError(UserError):
    """An error because code from outside the project would have to be imported without a user's request."""


@contextmanager
def no_outside_code() -> Iterator[None]:
    """Refuse to import code from outside the project inside this context."""
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
        OutsideCodeError: it is from outside the project, and the call is inside :func:`no_outside_code`.
    """
    if not _allowed.get() and is_outside(spec):
        raise OutsideCodeError(f"{where}: expected code of {OWN} itself, got {spec!r}, which is not imported here")
