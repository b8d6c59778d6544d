"""What the paper shows, and the shell lines that make the outcomes behind it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from robustbench_ens.config.lookup import shipped_names
from robustbench_ens.reporting.dverge2020.reference import LAYERS, METHODS, TRAIN_EPS

_STANDARD = tuple(f"{method}-{size}" for method in METHODS for size in TRAIN_EPS)
_BY_EPS = tuple(
    f"dverge-{size}-eps-{eps}" for size in TRAIN_EPS for eps in (0.03, 0.05, 0.07) if eps != TRAIN_EPS[size]
)
_BY_LAYER = tuple(f"dverge-3-layer-{layer}" for layer in LAYERS)
_ATTACKS = ("blackbox", "whitebox")

SHOWN: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Figure 2": (("transferability",), ("dverge-3-monitored",)),
    "Figures 3, 8": (("transferability", "transferability-ladder"), tuple(f"{name}-3" for name in METHODS)),
    "Figures 4, 5, 9, 10; Tables 1, 4, 5": (_ATTACKS, _STANDARD),
    "Figure 6; Table 3": ((*_ATTACKS, "transferability"), (*_BY_EPS, *(f"dverge-{size}" for size in TRAIN_EPS))),
    "Figure 11; Table 7": ((*_ATTACKS, "transferability-ladder"), (*_BY_LAYER, "dverge-3")),
    "Figure 12": (_ATTACKS, ("dverge-3-scratch", *(f"{name}-3" for name in METHODS))),
    "Table 2": (("distillation",), ("baseline-3",)),
    "Table 6": (
        ("blackbox-same-defense",),
        tuple(f"{name}-{size}" for name in ("adp", "gal", "dverge") for size in TRAIN_EPS),
    ),
    "Table 8": (
        ("blackbox-convergence", "whitebox-convergence"),
        tuple(f"{name}-{size}" for name in ("dverge", "dverge-advt") for size in TRAIN_EPS),
    ),
}
"""What the paper shows: under which of our protocols, against which of our recipes."""


def commands(dataset: str, shown: str, seeds: str = "0,1,2") -> list[str]:
    """The shell lines that make the outcomes behind ``shown``, a key of ``SHOWN``; only what ships is named.

    The recipes of the short schedule stand in where a dataset has no others.
    """
    zoo = set(shipped_names("zoo"))
    attacks = set(shipped_names("attacks"))
    protocols, recipes = SHOWN[shown]
    long = [f"{dataset}/{recipe}" for recipe in recipes if f"{dataset}/{recipe}" in zoo]
    short = [f"{dataset}-short/{recipe}" for recipe in recipes if f"{dataset}-short/{recipe}" in zoo]
    there = long or short
    return [
        shlex.join(["rbe", "attack", f"{dataset}/{protocol}", *there, "--seeds", seeds])
        for protocol in protocols
        if there and f"{dataset}/{protocol}" in attacks
    ]
