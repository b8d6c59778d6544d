"""The rows of the leaderboard, for tables, pictures and the terminal."""

from __future__ import annotations

from collections.abc import Collection as Container
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from robustbench_ens.analysis import derive
from robustbench_ens.analysis.chosen_on import ChosenHere
from robustbench_ens.analysis.compare import WORST
from robustbench_ens.analysis.health import MARK, rests_on_unhealthy, unhealthy
from robustbench_ens.analysis.standard import HeadlineEps, at_headline
from robustbench_ens.analysis.worst_case import among, as_they_are, worst_at
from robustbench_ens.config.kinds import ACCURACY, TRANSFER
from robustbench_ens.core.text import mean_and_std, span, with_brackets
from robustbench_ens.reporting.collect import Collection
from robustbench_ens.reporting.cost import Cost, training_costs
from robustbench_ens.reporting.tables.summary import (
    NO_PAIRS,
    eps_of_dataset,
    lacking,
    over_seeds,
    strongest,
    together,
)


@dataclass(frozen=True)
class Rate:
    """A rate of the leaderboard, in [0, 1].

    Attributes:
        value: the mean over seeds.
        low, high: the ends of the 95% interval of a single seed. For several seeds, the mean minus and plus one
            standard deviation.
        std: the standard deviation (n - 1) over seeds, or None for a single seed.
        n: the number of images, such as ``500``.
        seeds: the number of training seeds.
        protocols: the protocols behind the number: a single one, or all of the worst case.
        healthy: true if the rate rests on no unhealthy attack.
        text: the rate as tables show it, without a mark.
    """

    value: float
    low: float
    high: float
    std: float | None
    n: str
    seeds: int
    protocols: tuple[str, ...]
    healthy: bool
    text: str

    @property
    def marked(self) -> str:
        """The text of the rate, with a mark if it is unhealthy."""
        return self.text if self.healthy else self.text + MARK


@dataclass(frozen=True)
class BoardRow:
    """One ensemble of the leaderboard.

    Attributes:
        place: the rank among the ensembles of its dataset, from 1.
        eps: the standard eps of its dataset, or None if nothing was attacked.
        worst: the accuracy in the worst case over all protocols of a tier, or None if there is none.
        set_by: the protocols that alone leave the fewest images classified correctly.
        attacks: for each kind, the rate under its strongest protocol, or the reason why there is none.
        clean: the accuracy on clean images.
        transfer: the mean transferability, or the reason why there is none.
        unhealthy: the protocols whose attacks are unhealthy.
        health_known: true if any attack recorded its health.
        n: the number of images, such as ``500`` or ``200 to 500``.
        chosen_here: true if its settings were chosen on test images that may be among those of its numbers.
        start_chosen_here: true if this holds for the ensemble that it starts from, and not for itself.
        differs_below: true if the worst case differs significantly from that of the next row. None if the two were not
            compared or there is no next row.
    """

    dataset: str
    ensemble: str
    method: str
    sub_models: int
    place: int
    eps: HeadlineEps | None
    worst: Rate | None
    set_by: tuple[str, ...]
    attacks: Mapping[str, Rate | str]
    clean: Rate | None
    transfer: Rate | str
    cost: Cost
    parameters: int
    unhealthy: tuple[str, ...]
    health_known: bool
    n: str
    seeds: int
    chosen_here: bool = False
    start_chosen_here: bool = False
    differs_below: bool | None = None


def board(collection: Collection) -> list[BoardRow]:
    """Return one row per ensemble, dataset by dataset, in order of the worst case.

    The best comes first, and ensembles without a worst case come last.
    """
    everything = together(collection.accuracies, collection.transferability)
    targets = {document["target"]["label"]: document["target"] for document in collection.provenance}
    costs = training_costs(
        [document["target"] for document in collection.provenance],
        [source for document in collection.provenance for source in document["sources"]],
    )
    rows: list[BoardRow] = []
    for dataset, known in everything.groupby("dataset", observed=True):
        chosen = eps_of_dataset(known)
        found = [
            _judged(collection, _row(collection, own, targets[str(ensemble)], costs[str(ensemble)], chosen))
            for ensemble, own in known.groupby("ensemble", observed=True)
        ]
        found.sort(key=lambda row: (1.0 if row.worst is None else -row.worst.value, row.ensemble))
        rows += _placed(found, _verdicts(collection.comparisons, str(dataset)))
    return rows


def chosen_of(rows: Sequence[BoardRow]) -> ChosenHere:
    """Return the ensembles of ``rows`` whose settings were chosen on test images that these numbers may be of."""
    return ChosenHere(
        frozenset(row.ensemble for row in rows if row.chosen_here),
        frozenset(row.ensemble for row in rows if row.start_chosen_here),
    )


def _judged(collection: Collection, row: BoardRow) -> BoardRow:
    """Return the row, which states whether settings were chosen on images of the protocols behind its numbers."""
    rates = (row.worst, row.clean, row.transfer, *row.attacks.values())
    protocols = {name for rate in rates if isinstance(rate, Rate) for name in rate.protocols}
    found = collection.chosen_here(protocols, {row.ensemble})
    return replace(row, chosen_here=bool(found.marked), start_chosen_here=bool(found.started))


def _placed(rows: Sequence[BoardRow], verdicts: Mapping[frozenset[str], bool]) -> list[BoardRow]:
    """Number the rows, and add whether each differs significantly from the next one."""
    nexts = [row.ensemble for row in rows[1:]]
    below = [verdicts.get(frozenset(pair)) for pair in zip([row.ensemble for row in rows], nexts, strict=False)]
    placed = zip(rows, [*below, None], strict=True)
    return [replace(row, place=place, differs_below=differs) for place, (row, differs) in enumerate(placed, start=1)]


def _verdicts(comparisons: pd.DataFrame, dataset: str) -> dict[frozenset[str], bool]:
    """Return, for each pair of ensembles, whether their worst cases differ significantly."""
    own = comparisons[(comparisons["protocol"] == WORST) & (comparisons["dataset"] == dataset)]
    return {
        frozenset((better, worse)): bool(supported)
        for better, worse, supported in own[["better", "worse", "supported"]].itertuples(index=False, name=None)
    }


def _row(
    collection: Collection, own: pd.DataFrame, target: Mapping[str, object], cost: Cost, chosen: HeadlineEps | None
) -> BoardRow:
    """Return the row of one ensemble, before it has a place. ``own`` holds its rates."""
    dataset = str(own["dataset"].iloc[0])
    ensemble = str(own["ensemble"].iloc[0])
    affected = {protocol for protocol, name in unhealthy(collection.health) if name == ensemble}
    rates = derive.that_yield(own, ACCURACY, collection.kinds)
    # Several protocols may have clean images: the rate over most of them is the most precise.
    clean = rates[rates["eps"] == 0].sort_values("n", ascending=False, kind="stable").drop_duplicates("seed")
    worst = worst_at(collection.worst_case, dataset, ensemble, chosen)
    transfer = collection.mean_transferability
    usual = among(own, as_they_are(collection.provenance))
    attacks: dict[str, Rate | str] = {}
    for kind in (name for name, facts in collection.kinds.items() if facts.leaderboard):
        asked = own[(own["kind"] == kind) & usual]
        cell = at_headline(asked, chosen)
        attacks[kind] = _rate(strongest(cell), own, affected) if len(cell) else lacking(asked)
    known = set(collection.health.loc[collection.health["ensemble"] == ensemble, "protocol"])
    return BoardRow(
        dataset=dataset,
        ensemble=ensemble,
        method=str(own["method"].iloc[0]),
        sub_models=int(own["sub_models"].iloc[0]),
        place=0,
        eps=chosen,
        worst=_worst(worst, own, affected) if len(worst) else None,
        set_by=tuple(sorted(set(worst["set_by"]))),
        attacks=attacks,
        clean=_rate(clean, own, ()) if len(clean) else None,
        transfer=_transfer(at_headline(transfer[transfer["ensemble"] == ensemble], chosen), own, collection, affected),
        cost=cost,
        parameters=int(str(target["parameters"])),
        unhealthy=tuple(sorted(known & affected)),
        health_known=bool(known),
        n=span(rates["n"]),
        seeds=int(own["seed"].nunique()),
    )


def _rate(cell: pd.DataFrame, own: pd.DataFrame, affected: Container[str]) -> Rate:
    """Return the rate under one protocol. ``cell`` has a row per seed, and ``affected`` are the unhealthy protocols."""
    protocols = tuple(sorted(set(map(str, cell["protocol"]))))
    return _of(cell, "accuracy", over_seeds(cell, own), protocols, healthy=not set(protocols) & set(affected))


def _worst(cell: pd.DataFrame, own: pd.DataFrame, affected: Container[str]) -> Rate:
    made_of = zip(cell["protocols"], cell["kinds"], strict=True)
    marked = any(rests_on_unhealthy(names, kinds, affected) for names, kinds in made_of)
    protocols = tuple(sorted({name for names in cell["protocols"] for name in names}))
    return _of(cell, "accuracy", over_seeds(cell, own), protocols, healthy=not marked)


def _transfer(cell: pd.DataFrame, own: pd.DataFrame, collection: Collection, affected: Container[str]) -> Rate | str:
    """Return the mean transferability under the protocol with most images, or the reason why there is none."""
    if not len(cell):
        asked = derive.that_yield(own, TRANSFER, collection.kinds)
        return NO_PAIRS if len(asked) and not len(derive.between_sub_models(asked)) else lacking(asked)
    # Rates of different protocols are never averaged: their images differ.
    cell = cell[cell["protocol"] == cell.groupby("protocol")["n"].sum().idxmax()]
    first = cell.iloc[0]
    alone = with_brackets(first["rate"], first["low"], first["high"])
    text = mean_and_std(cell["rate"]) if len(cell) > 1 else alone
    return _of(cell, "rate", text, (str(first["protocol"]),), healthy=first["protocol"] not in affected)


def _of(cell: pd.DataFrame, column: str, text: str, protocols: tuple[str, ...], *, healthy: bool) -> Rate:
    """Return the rate in ``column`` of ``cell``, which has a row per seed."""
    value = float(cell[column].mean())
    low = float(cell["low"].iloc[0])
    high = float(cell["high"].iloc[0])
    std = None
    if len(cell) > 1:
        std = float(cell[column].std(ddof=1))
        low = max(0.0, value - std)
        high = min(1.0, value + std)
    return Rate(value, low, high, std, span(map(int, cell["n"])), len(cell), protocols, healthy, text)


def short_names(ensembles: Sequence[str]) -> dict[str, str]:
    """Return the names without the folder that all of them share: ``dverge-3`` for ``digits/dverge-3``."""
    folders = {name.partition("/")[0] for name in ensembles}
    shared = len(folders) == 1 and all("/" in name for name in ensembles)
    return {name: name.partition("/")[2] if shared and name.partition("/")[2] else name for name in ensembles}
