"""Names of the datasets that are built in. No torch."""

BUILTIN_NAMES: tuple[str, ...] = ("digits", "cifar10", "cifar100")
"""Datasets that are read or downloaded by name."""
