"""The tables of a paper: leaderboard, comparisons, accuracies, transferability, and those of the DVERGE paper."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pandas as pd

from robustbench_ens.analysis.compare import WORST
from robustbench_ens.analysis.health import MARK, marked
from robustbench_ens.config.kinds import ACCURACY, TRANSFER
from robustbench_ens.core.text import slug, span
from robustbench_ens.outcomes import ENSEMBLE
from robustbench_ens.reporting import dverge2020
from robustbench_ens.reporting.board import board
from robustbench_ens.reporting.collect import Collection, headlines
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.exports.booktabs import LatexTable
from robustbench_ens.reporting.sections.accuracy import shown
from robustbench_ens.reporting.sections.overview import leaderboard_table
from robustbench_ens.reporting.tables.accuracy import CLEAN, HEADS, accuracy_by_eps
from robustbench_ens.reporting.tables.comparison import comparison_table
from robustbench_ens.reporting.tables.summary import over_seeds

DAGGER = r"$^{\dagger}$"
STAR = "$^{*}$"
ILL = "$^{!}$"  # as `latex` writes the mark of an unhealthy attack
SIGNIFICANT = "(McNemar's exact test, and Welch's t-test over seeds if there are several; Holm's correction; p < 0.05)"
ILL_NOTE = "rests on an unhealthy attack."
ONE_SEED = "In brackets the Wilson 95% interval."
SEVERAL_SEEDS = "Mean and standard deviation over training seeds; of one seed the Wilson 95% interval."


def latex_tables(context: Context) -> list[LatexTable]:
    """Return every table, each with a name of its own."""
    collection = context.collection
    made = [
        *leaderboards(collection),
        *comparisons(collection),
        *accuracies(collection),
        *transferability(collection),
        *papers(context),
    ]
    return named_apart([table for table in made if len(table.frame)])


def named_apart(tables: Iterable[LatexTable]) -> list[LatexTable]:
    """Return the tables, a number behind a name that was taken before."""
    taken: set[str] = set()
    found = []
    for table in tables:
        name = table.name
        number = 1
        while name in taken:
            number += 1
            name = f"{table.name}-n{number}"
        taken.add(name)
        notes = dict(table.notes)
        if any(MARK in str(cell) for cell in table.frame.to_numpy().ravel()):
            notes[ILL] = ILL_NOTE
        found.append(replace(table, name=name, notes=notes))
    return found


def leaderboards(collection: Collection) -> list[LatexTable]:
    """Return one table per dataset; the best worst case is bold, and what is significantly below it has a dagger."""
    table = leaderboard_table(collection)
    rows = board(collection)
    lost = _below_the_best(collection, {row.dataset: row.ensemble for row in reversed(rows) if row.place == 1})
    found = []
    for dataset in dict.fromkeys(row.dataset for row in rows):
        places = [place for place, row in enumerate(rows) if row.dataset == dataset]
        frame = table.frame.iloc[places].drop(columns=["Set by", "Health", "Parameters"], errors="ignore")
        column = list(frame.columns).index("Worst case")
        first = rows[places[0]].worst
        best = [
            at for at, place in enumerate(places) if first and rows[place].worst and rows[place].worst.text == first.text
        ]
        signs = {(at, column): DAGGER for at, place in enumerate(places) if (dataset, rows[place].ensemble) in lost}
        notes = {DAGGER: f"significantly below the first {SIGNIFICANT}."} if signs else {}
        bold = frozenset((at, column) for at in best)
        caption = f"{table.caption} {_over(collection.accuracies)} Attacked images: {dataset}."
        name = f"leaderboard-{slug(dataset)}"
        found.append(LatexTable(name, caption, frame.reset_index(drop=True), bold, signs, notes))
    return found


def _below_the_best(collection: Collection, best: dict[str, str]) -> set[tuple[str, str]]:
    """Dataset and name of what is significantly worse, in the worst case, than the first of its leaderboard."""
    own = collection.comparisons
    own = own[(own["protocol"] == WORST) & own["supported"].astype(bool)]
    pairs = own[["dataset", "better", "worse"]].itertuples(index=False, name=None)
    return {(dataset, worse) for dataset, better, worse in pairs if best.get(dataset) == better}


def _over(rates: pd.DataFrame) -> str:
    return SEVERAL_SEEDS if len(rates) and rates["seed"].nunique() > 1 else ONE_SEED


def comparisons(collection: Collection) -> list[LatexTable]:
    """Return the pairs of ensembles in the worst case; a star marks a difference that the tests support."""
    found = []
    worst = collection.comparisons[collection.comparisons["protocol"] == WORST]
    for dataset, rows in worst.groupby("dataset", observed=True):
        ordered = rows.sort_values("difference", ascending=False, kind="stable")
        frame = comparison_table(ordered, collection.sick(WORST)).drop(columns="Verdict")
        caption = (
            f"Pairs of ensembles on {dataset} in the worst case at eps {rows['eps'].iloc[0]:g}: difference of their "
            "accuracies in percentage points, with its bootstrap 95% interval over images. Only higher, only lower: "
            "images that only this one gets right, over all seeds"
        )
        caption, frame = _stated_once(caption, frame, {"n": "n = {} images", "Seeds": "training seeds: {}"})
        column = list(frame.columns).index("Difference, points")
        signs = {(at, column): STAR for at, supported in enumerate(ordered["supported"]) if supported}
        notes = {STAR: f"significant {SIGNIFICANT}."} if signs else {}
        found.append(LatexTable(f"comparison-{slug(dataset)}", caption, frame, signs=signs, notes=notes))
    return found


def _stated_once(caption: str, frame: pd.DataFrame, words: dict[str, str]) -> tuple[str, pd.DataFrame]:
    """Move columns that are the same in all rows to the end of the caption, which gets its full stop."""
    same = [name for name in words if name in frame and frame[name].nunique() == 1 and frame[name].iloc[0]]
    said = [words[name].format(frame[name].iloc[0]) for name in same]
    return "; ".join([caption, *said]) + ".", frame.drop(columns=same)


def accuracies(collection: Collection) -> list[LatexTable]:
    """Return one table per protocol: accuracy by eps."""
    found = []
    for kind in shown(collection, ACCURACY):
        rates = collection.accuracies[collection.accuracies["kind"] == kind]
        for protocol, rows in rates.groupby("protocol", observed=True):
            frame = accuracy_by_eps(rows)
            numbers = [name for name in frame.columns if name not in (*HEADS, CLEAN)]
            frame = marked(frame, collection.sick(str(protocol)), numbers)
            caption = (
                f"{collection.kinds[kind].title} accuracy under {protocol}, by eps: share of all n images that are "
                f"right when clean and under every attempt. {_over(rows)}"
            ).removesuffix(".")
            caption, frame = _stated_once(caption, frame, {"n": "n = {} images", "Seeds": "training seeds: {}"})
            frame = frame.rename(columns={name: f"eps {name}" for name in numbers})
            found.append(LatexTable(f"accuracy-{slug(protocol)}", caption, frame))
    return found


def transferability(collection: Collection) -> list[LatexTable]:
    """Return one table per protocol at the eps of the dataset's summary: success from each sub-model on each."""
    found = []
    eps = headlines(collection.accuracies, collection.transferability)
    for kind in shown(collection, TRANSFER):
        rates = collection.transferability
        rates = rates[(rates["kind"] == kind) & (rates["eps"] == rates["dataset"].map(eps))]
        for protocol, rows in rates.groupby("protocol", observed=True):
            frame = pair_rates(rows)
            numbers = list(frame.columns[3:])
            frame = marked(frame, collection.sick(str(protocol)), numbers)
            caption = (
                f"Success rate of attacks crafted on one sub-model and scored on another, under {protocol} at eps "
                f"{rows['eps'].iloc[0]:g}, over the n images that every sub-model gets right. {_over(rows)}"
            ).removesuffix(".")
            caption, frame = _stated_once(caption, frame, {"n": "n = {}"})
            found.append(LatexTable(f"transferability-{slug(protocol)}", caption, frame, group=1))
    return found


def pair_rates(transfer: pd.DataFrame) -> pd.DataFrame:
    """Return a row per ensemble and sub-model that attacks are crafted on, a column per sub-model that they beat.

    Args:
        transfer: rows of one protocol and eps, as ``derive.transferability`` gives them.

    Returns:
        the columns ``Ensemble``, ``n``, ``Crafted on``, ``On 0``, ``On 1``, ..., ``On ensemble``, as text.
    """
    targets = sorted(transfer["target_member"].unique(), key=lambda member: (member == ENSEMBLE, member))
    heads = ["On ensemble" if member == ENSEMBLE else f"On {member}" for member in targets]
    rates = transfer.rename(columns={"rate": "accuracy"})
    rows = []
    for (ensemble, source), own in rates.groupby(["ensemble", "source_member"], observed=True):
        cells = {member: over_seeds(cell, own) for member, cell in own.groupby("target_member")}
        rows.append((ensemble, span(own["n"]), str(source), *(cells.get(member, "") for member in targets)))
    return pd.DataFrame(rows, columns=["Ensemble", "n", "Crafted on", *heads], dtype=str)


def papers(context: Context) -> list[LatexTable]:
    """Return the tables of the DVERGE paper with our numbers, and its own beside them where they belong."""
    found = []
    for dataset, table in dverge2020.tables(context):
        name = f"dverge-{slug(table.caption.partition(':')[0].partition(',')[0])}-{slug(dataset)}"
        caption = f"{table.caption.removesuffix('.')}. {_over(context.collection.accuracies)}"
        group = 2 if list(table.frame.columns[:2]) == ["Method", "Sub-models"] else 0
        found.append(LatexTable(name, caption, table.frame, group=group))
    return found
