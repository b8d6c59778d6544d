"""Evaluations that a report lacks, and the commands that would run them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from robustbench_ens.config.kinds import KINDS
from robustbench_ens.config.lookup import shipped_names
from robustbench_ens.config.references import split_reference
from robustbench_ens.outcomes import OWN_MODEL
from robustbench_ens.reporting.collect import on_other_images


def attack_commands(provenance: Sequence[dict[str, Any]], kind: str) -> list[str]:
    """Return the `rbe attack` commands, as shell lines, for ensembles without outcomes of ``kind`` on their own images.

    There is one command per protocol and set of seeds. The protocol is the one that other ensembles of the dataset
    were evaluated under. If there is none, it is one that ships for the dataset, preferably named after the kind.
    """
    targets: dict[tuple[str, int], dict[str, Any]] = {}
    protocols: dict[str, str] = {}
    provenance = [document for document in provenance if not on_other_images(document)]
    for document in provenance:
        target = document["target"]
        protocol = document["protocol"]
        targets.setdefault((reference_of(target), target["seed"]), target)
        if protocol["kind"] == kind:
            protocols.setdefault(target["dataset"], reference_of(protocol))
    have = {
        (reference_of(document["target"]), document["target"]["seed"])
        for document in provenance
        if document["protocol"]["kind"] == kind
    }
    due: dict[tuple[str, str], list[int]] = {}
    for (reference, seed), target in sorted(targets.items()):
        if (reference, seed) not in have:
            protocol = protocols.get(target["dataset"]) or _shipped(target["dataset"], kind)
            if protocol is not None:
                due.setdefault((protocol, reference), []).append(seed)
    # Ensembles that lack the same seeds share one command, which keeps the list short.
    commands: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for (protocol, reference), seeds in due.items():
        commands.setdefault((protocol, tuple(seeds)), []).append(reference)
    own = {reference_of(target) for target in targets.values() if target["method"] == OWN_MODEL}
    lines = []
    for (protocol, numbers), references in commands.items():
        recipes = [reference for reference in references if reference not in own]
        if recipes:
            lines.append(["rbe", "attack", protocol, *recipes, "--seeds", ",".join(map(str, numbers))])
        lines += [["rbe", "attack", protocol, "--model", model] for model in references if model in own]
    return list(map(shlex.join, lines))


def _shipped(dataset: str, kind: str) -> str | None:
    """Return a shipped protocol of ``kind`` for ``dataset``, or None if the kind comes from outside."""
    if kind not in KINDS:
        return None
    named = f"{dataset}/{kind}"
    # Sorted, so that the one named after the kind comes before those whose names only begin with it.
    there = (name for name in shipped_names("attacks") if name == named or name.startswith(f"{named}-"))
    return next(there, named)


def reference_of(named: dict[str, Any]) -> str:
    """Return the reference that loads a recipe or a protocol: its label without what a report added to it.

    The folder of a file outside ``zoo/`` and ``attacks/`` is not recorded, so the reference is the file's name.
    """
    reference: str = named.get("reference", named["label"])
    name, _ = split_reference(reference)
    return reference if "/" in name or named.get("method") == OWN_MODEL else f"{name}.toml{reference[len(name) :]}"
