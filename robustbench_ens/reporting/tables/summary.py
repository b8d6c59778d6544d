"""The summary table, with one row per ensemble and one column per kind of protocol."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from robustbench_ens.analysis import derive
from robustbench_ens.analysis.health import MARK, rests_on_unhealthy
from robustbench_ens.analysis.standard import HeadlineEps, at_headline, headline_eps
from robustbench_ens.analysis.worst_case import worst_at
from robustbench_ens.config.kinds import TRANSFER, Kinds, in_order, shipped_kinds
from robustbench_ens.core.text import mean_and_std, percent, span, with_brackets

NOT_RUN = "not run"
NO_PAIRS = "no pairs"
"""Replaces the transferability of an ensemble with a single sub-model."""

SUBJECT = ["Ensemble", "Seeds", "n", "eps", "Clean accuracy"]
"""The columns before those of attacks."""

WORST = "Worst case"


def summary(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Return the summary of the outcome rows of :func:`robustbench_ens.outcomes.gather`, see :func:`summarise`."""
    return summarise(derive.accuracies(outcomes), derive.transferability(outcomes))


def summarise(
    accuracies: pd.DataFrame,
    transfer: pd.DataFrame,
    worst: pd.DataFrame | None = None,
    unhealthy: Collection[tuple[str, str]] = (),
    kinds: Kinds | None = None,
) -> pd.DataFrame:
    """Return one row per ensemble, as text ready to print.

    Rates have their Wilson 95% interval, or for several seeds the mean and standard deviation. Transferability is the
    mean over pairs of different sub-models, with the lowest and the highest pair. A dataset that was attacked under
    several protocols of one kind has a column for each.

    Args:
        accuracies, transfer: frames of :mod:`derive`.
        worst: rows of :func:`~robustbench_ens.analysis.worst_case.worst_case`, which add the column ``Worst case``.
        unhealthy: pairs (protocol, ensemble) whose numbers rest on an unhealthy attack, which are marked.
        kinds: facts of the kinds of protocols. The default is those of the table.

    Returns:
        the columns ``Ensemble``, ``Seeds``, ``n``, ``eps``, ``Clean accuracy``, ``White-box accuracy``,
        ``Black-box accuracy``, ``Transferability``.
    """
    everything = together(accuracies, transfer)
    known = shipped_kinds() if kinds is None else kinds
    of_pairs = {name for name, facts in known.items() if facts.yields == TRANSFER}
    columns = _columns(everything, known)
    rows = []
    for (dataset, ensemble), own in everything.groupby(["dataset", "ensemble"], observed=True):
        chosen = eps_of_dataset(everything[everything["dataset"] == dataset])
        rates = own[~own["kind"].isin(of_pairs)]
        # Several protocols may have clean images: the rate over most of them is the most precise.
        clean = rates[rates["eps"] == 0].sort_values("n", ascending=False).drop_duplicates("seed")
        row = {
            "Ensemble": ensemble,
            "Seeds": str(own["seed"].nunique()),
            "n": span(rates["n"]),
            "eps": str(chosen) if chosen else "",
            "Clean accuracy": over_seeds(clean, own) if len(clean) else NOT_RUN,
        }
        if worst is not None:
            row[WORST] = _worst(worst_at(worst, str(dataset), str(ensemble), chosen), own, unhealthy)
        for (kind, protocol), column in columns.items():
            cell = at_headline(own[own["protocol"] == protocol], chosen)
            text = _pairs(cell, own) if kind in of_pairs else over_seeds(cell, own)
            mark = MARK if (protocol, ensemble) in unhealthy else ""
            row[column] = text + mark if len(cell) else row.get(column, lacking(own[own["protocol"] == protocol]))
        rows.append(row)
    table = pd.DataFrame(rows, columns=None if rows else SUBJECT).fillna(NOT_RUN)
    for column in (known[kind].column for kind in in_order(known) if known[kind].expected):
        if column not in columns.values() and not any(name.startswith(column) for name in columns.values()):
            table[column] = NOT_RUN
    return table


def _worst(cell: pd.DataFrame, known: pd.DataFrame, unhealthy: Collection[tuple[str, str]]) -> str:
    """Return the worst case of an ensemble and the protocols that set it, marked if it rests on an unhealthy attack."""
    if not len(cell):
        return NOT_RUN
    ensemble = known["ensemble"].iloc[0]
    affected = {protocol for protocol, name in unhealthy if name == ensemble}
    made_of = zip(cell["protocols"], cell["kinds"], strict=True)
    mark = MARK if any(rests_on_unhealthy(names, kinds, affected) for names, kinds in made_of) else ""
    return f"{over_seeds(cell, known)}{mark} by {', '.join(sorted(set(cell['set_by'])))}"


def together(accuracies: pd.DataFrame, transfer: pd.DataFrame) -> pd.DataFrame:
    """Return both frames in one, which is empty if both are: kinds without rates have only measurements."""
    filled = [frame for frame in (accuracies, transfer) if len(frame)]
    return pd.concat(filled or [accuracies], ignore_index=True)


def eps_of_dataset(rates: pd.DataFrame) -> HeadlineEps | None:
    """Return the eps at which the ensembles of one dataset are summarised.

    It is the standard eps of the dataset if most (protocol, ensemble) were attacked at it. Otherwise it is chosen from
    the eps that all of them share, or from all if they share none.
    """
    attacked = rates[rates["eps"] > 0]
    ladders = [set(rows["eps"]) for _, rows in attacked.groupby(["protocol", "ensemble"], observed=True)]
    if not ladders:
        return None
    dataset = str(attacked["dataset"].iloc[0])
    every = set.union(*ladders)
    usual = headline_eps(dataset, every)
    if usual and usual.standard and 2 * sum(usual.eps in ladder for ladder in ladders) > len(ladders):
        return usual
    return headline_eps(dataset, set.intersection(*ladders) or every)


def strongest(cell: pd.DataFrame) -> pd.DataFrame:
    """Return the rates under the protocol with the lowest mean over seeds, from rates at one eps.

    Only protocols with the most seeds are considered, since a single seed may be below the mean by chance.
    """
    by_protocol = cell.groupby("protocol", observed=True)
    seeds = by_protocol["seed"].nunique()
    means = by_protocol["accuracy"].mean()[seeds == seeds.max()]
    return cell[cell["protocol"] == means.idxmin()]


def lacking(rows: pd.DataFrame) -> str:
    """Return the text for a number that ``rows`` lack at the standard eps: not run, or run at other eps only."""
    others = [f"{eps:g}" for eps in sorted(rows["eps"].unique()) if eps > 0]
    return f"only at eps {', '.join(others)}" if others else NOT_RUN


def over_seeds(cell: pd.DataFrame, known: pd.DataFrame | None = None) -> str:
    """Return the rate of one seed with its interval, or the mean and standard deviation of several seeds.

    The text states the seeds if they are not those of the rows ``known``.
    """
    if len(cell) > 1:
        return mean_and_std(cell["accuracy"]) + _seeds(cell, known)
    rates = (with_brackets(row["accuracy"], row["low"], row["high"]) for row in cell.to_dict("records"))
    return "".join(rate + _seeds(cell, known) for rate in rates)


def _seeds(cell: pd.DataFrame, known: pd.DataFrame | None) -> str:
    count = cell["seed"].nunique()
    if count == (1 if known is None else known["seed"].nunique()):
        return ""
    return f" of seed {cell['seed'].iloc[0]} alone" if count == 1 else f" over {count} seeds"


def _pairs(cell: pd.DataFrame, known: pd.DataFrame) -> str:
    pairs = derive.between_sub_models(cell)
    if not len(pairs):
        return NO_PAIRS
    by_seed = pairs.groupby("seed")["rate"].mean()
    if len(by_seed) > 1:
        return mean_and_std(by_seed) + _seeds(cell, known)
    low = pairs["rate"].min()
    high = pairs["rate"].max()
    return f"{percent(by_seed.iloc[0])} ({100 * low:.1f} to {100 * high:.1f}; n = {pairs['n'].iloc[0]})"


def _columns(everything: pd.DataFrame, kinds: Kinds) -> dict[tuple[str, str], str]:
    """Return the heading of each (kind, protocol). It names the protocol only if a dataset has several of the kind."""
    protocols = everything[["dataset", "kind", "protocol"]].drop_duplicates()
    several = protocols.groupby(["dataset", "kind"])["protocol"].transform("size") > 1
    named = protocols.assign(several=several, place=protocols["kind"].map(in_order(kinds).index))
    return {
        (row["kind"], row["protocol"]): kinds[row["kind"]].column + (f": {row['protocol']}" if row["several"] else "")
        for row in named.sort_values(["place", "protocol"]).to_dict("records")
    }
