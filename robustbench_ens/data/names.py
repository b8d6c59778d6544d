"""The names and sizes of the built-in datasets. It imports no torch."""

from __future__ import annotations

from typing import NamedTuple

BUILTIN_NAMES: tuple[str, ...] = ("digits", "cifar10", "cifar100")
"""Datasets that are read or downloaded by name."""


class Images(NamedTuple):
    """The numbers of images of a dataset, and their size.

    Attributes:
        train: number of training images.
        test: number of test images.
        side: height and width of each image, in pixels.
    """

    train: int
    test: int
    side: int


BUILTIN_IMAGES: dict[str, Images] = {
    "digits": Images(1_297, 500, 8),
    "cifar10": Images(50_000, 10_000, 32),
    "cifar100": Images(50_000, 10_000, 32),
}
"""The sizes of the built-in datasets, for plans, which are made before a download."""
