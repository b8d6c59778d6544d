"""Names of the datasets that are built in. No torch."""

from __future__ import annotations

from typing import NamedTuple

BUILTIN_NAMES: tuple[str, ...] = ("digits", "cifar10", "cifar100")
"""Datasets that are read or downloaded by name."""


class Images(NamedTuple):
    """How many images a dataset has, and how large they are.

    Attributes:
        train: images to train on.
        test: images to attack.
        side: height and width of each, in pixels.
    """

    train: int
    test: int
    side: int


BUILTIN_IMAGES: dict[str, Images] = {
    "digits": Images(1_297, 500, 8),
    "cifar10": Images(50_000, 10_000, 32),
    "cifar100": Images(50_000, 10_000, 32),
}
"""What plans need of the built-in datasets, which may not have been downloaded."""
