"""Parts of an evaluation on disk: each is kept as it is finished, and joined with the others at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from math import fsum
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from robustbench_ens.config.protocols import Protocol
from robustbench_ens.core.locks import HeldError, hold_artefact, waiting_for
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.base import evaluation_of
from robustbench_ens.evaluation.crafting_log import Restarts
from robustbench_ens.evaluation.job import Job, Part
from robustbench_ens.evaluation.part_log import Log, measurement_rows
from robustbench_ens.evaluation.partition import family
from robustbench_ens.models.probe import same_probe
from robustbench_ens.outcomes import MEASUREMENTS, Arrays, read_outcomes, read_provenance, write_outcomes

ATTEMPT = ["target_member", "source", "source_member", "attack", "loss", "restart", "steps", "aggregation", "eps"]
"""Columns of outcomes that name an attempt on an image."""


class Digests(NamedTuple):
    """Digests of all that decides the outcomes, and of the files beside the dataset, if there are any."""

    inputs: str
    files: str | None


class Finished(NamedTuple):
    """What a part left: its outcomes, its log, its arrays, and the seconds they took.

    ``shared_s`` of the seconds went into images that other targets are scored on too.
    """

    outcomes: pd.DataFrame
    log: Log
    arrays: Arrays
    seconds: float
    shared_s: float


class Joined(NamedTuple):
    """What all parts left together; ``seconds`` is what they took.

    ``own_s`` is what each took by name, without images that other targets are scored on too.
    """

    outcomes: list[pd.DataFrame]
    measurements: list[dict]
    arrays: Arrays
    seconds: float
    own_s: dict[str, float]


def check_files(protocol: Protocol, before: str | None) -> None:
    """Check that the files beside the dataset still have the digest ``before``.

    Raises:
        UserError: they changed since: what was read may be neither the old nor the new ones.
    """
    if evaluation_of(protocol.settings).digest() != before:
        raise UserError(
            f"protocol {protocol.label!r}: expected files that stay the same while they are evaluated, got changed "
            "ones; run it again"
        )


def _from_same_files(protocol: Protocol, before: str | None, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Compute a part; no row is kept of files that change in the meantime."""
    rows = compute()
    check_files(protocol, before)
    return rows


def read_part(job: Job, path: Path, digest: str) -> Finished | None:
    """Read a part that was finished before; none if there is none, or it is of other inputs."""
    # A part of other inputs, which a kill may have left beside newer measurements, is not looked at further.
    before = read_provenance(path) if path.exists() else {}
    if before.get("inputs") != digest or not same_probe(before.get("probe"), job.target.record.probe):
        return None
    kept = read_outcomes(path)
    measured = kept.measurements.astype(object).to_dict("records")
    log = Log.from_text(kept.provenance["log"], measured) if "log" in kept.provenance else Log(measured)
    times = kept.provenance
    return Finished(kept.outcomes, log, kept.arrays, times.get("wall_time_s", 0.0), times.get("shared_s", 0.0))


def compute_part(job: Job, path: Path, digest: str, compute: Callable[[], pd.DataFrame]) -> Finished:
    """Read a part if it was finished before, else compute and keep it."""
    kept = read_part(job, path, digest)
    if kept is not None:
        return kept
    job.shared_s = []
    began = time.monotonic()
    # Parts may be computed by different processes, so that no part compares its restarts with another's.
    job.restarts = Restarts()
    rows = compute()
    seconds = time.monotonic() - began
    shared_s = fsum(job.shared_s)
    log = job.take_log()
    arrays = job.take_arrays()
    probe = job.target.record.probe
    provenance = {"inputs": digest, "wall_time_s": seconds, "shared_s": shared_s, "log": log.to_text()}
    if probe is not None:
        provenance["probe"] = probe
    write_outcomes(path, rows, pd.DataFrame(log.measured, columns=MEASUREMENTS.names), provenance, arrays)
    return Finished(rows, log, arrays, seconds, shared_s)


@dataclass(frozen=True)
class Parts:
    """The parts of one evaluation, in a folder where other processes may work on them too.

    Attributes:
        protocol: what is run.
        job: against what.
        folder: where finished parts lie.
        digests: of all that decides them.
        each: what one part advances the job's task by if it was finished before.
    """

    protocol: Protocol
    job: Job
    folder: Path
    digests: Digests
    each: int = 0

    def run(self, parts: Sequence[Part]) -> dict[str, Finished]:
        """Return what each part left; those that are finished are read.

        A part that another process is at is left to it. The others come first.
        """
        found: dict[str, Finished] = {}
        held: list[Part] = []
        for part in parts:
            path = self._path(part[0])
            try:
                with hold_artefact(path):
                    found[part[0]] = self._run(part, path)
            except HeldError:
                held.append(part)
        for part in held:
            path = self._path(part[0])
            with waiting_for(path, self.job.task):
                found[part[0]] = self._run(part, path)
        return {name: found[name] for name, _ in parts}

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.parquet"

    def _run(self, part: Part, path: Path) -> Finished:
        _, compute = part
        if path.exists():
            self.job.task.advance(self.each)
        checked = partial(_from_same_files, self.protocol, self.digests.files, compute)
        return compute_part(self.job, path, self.digests.inputs, checked)


def joined(target: str, found: dict[str, Finished]) -> Joined:
    """Put together what the parts left, chunks of images as if there were none.

    Args:
        target: id of what was attacked.
        found: by name, in the order of the evaluation.
    """
    outcomes: list[pd.DataFrame] = []
    measurements: list[dict] = []
    for _, own in groupby(found, family):
        parts = [found[name] for name in own]
        outcomes.append(_in_order([part.outcomes for part in parts]))
        measurements += measurement_rows(target, [part.log for part in parts])
    arrays = {name: array for part in found.values() for name, array in part.arrays.items()}
    seconds = sum((part.seconds for part in found.values()), 0.0)
    own_s = {name: max(0.0, part.seconds - part.shared_s) for name, part in found.items()}
    return Joined(outcomes, measurements, arrays, seconds, own_s)


def _in_order(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of chunks of images, those of one attempt together, as they are without chunks."""
    if len(frames) == 1:
        return frames[0]
    rows = concatenated(frames)
    attempt = rows.groupby(ATTEMPT, sort=False, observed=True, dropna=False).ngroup()
    return rows.iloc[attempt.argsort(kind="stable")].reset_index(drop=True)


def concatenated(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of all frames; empty ones, whose columns have no types, are left out."""
    own = list(frames)
    filled = [frame for frame in own if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else own[0]
