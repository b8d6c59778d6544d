"""Which numbers are of test images that settings of the ensemble were chosen on, so that they may be too high."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any, NamedTuple

from robustbench_ens.config.chosen_on import RECIPE, START, WORDS, recorded_chosen_on
from robustbench_ens.core.text import NBSP, listing

MARK = f"{NBSP}‡"
"""Behind the name of an ensemble whose settings were chosen on test images that may be among those of its numbers."""

MEANING = "settings chosen by looking at results on test images that may include these."


class ChosenHere(NamedTuple):
    """The ensembles of a table whose numbers may be too high because settings were chosen on the same images.

    Attributes:
        marked: those whose own settings were.
        started: others, which start from an ensemble whose settings were.
    """

    marked: frozenset[str] = frozenset()
    started: frozenset[str] = frozenset()

    @property
    def note(self) -> str:
        """What the mark means, and a sentence about those that are not marked; empty if there is nothing to state."""
        said = [f"{MARK.strip()}: {MEANING}"] if self.marked else []
        return " ".join([*said, *([self.about_starts] if self.started else [])])

    @property
    def about_starts(self) -> str:
        """A sentence about those that start from an ensemble with such settings; empty if there is none."""
        if not self.started:
            return ""
        verb = "starts" if len(self.started) == 1 else "start"
        return f"{listing(sorted(self.started))} {verb} from an ensemble with {MEANING}"

    def among(self, ensembles: Container[str]) -> ChosenHere:
        """Return those that are in ``ensembles``."""
        return ChosenHere(*(frozenset(name for name in names if name in ensembles) for names in self))


NOBODY = ChosenHere()


def chosen_here(provenance: Iterable[Mapping[str, Any]], protocols: Container[str] | None = None) -> ChosenHere:
    """Return the ensembles whose settings were chosen on images that evaluations may have attacked.

    Args:
        provenance: of the evaluations.
        protocols: labels of those that count; all unless given.
    """
    own = [one for one in provenance if protocols is None or one["protocol"]["label"] in protocols]
    marked, started = (frozenset(one["target"]["label"] for one in own if _overlaps(one, of)) for of in (RECIPE, START))
    return ChosenHere(marked, started - marked)


def _overlaps(document: Mapping[str, Any], of: str) -> bool:
    """Whether images that settings ``of`` an ensemble were chosen on may be among those that were attacked."""
    settings = document["protocol"]["resolved"]
    if settings.get("trained_on"):  # images of another dataset
        return False
    value = recorded_chosen_on(document["target"]).get(of)
    return value == "all" or (value == "selection" and settings.get("test_half", "all") != "report")


def in_words(target: Mapping[str, Any]) -> str:
    """Return on which images settings of an ensemble were chosen: ``all test images``; empty if nothing is known."""
    facts = recorded_chosen_on(target)
    own = WORDS.get(facts.get(RECIPE, ""), "")
    start = WORDS.get(facts.get(START, ""), "")
    if not start or start == own:
        return own
    return f"{own or 'not stated'}; those of the ensemble that it starts from: {start}"
