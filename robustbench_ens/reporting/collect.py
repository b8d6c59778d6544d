"""The input of a report: rates, training histories and provenance of many outcome files, derived batch by batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from robustbench_ens.analysis import derive
from robustbench_ens.analysis.beyond import Beyond, beyond
from robustbench_ens.analysis.budget import collect_budget
from robustbench_ens.analysis.chosen_on import ChosenHere, chosen_here
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
"""The most rows in one frame: enough to be fast with small files, few enough to fit into memory."""


@dataclass(frozen=True)
class Collection:
    """The input of every section.

    Attributes:
        accuracies, transferability, mean_transferability, attempts, convergence: the frames of the same names in
            :mod:`derive`.
        ledger: the frame of :func:`~robustbench_ens.analysis.ledger.ledger`.
        beyond: the frames of :func:`~robustbench_ens.analysis.beyond.beyond`.
        history: one row per ensemble, seed, name, member and epoch, with the columns ``HISTORY``.
        health: the frame of :func:`~robustbench_ens.analysis.health.collect_health`.
        budget: the frame of :func:`~robustbench_ens.analysis.budget.collect_budget`.
        worst_case: the frame of :func:`~robustbench_ens.analysis.worst_case.worst_case`.
        comparisons: the frame of :func:`~robustbench_ens.analysis.compare.comparisons`, at the standard eps.
        answers: the answers of :func:`~robustbench_ens.analysis.compare.answers`, at every eps.
        measurements: the measurements of kinds that yield measurements.
        provenance: one dict per file.
        images: the number of different images of each file.
        arrays: the arrays of each file that are only drawn.
        unsealed: the number of files of earlier versions, which have no digest.
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
        """The facts of the kinds of protocols, both of the table and from outside."""
        return kinds_of(self.provenance)

    def chosen_here(self, protocols: Container[str], ensembles: Container[str]) -> ChosenHere:
        """Return those of ``ensembles`` whose settings were chosen on images that ``protocols`` may attack."""
        return chosen_here(self.provenance, protocols).among(ensembles)

    def unhealthy(self, protocol: str) -> set[str]:
        """Return the ensembles whose numbers under ``protocol`` rest on an unhealthy attack.

        The worst case over all protocols is named ``WORST``.
        """
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
    """Derive the input of a report. Time and memory grow linearly with the number of files.

    Raises:
        UserError: there are no files, two files have the same protocol, ensemble and seed, or a file lacks rows.
    """
    if not files:
        raise UserError("expected at least one outcomes file, got none; run `rbe attack` or `rbe quickstart` first")
    # Labels come first: everything below groups by them.
    files = with_distinct_labels(files)
    kinds = kinds_of(file.provenance for file in files)
    found, answered = _rates(files, kinds)
    trained = one_row_per_training([file.provenance for file in files])
    history = _history([file for file, once in zip(files, trained, strict=True) if once])
    tiers = as_they_are(file.provenance for file in files if counts(file))
    return Collection(
        **found,
        beyond=beyond(files),
        history=history,
        health=collect_health(files),
        budget=collect_budget(files),
        worst_case=worst_case_of(answered, files),
        comparisons=comparisons(
            at_headline(answered, standard_eps_by_dataset(found["accuracies"], found["transferability"]), tiers)
        ),
        answers=answered,
        measurements=gather_measurements(_that_yield(files, kinds, MEASUREMENTS)),
        provenance=[file.provenance for file in files],
        images=[file.outcomes["image"].nunique() for file in files],
        arrays=[file.arrays for file in files],
        unsealed=sum(not file.sealed for file in files),
    )


def _rates(files: Sequence[OutcomeFile], kinds: Kinds) -> tuple[dict[str, pd.DataFrame], list[Answers]]:
    """Return the frames of a :class:`Collection` that derive from outcome rows alone, by name, and its answers.

    Each frame is derived only from the files that yield it.
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


def standard_eps_by_dataset(accuracies: pd.DataFrame, transfer: pd.DataFrame) -> dict[str, float]:
    """Return the standard eps of each dataset that was attacked."""
    chosen = {
        str(dataset): eps_of_dataset(rows)
        for dataset, rows in together(accuracies, transfer).groupby("dataset", observed=True)
    }
    return {dataset: eps.eps for dataset, eps in chosen.items() if eps is not None}


def _batches(files: Sequence[OutcomeFile]) -> Iterator[list[OutcomeFile]]:
    """Yield the files in batches of at most ``_BATCH_ROWS`` rows. Without files, yield one empty batch.

    The empty batch gives each frame its columns.
    """
    batch: list[OutcomeFile] = []
    rows = 0
    for file in files:
        if batch and rows + len(file.outcomes) > _BATCH_ROWS:
            yield batch
            batch = []
            rows = 0
        batch.append(file)
        rows += len(file.outcomes)
    yield batch


def with_distinct_labels(files: Sequence[OutcomeFile]) -> list[OutcomeFile]:
    """Return the files with unambiguous labels, sorted by protocol, ensemble and seed.

    The label of an ensemble that was attacked on images of another dataset than its own names that dataset:
    ``digits/single on dark``. If a label stands for several recipe hashes, data digests or (at one seed) weights, or a
    protocol's label for several hashes, the first digits of the hash are added, so that rates of different things are
    never pooled.

    Raises:
        UserError: two files have the same protocol, ensemble, weights and seed.
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
        # If one seed is ambiguous, all seeds of the label are marked: they would become two ensembles otherwise.
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
    """Return whether an evaluation attacked images of another dataset than the ensemble was trained on.

    It is false for external models, whose training data are unknown.
    """
    return bool(document["protocol"]["resolved"].get("trained_on")) and document["target"]["method"] != OWN_MODEL


def one_row_per_training(provenance: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Return a flag for each evaluation that may stand for a training: one on other images only if there is no other.

    Evaluations on other images repeat the training of the same weights under another label.
    """
    own = {document["target"]["weights"] for document in provenance if not on_other_images(document)}
    return [not on_other_images(document) or document["target"]["weights"] not in own for document in provenance]


def _history(files: Sequence[OutcomeFile]) -> pd.DataFrame:
    targets = [file.provenance["target"] for file in files]
    tables = [named(file.measurements, "train/", "test/", "monitor/") for file in files]
    number = np.repeat(np.arange(len(files)), [len(table) for table in tables])
    about = pd.DataFrame(targets)[["id", "label", "method", "seed"]].take(number).reset_index(drop=True)
    rows = pd.concat(tables, ignore_index=True).astype({"target": str, "name": str, "unit": str})
    rows = rows.assign(ensemble=about["label"], method=about["method"], seed=about["seed"])
    # Several evaluations of the same ensemble repeat its history.
    own = rows.loc[rows["target"] == about["id"], HISTORY]
    return own.drop_duplicates(HISTORY[:-2], ignore_index=True)


def _concat(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    filled = [frame for frame in frames if len(frame)] or list(frames[:1])
    return pd.concat(filled, ignore_index=True)
