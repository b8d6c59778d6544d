"""Whether the orderings that the DVERGE paper shows hold in our outcomes, eps by eps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import pandas as pd

from robustbench_ens.analysis import health
from robustbench_ens.analysis.compare import Answers
from robustbench_ens.core.text import listing, points
from robustbench_ens.reporting.papers.orderings import (
    BRACKETS,
    TESTED,
    UNPAIRED,
    Claim,
    beside_the_nearest,
    in_terms,
    judged_orderings,
    rate_text,
)
from robustbench_ens.reporting.papers.part import Part, Shown

COLUMNS = ["In the paper", "Protocol", "eps", "DVERGE", "Nearest other", "Of", "Verdict"]
LOWEST = "DVERGE has the lowest transferability between sub-models (Section 4.2, Figure 3)"
HIGHEST = {
    "blackbox": "DVERGE has the highest black-box accuracy (Section 4.3, Figure 4)",
    "whitebox": "DVERGE has the highest white-box accuracy (Section 4.3, Figure 4)",
}
CLEAN = "DVERGE's clean accuracy is comparable to the baseline's (Section 4.3)"
OTHERS = ("ADP", "GAL", "baseline")

CLAIMS = (
    Claim(LOWEST, "transferability", "DVERGE", OTHERS, lowest=True),
    *(Claim(text, kind, "DVERGE", OTHERS) for kind, text in HIGHEST.items()),
)


def paper_orderings(
    accuracies: pd.DataFrame,
    transfer: pd.DataFrame,
    subjects: pd.DataFrame,
    unhealthy: Collection[tuple[str, str]] = (),
    answers: Sequence[Answers] = (),
) -> pd.DataFrame:
    """One row per ordering, protocol, DVERGE ensemble and eps at which there is another method to set beside it.

    They are judged by ``judged_orderings``; ``Of`` says which of ``OTHERS`` were evaluated. Clean accuracies are those
    under the protocol with most images.

    Args:
        accuracies: rows of ``derive.accuracies`` under white-box and black-box protocols that ask what the paper asks.
        transfer: rows of ``derive.mean_transferability``.
        subjects: ensembles in the paper's terms, as ``subjects_of`` gives them, with its hyper-parameters.
        unhealthy: (protocol, ensemble) whose numbers rest on an unhealthy attack; these and their verdicts are marked.
        answers: what the ensembles of ``accuracies`` keep, image by image.

    Returns:
        the columns ``COLUMNS``, as text.
    """
    known = in_terms([accuracies, transfer], subjects)
    rows = judged_orderings(known, CLAIMS, unhealthy, answers)
    return pd.DataFrame([*rows, *_clean(known)], columns=COLUMNS, dtype=str)


def _clean(known: pd.DataFrame) -> list[tuple[str, ...]]:
    """How much DVERGE's clean accuracies differ from those of the baseline."""
    claim = Claim(CLEAN, "", "DVERGE", ("baseline",))
    rows: list[tuple[str, ...]] = []
    clean = known[(known["eps"] == 0) & known["method"].isin([claim.ahead, *claim.others])]
    for _, cell in clean.groupby(["folder", "sub_models"]):
        found = [
            (int(own["n"].min()), str(protocol), beside)
            for protocol, own in cell.groupby("protocol", observed=True)
            for beside in [list(beside_the_nearest(own, claim))]
            if beside
        ]
        if found:
            _, protocol, beside = max(found, key=lambda item: item[:2])
            rows += [
                (CLEAN, protocol, "clean", rate_text(ours), rate_text(others[0]), of, f"{points(difference)} points")
                for ours, others, of, difference in beside
            ]
    return rows


def show_orderings(part: Part) -> Shown:
    """Show whether the paper's orderings hold."""
    subjects = part.subjects[part.subjects["standard"] & ~part.subjects["scratch"]]
    transfer = part.own(part.collection.mean_transferability)
    table = paper_orderings(
        part.asked("4", "5"), transfer, subjects, health.unhealthy(part.collection.health), part.collection.answers
    )
    if table.empty:
        return Shown()
    caption = (
        f"Do the paper's orderings hold? DVERGE beside the best of {listing(OTHERS)}, as far as they were evaluated, "
        f"with as many sub-models and on the same schedule; {BRACKETS}. {TESTED}; of transferability, and {UNPAIRED}"
    )
    return Shown([replace(part.table(table, caption), collapsed=False, group="In the paper")])
