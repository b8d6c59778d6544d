"""What papers print, and on which data it may stand beside our outcomes."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.config.lookup import PACKAGE_DIR

FAMILY = "cifar10"
"""The papers' data: their numbers stand beside outcomes on it, and on data sets named after it (cifar10-jpeg)."""


def reference(folder: str, name: str) -> pd.DataFrame:
    """Return a paper's numbers in ``reports/reference/<folder>/<name>.csv``."""
    installed = PACKAGE_DIR / "reference"
    root = installed if installed.is_dir() else PACKAGE_DIR.parent / "reports" / "reference"
    return pd.read_csv(root / folder / f"{name}.csv")


def of_family(dataset: str) -> bool:
    """Return whether the papers' numbers may stand beside outcomes on ``dataset``."""
    return dataset == FAMILY or dataset.startswith(f"{FAMILY}-")
