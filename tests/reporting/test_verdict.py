"""The verdict claims what tests support and nothing else, in at most two sentences and 60 words."""

from __future__ import annotations

import dataclasses
from itertools import combinations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ens.analysis.compare import COLUMNS, WORST
from robustbench_ens.analysis.standard import HeadlineEps
from robustbench_ens.reporting.board import BoardRow, board
from robustbench_ens.reporting.collect import collect
from robustbench_ens.reporting.verdict import NOTHING, ONE_SEED, verdict
from tests.reporting.conftest import HOSTILE, rates
from tests.reporting.test_leaderboard_figure import rate, row

NONE = rates([{"ensemble": "digits/z", "correct": 1}]).iloc[:0]


def rows(worst: dict[str, float], seeds: int = 3, **facts: object) -> list[BoardRow]:
    eps = HeadlineEps(0.2, True)
    made = [row(f"digits/{name}", value, seeds=seeds, eps=eps, **facts) for name, value in worst.items()]
    return sorted(made, key=lambda one: -one.worst.value)


def judged(wins: dict[tuple[str, str], bool], protocol: str = WORST) -> pd.DataFrame:
    found = [
        {"dataset": "digits", "protocol": protocol, "better": f"digits/{a}", "worse": f"digits/{b}", "supported": s}
        for (a, b), s in wins.items()
    ]
    return pd.DataFrame(found, columns=COLUMNS)


def said(board_rows: list[BoardRow], comparisons: pd.DataFrame, accuracies: pd.DataFrame = NONE) -> str:
    return "".join(span.text for span in verdict(board_rows, comparisons, accuracies))


def test_the_best_of_all():
    text = said(rows({"a": 0.7, "b": 0.3, "c": 0.1}), judged({("a", "b"): True, ("a", "c"): True, ("b", "c"): True}))
    first = "a keeps 70.0% of the images in the worst case, significantly more than every other ensemble"
    assert text.startswith(f"{first} (next: b, 30.0%).")


def test_those_that_are_tied_with_the_best():
    wins = {("a", "b"): False, ("a", "c"): True, ("b", "c"): False}
    text = said(rows({"a": 0.7, "b": 0.69, "c": 0.1}), judged(wins))
    assert text.startswith("a keeps 70.0% of the images in the worst case; b is statistically tied with it; all others")
    many = dict.fromkeys("bcdefg", 0.5)
    text = said(rows({"a": 0.6} | many), judged({("a", name): False for name in many}))
    assert "b, c, d and 3 more are statistically tied with it." in text and "all others" not in text


def test_what_no_test_compares():
    assert "no test compares it" in said(rows({"a": 0.7, "b": 0.3}), judged({}))


def test_zero_everywhere_one_alone_and_nothing():
    assert said(rows({"a": 0.0, "b": 0.0}), judged({})).startswith("No ensemble keeps an image in the worst case.")
    assert said(rows({"a": 0.5}), judged({})) == "a keeps 50.0% of the images in the worst case."
    bare = [dataclasses.replace(one, worst=None) for one in rows({"a": 0.5})]
    assert said(bare, judged({})) == said([], judged({})) == NOTHING


def test_one_seed_is_said():
    wins = judged({("a", "b"): True})
    assert said(rows({"a": 0.7, "b": 0.3}, seeds=1), wins).endswith(ONE_SEED)
    assert ONE_SEED not in said(rows({"a": 0.7, "b": 0.3}), wins)


def test_unhealthy_attacks_are_said_first():
    own = rows({"a": 0.7, "b": 0.3})
    own[0] = dataclasses.replace(own[0], worst=dataclasses.replace(own[0].worst, healthy=False))
    assert said(own, judged({("a", "b"): True})).endswith(
        " a rests on unhealthy attacks: stronger ones may leave less."
    )
    both = [dataclasses.replace(one, worst=dataclasses.replace(one.worst, healthy=False)) for one in own]
    assert " Every number rests on unhealthy attacks" in said(both, judged({("a", "b"): True}))


def black(value: float) -> dict[str, object]:
    return {"attacks": {"whitebox": rate(value), "blackbox": rate(value, protocols=("digits/blackbox",))}}


@pytest.mark.parametrize("supported", [True, False])
def test_who_of_the_others_resists_transfer_best(supported):
    own = rows({"a": 0.7, "b": 0.1, "c": 0.0})
    own[1] = dataclasses.replace(own[1], **black(0.5))
    own[2] = dataclasses.replace(own[2], **black(0.2))
    worst = judged({("a", "b"): True, ("a", "c"): True, ("b", "c"): False})
    transfer = judged({("b", "c"): supported}, "digits/blackbox")
    under = rates([{"ensemble": "digits/c", "protocol": "digits/blackbox", "correct": 20}])
    text = said(own, pd.concat([worst, transfer]), under)
    claim = "Of the others, b resists transfer best (50.0% black-box, next 20.0%), but keeps 10.0% in the worst case."
    assert text.endswith(claim) == supported
    assert supported or "resists" not in text


def test_two_datasets_have_a_sentence_each_and_other_images_none():
    first = rows({"a": 0.7, "b": 0.3})
    second = [row("cifar/c", 0.4, dataset="cifar", seeds=3)]
    text = said([*second, *first], judged({("a", "b"): True}))
    assert text.startswith("On digits, a keeps 70.0%") and " On cifar, c keeps 40.0%" in text
    beside = [row("digits/a on dark", 0.4, dataset="dark", seeds=3)]
    assert "dark" not in said([*beside, *first], judged({("a", "b"): True}))


@given(
    st.lists(st.integers(0, 100), min_size=1, max_size=30),
    st.lists(st.sampled_from([True, False, None]), min_size=435, max_size=435),
    st.booleans(),
)
def test_no_claim_without_a_test_and_never_more_than_60_words(values, verdicts, hostile):
    worst = {f"{HOSTILE if hostile else 'm'}{number}": value / 100 for number, value in enumerate(values)}
    own = rows(worst)
    names = [one.ensemble.removeprefix("digits/") for one in own]
    pairs = zip(combinations(names, 2), verdicts, strict=False)
    wins = {pair: supported for pair, supported in pairs if supported is not None}
    text = said(own, judged(wins))
    assert len(text.split()) <= 60 and text.isprintable()
    from_best = [wins.get((names[0], name)) for name in names[1:]]
    if "every other" in text or "the other ensemble" in text:
        assert all(from_best) and from_best
    if "statistically tied" in text:
        assert False in from_best
    if "all others keep significantly less" in text:
        assert None not in from_best


def test_it_speaks_of_the_collection(files):
    collection = collect(files)
    text = said(board(collection), collection.comparisons, collection.accuracies)
    assert text.startswith("dverge-3 keeps 13.0% of the images in the worst case, significantly more than the other")
