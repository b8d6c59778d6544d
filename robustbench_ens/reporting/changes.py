"""The changes since the last report: `summary.json` beside each report, and the differences between two of them.

The file holds a snapshot of the report and one of the last *different* report in the same folder. A report that is made
again from the same outcomes equals the first snapshot and is compared with the second one, so its bytes stay the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pandas as pd
from pydantic import Field, model_validator

from robustbench_ens.analysis.compare import WORST
from robustbench_ens.analysis.health import unhealthy
from robustbench_ens.analysis.rounding import FLIP_RATE
from robustbench_ens.config.schema import Count, Facts, Positive, Share, check_facts
from robustbench_ens.core.store import read_document
from robustbench_ens.core.text import listing, percent, shorten, with_brackets
from robustbench_ens.errors import UserError
from robustbench_ens.reporting.collect import Collection, standard_eps_by_dataset

SUMMARY = "summary.json"
SCHEMA = 1

_RATE = ["dataset", "protocol", "ensemble", "seed", "eps", "n", "accuracy", "low", "high"]
_LONGEST = 64  # characters of a name in running text


class Rate(Facts):
    """One rate of a summary."""

    dataset: str
    protocol: str
    ensemble: str
    seed: Count
    eps: Share
    n: Positive
    accuracy: Share
    low: Share
    high: Share


class Snapshot(Facts):
    """The numbers of one report, as :func:`snapshot` returns them."""

    schema_: Literal[1] = Field(alias="schema")
    ensembles: dict[str, dict[Annotated[str, Field(pattern=r"^[0-9]{1,19}$")], str]]
    protocols: dict[str, str]
    tiers: dict[str, list[str]]
    rates: list[Rate]
    unhealthy: dict[str, list[str]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """Check that every rate belongs to a listed ensemble and protocol."""
        for rate in self.rates:
            listed = rate.ensemble in (self.tiers if rate.protocol == WORST else self.ensembles)
            if not listed or (rate.protocol != WORST and rate.protocol not in self.protocols):
                raise ValueError(f"expected a rate of a listed ensemble, got one of {shorten(rate.ensemble, _LONGEST)}")
        return self


class Summary(Snapshot):
    """The content of the file: the snapshots of the last report and of the last different one."""

    previous: Snapshot | None


def snapshot(collection: Collection) -> dict[str, Any]:
    """Return the numbers of a report as JSON.

    They are the ensembles by seed with the digests of their weights, the protocols with their hashes, the protocols of
    each worst case, and every rate on clean images and at the standard eps. If there are any, the ensembles whose
    numbers rest on an unhealthy attack are included by protocol.
    """
    documents = collection.provenance
    weights: dict[str, dict[str, str]] = {}
    for target in (document["target"] for document in documents):
        weights.setdefault(target["label"], {})[str(target["seed"])] = target["weights"]
    eps = standard_eps_by_dataset(collection.accuracies, collection.transferability)
    rates = collection.accuracies
    rates = rates[(rates["eps"] == 0) | (rates["eps"] == rates["dataset"].map(eps))]
    worst = collection.worst_case
    worst = worst[worst["eps"] == worst["dataset"].map(eps)].assign(protocol=WORST)
    filled = [frame[_RATE] for frame in (rates, worst) if len(frame)]
    rows = pd.concat(filled).sort_values(_RATE[:5]).round(6).to_dict("records") if filled else []
    marked: dict[str, list[str]] = {}
    for protocol, ensemble in sorted(unhealthy(collection.health)):
        marked.setdefault(protocol, []).append(ensemble)
    return {
        # Absent if empty, so that files of earlier versions compare equal.
        **({"unhealthy": marked} if marked else {}),
        "schema": SCHEMA,
        "ensembles": weights,
        "protocols": {document["protocol"]["label"]: document["protocol"]["hash"] for document in documents},
        "tiers": {name: _tiers(own) for name, own in worst.groupby("ensemble")},
        "rates": rows,
    }


def _tiers(worst: pd.DataFrame) -> list[str]:
    return sorted({protocol for protocols in worst["protocols"] for protocol in protocols})


def last_report(folder: Path, now: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the snapshot of the last report in ``folder`` that differs from ``now``.

    Return None if there is no such report or if it is of another version.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / SUMMARY
    if not path.exists():
        return None
    advice = "delete it to report without a comparison with the last report"
    found = read_document(path, advice).content
    if isinstance(found, dict) and found.get("schema") != SCHEMA:
        return None
    try:
        check_facts(Summary, found)
    except ValueError as error:
        raise UserError(f"{path}: expected the summary of a report, got a damaged file ({error}); {advice}") from None
    previous: dict[str, Any] | None = found.pop("previous")
    return previous if found == now else found


def changes(old: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return one sentence per difference between two snapshots.

    A rate has changed if its interval no longer overlaps the old one. For several seeds, the outermost ends count. It
    has also changed if more than ``FLIP_RATE`` of the outcomes differ while protocol, weights and number of images are
    the same, because no sampling noise could explain that.
    """
    texts = []
    for noun, plural in (("ensemble", "ensembles"), ("protocol", "protocols")):
        texts += _named(f"New {noun}", f"New {plural}", now[plural].keys() - old[plural].keys())
        texts += _named(f"Removed {noun}", f"Removed {plural}", old[plural].keys() - now[plural].keys())
    same = now["protocols"].keys() & old["protocols"].keys()
    redefined = sorted(name for name in same if now["protocols"][name] != old["protocols"][name])
    texts += _named("Changed protocol", "Changed protocols", redefined)
    retrained = sorted(
        f"{name} (seed {seed})"
        for name in now["ensembles"].keys() & old["ensembles"].keys()
        for seed in now["ensembles"][name].keys() & old["ensembles"][name].keys()
        if now["ensembles"][name][seed] != old["ensembles"][name][seed]
    )
    texts += _named("Changed weights", "Changed weights", retrained)
    texts += _seeds("New", now["ensembles"], old["ensembles"])
    texts += _seeds("Removed", old["ensembles"], now["ensembles"])
    return texts + _moved(old, now)


def _seeds(what: str, here: Mapping[str, Mapping[str, Any]], there: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return one sentence per set of training seeds that ensembles of both snapshots have only ``here``."""
    by_seeds: dict[tuple[int, ...], list[str]] = {}
    for name in sorted(here.keys() & there.keys()):
        only = tuple(sorted(map(int, here[name].keys() - there[name].keys())))
        if only:
            by_seeds.setdefault(only, []).append(shorten(name, _LONGEST))
    noun = {True: "seed", False: "seeds"}
    return [
        f"{what} training {noun[len(seeds) == 1]} {listing(list(map(str, seeds)))} of {listing(names)}."
        for seeds, names in sorted(by_seeds.items())
    ]


def _named(one: str, several: str, names: Iterable[str]) -> list[str]:
    found = [shorten(name, _LONGEST) for name in sorted(names)]
    return [f"{one if len(found) == 1 else several}: {listing(found)}."] if found else []


def _moved(old: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return one sentence per rate that changed."""
    before = _cells(old)
    after = _cells(now)
    texts = []
    for key in sorted(before.keys() & after.keys()):
        _, protocol, ensemble, eps = key
        was = before[key]
        is_ = after[key]
        apart = is_["low"].min() > was["high"].max() or is_["high"].max() < was["low"].min()
        again = _untouched(old, now, protocol, ensemble, was, is_)
        if apart or (again and abs(is_["accuracy"] - was["accuracy"]).max() > FLIP_RATE):
            where = f"{shorten(ensemble, _LONGEST)}, {protocol}" + (f" at eps {eps:g}" if eps else ", clean")
            other_tiers = protocol == WORST and old["tiers"][ensemble] != now["tiers"][ensemble]
            why = " on the same weights" if again else ", over other protocols" if other_tiers else ""
            texts.append(f"{where}: {_rate(was)} became {_rate(is_)}{why}.")
    return texts


def _cells(summary: Mapping[str, Any]) -> dict[tuple[str, str, str, float], pd.DataFrame]:
    rates = pd.DataFrame(summary["rates"], columns=_RATE).astype({"eps": float})
    cells: dict[tuple[str, str, str, float], pd.DataFrame] = {}
    for (dataset, protocol, ensemble, eps), rows in rates.groupby(["dataset", "protocol", "ensemble", "eps"]):
        assert isinstance(eps, float)
        cells[str(dataset), str(protocol), str(ensemble), eps] = rows.set_index("seed").sort_index()
    return cells


def _untouched(
    old: Mapping[str, Any],
    now: Mapping[str, Any],
    protocol: str,
    ensemble: str,
    was: pd.DataFrame,
    is_: pd.DataFrame,
) -> bool:
    """Return whether the same weights were attacked under the same protocol on the same number of images."""
    if list(was.index) != list(is_.index) or list(was["n"]) != list(is_["n"]):
        return False
    return (
        old["ensembles"][ensemble] == now["ensembles"][ensemble]
        and protocol != WORST
        and old["protocols"][protocol] == now["protocols"][protocol]
    )


def _rate(rows: pd.DataFrame) -> str:
    if len(rows) > 1:
        return f"{percent(rows['accuracy'].mean())} over {len(rows)} seeds"
    first = rows.iloc[0]
    return with_brackets(first["accuracy"], first["low"], first["high"])
