"""The worst case over tiers: an image counts only if it survives every protocol run against the ensemble."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import pandas as pd

from robustbench_ens.analysis.derive import CELL, survivors, with_interval
from robustbench_ens.analysis.standard import HeadlineEps, at_headline
from robustbench_ens.config.aggregations import aggregation_of
from robustbench_ens.config.kinds import facts_of, kinds_of
from robustbench_ens.outcomes import OutcomeFile, gather

OWN = ["dataset", "ensemble", "seed", "method", "sub_models"]
COLUMNS = [*OWN, "eps", "n", "correct", "accuracy", "low", "high", "tiers", "set_by", "alone", "protocols", "kinds"]


def as_defined(document: Mapping[str, Any]) -> bool:
    """Return whether the target of a provenance answered as it is defined, by its own aggregation."""
    asked = document["protocol"]["resolved"].get("aggregation")
    return not asked or asked == aggregation_of(document["target"])


def as_they_are(provenance: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    """Return the (protocol, ensemble) whose numbers are about the ensemble :func:`as_defined`, by their labels."""
    return {
        (document["protocol"]["label"], document["target"]["label"]) for document in provenance if as_defined(document)
    }


def among(rates: pd.DataFrame, pairs: Collection[tuple[str, str]]) -> pd.Series:
    """Return by row of ``rates`` whether its protocol and ensemble are one of ``pairs``."""
    return pd.Series(
        [pair in pairs for pair in zip(rates["protocol"], rates["ensemble"], strict=True)], rates.index, bool
    )


def counts(file: OutcomeFile) -> bool:
    """Return whether ``file`` is of a tier, against the ensemble as it is defined."""
    return facts_of(file.provenance["protocol"]).tier and as_defined(file.provenance)


def _target(file: OutcomeFile) -> tuple[str, str, int]:
    target = file.provenance["target"]
    return target["dataset"], target["label"], target["seed"]


def _at_eps(images: pd.DataFrame) -> dict[str, object]:
    """Worst case of one ensemble at one eps: ``images`` are the survivors of every protocol, a row per image."""
    wide = images.pivot(index="image", columns="protocol", values="correct")
    shared = wide.dropna().astype(images["correct"].dtype)
    kinds = images.astype({"protocol": str, "kind": str}).groupby("protocol")["kind"].first()
    alone = shared.sum().sort_values(kind="stable")
    return {
        "n": len(shared),
        "correct": shared.min(axis=1).sum(),
        "tiers": images["kind"].nunique(),
        "set_by": alone.index[0] if len(alone) else "",
        "alone": alone.iloc[0] if len(alone) else 0,
        "protocols": tuple(sorted(map(str, wide.columns))),
        "kinds": tuple(kinds[protocol] for protocol in sorted(map(str, wide.columns))),
    }


def worst_case(files: Sequence[OutcomeFile]) -> pd.DataFrame:
    """All or nothing over every attempt of every tier, at each eps that any of them has, on the images they share.

    The kinds are tiers, on the ensemble as it is defined. Protocols that lack an eps do not
    count there.

    Returns:
        one row per ensemble, seed and eps above 0 with the columns ``COLUMNS``: ``tiers`` is the number of kinds,
        ``protocols`` those that count and ``kinds`` theirs, ``set_by`` the one that leaves fewest images right alone,
        and ``alone`` how many those are. Of targets that answer at random, both counts are expected ones. No row where
        the protocols share no image.
    """
    rows = []
    kinds = kinds_of(file.provenance for file in files)
    chosen = sorted(filter(counts, files), key=_target)
    for (dataset, ensemble, seed), group in groupby(chosen, key=_target):
        images = survivors(gather(list(group)), kinds)
        first = images[CELL].iloc[0] if len(images) else None
        for eps, cell in images[images["eps"] > 0].groupby("eps"):
            assert first is not None
            own = {"dataset": dataset, "ensemble": ensemble, "seed": seed}
            facts = {"method": first["method"], "sub_models": first["sub_models"], "eps": eps}
            found = _at_eps(cell)
            if found["n"]:
                rows.append(own | facts | found)
    frame = pd.DataFrame(rows, columns=[name for name in COLUMNS if name not in ("accuracy", "low", "high")])
    if frame.empty:
        return pd.DataFrame(columns=COLUMNS)
    return with_interval(frame, "correct", "accuracy")[COLUMNS]


def worst_at(worst: pd.DataFrame, dataset: str, ensemble: str, chosen: HeadlineEps | None) -> pd.DataFrame:
    """Rows of :func:`worst_case` of one ensemble at the headline eps, one per seed."""
    return at_headline(worst[(worst["dataset"] == dataset) & (worst["ensemble"] == ensemble)], chosen)
