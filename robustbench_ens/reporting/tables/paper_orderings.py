"""Whether the orderings that the DVERGE paper shows hold in our outcomes, eps by eps."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from robustbench_ens.reporting.compare import Answers, compared, holm, welch_p_of_rates
from robustbench_ens.reporting.derive import CONFIDENCE
from robustbench_ens.reporting.health import MARK
from robustbench_ens.reporting.text import points, with_brackets

COLUMNS = ["In the paper", "Protocol", "eps", "DVERGE", "Nearest other", "Of", "Verdict"]
LOWEST = "DVERGE has the lowest transferability between sub-models (Section 4.2, Figure 3)"
HIGHEST = {
    "blackbox": "DVERGE has the highest black-box accuracy (Section 4.3, Figure 4)",
    "whitebox": "DVERGE has the highest white-box accuracy (Section 4.3, Figure 4)",
}
CLEAN = "DVERGE's clean accuracy is comparable to the baseline's (Section 4.3)"
OTHERS = ("ADP", "GAL", "baseline")
CLEARLY, HOLDS, LEVEL = "holds clearly", "holds, not told apart", "level"
FAILS, REVERSED = "does not hold, not told apart", "clearly the other way round"


def paper_orderings(
    accuracies: pd.DataFrame,
    transfer: pd.DataFrame,
    subjects: pd.DataFrame,
    unhealthy: Collection[tuple[str, str]] = (),
    answers: Sequence[Answers] = (),
) -> pd.DataFrame:
    """One row per ordering, protocol, DVERGE ensemble and eps at which there is another method to set beside it.

    Each DVERGE ensemble is set beside the best of ``OTHERS`` of as many sub-models, from recipes of the same folder and
    so on the same schedule; ``Of`` says which of them were evaluated so. An ordering holds clearly, or is
    clearly the other way round, where ``compare.compared`` tells the two apart on the images and seeds that they share.
    Where they share none, and for transferability, no two 95% intervals may touch, in any pair of seeds, and, over
    several seeds, Welch's t-test between the seeds' rates must agree. Holm's correction runs over the table. Clean
    accuracies are those under the protocol with most images.

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
    by_image: dict[tuple[str, str, str], dict[int, Answers]] = {}
    for own in answers:
        by_image.setdefault((own.protocol, f"{own.eps:g}", own.ensemble), {})[own.seed] = own
    rows: list[tuple[str, ...]] = []
    judged: list[tuple[float, bool, float | None, str]] = []
    for kind, claim in {"transferability": LOWEST, **HIGHEST}.items():
        of_kind = known[(known["kind"] == kind) & (known["eps"] > 0)]
        for (protocol, _, _, eps), cell in of_kind.groupby(["protocol", "folder", "sub_models", "eps"], observed=True):
            marks = {ensemble: MARK for name, ensemble in unhealthy if name == protocol}
            for ours, other, of, better in _beside_the_nearest(cell, lowest=kind == "transferability"):
                mark = marks.get(ours["ensemble"], "") or marks.get(other["ensemble"], "")
                each = [by_image.get((str(protocol), f"{eps:g}", row["ensemble"]), {}) for row in (ours, other)]
                judged.append((better, *_evidence(ours, other, compared(*each)), mark))
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
                (CLEAN, protocol, "clean", _text(ours), _text(other), of, f"{points(difference)} points")
                for ours, other, of, difference in beside
            ]
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)


def _beside_the_nearest(cell: pd.DataFrame, lowest: bool = False) -> Iterator[tuple[pd.Series, pd.Series, str, float]]:
    """Each DVERGE ensemble of ``cell``, the best of the others, their methods, and by how much DVERGE is better."""
    bounds = cell.groupby(["method", "ensemble"], observed=True).agg(
        rate=("rate", "mean"), low=("low", "min"), high=("high", "max"), seeds=("rate", list), n=("n", "min")
    )
    bounds = bounds.reset_index()
    others = bounds[bounds["method"].isin(OTHERS)].sort_values("rate")
    if others.empty:
        return
    best = others.iloc[0 if lowest else -1]
    methods = ", ".join(sorted(set(others["method"]), key=OTHERS.index))
    for _, ours in bounds[bounds["method"] == "DVERGE"].iterrows():
        yield ours, best, methods, (-1 if lowest else 1) * round(float(ours["rate"] - best["rate"]), 12)


def _evidence(one: pd.Series, other: pd.Series, pair: Mapping[str, Any] | None) -> tuple[bool, float | None]:
    """Whether the two may be told apart at all, and the p-value that has the last word, if there is one."""
    return (True, pair["p"]) if pair else (_apart(one, other), _over_seeds(one, other))


def _apart(one: pd.Series, other: pd.Series) -> bool:
    return bool(one["low"] > other["high"] or other["low"] > one["high"])


def _over_seeds(one: pd.Series, other: pd.Series) -> float | None:
    """Welch's p-value between the seeds' rates; none where one of the two has a single seed."""
    return welch_p_of_rates(np.array(one["seeds"]), np.array(other["seeds"]), min(one["n"], other["n"]))


def _verdicts(judged: Sequence[tuple[float, bool, float | None, str]]) -> list[str]:
    """In words, from how much better DVERGE is, what :func:`_evidence` says, and the mark."""
    adjusted = iter(holm([p for _, _, p, _ in judged if p is not None]))
    words = []
    for better, apart, p, mark in judged:
        supported = p is None or next(adjusted) < 1 - CONFIDENCE
        positive, negative = (CLEARLY, REVERSED) if apart and supported else (HOLDS, FAILS)
        words.append((positive if better > 0 else negative if better else LEVEL) + mark)
    return words


def _text(row: pd.Series) -> str:
    return f"{row['ensemble']} {with_brackets(row['rate'], row['low'], row['high'])}"
