"""The variant ledger: what each variant of a black-box evaluation does alone, and which of them decide."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from robustbench_ens.analysis.derive import CELL, with_interval
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
    """Variants in the order in which each adds the most broken images to those before it; the first of equals wins.

    Args:
        broken: ``(images, variants)``; of targets that answer at random, how likely the answer is wrong.

    Returns:
        columns of ``broken``; together they break every image as far as any variant does.
    """
    order: list[int] = []
    left = broken.astype(float)
    while (left > ROUNDING).any():
        order.append(int(left.sum(axis=0).argmax()))
        left = np.maximum(left - left[:, order[-1:]], 0)
        left = left[left.any(axis=1)]
    return order


def twins(predicted: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Number of the group of variants with one and the same prediction on every image, 0 for a variant without twin.

    Args:
        predicted: ``(images, variants)``.

    Returns:
        ``(variants,)``; groups are counted from 1 in the order of their first variants.
    """
    groups: dict[bytes, list[int]] = {}
    for column in range(predicted.shape[1]):
        groups.setdefault(predicted[:, column].tobytes(), []).append(column)
    numbers = np.zeros(predicted.shape[1], dtype=np.int64)
    for number, columns in enumerate((c for c in groups.values() if len(c) > 1), start=1):
        numbers[columns] = number
    return numbers


def outcomes_by_variant(attacked: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the variants of outcome rows, and what each does to each image.

    Args:
        attacked: outcome rows of one target at one eps: every variant on every image.

    Returns:
        the columns ``VARIANT``, a row per variant, in the order of the rows; and a row per image with columns
        ``correct`` and ``predicted``, each by the number of the variant.

    Raises:
        UserError: a variant lacks an image, or an attempt was not made.
    """
    variants = attacked[VARIANT].drop_duplicates(ignore_index=True)
    number = attacked.merge(variants.assign(variant=variants.index), on=VARIANT, how="left")
    table = number.pivot(index="image", columns="variant", values=["correct", "predicted"])
    if table["correct"].isna().to_numpy().any():
        raise UserError("expected an outcome of every variant on every image, got gaps; run `rbe attack` again")
    return variants, table


def variant_ledger(attacked: pd.DataFrame, clean: pd.Series) -> pd.DataFrame:
    """One row per variant, in the order of the rows.

    Args:
        attacked: outcome rows of one target at one eps: every variant on every image.
        clean: whether the clean image is right, by image; of targets that answer at random, how likely.

    Returns:
        the columns ``VARIANT`` and ``NUMBERS``: ``correct`` of ``n`` images under this variant alone, their share
        ``accuracy`` with its interval ``low`` to ``high``; ``kills`` among the ``n_clean`` images whose clean version
        is right; ``unique``, the images that only this variant breaks; ``order``, its place in :func:`greedy` from 1
        (null: it never decides), and ``cumulative``, the accuracy that is left there; ``twins`` as in :func:`twins`;
        ``all_or_nothing``, the accuracy over all variants and the clean images. Only the last and ``kills`` ask for the
        clean image: the others say what variants do. Where answers are random, images count by how likely they are.

    Raises:
        UserError: a variant lacks an image, or an attempt was not made.
    """
    variants, table = outcomes_by_variant(attacked)
    broken = 1 - table["correct"].to_numpy().astype(float)
    predicted = np.asarray(table["predicted"].astype("Int64").fillna(-1), dtype=np.int64)
    right = clean.reindex(table.index).to_numpy().astype(float)
    others = [np.delete(broken, column, axis=1).max(axis=1, initial=0) for column in range(len(variants))]
    chosen = greedy(broken)
    place = {variant: position for position, variant in enumerate(chosen, start=1)}
    left = {variant: float((1 - broken[:, chosen[:number]].max(axis=1)).mean()) for variant, number in place.items()}
    ledger = variants.assign(
        n=len(broken),
        correct=whole_numbers((1 - broken).sum(axis=0)),
        n_clean=whole_numbers(right.sum()),
        kills=whole_numbers(np.maximum(broken - (1 - right)[:, None], 0).sum(axis=0)),
        unique=whole_numbers(np.maximum(broken - np.stack(others, axis=1), 0).sum(axis=0)),
        order=pd.array([place.get(variant) for variant in variants.index], dtype="Int64"),
        cumulative=[left.get(variant, np.nan) for variant in variants.index],
        twins=twins(predicted),
        all_or_nothing=float(np.minimum(1 - broken.max(axis=1), right).mean()),
    )
    return with_interval(ledger, "correct", "accuracy")[[*VARIANT, *NUMBERS]]


def ledger(outcomes: pd.DataFrame, kinds: Kinds | None = None) -> pd.DataFrame:
    """:func:`variant_ledger` of every target under the protocols that try every variant on every image.

    It is at the dataset's standard eps. Where a protocol's ladder has no standard eps, it is the middle of the ladder.

    Returns:
        the columns ``COLUMNS``.

    Raises:
        UserError: see :func:`variant_ledger`.
    """
    known = shipped_kinds() if kinds is None else kinds
    chosen_kinds = [name for name, facts in known.items() if facts.every_variant]
    rows = outcomes[outcomes["kind"].isin(chosen_kinds) & (outcomes["target_member"] == ENSEMBLE)]
    frames = []
    for key, cell in rows.groupby(CELL, observed=True):
        identity: dict[str, Any] = dict(zip(CELL, key, strict=True))
        chosen = headline_eps(identity["dataset"], cell["eps"].unique())
        if chosen is None:
            continue
        clean = cell[cell["eps"] == 0].set_index("image")["correct"]
        found = variant_ledger(cell[cell["eps"] == chosen.eps], clean)
        frames.append(found.assign(**identity, eps=chosen.eps)[COLUMNS])
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS)
