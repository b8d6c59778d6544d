"""Names of the datasets that are built in. No torch."""

BUILTIN_NAMES: tuple[str, ...] = ("digits", "cifar10", "cifar100")
"""Datasets that are read or downloaded by name."""

BUILTIN_TRAINING_IMAGES: dict[str, int] = {"digits": 1_297, "cifar10": 50_000, "cifar100": 50_000}
"""Images to train on, for expected times before a dataset is loaded."""
