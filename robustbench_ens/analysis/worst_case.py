"""The worst case over tiers: an image counts only if it survives every protocol run against the ensemble."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from robustbench_ens.analysis.compare import Answers, answers, in_common
from robustbench_ens.analysis.derive import survivors, with_interval
from robustbench_ens.analysis.standard import HeadlineEps, at_headline
from robustbench_ens.analysis.tally import Flags, Shares
from robustbench_ens.config.aggregations import aggregation_of
from robustbench_ens.config.kinds import facts_of, kinds_of
from robustbench_ens.outcomes import OutcomeFile, gather

OWN = ["dataset", "ensemble", "seed", "method", "sub_models"]
COLUMNS = [*OWN, "eps", "n", "correct", "accuracy", "low", "high", "tiers", "set_by", "alone", "protocols", "kinds"]


def as_defined(document: Mapping[str, Any]) -> bool:
    """Return whether the target of a provenance answered by its own aggregation."""
    asked = document["protocol"]["resolved"].get("aggregation")
    return not asked or asked == aggregation_of(document["target"])


def as_they_are(provenance: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    """Return the labels (protocol, ensemble) of outcomes of ensembles :func:`as_defined`."""
    return {
        (document["protocol"]["label"], document["target"]["label"]) for document in provenance if as_defined(document)
    }


def among(rates: pd.DataFrame, pairs: Collection[tuple[str, str]]) -> pd.Series:
    """Return for each row of ``rates`` whether its protocol and ensemble are one of ``pairs``."""
    return pd.Series(
        [pair in pairs for pair in zip(rates["protocol"], rates["ensemble"], strict=True)], rates.index, bool
    )


def counts(file: OutcomeFile) -> bool:
    """Return whether ``file`` is of a tier, with the target's own aggregation."""
    return facts_of(file.provenance["protocol"]).tier and as_defined(file.provenance)


def worst_case(files: Sequence[OutcomeFile]) -> pd.DataFrame:
    """Return the worst case over every attempt of every tier, at each eps that any of them has, on shared images.

    Tiers are kinds of protocols, run against the ensemble with its own aggregation. Protocols that lack an eps do
    not count at it.

    Returns:
        one row per ensemble, seed and eps above 0 with the columns ``COLUMNS``. ``tiers`` is the number of kinds,
        ``protocols`` those that count and ``kinds`` theirs, ``set_by`` the protocol that alone leaves the fewest images
        right, and ``alone`` their number. For targets that answer at random, counts are expected values. There is no
        row if the protocols share no image.
    """
    kinds = kinds_of(file.provenance for file in files)
    tiers = [file for file in files if counts(file)]
    return worst_case_of(answers(survivors(gather(tiers), kinds)) if tiers else [], files)


def worst_case_of(found: Iterable[Answers], files: Sequence[OutcomeFile]) -> pd.DataFrame:
    """Return :func:`worst_case` of ``files``, from the :func:`answers` in their outcomes."""
    tiers = {_question(file): file.provenance for file in files if counts(file)}
    chosen = sorted((own for own in found if (own.protocol, *_target(own)) in tiers), key=_target)
    rows = []
    for (dataset, ensemble, seed), group in groupby(chosen, key=_target):
        of_target = list(group)
        certain = all(np.isin(own.correct, (0, 1)).all() for own in of_target)
        for eps in sorted({own.eps for own in of_target}):
            several = sorted((own for own in of_target if own.eps == eps), key=lambda own: own.protocol)
            documents = [tiers[own.protocol, dataset, ensemble, seed] for own in several]
            images, correct = in_common(several)
            if len(images):
                target = documents[0]["target"]
                facts = {"method": target["method"], "sub_models": target["sub_models"], "eps": eps}
                named = {"dataset": dataset, "ensemble": ensemble, "seed": seed} | facts
                rows.append(named | _row(documents, correct.astype(bool if certain else float)))
    if not rows:
        return pd.DataFrame(columns=COLUMNS)
    return with_interval(pd.DataFrame(rows), "correct", "accuracy")[COLUMNS]


def _question(file: OutcomeFile) -> tuple[str, str, str, int]:
    target = file.provenance["target"]
    return file.provenance["protocol"]["label"], target["dataset"], target["label"], target["seed"]


def _target(own: Answers) -> tuple[str, str, int]:
    return own.dataset, own.ensemble, own.seed


def _row(documents: Sequence[Mapping[str, Any]], correct: Flags | Shares) -> dict[str, Any]:
    """Return the worst case of one ensemble at one eps over ``documents``, from ``correct`` (images, protocols)."""
    protocols = tuple(document["protocol"]["label"] for document in documents)
    kinds = tuple(document["protocol"]["kind"] for document in documents)
    alone = correct.sum(axis=0)
    fewest = int(alone.argmin())
    return {
        "n": len(correct),
        "correct": correct.min(axis=1).sum(),
        "tiers": len(set(kinds)),
        "set_by": protocols[fewest],
        "alone": alone[fewest],
        "protocols": protocols,
        "kinds": kinds,
    }


def worst_at(worst: pd.DataFrame, dataset: str, ensemble: str, chosen: HeadlineEps | None) -> pd.DataFrame:
    """Return the rows of :func:`worst_case` of one ensemble at the headline eps, one per seed."""
    return at_headline(worst[(worst["dataset"] == dataset) & (worst["ensemble"] == ensemble)], chosen)
