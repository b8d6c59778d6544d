from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_ind, ttest_ind_from_stats
from statsmodels.stats.contingency_tables import mcnemar

from robustbench_ens.analysis import compare
from robustbench_ens.analysis.compare import (
    WORST,
    Answers,
    answers,
    at_headline,
    comparisons,
    mcnemar_p,
    welch_p,
    welch_p_of_rates,
)
from robustbench_ens.analysis.derive import survivors
from robustbench_ens.analysis.worst_case import as_they_are, counts
from robustbench_ens.outcomes import gather
from robustbench_ens.reporting.collect import collect
from robustbench_ens.reporting.context import context_of
from robustbench_ens.reporting.document import Figures, Table
from robustbench_ens.reporting.findings import findings
from robustbench_ens.reporting.sections.comparison import comparison_sections
from robustbench_ens.reporting.tables.comparison import BY_SEED, COLUMNS, comparison_table
from tests.analysis.test_worst_case import as_kind, only, survives
from tests.reporting.conftest import rates
from tests.reporting.test_tables import plain


def said(ensemble, right, seed=0, start=0, **facts):
    """The answers of one ensemble: ``right`` is a text of 1 and 0, image by image from ``start``."""
    correct = pd.Series([c == "1" for c in right], index=range(start, start + len(right)))
    protocol = facts.pop("protocol", "p")
    return Answers("digits", protocol, ensemble, seed, 0.2, facts.get("protocols", frozenset([protocol])), correct)


ONE_TO_NINE = ("1" * 9 + "0" + "1" * 5 + "0" * 5, "0" * 9 + "1" + "1" * 5 + "0" * 5)
"""Nine images that only the first gets right, one that only the second does; ten say nothing."""


def test_mcnemar_by_hand():
    first, second = (np.array([c == "1" for c in right]) for right in ONE_TO_NINE)
    # Two-sided binomial test of 1 or fewer of 10 coins: 2 (1 + 10) / 2^10.
    assert mcnemar_p(first, second) == pytest.approx(22 / 1024) == mcnemar_p(second, first)
    assert mcnemar_p(first, first) == 1


def test_mcnemar_is_that_of_statsmodels():
    for table in itertools.product([0], [0, 1, 2, 9, 40], [0, 1, 3, 41, 300], [5]):
        both, one, other, neither = table
        first = np.repeat([True, True, False, False], [both, one, other, neither])
        second = np.repeat([True, False, True, False], [both, one, other, neither])
        p = mcnemar(np.reshape(table, (2, 2)), exact=True).pvalue
        assert mcnemar_p(first, second) == pytest.approx(p, rel=1e-13)


def test_welch_is_that_of_scipy_bit_by_bit():
    generator = np.random.default_rng(0)
    for seeds in ([2, 3], [3, 3], [5, 2]):
        first, second = (generator.random(number) for number in seeds)
        numbers = [n for own in (first, second) for n in (own.mean(), own.std(ddof=1), len(own))]
        assert welch_p_of_rates(first, second, 1000) == ttest_ind_from_stats(*numbers, equal_var=False).pvalue


def test_welch_over_seeds():
    first, second = np.zeros((2, 3, 100), dtype=bool)
    for seed, (one, other) in enumerate([(50, 20), (55, 22), (48, 25)]):
        first[seed, :one], second[seed, :other] = True, True
    expected = ttest_ind([0.5, 0.55, 0.48], [0.2, 0.22, 0.25], equal_var=False).pvalue
    assert welch_p(first, second) == pytest.approx(expected)
    assert welch_p(first[:1], second[:1]) is None
    assert welch_p(first[:1].repeat(2, axis=0), second[:1].repeat(2, axis=0)) > 0  # no spread is no certainty


def test_a_pair():
    (row,) = comparisons([said("b", ONE_TO_NINE[1]), said("a", ONE_TO_NINE[0])]).to_dict("records")
    assert (row["better"], row["worse"], row["only_better"], row["only_worse"]) == ("a", "b", 9, 1)
    assert (row["n"], row["seeds"], row["difference"]) == (20, 1, pytest.approx(0.4))
    assert row["low"] <= 0.4 <= row["high"]
    assert row["p"] == row["p_adjusted"] == row["p_images"] == pytest.approx(22 / 1024)
    assert row["p_seeds"] is None and row["supported"]


def test_holm_by_hand():
    # a-c: 0 of 10 discordant go the other way, p = 2 / 1024; a-b: 22 / 1024; b-c: one image against none, p = 1.
    a, b = ONE_TO_NINE[0], ONE_TO_NINE[1]
    c = "0" * 10 + b[10:15] + "0" * 5
    a = "1" * 10 + a[10:]
    frame = comparisons([said("a", a), said("b", b), said("c", c)]).set_index(["better", "worse"])
    raw = [frame.loc[pair, "p"] for pair in [("a", "c"), ("a", "b"), ("b", "c")]]
    assert raw == pytest.approx([2 / 1024, 2 / 512, 1.0])
    adjusted = [frame.loc[pair, "p_adjusted"] for pair in [("a", "c"), ("a", "b"), ("b", "c")]]
    assert adjusted == pytest.approx([3 * raw[0], 2 * raw[1], 1.0])
    other = comparisons([said(name, right, protocol="q") for name, right in zip("ab", ONE_TO_NINE, strict=True)])
    assert other["p_adjusted"].tolist() == other["p"].tolist()  # corrected within a protocol, not across


def test_only_shared_images_count():
    (row,) = comparisons([said("a", "1111"), said("b", "0000", start=2)]).to_dict("records")
    assert (row["n"], row["only_better"]) == (2, 2)


@pytest.mark.parametrize(
    "other",
    [
        said("b", "0000", start=100),
        said("b", "0000", seed=1),
        said("b", "0000", protocols=frozenset("pq")),
        said("b", "0000", protocol="q"),
    ],
)
def test_nothing_shared_is_no_comparison(other):
    assert comparisons([said("a", "1111"), other]).empty


def test_seeds_are_paired_and_the_largest_p_counts():
    strong, weak = ONE_TO_NINE
    level = strong[:9] + "1" + strong[10:]
    found = [said("a", strong), said("a", level, seed=1), said("b", weak), said("b", weak, seed=1)]
    (row,) = comparisons(found).to_dict("records")
    assert row["p_by_seed"] == pytest.approx((22 / 1024, 2 / 512))
    assert row["p_images"] == pytest.approx(22 / 1024)
    assert row["p"] == max(row["p_images"], row["p_seeds"])


def test_seeds_that_disagree_support_nothing():
    first, second = ONE_TO_NINE
    found = [said("a", first * 5), said("a", second, seed=1), said("b", second * 5), said("b", first, seed=1)]
    (row,) = comparisons(found).to_dict("records")
    assert row["p_images"] == 1 and not row["supported"]


def test_answers_of_files(files):
    white, black = only(files, "whitebox"), only(files, "blackbox")

    def headline(eps, *files):
        tiers = as_they_are(file.provenance for file in files if counts(file))
        return at_headline(answers(survivors(gather(files))), eps, tiers)

    found = {own.protocol: own for own in headline({"digits": 0.2}, white, black)}
    assert found["digits/whitebox"].correct.tolist() == survives(white, 0.2).tolist()
    both = survives(white, 0.2) & survives(black, 0.2)
    assert found[WORST].correct.tolist() == both.tolist()
    assert found[WORST].protocols == {"digits/whitebox", "digits/blackbox"}
    assert headline({"other": 0.2}, white) == headline({"digits": 0.15}, white) == []
    assert headline({"digits": 0.2}, as_kind(white, "transferability")) == []
    vote = as_kind(white, "whitebox", aggregation="majority_vote")
    assert WORST not in [own.protocol for own in headline({"digits": 0.2}, vote)]


def test_the_table():
    frame = comparisons([said("a", ONE_TO_NINE[0]), said("b", ONE_TO_NINE[1]), said("c", ONE_TO_NINE[1])])
    table = plain(comparison_table(frame))
    assert list(table.columns) == COLUMNS
    assert table["Verdict"].tolist() == ["tied"] * 3  # Holm: 3 * 22 / 1024 > 0.05
    assert table["p (Holm)"].tolist() == ["0.064", "0.064", "1.000"]
    alone = plain(comparison_table(comparisons([said("a", ONE_TO_NINE[0]), said("b", ONE_TO_NINE[1])]))).iloc[0]
    assert alone["Verdict"] == "a beats b"
    assert alone["Difference, points"].startswith("+40.0 [+")
    assert alone[["Only higher", "Only lower", "n", "p"]].tolist() == ["9", "1", "20", "0.021"]
    twice = [dataclasses.replace(own, seed=seed) for own in [said("a", "110"), said("b", "110")] for seed in (0, 1)]
    table = comparison_table(comparisons(twice))
    assert set(BY_SEED) <= set(table.columns)
    assert table["Difference, points"].tolist() == [
        "0.0"
    ]  # no image tells them apart: an interval would claim too much


@pytest.mark.slow
def test_the_section(files):
    (section,) = comparison_sections(context_of(collect(files)))
    tables = [block for block in section.blocks if isinstance(block, Table)]
    figures = [block for block in section.blocks if isinstance(block, Figures)]
    assert tables[0].caption.startswith("digits, worst case at eps 0.2")
    assert figures[0].caption.startswith("Worst case on digits at eps 0.2, n = 100: 1 of 1 pair differ significantly.")
    assert len(tables) == len(figures) == 3
    assert [table.collapsed for table in tables] == [False, True, True]
    assert comparison_sections(context_of(collect(files[:1]))) == []


@pytest.mark.parametrize(("at_most", "left_out"), [(6, 0), (5, 15 - 9)])
def test_the_section_says_how_many_pairs_were_left_out(files, at_most, left_out, monkeypatch):
    monkeypatch.setattr(compare, "ALL_PAIRS_UP_TO", at_most)
    found = comparisons([said(name, "1" * right + "0" * (6 - right)) for right, name in enumerate("abcdef")])
    (section,) = comparison_sections(context_of(dataclasses.replace(collect(files), comparisons=found)))
    _, _, table = section.blocks
    assert f"0 of {15 - left_out} pairs differ significantly" in table.caption
    assert ("Not compared: 6 pairs." in table.caption) == bool(left_out)


def test_a_claim_stands_where_the_paired_test_supports_it():
    level = rates([{"correct": 50}, {"correct": 45, "ensemble": "b"}])
    tested = {"protocol": "digits/whitebox", "better": "digits/a-3", "worse": "b"}
    none = pd.DataFrame()
    claim = findings(level, none, pd.DataFrame([tested | {"supported": True}]))[0]
    assert "digits/a-3 keeps 50.0%" in claim and "significantly more than b" in claim
    apart = rates([{"correct": 80}, {"correct": 20, "ensemble": "b"}])
    assert "none is significantly best" in findings(apart, none, pd.DataFrame([tested | {"supported": False}]))[0]
    back = {"protocol": "digits/whitebox", "better": "b", "worse": "digits/a-3", "supported": True}
    assert "none is significantly best" in findings(apart, none, pd.DataFrame([back]))[0]
    elsewhere = pd.DataFrame([tested | {"supported": False, "protocol": "other"}])
    assert "significantly more than b" in findings(apart, none, elsewhere)[0]
