"""The front page: one row per ensemble, best worst case first; one number per question, at the standard eps."""

from __future__ import annotations

from collections.abc import Collection as Container

import pandas as pd

from robustbench_ens.analysis import derive
from robustbench_ens.analysis.health import MARK, rests_on_unhealthy, unhealthy
from robustbench_ens.analysis.standard import HeadlineEps, at_headline
from robustbench_ens.analysis.worst_case import among, as_they_are, worst_at
from robustbench_ens.config.kinds import ACCURACY, TRANSFER, Kinds
from robustbench_ens.core.text import mean_and_std, span, with_brackets
from robustbench_ens.reporting.collect import Collection
from robustbench_ens.reporting.cost import training_costs
from robustbench_ens.reporting.tables.summary import (
    NO_PAIRS,
    NOT_RUN,
    eps_of_dataset,
    lacking,
    over_seeds,
    strongest,
    together,
)


def columns(kinds: Kinds) -> list[str]:
    """Return the columns: one for each kind with a column, which holds the protocol of :func:`strongest`."""
    attacks = (facts.title for facts in kinds.values() if facts.leaderboard)
    return [
        *("Ensemble", "Worst case", "Set by", *attacks, "Clean", "Transfer"),
        *("Cost", "Parameters", "Health", "eps", "n", "Seeds"),
    ]


def leaderboard(collection: Collection) -> pd.DataFrame:
    """One row per ensemble, dataset by dataset, the best worst case first, and last what has none.

    Returns:
        the columns of :func:`columns`, as text.
    """
    everything = together(collection.accuracies, collection.transferability)
    targets = [document["target"] for document in collection.provenance]
    costs = training_costs(targets, [source for document in collection.provenance for source in document["sources"]])
    parameters = {target["label"]: f"{target['parameters']:,}" for target in targets}
    rows = []
    for dataset, known in everything.groupby("dataset", observed=True):
        chosen = eps_of_dataset(known)
        for ensemble, own in known.groupby("ensemble", observed=True):
            about = {"Cost": str(costs[str(ensemble)]), "Parameters": parameters[str(ensemble)]}
            worst = worst_at(collection.worst_case, str(dataset), str(ensemble), chosen)
            place = -worst["accuracy"].mean() if len(worst) else 1.0
            row = _row(collection, str(ensemble), own, worst, chosen) | about
            rows.append((str(dataset), place, str(ensemble), row))
    ordered = [row for *_, row in sorted(rows, key=lambda item: item[:3])]
    return pd.DataFrame(ordered, columns=columns(collection.kinds), dtype=str)


def _row(
    collection: Collection, ensemble: str, own: pd.DataFrame, worst: pd.DataFrame, chosen: HeadlineEps | None
) -> dict[str, str]:
    sick = {protocol for protocol, name in unhealthy(collection.health) if name == ensemble}
    rates = derive.that_yield(own, ACCURACY, collection.kinds)
    clean = rates[rates["eps"] == 0].sort_values("n", ascending=False, kind="stable").drop_duplicates("seed")
    made_of = zip(worst["protocols"], worst["kinds"], strict=True)
    mark = MARK if any(rests_on_unhealthy(names, kinds, sick) for names, kinds in made_of) else ""
    transfer = collection.mean_transferability
    transfer = at_headline(transfer[transfer["ensemble"] == ensemble], chosen)
    row = {
        "Ensemble": ensemble,
        "Worst case": over_seeds(worst, own) + mark if len(worst) else NOT_RUN,
        "Set by": ", ".join(sorted({_short(protocol, own) for protocol in worst["set_by"]})) or NOT_RUN,
        "Clean": over_seeds(clean, own) if len(clean) else NOT_RUN,
        "Transfer": _mean_transfer(transfer, own, collection.kinds),
        "Health": _verdict(collection.health, ensemble, sick),
        "eps": str(chosen) if chosen else "",
        "n": span(rates["n"]),
        "Seeds": str(own["seed"].nunique()),
    }
    usual = among(own, as_they_are(collection.provenance))
    for kind in (name for name, facts in collection.kinds.items() if facts.leaderboard):
        asked = (own["kind"] == kind) & usual
        cell = at_headline(own[asked], chosen)
        row[collection.kinds[kind].title] = _strongest(cell, own, sick) if len(cell) else lacking(own[asked])
    return row


def _short(protocol: str, own: pd.DataFrame) -> str:
    """A protocol's name without the dataset that the ensemble's own line belongs to."""
    return protocol.removeprefix(f"{own['dataset'].iloc[0]}/")


def _strongest(cell: pd.DataFrame, own: pd.DataFrame, sick: Container[str]) -> str:
    decides = strongest(cell)
    return over_seeds(decides, own) + (MARK if decides["protocol"].iloc[0] in sick else "")


def _mean_transfer(cell: pd.DataFrame, own: pd.DataFrame, kinds: Kinds) -> str:
    """Of the protocol on most images."""
    if not len(cell):
        asked = derive.that_yield(own, TRANSFER, kinds)
        return NO_PAIRS if len(asked) and not len(derive.between_sub_models(asked)) else lacking(asked)
    cell = cell[cell["protocol"] == cell.groupby("protocol")["n"].sum().idxmax()]
    if len(cell) > 1:
        return mean_and_std(cell["rate"])
    first = cell.iloc[0]
    return with_brackets(first["rate"], first["low"], first["high"])


def _verdict(health: pd.DataFrame, ensemble: str, sick: Container[str]) -> str:
    known = sorted(health.loc[health["ensemble"] == ensemble, "protocol"].unique())
    bad = [protocol for protocol in known if protocol in sick]
    if bad:
        return f"⚠ {', '.join(bad)}"
    return "healthy" if known else "not measured"
