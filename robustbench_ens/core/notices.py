"""Notices, although nothing failed: a warning in Python, one line on the command line."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Listener = Callable[[str], None]

_listeners: list[Listener] = []
"""The last one is told; without any, Python warns."""


def notice(text: str, category: type[Warning] = UserWarning) -> None:
    """Report one line to whoever listens, or else as a warning of ``category``."""
    if _listeners:
        _listeners[-1](text)
    else:
        warnings.warn(text, category, stacklevel=3)


@contextmanager
def told_to(listener: Listener) -> Iterator[None]:
    """Report notices to ``listener`` inside this context."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def once(listener: Listener) -> Listener:
    """Return a listener that passes each line to ``listener`` the first time only."""
    told: set[str] = set()

    def tell(text: str) -> None:
        if text not in told:
            told.add(text)
            listener(text)

    return tell


@contextmanager
def silenced() -> Iterator[None]:
    """Report no notices inside this context."""
    with told_to(lambda text: None):
        yield
