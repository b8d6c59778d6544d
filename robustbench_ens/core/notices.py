"""Notices about what did not fail but matters to a user: warnings in Python, lines on the command line."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Listener = Callable[[str], None]

_listeners: list[Listener] = []
"""The last one receives notices. Without any they become warnings of Python."""


def notice(text: str, category: type[Warning] = UserWarning) -> None:
    """Pass one line to the current listener or, without one, issue it as a warning of ``category``."""
    if _listeners:
        _listeners[-1](text)
    else:
        warnings.warn(text, category, stacklevel=3)


@contextmanager
def notices_to(listener: Listener) -> Iterator[None]:
    """Pass notices to ``listener`` inside this context."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def once(listener: Listener) -> Listener:
    """Return a listener that passes each line to ``listener`` the first time only."""
    seen: set[str] = set()

    def pass_on(text: str) -> None:
        if text not in seen:
            seen.add(text)
            listener(text)

    return pass_on


@contextmanager
def silenced() -> Iterator[None]:
    """Drop notices inside this context."""
    with notices_to(lambda text: None):
        yield
