"""The opening of an ensemble's page: its worst case, and the tests against other ensembles."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.analysis.chosen_on import MEANING
from robustbench_ens.analysis.compare import WORST
from robustbench_ens.config.method_facts import recorded_facts
from robustbench_ens.core.text import counted, listing, percent, shorten
from robustbench_ens.outcomes import OWN_MODEL
from robustbench_ens.reporting.board import Rate, short_names
from robustbench_ens.reporting.document import Block, Lead, Link, Links, Span
from robustbench_ens.reporting.ensembles.one import One

_NAMED = 3
_LONGEST = 32  # characters of a name


def about(one: One) -> str:
    """Return the line under the name: method, networks, dataset and seeds."""
    target = one.target
    seeds = sorted({document["target"]["seed"] for document in one.documents})
    method = "external model" if target["method"] == OWN_MODEL else recorded_facts(target).title or target["method"]
    parts = [
        method,
        f"{target['sub_models']} × {target['network']}",
        f"{target['parameters']:,} parameters",
        target["dataset"],
        f"{'seed' if len(seeds) == 1 else 'seeds'} {listing([str(seed) for seed in seeds])}",
    ]
    return " · ".join(str(part) for part in parts)


def lead_blocks(one: One) -> list[Block]:
    """Return the main result, and links to the same weights on other images."""
    links = [
        Link(label, one.paths[label], f"the same weights on {images}") for label, images in one.elsewhere().items()
    ]
    return [Lead(_kept(one)), *([Links(links)] if links else [])]


def _kept(one: One) -> list[Span]:
    """Return up to three sentences: the worst case, the tests against the others, and the health of its attacks."""
    row = one.row
    if row is None or row.worst is None:
        return [Span("No attack on it counts in a worst case yet.")]
    where = f" at eps {row.eps.eps:g}" if row.eps else ""
    spans = [
        Span("Keeps "),
        Span(f"{percent(row.worst.value)} of the images", strong=True),
        Span(f" in the worst case{where}{_also(row.attacks.get('blackbox'), row.clean)}."),
    ]
    if text := _tests(one):
        spans.append(Span(f" {text}"))
    if not row.worst.healthy:
        spans.append(Span(" This rests on unhealthy attacks: stronger ones may leave less."))
    if row.chosen_here:
        spans.append(Span(f" Its {MEANING}".replace("settings", "settings were", 1)))
    elif row.start_chosen_here:
        spans.append(Span(f" It starts from an ensemble with {MEANING}"))
    return spans


def _also(black: Rate | str | None, clean: Rate | None) -> str:
    known = [(rate, what) for rate, what in ((black, "black-box"), (clean, "clean")) if isinstance(rate, Rate)]
    return f", {listing([f'{percent(rate.value)} {what}' for rate, what in known])}" if known else ""


def _tests(one: One) -> str:
    """Return the sentence on the worst cases that differ from its own, and on those that are tied with it."""
    tests = one.context.collection.comparisons
    tests = tests[(tests["protocol"] == WORST) & ((tests["better"] == one.label) | (tests["worse"] == one.label))]
    if tests.empty:
        return ""
    names = short_names(sorted({*tests["better"], *tests["worse"]}))
    wins = tests["supported"].astype(bool)
    parts = {
        "better than": tests.loc[wins & (tests["better"] == one.label), "worse"],
        "worse than": tests.loc[wins & (tests["worse"] == one.label), "better"],
    }
    texts = [f"significantly {how} {_some(others, names, len(tests))}" for how, others in parts.items() if len(others)]
    even = tests[~wins]
    others = even["better"].where(even["better"] != one.label, even["worse"])
    if len(others):
        texts.append(f"statistically tied with {_some(others, names, len(tests))}")
    return f"It is {listing(texts)}."


def _some(others: pd.Series, names: dict[str, str], of: int) -> str:
    if len(others) == of and of > _NAMED:
        return f"all {counted(of, 'other')}"
    shown = [shorten(names[name], _LONGEST) for name in others.iloc[:_NAMED]]
    return listing([*shown, f"{len(others) - _NAMED} more"] if len(others) > _NAMED else shown)
