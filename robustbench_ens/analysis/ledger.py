"""The variant ledger: the effect of each variant of a black-box evaluation, alone and beside the others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from robustbench_ens.analysis.derive import CELL, by_cell, grouped, with_interval
from robustbench_ens.analysis.rounding import ROUNDING, whole_numbers
from robustbench_ens.analysis.standard import headline_eps
from robustbench_ens.analysis.tally import Flags, Shares
from robustbench_ens.config.kinds import Kinds, shipped_kinds
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import ENSEMBLE

VARIANT = ["source", "attack", "loss", "restart"]
NUMBERS = [
    *("n", "correct", "accuracy", "low", "high", "n_clean", "kills", "unique", "order", "cumulative", "twins"),
    "all_or_nothing",
]
COLUMNS = [*CELL, "eps", *VARIANT, *NUMBERS]

Matrix = Flags | Shares


def greedy(broken: Matrix) -> list[int]:
    """Return variants in the order in which each adds the most broken images; ties go to the first.

    Args:
        broken: ``(images, variants)``; for targets that answer at random, the probability of a wrong answer.

    Returns:
        columns of ``broken``, which together break every image as far as any variant does.
    """
    order: list[int] = []
    left = broken.astype(float)
    while (left > ROUNDING).any():
        order.append(int(left.sum(axis=0).argmax()))
        left = np.maximum(left - left[:, order[-1:]], 0)
        left = left[left.any(axis=1)]
    return order


def twins(predicted: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the group number of variants with equal predictions on every image, 0 for a variant without twin.

    Args:
        predicted: ``(images, variants)``.

    Returns:
        ``(variants,)``, group numbers from 1 in the order of their first variants.
    """
    groups: dict[bytes, list[int]] = {}
    for column in range(predicted.shape[1]):
        groups.setdefault(predicted[:, column].tobytes(), []).append(column)
    numbers = np.zeros(predicted.shape[1], dtype=np.int64)
    for number, columns in enumerate((c for c in groups.values() if len(c) > 1), start=1):
        numbers[columns] = number
    return numbers


class ByVariant(NamedTuple):
    """The outcome of each variant on each image of one target at one eps.

    ``variants`` has the columns ``VARIANT`` and a row per variant. ``images`` are sorted. ``correct`` and ``predicted``
    are (images, variants). ``correct`` is the probability of a right answer, 0 or 1 unless answers are random.
    """

    variants: pd.DataFrame
    images: pd.Index
    correct: Shares
    predicted: npt.NDArray[np.int64]


def outcomes_by_variant(attacked: pd.DataFrame) -> ByVariant:
    """Return the outcome of each variant on each image, with variants in the order of the rows.

    Args:
        attacked: outcome rows of one target at one eps, with every variant on every image.

    Raises:
        UserError: a variant lacks an image or has one twice, or an attempt was skipped.
    """
    groups = grouped(attacked, VARIANT)
    images = grouped(attacked, ["image"])
    variants = attacked[VARIANT].iloc[np.sort(groups.first)].reset_index(drop=True)
    column = groups.first.argsort().argsort()[groups.number]
    correct = np.full((len(images.first), len(variants)), np.nan)
    correct[images.number, column] = attacked["correct"].to_numpy(dtype=float, na_value=np.nan)
    gaps = np.isnan(correct).any()
    if gaps or len(attacked) != correct.size:
        got = "gaps" if gaps else "some of them twice"
        raise UserError(f"expected an outcome of every variant on every image, got {got}; run `rbe attack` again")
    predicted = np.empty(correct.shape, dtype=np.int64)
    predicted[images.number, column] = attacked["predicted"].to_numpy(dtype=float, na_value=-1)
    return ByVariant(variants, pd.Index(attacked["image"].to_numpy()[images.first], name="image"), correct, predicted)


def _without_each(broken: Matrix) -> Matrix:
    """Return by image and variant how much all other variants together break, 0 if there is no other."""
    ascending = np.sort(np.concatenate([np.zeros((len(broken), 1)), broken], axis=1), axis=1)
    most = ascending[:, -1:]
    return np.where(broken == most, ascending[:, -2:-1], most)


def variant_ledger(attacked: pd.DataFrame, clean: pd.Series) -> pd.DataFrame:
    """Return the ledger, one row per variant, in the order of the rows.

    Args:
        attacked: outcome rows of one target at one eps, with every variant on every image.
        clean: whether the clean image is right, by image, or the probability if answers are random.

    Returns:
        the columns ``VARIANT`` and ``NUMBERS``. ``correct`` of ``n`` images are right under this variant alone, a
        share ``accuracy`` with interval ``low`` to ``high``. It breaks ``kills`` of the ``n_clean`` images whose clean
        version is right. ``unique`` is the number of images that only this variant breaks. ``order`` is its place in
        :func:`greedy` from 1 (null if it adds nothing), and ``cumulative`` the accuracy left there. ``twins`` is the
        result of :func:`twins`. ``all_or_nothing`` is the accuracy over all variants and the clean images. Only it and
        ``kills`` depend on the clean image. If answers are random, images count by their probabilities.

    Raises:
        UserError: a variant lacks an image, or an attempt was skipped.
    """
    variants, images, correct, predicted = outcomes_by_variant(attacked)
    broken = 1 - correct
    right = clean.reindex(images).to_numpy().astype(float)
    chosen = greedy(broken)
    place = {variant: position for position, variant in enumerate(chosen, start=1)}
    together = np.maximum.accumulate(broken[:, chosen].T, axis=0)
    left = dict(zip(chosen, (1 - together).mean(axis=1).tolist(), strict=True))
    ledger = variants.assign(
        n=len(broken),
        correct=whole_numbers((1 - broken).sum(axis=0)),
        n_clean=whole_numbers(right.sum()),
        kills=whole_numbers(np.maximum(broken - (1 - right)[:, None], 0).sum(axis=0)),
        unique=whole_numbers(np.maximum(broken - _without_each(broken), 0).sum(axis=0)),
        order=pd.array([place.get(variant) for variant in variants.index], dtype="Int64"),
        cumulative=[left.get(variant, np.nan) for variant in variants.index],
        twins=twins(predicted),
        all_or_nothing=float(np.minimum(1 - broken.max(axis=1), right).mean()),
    )
    return with_interval(ledger, "correct", "accuracy")[[*VARIANT, *NUMBERS]]


def ledger(outcomes: pd.DataFrame, kinds: Kinds | None = None) -> pd.DataFrame:
    """Return :func:`variant_ledger` of every target under the protocols that try every variant on every image.

    It is computed at the dataset's standard eps or, if a protocol's ladder lacks it, at the middle of the ladder.

    Returns:
        the columns ``COLUMNS``.

    Raises:
        UserError: see :func:`variant_ledger`.
    """
    known = shipped_kinds() if kinds is None else kinds
    chosen_kinds = [name for name, facts in known.items() if facts.every_variant]
    columns = ["eps", "image", *VARIANT, "correct", "predicted"]
    own = outcomes["kind"].isin(chosen_kinds) & (outcomes["target_member"] == ENSEMBLE)
    frames = []
    for identity, cell in by_cell(outcomes.loc[own, [*CELL, *columns]], CELL, columns):
        chosen = headline_eps(identity["dataset"], cell["eps"].unique())
        if chosen is None:
            continue
        clean = cell[cell["eps"] == 0].set_index("image")["correct"]
        found = variant_ledger(cell[cell["eps"] == chosen.eps], clean)
        frames.append(found.assign(**identity, eps=chosen.eps)[COLUMNS])
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS)
