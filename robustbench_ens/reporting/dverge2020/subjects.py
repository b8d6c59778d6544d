"""What was evaluated, in the paper's terms: the ensembles, and the tables that ask what a protocol asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from robustbench_ens.analysis.worst_case import as_defined
from robustbench_ens.config.aggregations import is_plain
from robustbench_ens.config.method_facts import recorded_facts
from robustbench_ens.core.text import span
from robustbench_ens.reporting.dverge2020.reference import LAYERS, METHODS, TRAIN_EPS, of_family

WEIGHT = 1.0
"""Of diversification beside adversarial training, in the paper's main results."""


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
        if target["method"] not in METHODS or not is_plain(target):
            continue
        settings = recorded_facts(target).hyperparameters
        diverse = target["method"].startswith("dverge")
        eps = settings.get("eps") if diverse else None
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
                and settings.get("diversification_weight", WEIGHT) == WEIGHT
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
        if not (as_defined(document) and is_plain(target)):
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


def by_layer(subjects: pd.DataFrame) -> pd.DataFrame:
    """Return DVERGE on 3 sub-models as in the main results, but for the layer; in the order of Table 7."""
    order = [*LAYERS.values(), "random"]
    usual = subjects["train_eps"] == TRAIN_EPS[3]
    own = subjects[(subjects["method"] == "DVERGE") & (subjects["sub_models"] == 3) & ~subjects["scratch"] & usual]
    own = own[own["layer"].isin(order)]
    return own.sort_values("layer", key=lambda layers: layers.map(order.index), kind="stable")
