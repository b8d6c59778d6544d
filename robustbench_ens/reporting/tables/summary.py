"""The table on top: one row per ensemble, one number per question."""

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
"""In place of a transferability: there is but one sub-model."""

SUBJECT = ["Ensemble", "Seeds", "n", "eps", "Clean accuracy"]
"""The columns before those of attacks."""

WORST = "Worst case"


def summary(outcomes: pd.DataFrame) -> pd.DataFrame:
    """The summary of outcome rows as :func:`robustbench_ens.outcomes.gather` gives them; see :func:`summarise`."""
    return summarise(derive.accuracies(outcomes), derive.transferability(outcomes))


def summarise(
    accuracies: pd.DataFrame,
    transfer: pd.DataFrame,
    worst: pd.DataFrame | None = None,
    unhealthy: Collection[tuple[str, str]] = (),
    kinds: Kinds | None = None,
) -> pd.DataFrame:
    """One row per ensemble, as text ready to print.

    Rates stand with their Wilson 95% interval, or over several seeds as mean and standard deviation; transferability
    is the mean over pairs of different sub-models, with the lowest and the highest pair. A dataset that was attacked
    under several protocols of one kind has a column for each. ``worst`` are rows of
    :func:`~robustbench_ens.analysis.worst_case.worst_case`, which make the column ``Worst case``. ``unhealthy`` are
    the (protocol, ensemble) whose numbers rest on an unhealthy attack; they are marked. ``kinds`` are the facts of the
    kinds of protocols, those of the table unless given.

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
    """The worst case of one ensemble, which protocols set it, and a mark if it rests on an unhealthy attack."""
    if not len(cell):
        return NOT_RUN
    ensemble = known["ensemble"].iloc[0]
    sick = {protocol for protocol, name in unhealthy if name == ensemble}
    made_of = zip(cell["protocols"], cell["kinds"], strict=True)
    mark = MARK if any(rests_on_unhealthy(names, kinds, sick) for names, kinds in made_of) else ""
    return f"{over_seeds(cell, known)}{mark} by {', '.join(sorted(set(cell['set_by'])))}"


def together(accuracies: pd.DataFrame, transfer: pd.DataFrame) -> pd.DataFrame:
    """Both in one frame, which has no rows where they have none: kinds without a rate leave only measurements."""
    filled = [frame for frame in (accuracies, transfer) if len(frame)]
    return pd.concat(filled or [accuracies], ignore_index=True)


def eps_of_dataset(rates: pd.DataFrame) -> HeadlineEps | None:
    """The eps at which ensembles of one dataset are summed up.

    The dataset's standard where most ensembles were attacked at it, over all protocols; else from the eps that all
    share, or else from all.
    """
    attacked = rates[rates["eps"] > 0]
    ladders = [set(rows["eps"]) for _, rows in attacked.groupby(["protocol", "ensemble"], observed=True)]
    if not ladders:
        return None
    dataset, every = str(attacked["dataset"].iloc[0]), set.union(*ladders)
    usual = headline_eps(dataset, every)
    if usual and usual.standard and 2 * sum(usual.eps in ladder for ladder in ladders) > len(ladders):
        return usual
    return headline_eps(dataset, set.intersection(*ladders) or every)


def strongest(cell: pd.DataFrame) -> pd.DataFrame:
    """Return, of rates at one eps, those under the protocol that leaves least in the mean over seeds.

    Only protocols with the most seeds are asked: seed 0 alone may be lower than the mean for no other reason.
    """
    by_protocol = cell.groupby("protocol", observed=True)
    seeds = by_protocol["seed"].nunique()
    means = by_protocol["accuracy"].mean()[seeds == seeds.max()]
    return cell[cell["protocol"] == means.idxmin()]


def lacking(rows: pd.DataFrame) -> str:
    """What stands for a number that is not among ``rows`` at the eps of a summary: not run, or at other eps only."""
    others = [f"{eps:g}" for eps in sorted(rows["eps"].unique()) if eps > 0]
    return f"only at eps {', '.join(others)}" if others else NOT_RUN


def over_seeds(cell: pd.DataFrame, known: pd.DataFrame | None = None) -> str:
    """The rate of one seed with its interval, or mean and standard deviation of several.

    Which seeds these are is said unless they are those of the rows ``known``.
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
    low, high = pairs["rate"].min(), pairs["rate"].max()
    return f"{percent(by_seed.iloc[0])} ({100 * low:.1f} to {100 * high:.1f}; n = {pairs['n'].iloc[0]})"


def _columns(everything: pd.DataFrame, kinds: Kinds) -> dict[tuple[str, str], str]:
    """Heading of each (kind, protocol); the protocol is named only where a dataset has several of one kind."""
    protocols = everything[["dataset", "kind", "protocol"]].drop_duplicates()
    several = protocols.groupby(["dataset", "kind"])["protocol"].transform("size") > 1
    named = protocols.assign(several=several, place=protocols["kind"].map(in_order(kinds).index))
    return {
        (row["kind"], row["protocol"]): kinds[row["kind"]].column + (f": {row['protocol']}" if row["several"] else "")
        for row in named.sort_values(["place", "protocol"]).to_dict("records")
    }
