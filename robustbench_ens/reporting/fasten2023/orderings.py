"""Whether the orderings that the FASTEN paper shows hold in our outcomes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import pandas as pd

from robustbench_ens.analysis import health
from robustbench_ens.analysis.compare import Answers
from robustbench_ens.reporting.collect import standard_eps_by_dataset
from robustbench_ens.reporting.fasten2023.subjects import BLACKBOX_EPS, SUB_MODELS
from robustbench_ens.reporting.papers.orderings import BRACKETS, TESTED, UNPAIRED, Claim, in_terms, judged_orderings
from robustbench_ens.reporting.papers.part import Part, Shown

COLUMNS = ["In the paper", "Protocol", "eps", "Ahead in the paper", "Nearest other", "Of", "Verdict"]

CLAIMS = (
    Claim("FASTEN has the highest accuracy under AutoAttack", "autoattack", "FASTEN", ("TRS", "DVERGE")),
    Claim("TRS has a higher accuracy under AutoAttack than DVERGE", "autoattack", "TRS", ("DVERGE",)),
    Claim("FASTEN has a higher black-box accuracy than DVERGE", "blackbox", "FASTEN", ("DVERGE",)),
)


def fasten_orderings(
    accuracies: pd.DataFrame,
    subjects: pd.DataFrame,
    unhealthy: Collection[tuple[str, str]] = (),
    answers: Sequence[Answers] = (),
) -> pd.DataFrame:
    """One row per ordering, protocol, ensemble and eps at which there is another method to set beside it.

    They are judged by ``judged_orderings``.

    Args:
        accuracies: rows of ``derive.accuracies`` at the eps that count, under protocols that ask what the paper asks.
        subjects: ensembles in the paper's terms, as ``subjects_of`` gives them.
        unhealthy: (protocol, ensemble) whose numbers rest on an unhealthy attack; these and their verdicts are marked.
        answers: what the ensembles keep, image by image.

    Returns:
        the columns ``COLUMNS``, as text.
    """
    rows = judged_orderings(in_terms([accuracies], subjects), CLAIMS, unhealthy, answers)
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)


def show_orderings(part: Part) -> Shown:
    """Show whether the orderings hold, at the eps of the paper's numbers or, on other data, at comparable ones.

    Those are every eps under AutoAttack, and the dataset's standard eps for black-box accuracy.
    """
    autoattack, blackbox = part.asked("autoattack"), part.asked("blackbox")
    if part.beside:
        autoattack = autoattack[autoattack["eps"].isin(part.reference("autoattack")["eps"])]
        eps = BLACKBOX_EPS
    else:
        found = standard_eps_by_dataset(part.collection.accuracies, part.collection.transferability)
        eps = found.get(part.dataset, BLACKBOX_EPS)
    rates = pd.concat([autoattack, blackbox[blackbox["eps"] == eps]])
    subjects = part.subjects[part.subjects["sub_models"] == SUB_MODELS]
    table = fasten_orderings(rates, subjects, health.unhealthy(part.collection.health), part.collection.answers)
    if table.empty:
        return Shown()
    caption = (
        f"Do the paper's orderings hold? Each ensemble of {SUB_MODELS} sub-models beside the best of the others from "
        f"recipes of the same folder, whatever their settings; {BRACKETS}. {TESTED}; {UNPAIRED}"
    )
    return Shown([replace(part.table(table, caption), collapsed=False, stacked=True, group="In the paper")])
