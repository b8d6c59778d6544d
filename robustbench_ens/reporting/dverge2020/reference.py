"""What the DVERGE paper (arXiv:2009.14720) prints, and what it calls methods, layers and its data."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.config.lookup import PACKAGE_DIR

PAPER = "DVERGE paper (200 epochs)"
PAPER_BLACKBOX = "DVERGE paper (200 epochs, 30 variants)"
"""Where a row's numbers are the paper's; every other row is ours."""

METHODS = {
    "baseline": "baseline",
    "adp": "ADP",
    "gal": "GAL",
    "dverge": "DVERGE",
    "advt": "AdvT",
    "dverge-advt": "DVERGE+AdvT",
}
"""What the paper calls our methods, in its order."""

FAMILY = "cifar10"
"""The paper's data: its numbers stand beside outcomes on it, and on data sets named after it, such as cifar10-jpeg."""

TRAIN_EPS = {3: 0.07, 5: 0.05, 8: 0.05}
"""DVERGE's training eps by number of sub-models (Section 4.1)."""

LAYERS = {7: "resblock1", 13: "resblock2", 19: "resblock3", 20: "output"}
"""Layers of ResNet-20 by what Table 7 calls them."""


def reference(name: str) -> pd.DataFrame:
    """The paper's numbers in ``reports/reference/dverge2020/<name>.csv``."""
    installed = PACKAGE_DIR / "reference"
    folder = installed if installed.is_dir() else PACKAGE_DIR.parent / "reports" / "reference"
    return pd.read_csv(folder / "dverge2020" / f"{name}.csv")


def of_family(dataset: str) -> bool:
    """Whether the paper's numbers may stand beside outcomes on ``dataset``."""
    return dataset == FAMILY or dataset.startswith(f"{FAMILY}-")
