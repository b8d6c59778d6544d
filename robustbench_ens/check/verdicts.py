"""The verdict on every cell of fresh outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from robustbench_ens.analysis.derive import CONFIDENCE, with_interval
from robustbench_ens.analysis.health import collect_health, health_warnings
from robustbench_ens.analysis.holm import holm
from robustbench_ens.analysis.rounding import ROUNDING
from robustbench_ens.check.cells import CLEAN_CELLS, Evaluation, Units, family
from robustbench_ens.check.pin import Pin, PinnedCell, PinnedEvaluation, evaluate_all
from robustbench_ens.check.spread import (
    Spread,
    fit_measured,
    fit_spread,
    no_spread,
    p_exact,
    p_flips,
    p_measured_sampling,
    p_sampling,
    p_spread,
)
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import OutcomeFile

RATE = "rate"
"""The value of ``measured_in`` for cells that are shares of outcomes."""

COLUMNS = [
    *("protocol", "ensemble", "seed", "cell", "measured_in", "comparison", "n", "fresh", "low", "high"),
    *("pinned", "pinned_seeds", "pinned_mean", "pinned_sd", "pinned_low", "pinned_high"),
    *("difference", "difference_points", "units", "flips", "p", "p_adjusted", "verdict", "moved"),
    *("protocol_hash", "recipe_hash", "weights"),
]


@dataclass(frozen=True)
class CheckResult:
    """The result of a check.

    ``rows`` has one row per compared cell, with these columns (``COLUMNS``):

    - ``comparison`` is ``paired`` if the pin holds the same weights, and ``spread`` otherwise.
    - ``verdict`` is ``same``, ``higher``, ``lower`` or ``changed``. The last means that paired outcomes flipped equally
      often in both directions.
    - ``measured_in`` is ``rate`` for a share of outcomes: ``fresh``, its Wilson interval ``low`` .. ``high`` and the
      ``pinned_*`` rates are in [0, 1]. Otherwise it is the unit of a mean over images, whose interval is normal.
    - ``pinned`` is the number of the same weights if paired, and the mean over seeds otherwise. ``difference`` is
      relative to it. ``difference_points`` is the same in percentage points, for rates only.
    - ``units`` is the number of outcomes behind a rate or of images behind a mean. ``flips`` of these outcomes differ
      if paired.

    ``problems`` are missing or structurally different cells, one line each. ``notes`` do not affect ``moved``, but may
    explain an odd number, as an unhealthy attack does. ``paired`` is true for a paired baseline.
    """

    rows: pd.DataFrame
    moved: bool
    problems: list[str]
    notes: list[str]
    alpha: float
    paired: bool = False


def check(pin: Pin, files: Sequence[OutcomeFile]) -> CheckResult:
    """Compare fresh outcomes with the pin, cell by cell.

    If the pin holds the same weights, outcomes are compared one by one. A cell moved if more of them flipped than
    rounding explains. A measured number moved if it changed by more than rounding. With other weights, a cell is tested
    against the spread over pinned seeds and against its sampling interval (:mod:`robustbench_ens.check.spread`).
    Changes in either direction count. Holm's correction over all cells keeps the probability of any false alarm below
    ``pin.alpha``. Facts (images, restarts, variants, hashes) are compared exactly. A paired pin has no spread, so other
    weights are a problem.

    Raises:
        UserError: no file belongs to a pinned protocol and ensemble, or two files have the same seed.
    """
    pinned = {(item.protocol, item.ensemble): item for item in pin.evaluations}
    known = [file for file in files if _key(file) in pinned]
    if not known:
        wanted = ", ".join(f"{protocol} on {ensemble}" for protocol, ensemble in pinned)
        first_protocol, first_ensemble = next(iter(pinned))
        raise UserError(
            f"expected outcomes of what the baseline pins ({wanted}), got none among {len(files)} files; "
            f"run `rbe attack {first_protocol} {first_ensemble}`"
        )
    fresh = evaluate_all(known)
    seen = {(item.protocol, item.ensemble) for item in fresh}
    problems = [f"{key[0]} on {key[1]}: missing: no fresh outcomes" for key in pinned if key not in seen]
    if pin.paired:
        problems += _missing_weights(pinned, fresh)
    notes = _unknown(files, pinned) + _environment_changes(pin, known) + _without_digest(pin, known)
    notes += health_warnings(collect_health(known))
    cells = []
    for item in fresh:
        reference = pinned[item.protocol, item.ensemble]
        problems += _structural(reference, item)
        # A paired pin may hold a single seed, which gives other weights no spread to be judged by.
        if pin.paired and _pinned_seed(reference, item) is None:
            problems.append(f"{_name(item)}: expected the pinned weights, got others; the baseline is paired")
            continue
        known_cells = {*reference.cells, *reference.measured}
        new = [name for name in (*item.cells, *item.measured) if name not in known_cells]
        notes += [f"{_name(item)}: {name}: not in the baseline" for name in new]
        cells += [_row(reference, item, name) for name in reference.cells if name in item.cells]
        cells += [_measured_row(reference, item, name) for name in reference.measured if name in item.measured]
    rows = _judge(pd.DataFrame(cells), _spread(pin), pin.alpha) if cells else _no_rows()
    return CheckResult(rows, bool(problems or rows["moved"].any()), problems, notes, pin.alpha, pin.paired)


def _missing_weights(pinned: dict[tuple[str, str], PinnedEvaluation], fresh: Sequence[Evaluation]) -> list[str]:
    """Return a problem for each pinned seed whose weights have no fresh outcomes.

    Evaluations without any fresh outcomes are not included: :func:`check` reports them.
    """
    found = {(item.protocol, item.ensemble, item.weights) for item in fresh}
    there = {key[:2] for key in found}
    return [
        f"{protocol} on {ensemble} seed {seed}: missing: no fresh outcomes of the pinned weights"
        for (protocol, ensemble), item in pinned.items()
        for seed, record in item.seeds.items()
        if (protocol, ensemble) in there and (protocol, ensemble, record.weights) not in found
    ]


def _no_rows() -> pd.DataFrame:
    return pd.DataFrame(columns=COLUMNS).astype({"moved": bool})


def _key(file: OutcomeFile) -> tuple[str, str]:
    return file.provenance["protocol"]["label"], file.provenance["target"]["label"]


def _name(item: Evaluation) -> str:
    return f"{item.protocol} on {item.ensemble} seed {item.seed}"


def _unknown(files: Sequence[OutcomeFile], pinned: dict[tuple[str, str], PinnedEvaluation]) -> list[str]:
    others = sorted({_key(file) for file in files} - set(pinned))
    return [f"{protocol} on {ensemble}: not in the baseline" for protocol, ensemble in others]


def _environment_changes(pin: Pin, files: Sequence[OutcomeFile]) -> list[str]:
    """Return a note for each difference between the software and hardware of the pin and of the fresh outcomes."""
    notes = []
    for part, key in (("software", "torch"), ("hardware", "name")):
        before = {str(entry.get(part, {}).get(key)) for entry in pin.made_by}
        now = {str(file.provenance[part].get(key)) for file in files}
        if now - before:
            notes.append(f"{part}: pinned with {', '.join(sorted(before))}, now {', '.join(sorted(now))}")
    return notes


def _without_digest(pin: Pin, files: Sequence[OutcomeFile]) -> list[str]:
    """Return notes about files of earlier versions, which have no digest: damage to them cannot be detected."""
    count = sum(not file.sealed for file in files)
    notes = [f"{count} of {len(files)} outcomes files have no digest"] if count else []
    return notes if pin.sealed else ["the baseline has no digest", *notes]


def _structural(reference: PinnedEvaluation, item: Evaluation) -> list[str]:
    """Return facts that differ and cells that are missing. A fact that one side lacks is no difference."""
    facts = [
        f"{_name(item)}: {fact}: expected {expected}, got {item.facts[fact]}"
        for fact, expected in reference.facts.items()
        if fact in item.facts and item.facts[fact] != expected
    ]
    units = [
        f"{_name(item)}: {name}: expected a mean in {mean.unit}, got one in {item.measured[name].unit}"
        for name, mean in reference.measured.items()
        if name in item.measured and item.measured[name].unit != mean.unit
    ]
    missing = [name for name in reference.cells if name not in item.cells]
    missing += [name for name in reference.measured if name not in item.measured]
    return facts + units + [f"{_name(item)}: {name}: missing" for name in missing]


def _about(item: Evaluation, name: str, measured_in: str) -> dict[str, Any]:
    row = {"protocol": item.protocol, "ensemble": item.ensemble, "seed": item.seed, "cell": name}
    hashes = {"protocol_hash": item.facts["protocol hash"], "recipe_hash": item.facts["recipe hash"]}
    return row | hashes | {"weights": item.weights, "measured_in": measured_in}


def _pinned_seed(reference: PinnedEvaluation, item: Evaluation) -> str | None:
    """Return the pinned seed with the same weights, or None."""
    return next((seed for seed, record in reference.seeds.items() if record.weights == item.weights), None)


def _row(reference: PinnedEvaluation, item: Evaluation, name: str) -> dict[str, Any]:
    """Return the row of a rate, compared with the pinned seed that has the same weights if there is one."""
    units = item.cells[name]
    cell = reference.cells[name]
    row = _about(item, name, RATE) | {"n": len(units), "count": units.mean() * len(units), "units": units.size}
    twin = _pinned_seed(reference, item)
    if twin is None:
        return row | {"comparison": "spread", "flips": np.nan, "twin": np.nan}
    # Clean cells cover all images, so their outcomes can be matched even if other images were attacked.
    same_protocol = reference.facts.get("protocol hash") == item.facts["protocol hash"]
    same_images = reference.seeds[twin].images == item.images or (name in CLEAN_CELLS and same_protocol)
    flips = _flips(cell, twin, units, same_images)
    return row | {"comparison": "paired", "flips": flips, "twin": cell.rate(twin)}


def _measured_row(reference: PinnedEvaluation, item: Evaluation, name: str) -> dict[str, Any]:
    """Return the row of a measured number, compared with the pinned seed of the same weights if there is one."""
    mean = item.measured[name]
    pinned = reference.measured[name]
    error = float(np.sqrt(np.mean(np.square(list(pinned.standard_error.values())))))
    row = _about(item, name, mean.unit) | {"n": mean.images, "units": mean.images, "flips": np.nan}
    row |= {"value": mean.value, "error": mean.standard_error, "pinned_error": error}
    twin = _pinned_seed(reference, item)
    if twin is None:
        return row | {"comparison": "spread", "twin": np.nan}
    return row | {"comparison": "paired", "twin": pinned.value[twin]}


def _flips(cell: PinnedCell, seed: str, units: Units, same_images: bool) -> int:
    """Return the number of outcomes that differ.

    If other images were attacked, return the net change instead, which never exceeds the number of flips.
    """
    before = cell.units(seed)
    if same_images and before.shape == units.shape:
        return int((np.abs(before.astype(float) - units) > ROUNDING).sum())
    return round(abs(float(before.mean() - units.mean())) * units.size)


def _spread(pin: Pin) -> tuple[pd.MultiIndex, Spread]:
    """Return the spread of every pinned cell, moderated within each family.

    Returns:
        an index of (protocol, ensemble, cell) and the spread of the cells in that order.
    """
    rates = [
        {
            "key": (item.protocol, item.ensemble, name),
            "family": family(name),
            "pair": (item.protocol, item.ensemble),
            "values": np.array([cell.rate(seed) for seed in item.seeds]),
            "images": float(np.mean(list(cell.images.values()))),
        }
        for item in pin.evaluations
        for name, cell in item.cells.items()
    ]
    means = [
        {
            "key": (item.protocol, item.ensemble, name),
            "family": family(name),
            "pair": (item.protocol, item.ensemble),
            "values": np.array([mean.value[seed] for seed in item.seeds]),
            "errors": np.array([mean.standard_error[seed] for seed in item.seeds]),
        }
        for item in pin.evaluations
        for name, mean in item.measured.items()
    ]
    if pin.paired:
        cells: list[dict[str, Any]] = [*rates, *means]
        return pd.MultiIndex.from_tuples([cell["key"] for cell in cells]), no_spread([cell["values"] for cell in cells])
    # Rates and means are fitted apart: a rate's sampling variance follows from it, a mean's is measured.
    keys: list[tuple[str, str, str]] = []
    fits: list[Spread] = []
    for fit, beside, kind in ((fit_spread, "images", rates), (fit_measured, "errors", means)):
        for _, group in pd.DataFrame(kind).groupby("family") if kind else ():
            keys += list(group["key"])
            fits.append(fit(list(group["values"]), list(group[beside]), group["pair"].nunique()))
    fitted = {name: np.concatenate([getattr(fit, name) for fit in fits]) for name in vars(fits[0])}
    return pd.MultiIndex.from_tuples(keys), Spread(**fitted)


def _judge(cells: pd.DataFrame, fitted: tuple[pd.MultiIndex, Spread], alpha: float) -> pd.DataFrame:
    """Add intervals, p-values and verdicts to the rows of :func:`_row` and :func:`_measured_row`."""
    index, everything = fitted
    at = index.get_indexer(pd.MultiIndex.from_frame(cells[["protocol", "ensemble", "cell"]]))
    spread = Spread(**{name: values[at] for name, values in vars(everything).items()})
    rows = cells.assign(
        pinned_seeds=spread.seeds.astype(int),
        pinned_mean=spread.mean,
        pinned_sd=spread.sd,
        pinned_low=spread.low,
        pinned_high=spread.high,
    )
    is_rate = (rows["measured_in"] == RATE).to_numpy()
    parts = [
        judge(rows[which], Spread(**{name: values[which] for name, values in vars(spread).items()}))
        for judge, which in ((_judge_rates, is_rate), (_judge_measured, ~is_rate))
        if which.any()
    ]
    rows = pd.concat(parts).sort_index()
    # Holm's correction runs over rates and means together, hence only after both have p-values.
    rows["moved"], rows["p_adjusted"] = holm(rows["p"].to_numpy(), alpha)
    rows["pinned"] = rows["twin"].fillna(rows["pinned_mean"])
    rows["difference"] = rows["fresh"] - rows["pinned"]
    rows["difference_points"] = (100 * rows["difference"]).where(is_rate)
    # Paired outcomes may flip both ways alike and leave a difference of rounding alone, which is no direction.
    direction = (100 * rows["difference"]).round(9)
    way = np.select([direction > 0, direction < 0], ["higher", "lower"], default="changed")
    rows["verdict"] = np.where(rows["moved"], way, "same")
    return rows[COLUMNS]


def _judge_rates(cells: pd.DataFrame, spread: Spread) -> pd.DataFrame:
    """Add the interval and the p-value of rates."""
    rows = with_interval(cells, "count", "fresh")
    fresh = rows["fresh"].to_numpy(dtype=float)
    images = rows["n"].to_numpy(dtype=float)
    unpaired = np.maximum(p_spread(fresh, spread), p_sampling(fresh, images, spread.mean))
    paired = p_flips(rows["flips"].fillna(0).to_numpy(dtype=float), rows["units"].to_numpy(dtype=float))
    return rows.assign(p=np.where(rows["comparison"] == "paired", paired, unpaired))


def _judge_measured(cells: pd.DataFrame, spread: Spread) -> pd.DataFrame:
    """Add the interval and the p-value of means."""
    margin = stats.norm.ppf((1 + CONFIDENCE) / 2) * cells["error"]
    rows = cells.assign(fresh=cells["value"], low=cells["value"] - margin, high=cells["value"] + margin)
    fresh, error = (rows[name].to_numpy(dtype=float) for name in ("fresh", "pinned_error"))
    unpaired = np.maximum(p_spread(fresh, spread), p_measured_sampling(fresh, spread.mean, error))
    paired = p_exact(fresh, rows["twin"].to_numpy(dtype=float))
    p = np.where(rows["comparison"] == "paired", paired, unpaired)
    # Comparisons with NaN are never significant, so a mean that is not finite counts as moved explicitly.
    return rows.assign(p=np.where(np.isfinite(fresh), p, 0.0))
