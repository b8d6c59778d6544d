"""Rates derived from outcome rows: accuracies, transferability, intervals. Pure functions of data frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from robustbench_ens.analysis import tally
from robustbench_ens.analysis.bootstrap import mean_interval
from robustbench_ens.config.kinds import ACCURACY, BY_STEPS, TRANSFER, Kinds, Yields, shipped_kinds
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import ENSEMBLE

CONFIDENCE = 0.95
CELL = ["dataset", "protocol", "protocol_hash", "kind", "ensemble", "seed", "method", "sub_models"]
_PAIR = [*CELL, "eps", "source_member", "target_member"]


def that_yield(outcomes: pd.DataFrame, what: Yields, kinds: Kinds | None) -> pd.DataFrame:
    """Return the rows under the kinds of protocols that yield ``what``; ``kinds`` are those of the table if none."""
    known = shipped_kinds() if kinds is None else kinds
    return outcomes[outcomes["kind"].isin([name for name, facts in known.items() if facts.yields == what])]


def with_interval(frame: pd.DataFrame, count: str, rate: str) -> pd.DataFrame:
    """Add ``rate``, ``low`` and ``high``: ``count / n`` and its Wilson 95% interval, all in [0, 1]; :func:`plain`.

    The interval also holds for sums of numbers in [0, 1], as where answers are random. It takes ``q (1 - q)`` for the
    variance of one of them if their mean is q, and none has more (Bhatia and Davis 2000, "A better bound on the
    variance", Am. Math. Mon. 107:353); it is wider than it need be.
    """
    low, high = proportion_confint(frame[count], frame["n"], alpha=1 - CONFIDENCE, method="wilson")
    value = frame[count] / frame["n"]
    # At 0 and 1 an end of the interval is the rate itself, but for rounding.
    return plain(frame).assign(**{rate: value, "low": np.minimum(low, value), "high": np.maximum(high, value)})


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Categories as text: what is derived is small, and is joined with what other files gave."""
    return frame.astype({name: str for name, kind in frame.dtypes.items() if isinstance(kind, pd.CategoricalDtype)})


def _worst_case(rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """One row per ``keys`` and image: ``correct`` only if no attempt changed the prediction; if the answer is random,
    how likely it is right under the worst attempt.

    ``correct`` is null where nothing was attempted, because an earlier restart had already won; such a row neither
    saves nor loses the image.

    Raises:
        UserError: an image has attempts that were not made and none that won, so its worst case is unknown.
    """
    rows = rows.reset_index(drop=True)
    columns = [*keys, "image"]
    groups = tally.numbered([_numbers(rows[name]) for name in columns])
    found = tally.withstood(groups, *correct_and_tried(rows["correct"]))
    images = rows[columns].iloc[groups.first].reset_index(drop=True).assign(correct=found.correct)
    if found.unknown.any():
        first = images[found.unknown].iloc[0]
        raise never_made(first["ensemble"], first["seed"], first["protocol"], first["image"], first["eps"])
    return images


def _numbers(column: pd.Series) -> npt.NDArray[Any]:
    """Return numbers in the order of the values of ``column``: codes of categories and of texts."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy()
    return column.to_numpy() if column.dtype.kind in "if" else pd.factorize(column, sort=True)[0]


def correct_and_tried(column: pd.Series) -> tuple[tally.Flags | tally.Shares, tally.Flags]:
    """Split outcomes that are null where nothing was attempted: were they correct (false if null), were they made.

    If any answer is neither right nor wrong for certain, the first has how likely each is right.
    """
    tried = column.notna().to_numpy()
    values = column[tried].astype(float).to_numpy()
    certain = bool(((values == 0) | (values == 1)).all())
    correct = np.zeros(len(column), dtype=bool if certain else float)
    correct[tried] = values
    return correct, tried


def never_made(ensemble: str, seed: int, protocol: str, image: int, eps: float) -> UserError:
    """Return the error that it is unknown whether an image withstands its attempts."""
    return UserError(
        f"outcomes of {ensemble} (seed {seed}) under {protocol}: expected every attempt on image {image} at eps "
        f"{eps:g} or one that won, got attempts that were never made; delete the file and run `rbe attack` again"
    )


def no_clean_row(ensemble: str, seed: int, protocol: str, image: int) -> UserError:
    """Return the error that an image has no row for its clean version."""
    return UserError(
        f"outcomes of {ensemble} (seed {seed}) under {protocol}: expected a clean row (eps 0) for image {image}, got "
        "none; delete the file and run `rbe attack` again"
    )


def withstood(outcomes: pd.DataFrame, kinds: Kinds | None = None) -> pd.DataFrame:
    """Return which images withstood every attempt at an eps (``correct``), and which are right as they are (``clean``).

    Of targets that answer at random, both are how likely an answer is right, ``correct`` under the worst attempt. One
    row per ensemble, eps and image; eps 0 is the clean image. Attempts that were not made (``correct`` is null: an
    earlier restart had won) do not count. Rows of sub-models and of kinds that do not yield accuracy are left out.

    Returns:
        the columns of ``CELL``, ``eps``, ``image``, ``correct``, ``clean`` (both bool; in [0, 1] if any answer is
        random).

    Raises:
        UserError: an attacked image has no row for its clean version, or attempts are missing.
    """
    rows = that_yield(outcomes[outcomes["target_member"] == ENSEMBLE], ACCURACY, kinds)
    return _beside_clean(_worst_case(rows, [*CELL, "eps"]), rows)


def _beside_clean(images: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Add to ``images`` whether the clean image is right, as the outcome ``rows`` say: ``clean``.

    Raises:
        UserError: an image has no row for its clean version.
    """
    clean = _worst_case(rows[rows["eps"] == 0], [*CELL, "eps"])
    clean = clean[[*CELL, "image", "correct"]].rename(columns={"correct": "clean"})
    images = images.merge(clean, on=[*CELL, "image"], how="left", validate="many_to_one")
    missing = images[images["clean"].isna()]
    if len(missing):
        first = missing.iloc[0]
        raise no_clean_row(first["ensemble"], first["seed"], first["protocol"], first["image"])
    return images.astype({"clean": clean["clean"].dtype})


def _all_or_nothing(images: pd.DataFrame) -> pd.DataFrame:
    """Count the clean image as one more attempt: an attacker may leave an image as it is."""
    return images.assign(correct=np.minimum(images["correct"], images["clean"])).drop(columns="clean")


def survivors(outcomes: pd.DataFrame, kinds: Kinds | None = None) -> pd.DataFrame:
    """All or nothing: one row per ensemble, eps and image; ``correct`` only if every attempt was classified correctly.

    The clean image counts as an attempt at every eps. What else counts, see :func:`withstood`.

    Returns:
        the columns of ``CELL``, ``eps``, ``image``, ``correct`` (see :func:`withstood`).

    Raises:
        UserError: see :func:`withstood`.
    """
    return _all_or_nothing(withstood(outcomes, kinds))


def accuracies(outcomes: pd.DataFrame, kinds: Kinds | None = None) -> pd.DataFrame:
    """Accuracy of each ensemble at each eps of each protocol, over all images; eps 0 is the clean accuracy.

    Returns:
        the columns of ``CELL``, ``eps``, ``n``, ``correct``, ``accuracy``, ``low``, ``high``.

    Raises:
        UserError: see :func:`survivors`.
    """
    return accuracies_of(survivors(outcomes, kinds))


def accuracies_of(images: pd.DataFrame) -> pd.DataFrame:
    """:func:`accuracies` from rows of :func:`survivors`."""
    counts = images.groupby([*CELL, "eps"], observed=True)["correct"].agg(n="size", correct="sum")
    return with_interval(counts.reset_index(), "correct", "accuracy")


def survivors_by_steps(outcomes: pd.DataFrame, kinds: Kinds | None = None) -> pd.DataFrame:
    """As :func:`survivors` for each number of attack steps, of kinds that yield accuracy by steps; no rows for eps 0.

    Returns:
        the columns of ``CELL``, ``eps``, ``steps``, ``image``, ``correct``.

    Raises:
        UserError: an attacked image has no row for its clean version, or attempts are missing.
    """
    rows = that_yield(outcomes, BY_STEPS, kinds)
    images = _worst_case(rows[rows["eps"] > 0], [*CELL, "eps", "steps"])
    return _all_or_nothing(_beside_clean(images, rows))


def convergence(outcomes: pd.DataFrame, kinds: Kinds | None = None) -> pd.DataFrame:
    """Accuracy by the number of attack steps, all or nothing over the clean image and the attempts of that number.

    Returns:
        the columns of ``CELL``, ``eps``, ``steps``, ``n``, ``correct``, ``accuracy``, ``low``, ``high``.

    Raises:
        UserError: see :func:`survivors_by_steps`.
    """
    images = survivors_by_steps(outcomes, kinds).groupby([*CELL, "eps", "steps"], observed=True)["correct"]
    counts = images.agg(n="size", correct="sum")
    return with_interval(counts.reset_index(), "correct", "accuracy")


def transferability(outcomes: pd.DataFrame, kinds: Kinds | None = None) -> pd.DataFrame:
    """Success rate on sub-model ``target_member`` of attacks crafted on ``source_member``, at each eps.

    Success on any start counts; the denominator is all images that every sub-model gets right. ``target_member`` -1
    is the ensemble; equal members are the white-box diagonal (DVERGE, Section 4.2).

    Returns:
        the columns of ``CELL``, ``eps``, ``source_member``, ``target_member``, ``n``, ``success``, ``rate``, ``low``,
        ``high``.

    Raises:
        UserError: attempts are missing.
    """
    counts = _transferred(outcomes, kinds).groupby(_PAIR, observed=True)["success"].agg(n="size", success="sum")
    return with_interval(counts.reset_index(), "success", "rate")


def mean_transferability(outcomes: pd.DataFrame, kinds: Kinds | None = None) -> pd.DataFrame:
    """Mean success rate over ordered pairs of different sub-models, with its bootstrap 95% interval over images.

    Returns:
        the columns of ``CELL``, ``eps``, ``n``, ``rate``, ``low``, ``high``.

    Raises:
        UserError: attempts are missing.
    """
    pairs = between_sub_models(_transferred(outcomes, kinds))
    rows = []
    for key, own in pairs.groupby([*CELL, "eps"], observed=True):
        by_image = own.groupby("image")["success"].mean()
        rows.append((*key, len(by_image), by_image.mean(), *mean_interval(by_image, CONFIDENCE)))
    return pd.DataFrame(rows, columns=[*CELL, "eps", "n", "rate", "low", "high"])


def _transferred(outcomes: pd.DataFrame, kinds: Kinds | None) -> pd.DataFrame:
    """One row per pair of members and image, at each eps: whether any start had ``success``."""
    rows = that_yield(outcomes[outcomes["eps"] > 0], TRANSFER, kinds)
    images = _worst_case(rows, _PAIR)
    return images.assign(success=~images["correct"])


def between_sub_models(transfer: pd.DataFrame) -> pd.DataFrame:
    """The off-diagonal part of rates by member: pairs of different sub-models, without the ensemble's column."""
    target, source = transfer["target_member"], transfer["source_member"]
    return transfer[(target != source) & (target != ENSEMBLE)]


def attempts(outcomes: pd.DataFrame, kinds: Kinds | None = None) -> pd.DataFrame:
    """Number of attempts on each image of each cell that yields accuracy: sources x attacks x losses x restarts.

    Returns:
        the columns of ``CELL``, ``attempts``.
    """
    rows = that_yield(outcomes[outcomes["eps"] > 0], ACCURACY, kinds)
    one_eps = rows.drop_duplicates([*CELL, "source", "attack", "loss", "restart"])
    return one_eps.groupby(CELL, observed=True).size().rename("attempts").reset_index().pipe(plain)
