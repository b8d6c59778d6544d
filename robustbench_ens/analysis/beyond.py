"""Comparison of two suites of variants: the images that only one breaks, and its variants that add most."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import pandas as pd

from robustbench_ens.analysis.derive import grouped
from robustbench_ens.analysis.ledger import VARIANT, greedy, outcomes_by_variant
from robustbench_ens.analysis.rounding import whole_numbers
from robustbench_ens.analysis.standard import headline_eps
from robustbench_ens.analysis.worst_case import OWN
from robustbench_ens.config.kinds import Kinds, facts_of, kinds_of, shipped_kinds
from robustbench_ens.outcomes import ENSEMBLE, OutcomeFile, gather

PAIR = ["dataset", "protocol", "beyond", "eps"]
COUNTS = ["variants", "variants_beyond", "n", "correct", "correct_beyond", "correct_both", "only", "only_beyond"]
PAIRS = [*OWN, *PAIR[1:], *COUNTS]
ORDER = ["order", "adds", "left"]
BY_VARIANT = [*OWN, *PAIR[1:], *VARIANT, *ORDER]
BY_ATTACK = [*PAIR, "attack", *ORDER, "n", "targets"]


@dataclass(frozen=True)
class Beyond:
    """The comparisons of suites of variants, two at a time, on the images that they share.

    A suite is a protocol that tries every variant on every image. Each is compared with the one that has the next fewer
    variants (of equally many, by name) and the same aggregation, for each target at one eps. An image counts as right
    only if it is right when clean and under every variant. If answers are random, images count by their probabilities,
    as in the ledger.

    Attributes:
        pairs: a row per target and pair with the columns ``PAIRS``: the number of ``variants`` of the ``protocol`` and
            of the other, ``beyond``; of ``n`` images those right under it, under the other and under both; those that
            ``only`` it breaks, and ``only_beyond`` the other.
        variants: its variants in the greedy order in which they break what the other leaves, with the columns
            ``BY_VARIANT``: ``order`` from 1, ``adds``, the images that none before it breaks, and ``left``, the images
            still right.
        attacks: the same for attacks, each with all its variants, over the images of all targets, with the columns
            ``BY_ATTACK``: ``n`` images of ``targets`` targets.
    """

    pairs: pd.DataFrame
    variants: pd.DataFrame
    attacks: pd.DataFrame


@dataclass(frozen=True)
class _Suite:
    """The outcomes of one protocol against one target at one eps.

    ``correct`` has a row per image and a column per row of ``variants``. ``clean`` is by image. Both are floats: 0 or
    1, or the probability of a right answer.
    """

    protocol: str
    variants: pd.DataFrame
    correct: pd.DataFrame
    clean: pd.Series

    def right(self, images: pd.Index) -> pd.Series:
        """Return whether each of ``images`` is right when clean and under every variant, or the probability."""
        return self.correct.loc[images].min(axis=1).clip(upper=self.clean.loc[images])


@dataclass(frozen=True)
class _Pair:
    """A suite and the smaller one that it is compared with.

    ``row`` is one of ``pairs``. ``broken`` has by image and variant how much it breaks of what the other leaves.
    """

    row: dict[str, Any]
    variants: pd.DataFrame
    broken: pd.DataFrame


def beyond(files: Sequence[OutcomeFile]) -> Beyond:
    """Compare the suites of every target.

    Raises:
        UserError: a variant lacks an image, or an attempt was skipped.
    """
    kinds = kinds_of(file.provenance for file in files)
    suites = sorted((file for file in files if facts_of(file.provenance["protocol"]).every_variant), key=_target)
    pairs: list[_Pair] = []
    for _, group in groupby(suites, key=_target):
        own = list(group)
        if len(own) > 1:
            pairs += pairs_of_target(gather(own), kinds)
    return assembled(pairs)


def _target(file: OutcomeFile) -> tuple[str, str, int]:
    target = file.provenance["target"]
    return target["dataset"], target["label"], target["seed"]


def pairs_of_target(outcomes: pd.DataFrame, kinds: Kinds | None = None) -> list[_Pair]:
    """Compare the suites of one target.

    Args:
        outcomes: rows of one target under any protocols.
        kinds: kinds of protocols, by default those of the project.

    Raises:
        UserError: see :func:`beyond`.
    """
    known = shipped_kinds() if kinds is None else kinds
    chosen = [name for name, facts in known.items() if facts.every_variant]
    own = outcomes["kind"].isin(chosen) & (outcomes["target_member"] == ENSEMBLE)
    rows = outcomes.loc[own, [*OWN, "protocol", "aggregation", "eps", "image", *VARIANT, "correct", "predicted"]]
    found: list[_Pair] = []
    for _, alike in rows.groupby("aggregation", observed=True):
        by_protocol = {str(name): own for name, own in alike.groupby("protocol", observed=True)}
        sizes = {name: len(grouped(own[own["eps"] > 0], VARIANT).first) for name, own in sorted(by_protocol.items())}
        for fewer, more in pairwise(sorted(sizes, key=lambda name: sizes[name])):
            found += _pair(by_protocol[more], by_protocol[fewer])
    return found


def _pair(more: pd.DataFrame, fewer: pd.DataFrame) -> list[_Pair]:
    """Compare two protocols at the standard eps that they share. The result is empty without shared eps or images."""
    dataset = str(more["dataset"].iloc[0])
    chosen = headline_eps(dataset, set(more["eps"].unique()) & set(fewer["eps"].unique()))
    if chosen is None:
        return []
    new = _suite(more, chosen.eps)
    old = _suite(fewer, chosen.eps)
    images = new.correct.index.intersection(old.correct.index)
    if not len(images):
        return []
    by_new = new.right(images)
    by_old = old.right(images)
    # Probabilities combine by the minimum, as in the worst case: the attacker chooses the variant.
    by_both = by_new.clip(upper=by_old)
    sums = {
        "correct": by_new,
        "correct_beyond": by_old,
        "correct_both": by_both,
        "only": by_old - by_both,
        "only_beyond": by_new - by_both,
    }
    sizes = {"variants": len(new.variants), "variants_beyond": len(old.variants), "n": len(images)}
    counts = sizes | {name: whole_numbers(values.sum()).item() for name, values in sums.items()}
    names = {"protocol": new.protocol, "beyond": old.protocol, "eps": chosen.eps}
    target = {name: more[name].iloc[0] for name in OWN}
    broken = (-new.correct.loc[images]).add(by_old, axis=0).clip(lower=0)
    return [_Pair(target | names | counts, new.variants, broken)]


def _suite(rows: pd.DataFrame, eps: float) -> _Suite:
    tried = outcomes_by_variant(rows[rows["eps"] == eps])
    correct = pd.DataFrame(tried.correct, tried.images)
    clean = rows[rows["eps"] == 0].set_index("image")["correct"].reindex(correct.index).astype(float)
    return _Suite(str(rows["protocol"].iloc[0]), tried.variants, correct, clean)


def assembled(pairs: Iterable[_Pair]) -> Beyond:
    """Join the pairs of all targets."""
    own = list(pairs)
    by_variant: list[dict[str, Any]] = []
    by_attack: list[dict[str, Any]] = []
    for pair in own:
        names = {name: pair.row[name] for name in (*OWN, *PAIR)}
        order = _in_order(pair.broken, pair.row["correct_beyond"])
        by_variant += [names | pair.variants.loc[chosen].to_dict() | facts for chosen, facts in order]
    alike = sorted(own, key=_names)
    for _, group in groupby(alike, key=_names):
        by_attack += _attacks(list(group))
    return Beyond(
        pd.DataFrame([pair.row for pair in own], columns=PAIRS),
        pd.DataFrame(by_variant, columns=BY_VARIANT),
        pd.DataFrame(by_attack, columns=BY_ATTACK),
    )


def _names(pair: _Pair) -> tuple[Any, ...]:
    return tuple(pair.row[name] for name in PAIR)


def _attacks(pairs: Sequence[_Pair]) -> list[dict[str, Any]]:
    """Return the rows of ``attacks`` for one pair of protocols."""
    frames = []
    for pair in pairs:
        attack = pair.variants.loc[pair.broken.columns, "attack"].astype(str).to_numpy()
        frames.append(pair.broken.T.groupby(attack).max().T)
    broken = pd.concat(frames, ignore_index=True).fillna(0.0)
    names = {name: pairs[0].row[name] for name in PAIR}
    counts = {"n": sum(pair.row["n"] for pair in pairs), "targets": len(pairs)}
    left = sum(pair.row["correct_beyond"] for pair in pairs)
    return [names | {"attack": attack} | facts | counts for attack, facts in _in_order(broken, left)]


def _in_order(broken: pd.DataFrame, left: float) -> list[tuple[Any, dict[str, float]]]:
    """Return the columns of ``broken`` in greedy order, each with its place, what it adds, and what is left."""
    found = []
    remaining = broken.to_numpy(dtype=float)
    for place, column in enumerate(greedy(remaining), start=1):
        adds = whole_numbers(remaining[:, column].sum()).item()
        left -= adds
        found.append((broken.columns[column], {"order": place, "adds": adds, "left": left}))
        remaining = np.maximum(remaining - remaining[:, [column]], 0)
    return found
