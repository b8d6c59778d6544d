"""Accuracy against budget: the passes through the attacked model for each attempt, and the accuracy after it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from robustbench_ens.analysis.derive import CELL, plain
from robustbench_ens.analysis.standard import headline_eps
from robustbench_ens.config.kinds import ACCURACY, facts_of
from robustbench_ens.outcomes import ENSEMBLE, OutcomeFile, gather, named

PREFIX = "budget/"
ATTEMPT = ["source", "attack", "loss", "restart"]
COLUMNS = [*CELL, "eps", "attempt", *ATTEMPT, "forward", "backward", "passes", "accuracy"]
_CRAFTING = ["source", "attack", "loss"]


def spent(attempts: pd.DataFrame, counts: pd.DataFrame) -> pd.DataFrame:
    """Return the budget and the accuracy that is left after each attempt, in the order of the rows.

    Args:
        attempts: outcome rows of one target at one eps, with every attempt on every image; ``correct`` is null if the
            image was beaten before. If answers are random, ``correct`` is the probability of a right one.
        counts: ``forward`` and ``backward`` passes per attacked image, by the columns ``source``, ``attack`` and
            ``loss``.

    Returns:
        one row per attempt with the columns ``ATTEMPT``, ``forward`` and ``backward``, its own passes divided by the
        number of all images, ``passes``, both of all attempts so far, and ``accuracy``, the share of images that no
        attempt so far has beaten. There are no rows if the passes of an attempt are unknown.
    """
    made = attempts[ATTEMPT].drop_duplicates(ignore_index=True)
    numbered = attempts.merge(made.assign(attempt=made.index), on=ATTEMPT)
    correct = numbered.pivot(index="image", columns="attempt", values="correct").astype(float).to_numpy()
    share = (~np.isnan(correct)).mean(axis=0)
    left = np.minimum.accumulate(np.nan_to_num(correct, nan=1.0), axis=1).mean(axis=0)
    found = made.merge(counts, on=_CRAFTING, how="left")
    if found["forward"].isna().any():
        return pd.DataFrame(columns=[*ATTEMPT, "forward", "backward", "passes", "accuracy"])
    found = found.assign(forward=found["forward"] * share, backward=found["backward"] * share)
    return found.assign(passes=(found["forward"] + found["backward"]).cumsum(), accuracy=left)


def file_budget(file: OutcomeFile) -> pd.DataFrame:
    """Return :func:`spent` of one outcomes file at the headline eps, without rows if it has no counts.

    Returns:
        the columns ``COLUMNS``, with ``attempt`` from 1.
    """
    counted = named(file.measurements, PREFIX)
    if counted.empty or file.outcomes.empty or facts_of(file.provenance["protocol"]).yields != ACCURACY:
        return pd.DataFrame(columns=COLUMNS)
    rows = gather([file])
    whole = (rows["target_member"] == ENSEMBLE) & (rows["source_member"] == ENSEMBLE) & (rows["eps"] > 0)
    eps = headline_eps(str(rows["dataset"].iloc[0]), rows.loc[whole, "eps"].unique())
    if eps is None:
        return pd.DataFrame(columns=COLUMNS)
    attempts = plain(rows[whole & (rows["eps"] == eps.eps)])
    found = spent(attempts, _counts(counted[counted["eps"] == eps.eps]))
    cell = {name: attempts[name].iloc[0] for name in CELL}
    return found.assign(**cell, eps=eps.eps, attempt=range(1, len(found) + 1))[COLUMNS]


def _counts(measured: pd.DataFrame) -> pd.DataFrame:
    """Return passes by ``source``, ``attack`` and ``loss``, in the columns ``forward`` and ``backward``."""
    measured = plain(measured)
    parts = measured["name"].str.removeprefix(PREFIX).str.rsplit("/", n=2, expand=True)
    named = measured.assign(attack=parts[0], loss=parts[1], direction=parts[2])
    named = named[named["source_member"] == ENSEMBLE]
    table = named.pivot_table(index=_CRAFTING, columns="direction", values="value", aggfunc="mean")
    return table.reindex(columns=["forward", "backward"]).reset_index()


def collect_budget(files: Sequence[OutcomeFile]) -> pd.DataFrame:
    """Return :func:`file_budget` of all files."""
    frames = [frame for frame in map(file_budget, files) if len(frame)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS)
