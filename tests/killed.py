"""Processes that are killed, without a process: from one change of the disk on, nothing can be changed any more."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHANGES = ("rename", "replace", "unlink", "rmdir")
"""What changes a folder that is there, in the module ``os``."""


class Killed(BaseException):
    """No handler catches it; those that clean up on the way out cannot change anything."""


@contextmanager
def killed_before(number: int) -> Iterator[Callable[[], int]]:
    """Die before change ``number`` of the disk, counted from 0; gives how many were asked for so far."""
    asked = 0

    def counted(plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal asked
            asked += 1
            if asked > number:
                raise Killed
            return plain(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGES:
            patch.setattr(os, name, counted(getattr(os, name)))
        yield lambda: asked
