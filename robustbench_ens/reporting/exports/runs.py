"""Rows of tidy tables about ensembles and evaluations, from provenance."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.config.chosen_on import RECIPE, recorded_chosen_on
from robustbench_ens.reporting.collect import Collection
from robustbench_ens.reporting.cost import training_costs

ENSEMBLES = [
    *("ensemble", "seed", "dataset", "trained_on", "recipe", "recipe_hash", "method", "network", "sub_models"),
    *(
        "settings_chosen_on",
        "parameters",
        "weights",
        "training_s",
        "training_steps",
        "device",
        "hardware",
        "threads",
        "cost",
    ),
]
EVALUATIONS = [
    *("protocol", "protocol_hash", "kind", "protocol_version", "ensemble", "seed", "sources", "n", "wall_time_s"),
    *("finished_at", "device", "hardware", "threads", "software"),
]


def ensembles(collection: Collection) -> pd.DataFrame:
    """Return one row per ensemble and seed, with the columns ``ENSEMBLES``."""
    targets = [document["target"] for document in collection.provenance]
    costs = training_costs(targets, [source for document in collection.provenance for source in document["sources"]])
    rows = {}
    for target in targets:
        training = target["training"] or {}
        rows[target["label"], target["seed"]] = {
            **{name: target[name] for name in ENSEMBLES if name in target},
            "ensemble": target["label"],
            "settings_chosen_on": recorded_chosen_on(target).get(RECIPE),
            "trained_on": target["resolved"].get("dataset", target["dataset"]),
            "training_s": training.get("wall_time_s"),
            "training_steps": training.get("steps"),
            "device": training.get("device"),
            "hardware": training.get("hardware"),
            "threads": training.get("threads"),
            "cost": str(costs[target["label"]]),
        }
    return pd.DataFrame([rows[key] for key in sorted(rows)], columns=ENSEMBLES, dtype=object)


def evaluations(collection: Collection) -> pd.DataFrame:
    """Return one row per outcomes file, with the columns ``EVALUATIONS``."""
    rows = []
    # A cell of text holds one value per surrogate: label and seed, since several seeds may serve.
    for document, images in zip(collection.provenance, collection.images, strict=True):
        protocol = document["protocol"]
        target = document["target"]
        hardware = document["hardware"]
        rows.append(
            {
                "protocol": protocol["label"],
                "protocol_hash": protocol["hash"],
                "kind": protocol["kind"],
                "protocol_version": protocol["version"],
                "ensemble": target["label"],
                "seed": target["seed"],
                "sources": tuple(f"{source['label']}#{source['seed']}" for source in document["sources"]),
                "n": images,
                "wall_time_s": document["wall_time_s"],
                "finished_at": document["finished_at"],
                "device": hardware["device"],
                "hardware": hardware["name"],
                "threads": hardware["threads"],
                "software": ", ".join(f"{name} {version}" for name, version in sorted(document["software"].items())),
            }
        )
    return pd.DataFrame(rows, columns=EVALUATIONS, dtype=object)
