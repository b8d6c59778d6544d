"""The record of an evaluation: the paths of its outcomes, the digest of their inputs, and their provenance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from robustbench_ens.config.kinds import KINDS
from robustbench_ens.config.protocols import Protocol
from robustbench_ens.core.provenance import hardware, now, software
from robustbench_ens.core.store import Store, digest_json
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.base import evaluation_of
from robustbench_ens.evaluation.loaded_model import LoadedModel
from robustbench_ens.models.probe import same_probe
from robustbench_ens.outcomes import check_whole, find_outcomes, is_complete, read_provenance
from robustbench_ens.weights.record import EnsembleRecord


def inputs_digest(protocol: Protocol, target: EnsembleRecord, sources: Sequence[EnsembleRecord]) -> str:
    """Return the digest of everything that decides the outcomes, except an external model's probe.

    A probe is compared with a tolerance, so that it cannot be part of a digest.
    """
    files = evaluation_of(protocol.settings).digest()
    # The same weights under changed code from outside are another model.
    code = [record.code for record in (target, *sources)]
    return digest_json(
        {
            "protocol": protocol.hash,
            "target": target.weights,
            "data": target.data_digest,
            "sources": [source.weights for source in sources],
            **({"files": files} if files else {}),
            **({"code": code} if any(code) else {}),
        }
    )


def outcomes_file(store: Store, protocol: Protocol, target: EnsembleRecord) -> Path:
    """Return the path of the outcomes of ``target`` under ``protocol``."""
    key = f"{target.recipe.replace('/', '-')}-{target.recipe_hash}-seed-{target.seed}"
    return store.outcomes_path(protocol.name, protocol.hash, key)


def parts_folder(path: Path) -> Path:
    """Return the folder for the parts of an unfinished evaluation with outcomes at ``path``."""
    return path.with_name(f".{path.stem}.parts")


def is_part_done(store: Store, protocol: Protocol, records: Sequence[EnsembleRecord], part: str) -> bool:
    """Return whether a part of an unfinished evaluation exists, for the ``records`` of target and surrogates."""
    target, *sources = records
    path = parts_folder(outcomes_file(store, protocol, target)) / f"{part}.parquet"
    if not path.exists():
        return False
    kept = read_provenance(path)
    same = kept.get("inputs") == inputs_digest(protocol, target, sources)
    return same and same_probe(kept.get("probe"), target.probe)


def is_evaluated(store: Store, protocol: Protocol, target: EnsembleRecord, sources: Sequence[EnsembleRecord]) -> bool:
    """Return whether outcomes exist for these weights, this code and a model that still behaves as it did.

    Raises:
        UserError: the file exists but is damaged.
    """
    path = outcomes_file(store, protocol, target)
    if not is_complete(path):
        return False
    provenance = read_provenance(path)
    same = provenance.get("inputs") == inputs_digest(protocol, target, sources)
    return same and same_probe(provenance.get("target", {}).get("probe"), target.probe)


def provenance(
    protocol: Protocol,
    target: LoadedModel,
    sources: Sequence[LoadedModel],
    inputs: str,
    seconds: float,
    device: torch.device,
) -> dict[str, Any]:
    """Return the provenance of outcomes.

    Args:
        protocol: the protocol.
        target: the attacked model.
        sources: the surrogates.
        inputs: the result of :func:`inputs_digest`.
        seconds: time of all parts.
        device: the device they ran on.
    """
    settings = protocol.settings
    return {
        "inputs": inputs,
        "protocol": {
            "name": protocol.name,
            "label": protocol.label,
            "hash": protocol.hash,
            "kind": settings.kind,
            "version": settings.version,
            "resolved": settings.model_dump(mode="json"),
            **({} if settings.kind in KINDS else {"facts": settings.facts.model_dump(mode="json")}),
        },
        "target": target.record.to_json(),
        "sources": [source.record.to_json() for source in sources],
        "origins": {"target": target.origin, "sources": [source.origin for source in sources]},
        "software": software(),
        "hardware": hardware(device),
        "wall_time_s": round(seconds, 3),
        "finished_at": now(),
    }


@dataclass(frozen=True)
class Past:
    """The time of a past evaluation.

    Attributes:
        protocol: hash of the protocol.
        target: recipe hash of the target.
        seconds: time of all parts.
        groups: seconds of each group of parts by title, without the crafting of shared images; empty in outcomes of
            earlier versions.
        device: cpu or cuda.
    """

    protocol: str
    target: str
    seconds: float
    groups: dict[str, float]
    device: str


def past_evaluations(store: Store) -> Iterator[Past]:
    """Yield the times of past evaluations in order of their paths. Damaged ones are skipped."""
    folder = store.root / "outcomes"
    for path in find_outcomes([folder]) if folder.exists() else []:
        with suppress(UserError):
            provenance = check_whole(path, read_provenance(path))
            protocol = provenance["protocol"]["hash"]
            target = provenance["target"]["recipe_hash"]
            device = provenance["hardware"]["device"]
            yield Past(protocol, target, provenance["wall_time_s"], provenance.get("groups", {}), device)
