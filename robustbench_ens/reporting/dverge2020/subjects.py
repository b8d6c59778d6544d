"""What was evaluated, in the paper's terms: what an ensemble is to it, and which of its tables a protocol asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from robustbench_ens.config.method_facts import recorded_facts
from robustbench_ens.reporting.dverge2020.reference import LAYERS, METHODS, TRAIN_EPS
from robustbench_ens.reporting.papers.paper import Paper
from robustbench_ens.reporting.papers.reference import of_family
from robustbench_ens.reporting.papers.subjects import trained_on

WEIGHT = 1.0
"""Of diversification beside adversarial training, in the paper's main results."""


def settings(target: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an ensemble is to the paper, beside its method and size.

    Returns:
        of DVERGE ``train_eps``, ``layer`` (of Table 7: ``random`` where it is drawn) and ``scratch``; ``standard``: it
        is trained as in the paper's main results.
    """
    given = recorded_facts(target).hyperparameters
    diverse = target["method"].startswith("dverge")
    eps = given.get("eps") if diverse else None
    layer = given.get("layer", "epoch")
    scratch = diverse and "init_from" not in target["resolved"]
    usual_eps = not of_family(trained_on(target)) or eps == TRAIN_EPS.get(target["sub_models"])
    return {
        "train_eps": eps,
        "layer": LAYERS.get(layer, str(layer)) if isinstance(layer, int) else "random",
        "scratch": scratch,
        "standard": not diverse
        or (
            not isinstance(layer, int)
            and not scratch
            and (target["method"] != "dverge" or usual_eps)
            and given.get("diversification_weight", WEIGHT) == WEIGHT
        ),
    }


def asks(document: Mapping[str, Any]) -> str | None:
    """Return the paper's table that asks what a provenance answers: ``4``, ``5`` or ``6``, if any.

    Table 4 attacks from hold-out baselines, Table 6 from ensembles of the target's own method, Table 5 is white-box.
    """
    kind = document["protocol"]["kind"]
    methods = {source["method"] for source in document["sources"]}
    if kind == "blackbox" and methods == {"baseline"}:
        return "4"
    if kind == "blackbox" and methods == {document["target"]["method"]}:
        return "6"
    return "5" if kind == "whitebox" else None


DVERGE = Paper(
    folder="dverge2020",
    methods=METHODS,
    settings=settings,
    columns={"train_eps": float, "layer": object, "scratch": bool, "standard": bool},
    figures="paper",
    asks=asks,
)


def by_layer(subjects: pd.DataFrame) -> pd.DataFrame:
    """Return DVERGE on 3 sub-models as in the main results, but for the layer; in the order of Table 7."""
    order = [*LAYERS.values(), "random"]
    usual = subjects["train_eps"] == TRAIN_EPS[3]
    own = subjects[(subjects["method"] == "DVERGE") & (subjects["sub_models"] == 3) & ~subjects["scratch"] & usual]
    own = own[own["layer"].isin(order)]
    return own.sort_values("layer", key=lambda layers: layers.map(order.index), kind="stable")
