"""The tables of a paper: leaderboard, comparisons, accuracies, transferability, and those of papers beside ours."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from robustbench_ens.analysis.chosen_on import MEANING, ChosenHere
from robustbench_ens.analysis.compare import WORST
from robustbench_ens.analysis.health import MARK, marked
from robustbench_ens.config.kinds import ACCURACY, TRANSFER
from robustbench_ens.core.text import MEAN_AND_STD, distinct_names, slug, span
from robustbench_ens.outcomes import ENSEMBLE
from robustbench_ens.reporting import dverge2020, fasten2023
from robustbench_ens.reporting.board import chosen_of, short_names
from robustbench_ens.reporting.collect import Collection, standard_eps_by_dataset
from robustbench_ens.reporting.context import Context
from robustbench_ens.reporting.exports.booktabs import UNHEALTHY, LatexTable
from robustbench_ens.reporting.sections.accuracy import shown
from robustbench_ens.reporting.sections.overview import leaderboard_table
from robustbench_ens.reporting.tables.accuracy import CLEAN, HEADS, accuracy_by_eps
from robustbench_ens.reporting.tables.comparison import comparison_table
from robustbench_ens.reporting.tables.summary import over_seeds

DAGGER, DOUBLE_DAGGER = r"$^{\dagger}$", r"$^{\ddagger}$"
STAR = "$^{*}$"
SIGNIFICANT = "(McNemar's exact test, and Welch's t-test over seeds if there are several; Holm's correction; p < 0.05)"
UNHEALTHY_NOTE = "rests on an unhealthy attack."
INTERVAL = "In brackets the 95% interval."
WILSON = "In brackets the Wilson 95% interval."
STD = "Mean and standard deviation over training seeds."
LACKING = ("not run", "only at eps", "no pairs")
"""The beginnings of texts that replace a number."""
NO_COLUMN = ["Set by", "Health", "Parameters"]
"""The columns of the leaderboard that a paper has no room for."""

PAPERS = {"dverge": dverge2020.tables, "fasten": fasten2023.tables}
"""The functions that return the tables of each paper, by the beginning of their names."""

_SAME = ("Quantity", "Ensemble", "eps", "#steps")
"""The columns in which the seeds of one mean agree."""
_NUMBERED = re.compile(r"^((?:Table|Figure) \d+): ")


def latex_tables(context: Context) -> list[LatexTable]:
    """Return all tables, with unique names."""
    collection = context.collection
    made = [
        *leaderboards(context),
        *comparisons(collection),
        *accuracies(collection),
        *transferability(collection),
        *papers(context),
    ]
    return with_own_names([table for table in made if len(table.frame)])


def with_own_names(tables: Sequence[LatexTable]) -> list[LatexTable]:
    """Return the tables with numbers added to repeated names, and with a note if a number is marked."""
    found = []
    for table, name in zip(tables, distinct_names((table.name for table in tables), "-n"), strict=True):
        notes = dict(table.notes)
        if any(MARK in str(cell) for cell in table.frame.to_numpy().ravel()):
            notes[UNHEALTHY] = UNHEALTHY_NOTE
        found.append(replace(table, name=name, notes=notes))
    return found


def leaderboards(context: Context) -> list[LatexTable]:
    """Return one leaderboard per dataset.

    The best worst case is bold, and those that are significantly below it have a dagger.
    """
    table = leaderboard_table(context)
    rows = context.board
    lost = _below_the_best(context.collection, {row.dataset: row.ensemble for row in reversed(rows) if row.place == 1})
    found = []
    for dataset in dict.fromkeys(row.dataset for row in rows):
        places = [place for place, row in enumerate(rows) if row.dataset == dataset]
        frame = _filled(table.frame.iloc[places].drop(columns=NO_COLUMN, errors="ignore").reset_index(drop=True))
        column = list(frame.columns).index("Worst case")
        best = [at for at, text in enumerate(frame["Worst case"]) if text == frame["Worst case"].iloc[0]]
        signs = {(at, column): DAGGER for at, place in enumerate(places) if (dataset, rows[place].ensemble) in lost}
        notes = {DAGGER: f"significantly below the first {SIGNIFICANT}."} if signs else {}
        bold = frozenset((at, column) for at in best)
        signs, notes = _with_chosen(frame, chosen_of([rows[place] for place in places]), signs, notes)
        caption = f"{table.caption} {_over(frame, WILSON)} Attacked images: {dataset}."
        caption, frame = _short_names(caption, frame, ["Ensemble"])
        found.append(LatexTable(f"leaderboard-{slug(dataset)}", caption, frame, bold, signs, notes))
    return found


def _with_chosen(
    frame: pd.DataFrame, chosen: ChosenHere, signs: Mapping[tuple[int, int], str], notes: Mapping[str, str]
) -> tuple[dict[tuple[int, int], str], dict[str, str]]:
    """Return signs and notes of a table, and those of ensembles whose settings were chosen on its images."""
    column = list(frame.columns).index("Ensemble")
    names = enumerate(frame["Ensemble"])
    own = {(at, column): DOUBLE_DAGGER for at, name in names if name in chosen.marked}
    said = {DOUBLE_DAGGER: MEANING} if own else {}
    return {**signs, **own}, {**notes, **said, **({"": chosen.about_starts} if chosen.started else {})}


def _below_the_best(collection: Collection, best: dict[str, str]) -> set[tuple[str, str]]:
    """Return dataset and name of ensembles whose worst case is significantly below that of the first."""
    own = collection.comparisons
    own = own[(own["protocol"] == WORST) & own["supported"].astype(bool)]
    pairs = own[["dataset", "better", "worse"]].itertuples(index=False, name=None)
    return {(dataset, worse) for dataset, better, worse in pairs if best.get(dataset) == better}


def _filled(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame without the columns that hold no number."""
    kept = [name for name in frame if name == "Worst case" or not frame[name].str.startswith(LACKING).all()]
    return frame[kept]


def _over(frame: pd.DataFrame, interval: str) -> str:
    """Return the sentences that explain the deviations and intervals of a table."""
    text = " ".join(frame.to_numpy(dtype=str).ravel())
    return " ".join([*([STD] if "±" in text else []), *([interval] if "[" in text else [])])


def _short_names(caption: str, frame: pd.DataFrame, columns: list[str]) -> tuple[str, pd.DataFrame]:
    """Move the folder that all ensembles share from their names to the caption."""
    names = sorted(set(frame[columns].to_numpy().ravel()))
    short = short_names(names)
    if all(short[name] == name for name in names):
        return caption, frame
    folder = names[0].partition("/")[0]
    return f"{caption} Ensembles: {folder}/...", frame.assign(**{name: frame[name].map(short) for name in columns})


def comparisons(collection: Collection) -> list[LatexTable]:
    """Return the pairs of ensembles in the worst case. A star marks a significant difference."""
    found = []
    worst = collection.comparisons[collection.comparisons["protocol"] == WORST]
    for dataset, rows in worst.groupby("dataset", observed=True):
        ordered = rows.sort_values("difference", ascending=False, kind="stable")
        frame = comparison_table(ordered, collection.unhealthy(WORST)).drop(columns="Verdict")
        caption = (
            f"Pairs of ensembles on {dataset} in the worst case at eps {rows['eps'].iloc[0]:g}: difference of their "
            "accuracies in percentage points, with its bootstrap 95% interval over images. Only higher, only lower: "
            "images that only this one gets right, over all seeds"
        )
        caption, frame = _stated_once(caption, frame, {"n": "n = {} images", "Seeds": "training seeds: {}"})
        caption, frame = _short_names(caption, frame, ["Higher", "Lower"])
        column = list(frame.columns).index("Difference, points")
        signs = {(at, column): STAR for at, supported in enumerate(ordered["supported"]) if supported}
        notes = {STAR: f"significant {SIGNIFICANT}."} if signs else {}
        found.append(LatexTable(f"comparison-{slug(dataset)}", caption, frame, signs=signs, notes=notes))
    return found


def _stated_once(caption: str, frame: pd.DataFrame, words: dict[str, str]) -> tuple[str, pd.DataFrame]:
    """Move columns that are the same in all rows to the end of the caption, and add the full stop."""
    same = [name for name in words if name in frame and frame[name].nunique() == 1 and frame[name].iloc[0]]
    facts = [words[name].format(frame[name].iloc[0]) for name in same]
    return "; ".join([caption, *facts]) + ".", frame.drop(columns=same)


def accuracies(collection: Collection) -> list[LatexTable]:
    """Return one table per protocol with the accuracy by eps."""
    found = []
    for kind in shown(collection, ACCURACY):
        rates = collection.accuracies[collection.accuracies["kind"] == kind]
        for protocol, rows in rates.groupby("protocol", observed=True):
            frame = accuracy_by_eps(rows)
            numbers = [name for name in frame.columns if name not in (*HEADS, CLEAN)]
            frame = marked(frame, collection.unhealthy(str(protocol)), numbers)
            caption = (
                f"{collection.kinds[kind].title} accuracy under {protocol}, by eps: share of all n images that are "
                f"right when clean and under every attempt. {_over(frame, WILSON)}"
            ).removesuffix(".")
            caption, frame = _stated_once(caption, frame, {"n": "n = {} images", "Seeds": "training seeds: {}"})
            chosen = collection.chosen_here({str(protocol)}, set(frame["Ensemble"]))
            signs, notes = _with_chosen(frame, chosen, {}, {})
            caption, frame = _short_names(caption, frame, ["Ensemble"])
            frame = frame.rename(columns={name: f"eps {name}" for name in numbers})
            found.append(LatexTable(f"accuracy-{slug(protocol)}", caption, frame, signs=signs, notes=notes))
    return found


def transferability(collection: Collection) -> list[LatexTable]:
    """Return one table per protocol at the standard eps, with the success from each sub-model on each."""
    found = []
    eps = standard_eps_by_dataset(collection.accuracies, collection.transferability)
    for kind in shown(collection, TRANSFER):
        rates = collection.transferability
        rates = rates[(rates["kind"] == kind) & (rates["eps"] == rates["dataset"].map(eps))]
        for protocol, rows in rates.groupby("protocol", observed=True):
            frame = pair_rates(rows)
            numbers = list(frame.columns[3:])
            frame = marked(frame, collection.unhealthy(str(protocol)), numbers)
            caption = (
                f"Success rate of attacks crafted on one sub-model and scored on another, under {protocol} at eps "
                f"{rows['eps'].iloc[0]:g}, over the n images that every sub-model gets right. {_over(frame, WILSON)}"
            ).removesuffix(".")
            caption, frame = _stated_once(caption, frame, {"n": "n = {}"})
            caption, frame = _short_names(caption, frame, ["Ensemble"])
            found.append(LatexTable(f"transferability-{slug(protocol)}", caption, frame, group=1))
    return found


def pair_rates(transfer: pd.DataFrame) -> pd.DataFrame:
    """Return one row per ensemble and sub-model that attacks are crafted on, and a column per sub-model scored on.

    Args:
        transfer: rows of ``derive.transferability`` of one protocol and eps.

    Returns:
        the columns ``Ensemble``, ``n``, ``Crafted on``, ``Scored on 0``, ..., ``Scored on ensemble``, as text.
    """
    targets = sorted(transfer["target_member"].unique(), key=lambda member: (member == ENSEMBLE, member))
    heads = ["Scored on ensemble" if member == ENSEMBLE else f"Scored on {member}" for member in targets]
    rates = transfer.rename(columns={"rate": "accuracy"})
    rows = []
    for (ensemble, source), own in rates.groupby(["ensemble", "source_member"], observed=True):
        cells = {member: over_seeds(cell, own) for member, cell in own.groupby("target_member")}
        rows.append((ensemble, span(own["n"]), str(source), *(cells.get(member, "") for member in targets)))
    return pd.DataFrame(rows, columns=["Ensemble", "n", "Crafted on", *heads], dtype=str)


def papers(context: Context) -> list[LatexTable]:
    """Return the tables of each paper with our numbers, beside the paper's own if these are comparable."""
    found = []
    for paper, tables in PAPERS.items():
        for dataset, table in tables(context):
            name = f"{paper}-{slug(table.caption.partition(':')[0].partition(',')[0])}-{slug(dataset)}"
            frame = over_all_seeds(table.frame)
            caption = _NUMBERED.sub(r"As \1 of the DVERGE paper (arXiv:2009.14720): ", table.caption)
            caption = f"{caption.removesuffix('.')}. {_over(frame, INTERVAL)}".strip()
            group = 2 if list(frame.columns[:2]) == ["Method", "Sub-models"] else 0
            found.append(LatexTable(name, caption, frame, group=group))
    return found


def over_all_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table without the rows of single seeds that are followed by their mean and standard deviation.

    The row of the mean has the number of images and of seeds: ``500, 3 seeds``.
    """
    if "Seed" not in frame or not (frame["Seed"] == MEAN_AND_STD).any():
        return frame
    rows: list[dict[Hashable, str]] = []
    single: list[dict[Hashable, str]] = []
    for row in frame.to_dict("records"):
        if row["Seed"] == MEAN_AND_STD:
            sizes = span(int(one["n"].replace(",", "")) for one in single if one["n"])
            rows.append({**row, "n": ", ".join(filter(None, [sizes, row["n"]]))})
            single = []
        elif row["Seed"]:
            if single and [single[0].get(name) for name in _SAME] != [row.get(name) for name in _SAME]:
                rows += single
                single = []
            single.append(row)
        else:  # the paper's
            rows += [*single, row]
            single = []
    kept = pd.DataFrame([*rows, *single], columns=frame.columns, dtype=str)
    return kept.drop(columns="Seed") if kept["Seed"].isin([MEAN_AND_STD, ""]).all() else kept
