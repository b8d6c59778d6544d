"""What is in a drawing, for tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from robustbench_ens.core.text import NBSP
from robustbench_ens.reporting.scene import Group, Mark, Placed, Scene, Text

Kind = TypeVar("Kind")


def marks(scene: Scene, kind: type[Kind]) -> list[Kind]:
    """The marks of one kind, also those in groups and placed scenes, as they are drawn."""
    return [mark for mark in _every(scene.marks) if isinstance(mark, kind)]


def texts(scene: Scene) -> list[str]:
    """What is written, in order."""
    return [text.text for text in marks(scene, Text)]


def tips(scene: Scene) -> list[str]:
    """What hovering shows, in order, with plain blanks."""
    return [group.tip.replace(NBSP, " ") for group in scene.groups() if group.tip]


def _every(found: Sequence[Mark]) -> Iterator[Mark]:
    for mark in found:
        yield mark
        if isinstance(mark, Group):
            yield from _every(mark.marks)
        elif isinstance(mark, Placed):
            yield from _every(mark.scene.marks)
