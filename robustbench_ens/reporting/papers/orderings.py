"""Whether the orderings that a paper shows hold in our outcomes, eps by eps."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from robustbench_ens.analysis import health
from robustbench_ens.analysis.compare import Answers, compared, welch_p_of_rates
from robustbench_ens.analysis.derive import CONFIDENCE
from robustbench_ens.analysis.holm import holm
from robustbench_ens.core.text import with_brackets

SIGNIFICANT = "holds significantly"
HOLDS = "holds, but tied"
LEVEL = "level"
FAILS = "does not hold, but tied"
REVERSED = "significantly the other way round"

BRACKETS = "in brackets the outermost ends of the seeds' 95% intervals"
TESTED = (
    "Significantly: better or worse than every one of them, by the paired test on the images that both were attacked "
    "on (see “Who beats whom”), p < 0.05 after Holm's correction over the rows"
)
UNPAIRED = (
    "where they share no images or not the same seeds, these intervals do not touch and, over several seeds, Welch's "
    "t-test agrees"
)
"""What captions say of the intervals and tests."""

_Evidence = tuple[bool, float | None]
_Answered = Mapping[str, Mapping[int, Answers]]
_Beside = tuple[pd.Series, Sequence[pd.Series], str, float]


@dataclass(frozen=True)
class Claim:
    """An ordering that a paper shows: one method before others under one kind of protocol.

    Attributes:
        text: the claim, with its place in the paper.
        kind: of the protocols.
        ahead: the method that is better.
        others: those that it is better than, in the order in which they are named.
        lowest: whether the lower rate is the better one.
    """

    text: str
    kind: str
    ahead: str
    others: tuple[str, ...]
    lowest: bool = False


def in_terms(rates: Sequence[pd.DataFrame], subjects: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of all frames of ``rates`` that are of ``subjects``, with what these are in a paper's terms.

    Args:
        rates: rows of ``derive.accuracies`` or ``derive.mean_transferability``.
        subjects: as ``subjects_of`` gives them.
    """
    named = [frame.rename(columns={"accuracy": "rate"}) for frame in rates]
    known = pd.concat([frame for frame in named if len(frame)] or named[:1], ignore_index=True)
    return known.drop(columns=["dataset", "method", "sub_models"]).merge(subjects, on="ensemble")


def judged_orderings(
    known: pd.DataFrame,
    claims: Sequence[Claim],
    unhealthy: Collection[tuple[str, str]] = (),
    answers: Sequence[Answers] = (),
) -> list[tuple[str, ...]]:
    """Return a row per claim, protocol, ensemble and eps at which there is another method to set beside it.

    Each ensemble of the method that a claim has ahead is set beside the best of the others of as many sub-models, from
    recipes of the same folder and so on the same schedule. An ordering holds significantly if the ensemble
    differs so from every one of them, and is the other way round if it does from the best: by ``compare.compared`` if
    both were attacked with the same seeds and on shared images, else, as for transferability, by 95% intervals that
    do not touch in any pair of seeds and, over several seeds, Welch's t-test between the seeds' rates. Holm's
    correction runs over the rows that have a p-value; intervals alone have none.

    Args:
        known: as :func:`in_terms` gives them.
        claims: of the paper.
        unhealthy: (protocol, ensemble) whose numbers rest on an unhealthy attack; these and their verdicts are marked.
        answers: what the ensembles keep, image by image.

    Returns:
        of each, as text: the claim, the protocol, the eps, the ensemble and the nearest other one with their rates, the
        methods among which that one is, and the verdict.
    """
    by_image: dict[tuple[str, str], dict[str, dict[int, Answers]]] = {}
    for own in answers:
        by_image.setdefault((own.protocol, f"{own.eps:g}"), {}).setdefault(own.ensemble, {})[own.seed] = own
    rows: list[tuple[str, ...]] = []
    judged: list[tuple[float, bool, float | None, str]] = []
    for claim in claims:
        of_kind = known[(known["kind"] == claim.kind) & (known["eps"] > 0)]
        for (protocol, _, _, eps), cell in of_kind.groupby(["protocol", "folder", "sub_models", "eps"], observed=True):
            marks = {ensemble: health.MARK for name, ensemble in unhealthy if name == protocol}
            answered = by_image.get((str(protocol), f"{eps:g}"), {})
            for ours, others, of, better in beside_the_nearest(cell, claim):
                other = others[0]
                mark = marks.get(ours["ensemble"], "") or marks.get(other["ensemble"], "")
                judged.append((better, *_evidence(ours, others, better, answered), mark))
                texts = [rate_text(row) + marks.get(row["ensemble"], "") for row in (ours, other)]
                rows.append((claim.text, str(protocol), f"{eps:g}", *texts, of))
    return [(*row, verdict) for row, verdict in zip(rows, _verdicts(judged), strict=True)]


def beside_the_nearest(cell: pd.DataFrame, claim: Claim) -> Iterator[_Beside]:
    """Yield each ensemble of ``cell`` that a claim has ahead, the others, best first, their methods, and its lead.

    The lead is the one on the best of the others. Nothing is yielded if there are none.
    """
    bounds = cell.groupby(["method", "ensemble"], observed=True).agg(
        rate=("rate", "mean"), low=("low", "min"), high=("high", "max"), seeds=("rate", list), n=("n", "min")
    )
    bounds = bounds.reset_index()
    beside = bounds[bounds["method"].isin(claim.others)].sort_values("rate", ascending=claim.lowest)
    others = [row for _, row in beside.iterrows()]
    if not others:
        return
    methods = ", ".join(sorted({row["method"] for row in others}, key=claim.others.index))
    for _, ours in bounds[bounds["method"] == claim.ahead].iterrows():
        lead = (-1 if claim.lowest else 1) * float(ours["rate"] - others[0]["rate"])
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
    """In words, from how much better the one ahead is, what :func:`_evidence` says, and the mark."""
    adjusted = iter(holm([p for _, _, p, _ in judged if p is not None], 1 - CONFIDENCE).adjusted)
    words = []
    for better, apart, p, mark in judged:
        supported = p is None or next(adjusted) < 1 - CONFIDENCE
        positive, negative = (SIGNIFICANT, REVERSED) if apart and supported else (HOLDS, FAILS)
        words.append((positive if better > 0 else negative if better else LEVEL) + mark)
    return words


def rate_text(row: pd.Series) -> str:
    """Return an ensemble and its rate, with the outermost ends of its seeds' intervals."""
    return f"{row['ensemble']} {with_brackets(row['rate'], row['low'], row['high'])}"
