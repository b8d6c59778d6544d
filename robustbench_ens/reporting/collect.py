"""What a report draws from: rates, training histories and provenance of many outcome files, derived batch by batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from robustbench_ens.analysis import derive
from robustbench_ens.analysis.beyond import Beyond, beyond
from robustbench_ens.analysis.budget import collect_budget
from robustbench_ens.analysis.compare import WORST, Answers, answers, at_headline, comparisons
from robustbench_ens.analysis.health import collect_health, rests_on_unhealthy, unhealthy
from robustbench_ens.analysis.ledger import ledger
from robustbench_ens.analysis.worst_case import as_they_are, counts, worst_case_of
from robustbench_ens.config.kinds import ACCURACY, BY_STEPS, MEASUREMENTS, TRANSFER, Kinds, Yields, kinds_of
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import OWN_MODEL, Arrays, OutcomeFile, gather, gather_measurements, named
from robustbench_ens.reporting.tables.summary import eps_of_dataset, together

HISTORY = ["ensemble", "method", "seed", "name", "target_member", "step", "value", "unit"]

_BATCH_ROWS = 150_000
"""Rows that are held in one frame: enough to be quick with small files, few enough for memory."""


@dataclass(frozen=True)
class Collection:
    """The input of every section.

    ``accuracies``, ``transferability``, ``mean_transferability``, ``attempts`` and ``convergence`` are the frames of
    the same names in :mod:`derive`, ``ledger`` that of :func:`~robustbench_ens.analysis.ledger.ledger`, ``beyond`` that
    of :func:`~robustbench_ens.analysis.beyond.beyond`; ``history`` has the columns ``HISTORY``, one row per ensemble,
    seed, name, member and epoch; ``health`` is that of :func:`~robustbench_ens.analysis.health.collect_health`,
    ``budget`` that of :func:`~robustbench_ens.analysis.budget.collect_budget`,
    ``worst_case`` that of :func:`~robustbench_ens.analysis.worst_case.worst_case`; ``comparisons`` is that of
    :func:`~robustbench_ens.analysis.compare.comparisons`, at :func:`headlines`; ``answers`` are those of
    :func:`~robustbench_ens.analysis.compare.answers`, at every eps; ``measurements`` are
    those of kinds that yield measurements; ``provenance`` is one dict,
    ``images`` the number of different images and ``arrays`` what is only drawn, per file; ``unsealed`` counts the files
    of earlier versions, which have no digest.
    """

    accuracies: pd.DataFrame
    transferability: pd.DataFrame
    mean_transferability: pd.DataFrame
    attempts: pd.DataFrame
    convergence: pd.DataFrame
    ledger: pd.DataFrame
    beyond: Beyond
    history: pd.DataFrame
    health: pd.DataFrame
    budget: pd.DataFrame
    worst_case: pd.DataFrame
    comparisons: pd.DataFrame
    answers: list[Answers]
    measurements: pd.DataFrame
    provenance: list[dict[str, Any]]
    images: list[int]
    arrays: list[Arrays]
    unsealed: int = 0

    @cached_property
    def kinds(self) -> Kinds:
        """Facts of the kinds of protocols: of the table, and of those from outside that were run."""
        return kinds_of(self.provenance)

    def sick(self, protocol: str) -> set[str]:
        """Ensembles whose numbers under ``protocol`` rest on an unhealthy attack; ``WORST`` is the worst case."""
        found = unhealthy(self.health)
        if protocol != WORST:
            return {ensemble for name, ensemble in found if name == protocol}
        cells = self.worst_case[["ensemble", "protocols", "kinds"]].itertuples(index=False, name=None)
        return {
            ensemble
            for ensemble, protocols, kinds in cells
            if rests_on_unhealthy(protocols, kinds, {protocol for protocol, name in found if name == ensemble})
        }


def collect(files: Sequence[OutcomeFile]) -> Collection:
    """Derive all that a report needs; time and memory grow linearly with the files.

    Raises:
        UserError: there are no files; two files answer the same question; a file lacks rows.
    """
    if not files:
        raise UserError("expected at least one outcomes file, got none; run `rbe attack` or `rbe quickstart` first")
    files = told_apart(files)
    kinds = kinds_of(file.provenance for file in files)
    found, answered = _rates(files, kinds)
    trained = each_trained_once([file.provenance for file in files])
    history = _history([file for file, once in zip(files, trained, strict=True) if once])
    tiers = as_they_are(file.provenance for file in files if counts(file))
    provenance, images = [file.provenance for file in files], [file.outcomes["image"].nunique() for file in files]
    return Collection(
        **found,
        beyond=beyond(files),
        history=history,
        health=collect_health(files),
        budget=collect_budget(files),
        worst_case=worst_case_of(answered, files),
        comparisons=comparisons(at_headline(answered, headlines(found["accuracies"], found["transferability"]), tiers)),
        answers=answered,
        measurements=gather_measurements(_that_yield(files, kinds, MEASUREMENTS)),
        provenance=provenance,
        images=images,
        arrays=[file.arrays for file in files],
        unsealed=sum(not file.sealed for file in files),
    )


def _rates(files: Sequence[OutcomeFile], kinds: Kinds) -> tuple[dict[str, pd.DataFrame], list[Answers]]:
    """Return the frames of a :class:`Collection` that are derived of outcome rows alone, by name, and its answers.

    Only files that yield what is derived are gathered.
    """
    found: dict[str, list[pd.DataFrame]] = defaultdict(list)
    answered: list[Answers] = []
    for batch in _batches(_that_yield(files, kinds, ACCURACY)):
        rows = gather(batch)
        survivors = derive.survivors(rows, kinds)
        found["accuracies"].append(derive.accuracies_of(survivors))
        found["attempts"].append(derive.attempts(rows, kinds))
        found["ledger"].append(ledger(rows, kinds))
        answered += answers(survivors)
    for batch in _batches(_that_yield(files, kinds, TRANSFER)):
        pairs = derive.transferred(gather(batch), kinds)
        found["transferability"].append(derive.transferability_of(pairs))
        found["mean_transferability"].append(derive.mean_transferability_of(pairs))
    for batch in _batches(_that_yield(files, kinds, BY_STEPS)):
        found["convergence"].append(derive.convergence(gather(batch), kinds))
    return {name: _concat(frames) for name, frames in found.items()}, answered


def _that_yield(files: Sequence[OutcomeFile], kinds: Kinds, what: Yields) -> list[OutcomeFile]:
    return [file for file in files if kinds[file.provenance["protocol"]["kind"]].yields == what]


def headlines(accuracies: pd.DataFrame, transfer: pd.DataFrame) -> dict[str, float]:
    """The eps at which each dataset is summed up; a dataset that nothing attacked is left out."""
    chosen = {
        str(dataset): eps_of_dataset(rows)
        for dataset, rows in together(accuracies, transfer).groupby("dataset", observed=True)
    }
    return {dataset: eps.eps for dataset, eps in chosen.items() if eps is not None}


def _batches(files: Sequence[OutcomeFile]) -> Iterator[list[OutcomeFile]]:
    batch: list[OutcomeFile] = []
    rows = 0
    for file in files:
        if batch and rows + len(file.outcomes) > _BATCH_ROWS:
            yield batch
            batch, rows = [], 0
        batch.append(file)
        rows += len(file.outcomes)
    yield batch


def told_apart(files: Sequence[OutcomeFile]) -> list[OutcomeFile]:
    """The same files, with labels that name one thing each, sorted by protocol, ensemble and seed.

    An ensemble that was attacked on images of another dataset than its own is called so: ``digits/single on dark``.
    Where one label stands for several recipe hashes, data sets or (at one seed) weights, or one protocol label for
    several hashes, the label gains the digits that differ: rates of different things are never pooled.

    Raises:
        UserError: two files hold the same protocol, ensemble, weights and seed.
    """
    targets = pd.DataFrame([file.provenance["target"] for file in files])
    protocols = pd.DataFrame([file.provenance["protocol"] for file in files])
    others = pd.Series([on_other_images(file.provenance) for file in files])
    targets["label"] += (" on " + targets["dataset"]).where(others, "")
    marks = pd.Series("", index=targets.index)
    for name, column, within in (
        ("recipe", "recipe_hash", ["label"]),
        ("data", "data_digest", ["label"]),
        ("weights", "weights", ["label", "seed"]),
    ):
        ambiguous = targets.groupby(within)[column].transform("nunique") > 1
        ambiguous = ambiguous.groupby(targets["label"]).transform("any")
        marks = marks.where(~ambiguous, marks + f" ({name} " + targets[column].str[:7] + ")")
    several = protocols.groupby("label")["hash"].transform("nunique") > 1
    names = protocols["label"].where(~several, protocols["label"] + " (" + protocols["hash"].str[:7] + ")")
    found: dict[tuple[str, str, int], OutcomeFile] = {}
    for file, label, name in zip(files, targets["label"] + marks, names, strict=True):
        target = file.provenance["target"] | {"label": label, "reference": file.provenance["target"]["label"]}
        protocol = file.provenance["protocol"] | {"label": name, "reference": file.provenance["protocol"]["label"]}
        key = (name, label, target["seed"])
        if key in found:
            raise UserError(
                f"{file.path}: expected one outcomes file for {label} (seed {target['seed']}) under {name}, "
                f"got another one in {found[key].path}; name only one of them"
            )
        found[key] = replace(file, provenance=file.provenance | {"target": target, "protocol": protocol})
    return [found[key] for key in sorted(found)]


def on_other_images(document: Mapping[str, Any]) -> bool:
    """Whether an evaluation attacked images of another dataset than the ensemble was trained on.

    Of a model of one's own nobody knows what it was trained on.
    """
    return bool(document["protocol"]["resolved"].get("trained_on")) and document["target"]["method"] != OWN_MODEL


def each_trained_once(provenance: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Which evaluations stand for how an ensemble was trained: those on other images only where there are no others."""
    own = {document["target"]["weights"] for document in provenance if not on_other_images(document)}
    return [not on_other_images(document) or document["target"]["weights"] not in own for document in provenance]


def _history(files: Sequence[OutcomeFile]) -> pd.DataFrame:
    targets = [file.provenance["target"] for file in files]
    tables = [named(file.measurements, "train/", "test/", "monitor/") for file in files]
    number = np.repeat(np.arange(len(files)), [len(table) for table in tables])
    about = pd.DataFrame(targets)[["id", "label", "method", "seed"]].take(number).reset_index(drop=True)
    rows = pd.concat(tables, ignore_index=True).astype({"target": str, "name": str, "unit": str})
    rows = rows.assign(ensemble=about["label"], method=about["method"], seed=about["seed"])
    own = rows.loc[rows["target"] == about["id"], HISTORY]
    return own.drop_duplicates(HISTORY[:-2], ignore_index=True)


def _concat(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    filled = [frame for frame in frames if len(frame)] or list(frames[:1])
    return pd.concat(filled, ignore_index=True)
