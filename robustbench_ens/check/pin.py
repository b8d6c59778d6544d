"""The pin: a baseline in one JSON file that can be read, diffed and committed.

It holds at least five training seeds, so that other weights can be judged by their spread. A *paired* pin holds the
outcomes of particular weights and is compared only with fresh outcomes of the same weights.
"""

from __future__ import annotations

import base64
import binascii
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from robustbench_ens.analysis.rounding import ROUNDING
from robustbench_ens.check.cells import Evaluation, Units, evaluate
from robustbench_ens.check.measured import Measured
from robustbench_ens.config.validation import Settings, validate
from robustbench_ens.core.store import read_document, write_json
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import OutcomeFile

PIN_VERSION = 4
PAIRED_SINCE = 3
SEALED_SINCE = 4
READABLE_VERSIONS = (1, 2, 3, 4)
"""Version 1 has no measured numbers, versions below 3 are never paired, and those below 4 may lack a digest.
They are otherwise the same."""
FEWEST_SEEDS = 5


class PinnedCell(Settings):
    """One rate for each seed: ``count`` of ``images * units_per_image`` outcomes are true.

    The keys of the tables are seeds. ``bits`` holds the outcomes, packed image by image and encoded as base64. If the
    target answers at random, each outcome is the probability that the answer is right: a little-endian float of 64
    bits in place of one bit. ``count`` is their sum.
    """

    units_per_image: int = Field(ge=1)
    images: dict[str, Annotated[int, Field(ge=1)]]
    count: dict[str, Annotated[int | float, Field(ge=0, allow_inf_nan=False)]]
    bits: dict[str, str]

    def rate(self, seed: str) -> float:
        """Return the rate of one seed, in [0, 1]."""
        return self.count[seed] / (self.images[seed] * self.units_per_image)

    def units(self, seed: str) -> Units:
        """Return the outcomes of one seed, (images, units per image).

        Raises:
            ValueError: the bits contradict ``images``, ``units_per_image`` or ``count``.
        """
        size = self.images[seed] * self.units_per_image
        packed = np.frombuffer(base64.b64decode(self.bits[seed], validate=True), dtype=np.uint8)
        # The number of bytes shows whether outcomes are floats or bits: 8 * size > (size + 7) // 8 for every size.
        if len(packed) == 8 * size:
            units: Units = packed.view("<f8").astype(np.float64)
        elif len(packed) == (size + 7) // 8:
            units = np.unpackbits(packed, count=size).astype(bool)
        else:
            raise ValueError(f"expected {size} outcomes, got {8 * len(packed)}")
        if not abs(units.sum() - self.count[seed]) <= ROUNDING * size:
            raise ValueError(f"expected {self.count[seed]} outcomes that are true, got {units.sum()}")
        return units.reshape(self.images[seed], self.units_per_image)


Finite = Annotated[float, Field(allow_inf_nan=False)]


class PinnedMeasured(Settings):
    """One mean over images for each seed, with its standard error and the number of images.

    The keys of the tables are seeds.
    """

    unit: str
    images: dict[str, Annotated[int, Field(ge=1)]]
    value: dict[str, Finite]
    standard_error: dict[str, Annotated[Finite, Field(ge=0)]]


SeedText = Annotated[str, Field(pattern=r"^[0-9]{1,19}$")]


class PinnedSeed(Settings):
    """The digests of one seed's weights and of the indices of its attacked images."""

    weights: str
    images: str


class PinnedEvaluation(Settings):
    """One ensemble under one protocol: the facts that are compared exactly, and the cells of every seed."""

    protocol: str
    ensemble: str
    facts: dict[str, int | str]
    seeds: dict[SeedText, PinnedSeed]
    cells: dict[str, PinnedCell]
    measured: dict[str, PinnedMeasured] = Field(default_factory=dict)


class Pin(Settings):
    """A baseline that ``rbe check`` compares fresh outcomes with.

    ``sealed`` is not part of the file. It is false if a file of an earlier version has no digest.
    """

    format: Literal["robustbench_ens baseline"] = "robustbench_ens baseline"
    version: int = PIN_VERSION
    alpha: float = Field(gt=0, lt=1)
    paired: bool = False
    sealed: bool = Field(default=True, exclude=True)
    made_by: list[dict[str, dict[str, Any]]]
    evaluations: list[PinnedEvaluation] = Field(min_length=1)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """Check that every evaluation has enough seeds and whole, undamaged cells."""
        if self.paired and self.version < PAIRED_SINCE:
            raise ValueError(f"expected no paired baseline of version {self.version}, below {PAIRED_SINCE}")
        keys = [(item.protocol, item.ensemble) for item in self.evaluations]
        for item in self.evaluations:
            where = f"expected a whole baseline: {item.protocol} on {item.ensemble}"
            fewest = 1 if self.paired else FEWEST_SEEDS
            if len(item.seeds) < fewest:
                raise ValueError(f"{where} needs at least {fewest} seeds, has {len(item.seeds)}")
            if keys.count((item.protocol, item.ensemble)) > 1:
                raise ValueError(f"{where} appears more than once")
            if not (item.cells or item.measured):
                raise ValueError(f"{where} has no cells")
            for name, cell in item.cells.items():
                if any(set(table) != set(item.seeds) for table in (cell.images, cell.count, cell.bits)):
                    raise ValueError(f"{where}, cell {name!r} lacks a seed")
                # Decode every outcome now, so that a damaged file fails on reading and not during the comparison.
                try:
                    for seed in item.seeds:
                        cell.units(seed)
                except (ValueError, binascii.Error) as error:
                    raise ValueError(f"{where}, cell {name!r} is damaged ({error})") from None
            for name, mean in item.measured.items():
                if any(set(table) != set(item.seeds) for table in (mean.images, mean.value, mean.standard_error)):
                    raise ValueError(f"{where}, cell {name!r} lacks a seed")
        return self


def evaluate_all(files: Sequence[OutcomeFile]) -> list[Evaluation]:
    """Return the evaluations of ``files``, in order of protocol, ensemble and seed.

    Raises:
        UserError: two files have the same protocol, ensemble and seed.
    """
    seen: dict[tuple[str, str, int], OutcomeFile] = {}
    for file in files:
        target = file.provenance["target"]
        key = (file.provenance["protocol"]["label"], target["label"], target["seed"])
        if key in seen:
            raise UserError(
                f"{file.path}: expected one outcomes file of {key[0]} on {key[1]} seed {key[2]}, "
                f"got another in {seen[key].path}; delete the older one or name the files to compare"
            )
        seen[key] = file
    return [evaluate(seen[key]) for key in sorted(seen)]


def make_pin(files: Sequence[OutcomeFile], alpha: float = 0.01, paired: bool = False) -> Pin:
    """Make a baseline from outcomes of at least five training seeds of each ensemble under each protocol.

    Args:
        files: outcomes. Protocols and ensembles are identified by their labels.
        alpha: the probability, in (0, 1), that a check of unchanged code reports any moved cell.
        paired: pin these weights only, with any number of seeds. The check then expects the same weights.

    Raises:
        UserError: no outcomes, too few seeds, several files for one seed, or seeds that were not evaluated alike.
    """
    if not files:
        raise UserError("expected outcomes to pin, got none; run `rbe attack` first")
    groups: dict[tuple[str, str], list[Evaluation]] = defaultdict(list)
    for item in evaluate_all(files):
        groups[item.protocol, item.ensemble].append(item)
    for (protocol, ensemble), members in groups.items():
        if len(members) < FEWEST_SEEDS and not paired:
            raise UserError(
                f"{protocol} on {ensemble}: expected at least {FEWEST_SEEDS} training seeds to pin, got {len(members)} "
                f"({', '.join(str(item.seed) for item in members)}); run `rbe attack` with more --seeds, "
                "or pin these weights alone with --paired"
            )
    # Dictionaries cannot be hashed, so equal entries are merged by their text.
    made_by = {
        repr(entry): entry
        for entry in ({key: file.provenance[key] for key in ("software", "hardware")} for file in files)
    }
    content = {
        "alpha": alpha,
        "paired": paired,
        "made_by": [made_by[key] for key in sorted(made_by)],
        "evaluations": [_pinned(members) for members in groups.values()],
    }
    return validate(Pin, content, "baseline")


def _shape(item: Evaluation) -> dict[str, int | str]:
    """Return the units per image of each cell and the unit of each measured number, which all seeds must share."""
    rates = {name: units.shape[1] for name, units in item.cells.items()}
    return rates | {name: mean.unit for name, mean in item.measured.items()}


def _pinned_measured(means: dict[str, Measured]) -> dict[str, Any]:
    """Return the content of one :class:`PinnedMeasured` from the means of all seeds."""
    tables = ("images", "value", "standard_error")
    return {"unit": next(iter(means.values())).unit} | {
        table: {seed: getattr(mean, table) for seed, mean in means.items()} for table in tables
    }


def _bits(units: Units) -> bytes:
    """Return outcomes in the encoding of :class:`PinnedCell`, before base64."""
    return np.packbits(units.astype(bool)).tobytes() if units.dtype == bool else units.astype("<f8").tobytes()


def _pinned(members: list[Evaluation]) -> dict[str, Any]:
    """Return the content of one :class:`PinnedEvaluation` from the evaluations of all seeds."""
    first = members[0]
    where = f"{first.protocol} on {first.ensemble}"
    facts: dict[str, int | str] = {}
    for item in members:
        for name, value in item.facts.items():
            # A fact may be missing for a seed (see cells.py), so it is compared with the first seed that has it.
            if facts.setdefault(name, value) != value:
                raise UserError(f"{where}: expected one {name} for all seeds, got {facts[name]} and {value}")
        if _shape(item) != _shape(first):
            raise UserError(f"{where}: expected the same attempts for all seeds, got others for seed {item.seed}")
    return {
        "protocol": first.protocol,
        "ensemble": first.ensemble,
        "facts": facts,
        "seeds": {str(item.seed): {"weights": item.weights, "images": item.images} for item in members},
        "cells": {
            name: {
                "units_per_image": units.shape[1],
                "images": {str(item.seed): len(item.cells[name]) for item in members},
                "count": {str(item.seed): item.cells[name].sum().item() for item in members},
                "bits": {str(item.seed): base64.b64encode(_bits(item.cells[name])).decode() for item in members},
            }
            for name, units in first.cells.items()
        },
        "measured": {
            name: _pinned_measured({str(item.seed): item.measured[name] for item in members}) for name in first.measured
        },
    }


def read_pin(path: Path) -> Pin:
    """Read a baseline.

    Raises:
        UserError: the file is missing, damaged, not a baseline, or of another version.
    """
    if not path.exists() or path.is_dir():
        raise UserError(f"{path}: baseline not found; write it with `rbe pin {path}`")
    advice = f"write it again with `rbe pin {path}`"
    content, sealed = read_document(path, advice)
    if not isinstance(content, dict) or content.get("format") != "robustbench_ens baseline":
        raise UserError(f"{path}: expected a baseline written by `rbe pin`, got other JSON")
    version = content.get("version")
    if version not in READABLE_VERSIONS:
        readable = f"{', '.join(map(str, READABLE_VERSIONS[:-1]))} or {READABLE_VERSIONS[-1]}"
        raise UserError(f"{path}: expected baseline version {readable}, got {str(version)[:40]}; {advice}")
    if version >= SEALED_SINCE and not sealed:
        raise UserError(f"{path}: expected a baseline with its digest, got a damaged file; {advice}")
    return validate(Pin, content | {"sealed": sealed}, str(path))


def write_pin(path: Path, pin: Pin) -> None:
    """Write a baseline atomically: the file appears whole or not at all."""
    write_json(path, pin.model_dump(mode="json"))
