"""What was done otherwise than in a paper: data, schedules, images, attacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import pandas as pd

from robustbench_ens.core.text import span
from robustbench_ens.reporting.descriptions import Document, attack, length, optimizer


def columns(paper: str) -> list[str]:
    """Return the headings of a table of differences from a paper of this name."""
    return ["What", paper, "Here"]


def differences(printed: Mapping[str, str], here: Mapping[str, str], paper: str) -> pd.DataFrame:
    """Return what a paper did and what was done here, row by row in the paper's order; no row of what was not.

    Args:
        printed: by heading, what the paper did.
        here: the same of the evaluations.
        paper: its name.
    """
    rows = [(what, text, here[what]) for what, text in printed.items() if here.get(what)]
    return pd.DataFrame(rows, columns=columns(paper), dtype=str)


def trained_and_attacked(attacks: Sequence[Document], dataset: str) -> dict[str, str]:
    """Return by heading what any paper says of training, and of the attacked images.

    Args:
        attacks: provenance of evaluations on ``dataset``.
        dataset: the attacked images.
    """
    if not attacks:
        return {}
    targets = [one["target"] for one in attacks]
    images = pd.Series([one["protocol"]["resolved"]["images"] for one in attacks], dtype=int)
    return {
        "Training images": distinct(targets, lambda target: target["resolved"].get("dataset", dataset)),
        "Attacked images": f"{span(images)} test images of {dataset}",
        "Training": by_target(targets, length),
        "Optimizer": by_target(targets, optimizer),
        "Training seeds": str(len({target["seed"] for target in targets})),
    }


def attacked(groups: Mapping[str, Sequence[Document]]) -> dict[str, str]:
    """Return by the heading of each group how its evaluations attacked."""
    return {name: distinct([one["protocol"] for one in group], attack) for name, group in groups.items()}


def distinct(items: Iterable[Document], describe: Callable[[Document], str]) -> str:
    """Return what ``describe`` says of each item, if anything, each text once."""
    return "; ".join(text for text in dict.fromkeys(describe(item) for item in items) if text)


def by_target(targets: Iterable[Document], describe: Callable[[Document], str]) -> str:
    """Return behind each label what ``describe`` says of it, if anything."""
    return distinct(targets, lambda target: f"{target['label']}: {text}" if (text := describe(target)) else "")
