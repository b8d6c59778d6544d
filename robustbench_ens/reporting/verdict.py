"""The verdict on top of a report: at most two sentences, in which a paired test supports every claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from robustbench_ens.analysis.compare import WORST
from robustbench_ens.core.text import listing, percent, shorten
from robustbench_ens.reporting.board import BoardRow, Rate, short_names
from robustbench_ens.reporting.document import Span

NOTHING = "No attack was run yet, so there is nothing to rank."
ONE_SEED = " With one training seed, this holds for these weights only: another seed may order the methods differently."
_LONGEST = 32  # characters of a name
_NAMED = 3  # the most ensembles that a sentence names


@dataclass(frozen=True)
class _Pairs:
    """The tests between ensembles of one dataset under one protocol."""

    supported: Mapping[tuple[str, str], bool]

    def beats(self, one: str, other: str) -> bool:
        """Return whether a test supports that ``one`` is better than ``other``."""
        return self.supported.get((one, other), False)

    def tied(self, one: str, other: str) -> bool:
        """Return whether the two were compared and neither is better."""
        pair = ((one, other), (other, one))
        return any(way in self.supported for way in pair) and not any(self.supported.get(way, False) for way in pair)


def verdict(rows: Sequence[BoardRow], comparisons: pd.DataFrame, accuracies: pd.DataFrame) -> list[Span]:
    """Return the main result: two sentences about one dataset, or one sentence about each of two.

    Args:
        rows: the leaderboard.
        comparisons: the frame of :func:`~robustbench_ens.analysis.compare.comparisons`.
        accuracies: the frame of :mod:`~robustbench_ens.analysis.derive`.
    """
    datasets = [list(own) for _, own in groupby(rows, key=lambda row: row.dataset)]
    attacked = [[row for row in own if row.worst is not None] for own in datasets]
    attacked = sorted((own for own in attacked if own), key=lambda own: (-len(own), own[0].dataset))
    # The main result is about images of the training dataset. Other images count only if there is nothing else.
    attacked = [own for own in attacked if not _on_other_images(own)] or attacked
    if not attacked:
        return [Span(NOTHING)]
    first, *others = attacked
    if others:
        parts = [_best(own, comparisons, f"On {shorten(own[0].dataset, _LONGEST)}, ") for own in attacked[:2]]
        return [*parts[0], Span(" "), *parts[1]]
    return [*_best(first, comparisons, ""), *_second(first, comparisons, accuracies)]


def _on_other_images(rows: Sequence[BoardRow]) -> bool:
    return all(row.ensemble.endswith(f" on {row.dataset}") for row in rows)


def _best(rows: Sequence[BoardRow], comparisons: pd.DataFrame, opening: str) -> list[Span]:
    """Return the sentence that names the best ensemble in the worst case, and whether that is significant."""
    names = _names(rows)
    best, *others = rows
    value = _worst(best)
    if value == 0 and others:
        return [Span(f"{opening}no ensemble keeps an image in the worst case.".replace("no", "No", not opening))]
    kept = f"{percent(value)} of the images"
    said = [Span(opening), Span(names[best.ensemble], strong=True), Span(" keeps "), Span(kept, strong=True)]
    pairs = _pairs(comparisons, best.dataset, WORST)
    tied = [row for row in others if pairs.tied(best.ensemble, row.ensemble)]
    below = [row for row in others if pairs.beats(best.ensemble, row.ensemble)]
    said.append(Span(" in the worst case"))
    if not others:
        return [*said, Span(".")]
    # "Every other" needs a supported test against each of them: a pair that was not compared supports nothing.
    if not tied and len(below) == len(others):
        after = f" (next: {names[others[0].ensemble]}, {percent(_worst(others[0]))})"
        more = "the other ensemble" if len(others) == 1 else "every other ensemble"
        return [*said, Span(f", significantly more than {more}{after}.")]
    if tied:
        rest = ""
        if below and len(tied) + len(below) == len(others):
            rest = f"; all others keep significantly less (at most {percent(max(map(_worst, below)))})"
        return [*said, Span(f"; {_some(tied, names)} statistically tied with it{rest}.")]
    return [*said, Span(", the most; no test compares it with all others.")]


def _second(rows: Sequence[BoardRow], comparisons: pd.DataFrame, accuracies: pd.DataFrame) -> list[Span]:
    """Return the sentence with the main limit of the first one.

    If there is no limit, return the one on transfer attacks among the other ensembles.
    """
    marked = [row for row in rows if isinstance(row.worst, Rate) and not row.worst.healthy]
    if marked:
        names = _names(rows)
        many = "Every number rests" if len(marked) == len(rows) else f"{_some(marked, names, ('rests', 'rest'))}"
        return [Span(f" {many} on unhealthy attacks: stronger ones may leave less.")]
    if all(row.seeds == 1 for row in rows) and len(rows) > 1:
        return [Span(ONE_SEED)]
    return _transfer(rows, comparisons, accuracies)


def _transfer(rows: Sequence[BoardRow], comparisons: pd.DataFrame, accuracies: pd.DataFrame) -> list[Span]:
    """Return the sentence on the ensemble that resists black-box attacks best among those below the best, if any."""
    pairs = _pairs(comparisons, rows[0].dataset, WORST)
    below = [row for row in rows[1:] if pairs.beats(rows[0].ensemble, row.ensemble)]
    tied = [row for row in rows[1:] if pairs.tied(rows[0].ensemble, row.ensemble)]
    if len(below) + len(tied) < len(rows) - 1:
        return []  # "the others" would include ensembles that no test compares with the best
    rates = {row.ensemble: row.attacks.get("blackbox") for row in below}
    known = {name: rate for name, rate in rates.items() if isinstance(rate, Rate)}
    if len(known) < 2:
        return []
    first = max(known, key=lambda name: known[name].value)
    (protocol,) = known[first].protocols[:1]
    tests = _pairs(comparisons, rows[0].dataset, protocol)
    if not all(tests.beats(first, other) for other in rates if other != first):
        return []
    under = accuracies[(accuracies["protocol"] == protocol) & accuracies["ensemble"].isin(set(rates) - {first})]
    eps = rows[0].eps
    means = under[under["eps"] == (eps.eps if eps else None)].groupby("ensemble")["accuracy"].mean()
    names = _names(rows)
    worst = next(_worst(row) for row in below if row.ensemble == first)
    return [
        Span(" Of the others, "),
        Span(names[first], strong=True),
        Span(" resists transfer best ("),
        Span(f"{percent(known[first].value)} black-box", strong=True),
        Span(f", next {percent(means.max())}), but keeps {percent(worst)} in the worst case."),
    ]


def _some(rows: Sequence[BoardRow], names: Mapping[str, str], verbs: tuple[str, str] = ("is", "are")) -> str:
    """Return a few names and their verb, such as ``a is``, ``a and b are`` or ``a, b, c and 4 more are``."""
    said = [names[row.ensemble] for row in rows[:_NAMED]]
    if len(rows) > _NAMED:
        said.append(f"{len(rows) - _NAMED} more")
    return f"{listing(said)} {verbs[0] if len(rows) == 1 else verbs[1]}"


def _names(rows: Sequence[BoardRow]) -> dict[str, str]:
    return {name: shorten(short, _LONGEST) for name, short in short_names([row.ensemble for row in rows]).items()}


def _worst(row: BoardRow) -> float:
    return 0.0 if row.worst is None else row.worst.value


def _pairs(comparisons: pd.DataFrame, dataset: str, protocol: str) -> _Pairs:
    own = comparisons[(comparisons["protocol"] == protocol) & (comparisons["dataset"] == dataset)]
    found = own[["better", "worse", "supported"]].itertuples(index=False, name=None)
    return _Pairs({(str(better), str(worse)): bool(supported) for better, worse, supported in found})
