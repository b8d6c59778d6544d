"""Parts of an evaluation on disk. Each is written when it is finished, and all are joined at the end."""

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
"""The columns of outcomes that name an attempt on an image."""


class Digests(NamedTuple):
    """The digests of everything that decides the outcomes, and of the files besides the dataset, if there are any."""

    inputs: str
    files: str | None


class Finished(NamedTuple):
    """A finished part: its outcomes, log, arrays and seconds.

    ``shared_s`` is the part of the seconds spent on images that other targets are scored on too.
    """

    outcomes: pd.DataFrame
    log: Log
    arrays: Arrays
    seconds: float
    shared_s: float


class Joined(NamedTuple):
    """The joined results of all parts, and their ``seconds``.

    ``own_s`` has the seconds of each part by name, without images that other targets are scored on too.
    """

    outcomes: list[pd.DataFrame]
    measurements: list[dict]
    arrays: Arrays
    seconds: float
    own_s: dict[str, float]


def check_files(protocol: Protocol, before: str | None) -> None:
    """Check that the files besides the dataset still have the digest ``before``.

    Raises:
        UserError: they changed, so that a mixture of old and new files may have been read.
    """
    if evaluation_of(protocol.settings).digest() != before:
        raise UserError(
            f"protocol {protocol.label!r}: expected files that stay the same while they are evaluated, got changed "
            "ones; run it again"
        )


def _from_same_files(protocol: Protocol, before: str | None, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Compute a part, and raise an error if files changed meanwhile."""
    rows = compute()
    check_files(protocol, before)
    return rows


def read_part(job: Job, path: Path, digest: str) -> Finished | None:
    """Return a part that was finished before, or None if it does not exist or has other inputs."""
    # Only the provenance is read of a part of other inputs: a kill may have left it beside newer measurements.
    before = read_provenance(path) if path.exists() else {}
    if before.get("inputs") != digest or not same_probe(before.get("probe"), job.target.record.probe):
        return None
    kept = read_outcomes(path)
    measured = kept.measurements.astype(object).to_dict("records")
    log = Log.from_text(kept.provenance["log"], measured) if "log" in kept.provenance else Log(measured)
    times = kept.provenance
    return Finished(kept.outcomes, log, kept.arrays, times.get("wall_time_s", 0.0), times.get("shared_s", 0.0))


def compute_part(job: Job, path: Path, digest: str, compute: Callable[[], pd.DataFrame]) -> Finished:
    """Read a part if it was finished before, else compute and write it."""
    kept = read_part(job, path, digest)
    if kept is not None:
        return kept
    job.shared_s = []
    began = time.monotonic()
    # Different processes may compute the parts, so that no part may compare its restarts with those of another.
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
    """The parts of one evaluation, in a folder that other processes may share.

    Attributes:
        protocol: the protocol.
        job: the job to run.
        folder: folder of the finished parts.
        digests: digests of everything that decides the parts.
        each: units by which a part that was finished before advances the task.
    """

    protocol: Protocol
    job: Job
    folder: Path
    digests: Digests
    each: int = 0

    def run(self, parts: Sequence[Part]) -> dict[str, Finished]:
        """Return the result of each part. Finished ones are read.

        Parts that another process holds come last, and are waited for.
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
    """Join the results of the parts, as if images were not split into chunks.

    Args:
        target: id of the target.
        found: results by name, in the order of the evaluation.
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
    """Return the rows of all chunks in the order that they have without chunks: by attempt."""
    if len(frames) == 1:
        return frames[0]
    rows = concatenated(frames)
    attempt = rows.groupby(ATTEMPT, sort=False, observed=True, dropna=False).ngroup()
    return rows.iloc[attempt.argsort(kind="stable")].reset_index(drop=True)


def concatenated(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of all frames. Empty frames are dropped because their columns have no types."""
    own = list(frames)
    filled = [frame for frame in own if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else own[0]
