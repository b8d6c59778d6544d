"""Whether the orderings that the DVERGE paper shows hold in our outcomes, eps by eps."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from robustbench_ens.analysis import health
from robustbench_ens.analysis.compare import Answers, compared, welch_p_of_rates
from robustbench_ens.analysis.derive import CONFIDENCE
from robustbench_ens.analysis.holm import holm
from robustbench_ens.core.text import listing, points, with_brackets
from robustbench_ens.reporting.dverge2020.part import Part, Shown

COLUMNS = ["In the paper", "Protocol", "eps", "DVERGE", "Nearest other", "Of", "Verdict"]
LOWEST = "DVERGE has the lowest transferability between sub-models (Section 4.2, Figure 3)"
HIGHEST = {
    "blackbox": "DVERGE has the highest black-box accuracy (Section 4.3, Figure 4)",
    "whitebox": "DVERGE has the highest white-box accuracy (Section 4.3, Figure 4)",
}
CLEAN = "DVERGE's clean accuracy is comparable to the baseline's (Section 4.3)"
OTHERS = ("ADP", "GAL", "baseline")
SIGNIFICANT = "holds significantly"
HOLDS = "holds, but tied"
LEVEL = "level"
FAILS = "does not hold, but tied"
REVERSED = "significantly the other way round"

_Evidence = tuple[bool, float | None]
_Answered = Mapping[str, Mapping[int, Answers]]
_Beside = tuple[pd.Series, Sequence[pd.Series], str, float]


def paper_orderings(
    accuracies: pd.DataFrame,
    transfer: pd.DataFrame,
    subjects: pd.DataFrame,
    unhealthy: Collection[tuple[str, str]] = (),
    answers: Sequence[Answers] = (),
) -> pd.DataFrame:
    """One row per ordering, protocol, DVERGE ensemble and eps at which there is another method to set beside it.

    Each DVERGE ensemble is set beside the best of ``OTHERS`` of as many sub-models, from recipes of the same folder and
    so on the same schedule; ``Of`` says which of them were evaluated so. An ordering holds significantly if DVERGE
    differs so from every one of them, and is the other way round if it does from the best: by ``compare.compared`` if
    both were attacked with the same seeds and on shared images, else, as for transferability, by 95% intervals that
    do not touch in any pair of seeds and, over several seeds, Welch's t-test between the seeds' rates. Holm's
    correction runs over the rows that have a p-value; intervals alone have none. Clean accuracies are those under the
    protocol with most images.

    Args:
        accuracies: rows of ``derive.accuracies`` under white-box and black-box protocols that ask what the paper asks.
        transfer: rows of ``derive.mean_transferability``.
        subjects: ensembles in the paper's terms, as ``paper.subjects`` gives them, with its hyper-parameters.
        unhealthy: (protocol, ensemble) whose numbers rest on an unhealthy attack; these and their verdicts are marked.
        answers: what the ensembles of ``accuracies`` keep, image by image.

    Returns:
        the columns ``COLUMNS``, as text.
    """
    rates = [accuracies.rename(columns={"accuracy": "rate"}), transfer]
    known = pd.concat([frame for frame in rates if len(frame)] or rates[:1], ignore_index=True)
    known = known.drop(columns=["dataset", "method", "sub_models"]).merge(subjects, on="ensemble")
    by_image: dict[tuple[str, str], dict[str, dict[int, Answers]]] = {}
    for own in answers:
        by_image.setdefault((own.protocol, f"{own.eps:g}"), {}).setdefault(own.ensemble, {})[own.seed] = own
    rows: list[tuple[str, ...]] = []
    judged: list[tuple[float, bool, float | None, str]] = []
    for kind, claim in {"transferability": LOWEST, **HIGHEST}.items():
        of_kind = known[(known["kind"] == kind) & (known["eps"] > 0)]
        for (protocol, _, _, eps), cell in of_kind.groupby(["protocol", "folder", "sub_models", "eps"], observed=True):
            marks = {ensemble: health.MARK for name, ensemble in unhealthy if name == protocol}
            answered = by_image.get((str(protocol), f"{eps:g}"), {})
            for ours, others, of, better in _beside_the_nearest(cell, lowest=kind == "transferability"):
                other = others[0]
                mark = marks.get(ours["ensemble"], "") or marks.get(other["ensemble"], "")
                judged.append((better, *_evidence(ours, others, better, answered), mark))
                texts = [_text(row) + marks.get(row["ensemble"], "") for row in (ours, other)]
                rows.append((claim, str(protocol), f"{eps:g}", *texts, of))
    rows = [(*row, verdict) for row, verdict in zip(rows, _verdicts(judged), strict=True)]
    clean = known[(known["eps"] == 0) & known["method"].isin(["DVERGE", "baseline"])]
    for _, cell in clean.groupby(["folder", "sub_models"]):
        found = [
            (int(own["n"].min()), str(protocol), beside)
            for protocol, own in cell.groupby("protocol", observed=True)
            for beside in [list(_beside_the_nearest(own))]
            if beside
        ]
        if found:
            _, protocol, beside = max(found, key=lambda item: item[:2])
            rows += [
                (CLEAN, protocol, "clean", _text(ours), _text(others[0]), of, f"{points(difference)} points")
                for ours, others, of, difference in beside
            ]
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)


def _beside_the_nearest(cell: pd.DataFrame, lowest: bool = False) -> Iterator[_Beside]:
    """Each DVERGE ensemble of ``cell``, the others, best first, their methods, and its lead on the best of them."""
    bounds = cell.groupby(["method", "ensemble"], observed=True).agg(
        rate=("rate", "mean"), low=("low", "min"), high=("high", "max"), seeds=("rate", list), n=("n", "min")
    )
    bounds = bounds.reset_index()
    others = [row for _, row in bounds[bounds["method"].isin(OTHERS)].sort_values("rate", ascending=lowest).iterrows()]
    if not others:
        return
    methods = ", ".join(sorted({row["method"] for row in others}, key=OTHERS.index))
    for _, ours in bounds[bounds["method"] == "DVERGE"].iterrows():
        lead = (-1 if lowest else 1) * float(ours["rate"] - others[0]["rate"])
        yield ours, others, methods, round(lead, 12)  # equal counts are equal


def _evidence(ours: pd.Series, others: Sequence[pd.Series], lead: float, answered: _Answered) -> _Evidence:
    """A lead must stand against each of the others, so that the largest p-value counts.

    Being behind is said of the best of them alone, which was chosen after a look at the data: its p-value is taken
    times the number of the others.
    """
    found = [_told_apart(ours, other, answered) for other in (others if lead > 0 else others[:1])]
    known = [p for _, p in found if p is not None]
    p = max(known) * (1 if lead > 0 else len(others)) if known else None
    return all(apart for apart, _ in found), p if p is None else min(p, 1.0)


def _told_apart(one: pd.Series, other: pd.Series, answered: _Answered) -> _Evidence:
    """Whether the two may be told apart at all, and the p-value that has the last word, if there is one."""
    first, second = (answered.get(row["ensemble"], {}) for row in (one, other))
    pair = compared(first, second) if first.keys() == second.keys() else None
    if pair is None:
        return _apart(one, other), _over_seeds(one, other)
    ahead = one if one["rate"] >= other["rate"] else other
    return True, pair["p"] if pair["better"] == ahead["ensemble"] else 1.0


def _apart(one: pd.Series, other: pd.Series) -> bool:
    return bool(one["low"] > other["high"] or other["low"] > one["high"])


def _over_seeds(one: pd.Series, other: pd.Series) -> float | None:
    """Welch's p-value between the seeds' rates; none where one of the two has a single seed."""
    return welch_p_of_rates(np.array(one["seeds"]), np.array(other["seeds"]), min(one["n"], other["n"]))


def _verdicts(judged: Sequence[tuple[float, bool, float | None, str]]) -> list[str]:
    """In words, from how much better DVERGE is, what :func:`_evidence` says, and the mark."""
    adjusted = iter(holm([p for _, _, p, _ in judged if p is not None], 1 - CONFIDENCE).adjusted)
    words = []
    for better, apart, p, mark in judged:
        supported = p is None or next(adjusted) < 1 - CONFIDENCE
        positive, negative = (SIGNIFICANT, REVERSED) if apart and supported else (HOLDS, FAILS)
        words.append((positive if better > 0 else negative if better else LEVEL) + mark)
    return words


def _text(row: pd.Series) -> str:
    return f"{row['ensemble']} {with_brackets(row['rate'], row['low'], row['high'])}"


def show_orderings(part: Part) -> Shown:
    """Show whether the paper's orderings hold."""
    subjects = part.subjects[part.subjects["standard"] & ~part.subjects["scratch"]]
    transfer = part.own(part.collection.mean_transferability)
    table = paper_orderings(
        part.asked("45"), transfer, subjects, health.unhealthy(part.collection.health), part.collection.answers
    )
    if table.empty:
        return Shown()
    caption = (
        f"Do the paper's orderings hold? DVERGE beside the best of {listing(OTHERS)}, as far as they were evaluated, "
        "with as many sub-models and on the same schedule; in brackets the outermost ends of the seeds' 95% intervals. "
        "Significantly: better or worse than every one of them, by the paired test on the images that both were "
        "attacked on (see “Who beats whom”), p < 0.05 after Holm's correction over the rows; of transferability, and "
        "where they share no images or not the same seeds, these intervals do not touch and, over several seeds, "
        "Welch's t-test agrees"
    )
    return Shown([replace(part.table(table, caption), collapsed=False, group="In the paper")])
