"""What the DVERGE paper (arXiv:2009.14720) prints, and what it calls methods, layers and its data."""

from __future__ import annotations

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

TRAIN_EPS = {3: 0.07, 5: 0.05, 8: 0.05}
"""DVERGE's training eps by number of sub-models (Section 4.1)."""

LAYERS = {7: "resblock1", 13: "resblock2", 19: "resblock3", 20: "output"}
"""Layers of ResNet-20 by what Table 7 calls them."""

PAPER_EPS = {"blackbox": 0.03, "whitebox": 0.01}
"""Testing eps of Tables 3 and 7."""
