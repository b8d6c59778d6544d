"""The DVERGE paper (arXiv:2009.14720) beside our outcomes: its printed numbers, its names, what reproduces which."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from robustbench_ens.analysis.worst_case import as_defined
from robustbench_ens.config.lookup import PACKAGE_DIR, shipped_names
from robustbench_ens.core.text import span

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

DEFAULT_EPS, DEFAULT_WEIGHT = 0.07, 1.0
"""What a recipe means that leaves out DVERGE's ``eps``, or ``diversification_weight`` with adversarial training."""

LAYERS = {7: "resblock1", 13: "resblock2", 19: "resblock3", 20: "output"}
"""Layers of ResNet-20 by what Table 7 calls them."""

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


def reference(name: str) -> pd.DataFrame:
    """The paper's numbers in ``reports/reference/dverge2020/<name>.csv``."""
    installed = PACKAGE_DIR / "reference"
    folder = installed if installed.is_dir() else PACKAGE_DIR.parent / "reports" / "reference"
    return pd.read_csv(folder / "dverge2020" / f"{name}.csv")


def of_family(dataset: str) -> bool:
    """Whether the paper's numbers may stand beside outcomes on ``dataset``."""
    return dataset == FAMILY or dataset.startswith(f"{FAMILY}-")


def subjects(provenance: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """What each attacked ensemble is in the paper's terms, one row per ensemble; other methods are left out.

    Returns:
        ``ensemble``; ``dataset``; ``folder`` of its recipe; ``method``, in the paper's words; ``place`` in its order;
        ``sub_models``; of DVERGE ``train_eps``, ``layer`` (of Table 7: ``random`` where it is drawn) and ``scratch``;
        ``standard``: it is trained as in the paper's main results; ``source``: what a table calls it, with its
        schedule.
    """
    rows = {}
    for target in (document["target"] for document in provenance):
        if target["method"] not in METHODS:
            continue
        settings = target["resolved"].get("hyperparameters", {})
        diverse = target["method"].startswith("dverge")
        eps = settings.get("eps", DEFAULT_EPS) if diverse else None
        layer = settings.get("layer", "epoch")
        scratch = diverse and "init_from" not in target["resolved"]
        usual_eps = not of_family(_trained_on(target)) or eps == TRAIN_EPS.get(target["sub_models"])
        rows[target["label"]] = {
            "ensemble": target["label"],
            "dataset": target["dataset"],
            "folder": target["recipe"].rpartition("/")[0],
            "method": METHODS[target["method"]],
            "place": list(METHODS).index(target["method"]),
            "sub_models": target["sub_models"],
            "train_eps": eps,
            "layer": LAYERS.get(layer, str(layer)) if isinstance(layer, int) else "random",
            "scratch": scratch,
            "standard": not diverse
            or (
                not isinstance(layer, int)
                and not scratch
                and (target["method"] != "dverge" or usual_eps)
                and settings.get("diversification_weight", DEFAULT_WEIGHT) == DEFAULT_WEIGHT
            ),
            "source": f"{target['label']}, {_schedule(target)}",
        }
    columns = [
        "ensemble",
        "dataset",
        "folder",
        "method",
        "place",
        "sub_models",
        "train_eps",
        "layer",
        "scratch",
        "standard",
        "source",
    ]
    # Also where there are no rows, so that they can be selected by.
    return pd.DataFrame(list(rows.values()), columns=columns).astype({"standard": bool, "scratch": bool})


def _schedule(target: Mapping[str, Any]) -> str:
    training = target["training"]
    length = f"{training['steps']:,} steps" if training else "imported"
    return f"{length} on {_trained_on(target)}"


def _trained_on(target: Mapping[str, Any]) -> str:
    """The dataset of its recipe, whatever images were attacked."""
    return str(target["resolved"].get("dataset", target["dataset"]))


def sample(rows: pd.DataFrame) -> str:
    """What the rates of ``rows`` rest on, to stand behind a source: ``, n = 1000, 3 seeds``."""
    seeds = rows["seed"].nunique()
    return f", n = {span(rows['n'])}" + (f", {seeds} seeds" if seeds > 1 else "")


def questions(provenance: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """By protocol and ensemble, the paper's table that asks the same: ``4``, ``5`` or ``6``; others are left out.

    Table 4 attacks from hold-out baselines, Table 6 from ensembles of the target's own method, Table 5 is white-box.
    """
    found = {}
    for document in provenance:
        protocol, target = document["protocol"], document["target"]
        if not as_defined(protocol):
            continue
        key = protocol["label"], target["label"]
        methods = {source["method"] for source in document["sources"]}
        if protocol["kind"] == "blackbox" and methods == {"baseline"}:
            found[key] = "4"
        elif protocol["kind"] == "blackbox" and methods == {target["method"]}:
            found[key] = "6"
        elif protocol["kind"] == "whitebox":
            found[key] = "5"
    return found


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
