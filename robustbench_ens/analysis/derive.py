"""Rates derived from outcome rows: accuracies, transferability and intervals. Pure functions of data frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from robustbench_ens.analysis import tally
from robustbench_ens.analysis.bootstrap import mean_interval
from robustbench_ens.analysis.wilson import wilson_interval
from robustbench_ens.config.kinds import ACCURACY, BY_STEPS, TRANSFER, Kinds, Yields, shipped_kinds
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import ENSEMBLE

CONFIDENCE = 0.95
CELL = ["dataset", "protocol", "protocol_hash", "kind", "ensemble", "seed", "method", "sub_models"]
_PAIR = [*CELL, "eps", "source_member", "target_member"]


def that_yield(outcomes: pd.DataFrame, what: Yields, kinds: Kinds | None) -> pd.DataFrame:
    """Return the rows under kinds of protocols that yield ``what``. ``kinds`` are by default those of the project."""
    return outcomes[_yields(outcomes, what, kinds)]


def _yields(outcomes: pd.DataFrame, what: Yields, kinds: Kinds | None) -> pd.Series:
    known = shipped_kinds() if kinds is None else kinds
    return outcomes["kind"].isin([name for name, facts in known.items() if facts.yields == what])


def with_interval(frame: pd.DataFrame, count: str, rate: str) -> pd.DataFrame:
    """Add ``rate``, ``low`` and ``high``: ``count / n`` and its Wilson 95% interval, all in [0, 1].

    The interval also holds for sums of numbers in [0, 1], as for random answers. It assumes the variance ``q (1 - q)``
    for numbers of mean q, which is the largest possible (Bhatia and Davis 2000, "A better bound on the variance", Am.
    Math. Mon. 107:353), so that it is conservative. Categories become text, as by :func:`plain`.
    """
    low, high = wilson_interval(frame[count], frame["n"], CONFIDENCE)
    value = frame[count] / frame["n"]
    # At rates 0 and 1 an end of the interval is the rate itself, and rounding must not move it past the rate.
    ends = {"low": np.minimum(low, value), "high": np.maximum(high, value)}
    return plain(frame).assign(**{rate: value}, **ends)


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``frame`` with categories as text, so that results of different files can be joined."""
    return frame.astype({name: str for name, kind in frame.dtypes.items() if isinstance(kind, pd.CategoricalDtype)})


def _worst_case(rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return one row per ``keys`` and image, ``correct`` only if it is under every attempt.

    If the answer is random, ``correct`` is the probability that it is right under the worst attempt. Input rows are
    null for attempts that were skipped because an earlier restart had won; they do not count.

    Raises:
        UserError: an image has skipped attempts but none that won, so that its worst case is unknown.
    """
    columns = [*keys, "image"]
    groups = grouped(rows, columns)
    found = tally.withstood(groups, *correct_and_tried(rows["correct"]))
    images = firsts(rows, columns, groups).assign(correct=found.correct)
    if found.unknown.any():
        first = images[found.unknown].iloc[0]
        raise never_made(first["ensemble"], first["seed"], first["protocol"], first["image"], first["eps"])
    return images


def grouped(rows: pd.DataFrame, keys: Sequence[str]) -> tally.Groups:
    """Number ``rows`` by their values of ``keys``, in the order of ``rows.groupby(keys, observed=True)``."""
    return tally.numbered([_numbers(rows[name]) for name in keys])


def firsts(rows: pd.DataFrame, keys: Sequence[str], groups: tally.Groups) -> pd.DataFrame:
    """Return the ``keys`` of each group, from its first row."""
    return rows[list(keys)].iloc[groups.first].reset_index(drop=True)


def by_cell(
    rows: pd.DataFrame, keys: Sequence[str], columns: Sequence[str]
) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield the ``keys`` of each group, and the ``columns`` of its rows."""
    groups = grouped(rows, keys)
    ends = np.cumsum(np.bincount(groups.number))
    ordered = rows[list(columns)].iloc[np.argsort(groups.number, kind="stable")]
    names = firsts(rows, keys, groups).to_dict("records")
    for name, start, end in zip(names, [0, *ends[:-1]], ends, strict=False):
        yield {str(key): value for key, value in name.items()}, ordered.iloc[start:end]


def _counted(rows: pd.DataFrame, keys: Sequence[str], name: str) -> pd.DataFrame:
    """Return ``keys``, the number ``n`` of rows and the sum of ``name`` by group."""
    groups = grouped(rows, keys)
    sums = rows[name].groupby(groups.number).sum().to_numpy()
    return firsts(rows, keys, groups).assign(n=np.bincount(groups.number), **{name: sums})


def _numbers(column: pd.Series) -> npt.NDArray[Any]:
    """Return ``column`` as numbers in the same order, which are codes for categories and texts."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy()
    return column.to_numpy() if column.dtype.kind in "if" else pd.factorize(column, sort=True)[0]


def correct_and_tried(column: pd.Series) -> tuple[tally.Flags | tally.Shares, tally.Flags]:
    """Split outcomes, null where skipped, into whether each is correct (false if null) and whether it was made.

    If any answer is random, the first result has probabilities of being right.
    """
    tried = column.notna().to_numpy()
    values = column[tried].astype(float).to_numpy()
    certain = bool(((values == 0) | (values == 1)).all())
    correct = np.zeros(len(column), dtype=bool if certain else float)
    correct[tried] = values
    return correct, tried


def never_made(ensemble: str, seed: int, protocol: str, image: int, eps: float) -> UserError:
    """Return the error for an image whose worst case is unknown because of skipped attempts."""
    return UserError(
        f"outcomes of {ensemble} (seed {seed}) under {protocol}: expected every attempt on image {image} at eps "
        f"{eps:g} or one that won, got attempts that were never made; delete the file and run `rbe attack` again"
    )


def no_clean_row(ensemble: str, seed: int, protocol: str, image: int) -> UserError:
    """Return the error for an image without a row for its clean version."""
    return UserError(
        f"outcomes of {ensemble} (seed {seed}) under {protocol}: expected a clean row (eps 0) for image {image}, got "
        "none; delete the file and run `rbe attack` again"
    )


def withstood(outcomes: pd.DataFrame, kinds: Kinds | None = None) -> pd.DataFrame:
    """Return whether each image withstood every attempt at an eps (``correct``), and is right when ``clean``.

    For targets that answer at random, both are probabilities of a right answer, ``correct`` under the worst attempt.
    There is one row per ensemble, eps and image; eps 0 is the clean image. Skipped attempts (``correct`` is null,
    because an earlier restart had won) do not count. Rows of sub-models and of kinds without accuracy are dropped.

    Returns:
        the columns of ``CELL``, ``eps``, ``image``, ``correct``, ``clean`` (both bool, or in [0, 1] if any answer is
        random).

    Raises:
        UserError: an attacked image has no row for its clean version, or attempts are missing.
    """
    own = (outcomes["target_member"] == ENSEMBLE) & _yields(outcomes, ACCURACY, kinds)
    rows = outcomes.loc[own, [*CELL, "eps", "image", "correct"]]
    return _beside_clean(_worst_case(rows, [*CELL, "eps"]), rows)


def _beside_clean(images: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Add to ``images`` the column ``clean`` from the outcome ``rows``: whether the clean image is right.

    Raises:
        UserError: an image has no row for its clean version.
    """
    keys = [*CELL, "image"]
    clean = _worst_case(rows[rows["eps"] == 0], [*CELL, "eps"])
    own, others = np.split(grouped(pd.concat([clean[keys], images[keys]]), keys).number, [len(clean)])
    place = np.full(len(clean) + len(images), -1)
    place[own] = np.arange(len(clean))
    found = place[others]
    if (found < 0).any():
        first = images[found < 0].iloc[0]
        raise no_clean_row(first["ensemble"], first["seed"], first["protocol"], first["image"])
    return images.assign(clean=clean["correct"].to_numpy()[found])


def _all_or_nothing(images: pd.DataFrame) -> pd.DataFrame:
    """Count the clean image as one more attempt, because an attacker may leave an image as it is."""
    return images.assign(correct=np.minimum(images["correct"], images["clean"])).drop(columns="clean")


def survivors(outcomes: pd.DataFrame, kinds: Kinds | None = None) -> pd.DataFrame:
    """Return one row per ensemble, eps and image, ``correct`` only if every attempt was classified correctly.

    The clean image counts as an attempt at every eps. For the other attempts see :func:`withstood`.

    Returns:
        the columns of ``CELL``, ``eps``, ``image``, ``correct`` (see :func:`withstood`).

    Raises:
        UserError: see :func:`withstood`.
    """
    return _all_or_nothing(withstood(outcomes, kinds))


def accuracies(outcomes: pd.DataFrame, kinds: Kinds | None = None) -> pd.DataFrame:
    """Return the accuracy of each ensemble at each eps of each protocol, over all images, with clean as eps 0.

    Returns:
        the columns of ``CELL``, ``eps``, ``n``, ``correct``, ``accuracy``, ``low``, ``high``.

    Raises:
        UserError: see :func:`survivors`.
    """
    return accuracies_of(survivors(outcomes, kinds))


def accuracies_of(images: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`accuracies` from rows of :func:`survivors`."""
    return with_interval(_counted(images, [*CELL, "eps"], "correct"), "correct", "accuracy")


def survivors_by_steps(outcomes: pd.DataFrame, kinds: Kinds | None = None) -> pd.DataFrame:
    """Return :func:`survivors` for each number of steps, of kinds that yield accuracy by steps, without eps 0.

    Returns:
        the columns of ``CELL``, ``eps``, ``steps``, ``image``, ``correct``.

    Raises:
        UserError: an attacked image has no row for its clean version, or attempts are missing.
    """
    rows = outcomes.loc[_yields(outcomes, BY_STEPS, kinds), [*CELL, "eps", "steps", "image", "correct"]]
    images = _worst_case(rows[rows["eps"] > 0], [*CELL, "eps", "steps"])
    return _all_or_nothing(_beside_clean(images, rows))


def convergence(outcomes: pd.DataFrame, kinds: Kinds | None = None) -> pd.DataFrame:
    """Return accuracy by the number of attack steps, worst case over the clean image and the attempts of that number.

    Returns:
        the columns of ``CELL``, ``eps``, ``steps``, ``n``, ``correct``, ``accuracy``, ``low``, ``high``.

    Raises:
        UserError: see :func:`survivors_by_steps`.
    """
    counts = _counted(survivors_by_steps(outcomes, kinds), [*CELL, "eps", "steps"], "correct")
    return with_interval(counts, "correct", "accuracy")


def transferability(outcomes: pd.DataFrame, kinds: Kinds | None = None) -> pd.DataFrame:
    """Return the success rate on sub-model ``target_member`` of attacks crafted on ``source_member``, at each eps.

    Success from any start counts. The denominator is all images that every sub-model gets right. ``target_member`` -1
    is the ensemble, and equal members are the white-box diagonal (DVERGE, Section 4.2).

    Returns:
        the columns of ``CELL``, ``eps``, ``source_member``, ``target_member``, ``n``, ``success``, ``rate``, ``low``,
        ``high``.

    Raises:
        UserError: attempts are missing.
    """
    return transferability_of(transferred(outcomes, kinds))


def transferability_of(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`transferability` from rows of :func:`transferred`."""
    return with_interval(_counted(pairs, _PAIR, "success"), "success", "rate")


def mean_transferability_of(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the mean success rate over ordered pairs of different sub-models, with a bootstrap 95% interval.

    Args:
        pairs: rows of :func:`transferred`.

    Returns:
        the columns of ``CELL``, ``eps``, ``n``, ``rate``, ``low``, ``high``.
    """
    keys = [*CELL, "eps"]
    pairs = between_sub_models(pairs)
    groups = grouped(pairs, [*keys, "image"])
    images = firsts(pairs, keys, groups)
    cells = grouped(images, keys)
    rates = pairs["success"].groupby(groups.number).mean().to_numpy()
    of_each = np.split(rates, cells.first[1:])[: len(cells.first)]
    intervals = np.array([mean_interval(own, CONFIDENCE) for own in of_each]).reshape(-1, 2)
    return plain(firsts(images, keys, cells)).assign(
        n=[len(own) for own in of_each],
        rate=[own.mean() for own in of_each],
        low=intervals[:, 0],
        high=intervals[:, 1],
    )


def transferred(outcomes: pd.DataFrame, kinds: Kinds | None = None) -> pd.DataFrame:
    """Return whether attacks crafted on one sub-model beat another on each image: ``success`` if any start did.

    Returns:
        the columns of ``CELL``, ``eps``, ``source_member``, ``target_member``, ``image``, ``success``.

    Raises:
        UserError: attempts are missing.
    """
    own = (outcomes["eps"] > 0) & _yields(outcomes, TRANSFER, kinds)
    images = _worst_case(outcomes.loc[own, [*_PAIR, "image", "correct"]], _PAIR)
    return images.assign(success=~images["correct"])


def between_sub_models(transfer: pd.DataFrame) -> pd.DataFrame:
    """Return the rows for pairs of different sub-models, without the diagonal and the ensemble."""
    target = transfer["target_member"]
    source = transfer["source_member"]
    return transfer[(target != source) & (target != ENSEMBLE)]


def attempts(outcomes: pd.DataFrame, kinds: Kinds | None = None) -> pd.DataFrame:
    """Return the number of attempts on each image per cell that yields accuracy: sources x attacks x losses x restarts.

    Returns:
        the columns of ``CELL``, ``attempts``.
    """
    keys = [*CELL, "source", "attack", "loss", "restart"]
    rows = outcomes.loc[(outcomes["eps"] > 0) & _yields(outcomes, ACCURACY, kinds), keys]
    one_eps = firsts(rows, CELL, grouped(rows, keys))
    cells = grouped(one_eps, CELL)
    return plain(firsts(one_eps, CELL, cells).assign(attempts=np.bincount(cells.number)))
