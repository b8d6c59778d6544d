from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robustbench_ens.analysis import derive
from robustbench_ens.analysis.ledger import COLUMNS, greedy, ledger, twins, variant_ledger
from robustbench_ens.core.text import NBSP
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import gather
from robustbench_ens.reporting.collect import collect
from robustbench_ens.reporting.context import context_of
from robustbench_ens.reporting.figures.greedy_curve import greedy_curve, steps
from robustbench_ens.reporting.sections.ledger import ledger_sections, sentence
from robustbench_ens.reporting.style import looks
from robustbench_ens.reporting.tables.ledger import ledger_table
from tests.reporting.conftest import CELL, outcome_rows
from tests.reporting.drawings import tips

VARIANTS = {
    ("momentum_pgd", "cross_entropy", 0): "x..x..",
    ("momentum_pgd", "cross_entropy", 1): "xxx...",
    ("momentum_pgd", "cw", 0): ".xx...",
    ("sgm", "cw", 0): "xxx...",
    ("m_di2_fgsm", "cw", 0): "....x.",
}
"""Which of six images each variant breaks."""


def broken_rows(variants, clean="......", eps=0.2, predicted=None):
    """Black-box rows: an ``x`` is a broken image, which is then taken for class 2, or for ``predicted``'s."""
    facts = {"kind": "blackbox", "protocol": "digits/blackbox", "source": "digits/s-3#1000"}
    rows = [
        {"image": image, "attack": "clean", "loss": "none", "eps": 0.0, "correct": mark == ".", "predicted": 1}
        for image, mark in enumerate(clean)
    ]
    for (attack, loss, restart), marks in variants.items():
        wrong = (predicted or {}).get((attack, loss, restart), 2)
        rows += [
            {
                **{"image": image, "attack": attack, "loss": loss, "restart": restart, "eps": eps},
                **{"correct": mark == ".", "predicted": 1 if mark == "." else wrong},
            }
            for image, mark in enumerate(marks)
        ]
    return outcome_rows([facts | row for row in rows])


def test_a_ledger_by_hand():
    found = ledger(broken_rows(VARIANTS, clean="x....."))
    assert found.columns.tolist() == COLUMNS
    assert found["n"].unique().tolist() == [6]
    assert found["correct"].tolist() == [4, 3, 4, 3, 5]
    assert found["n_clean"].unique().tolist() == [5]
    assert found["kills"].tolist() == [1, 2, 2, 2, 1]
    assert found["unique"].tolist() == [1, 0, 0, 0, 1]
    assert found["order"].tolist() == [2, 1, pd.NA, pd.NA, 3]
    assert found["cumulative"].tolist() == pytest.approx([2 / 6, 3 / 6, np.nan, np.nan, 1 / 6], nan_ok=True)
    assert found["twins"].tolist() == [0, 1, 0, 1, 0]
    assert found["all_or_nothing"].tolist() == pytest.approx([1 / 6] * 5)
    low, high = found.loc[1, ["low", "high"]]
    assert (low, high) == pytest.approx((0.1876, 0.8124), abs=1e-4)


def test_all_or_nothing_is_what_pandas_says_of_the_raw_rows():
    rows = broken_rows(VARIANTS)
    worst = rows[rows["eps"] > 0].groupby("image")["correct"].all().mean()
    assert ledger(rows)["cumulative"].min() == worst == 1 / 6
    rates = derive.accuracies(rows)
    assert rates.loc[rates["eps"] > 0, "accuracy"].tolist() == [worst]


def test_an_image_that_is_wrong_when_clean_is_lost_to_all_variants_together():
    rows = broken_rows({("sgm", "cw", 0): "x...", ("pgd", "cw", 0): ".x.."}, clean="..x.")
    found = ledger(rows)
    assert found["cumulative"].tolist() == [3 / 4, 2 / 4]
    rates = derive.accuracies(rows)
    assert set(found["all_or_nothing"]) == set(rates.loc[rates["eps"] > 0, "accuracy"]) == {1 / 4}
    said = sentence("e", found)
    assert "2 of 2 variants leave 50.0%, and with the clean images the all-or-nothing accuracy is 25.0%;" in said
    assert "variants reach the all-or-nothing accuracy of 50.0%;" in sentence("e", found.assign(all_or_nothing=2 / 4))


def test_variants_that_err_differently_are_no_twins():
    rows = broken_rows(VARIANTS, predicted={("sgm", "cw", 0): 7})
    assert ledger(rows)["twins"].tolist() == [0] * 5


def test_the_standard_eps_is_taken_and_other_kinds_are_left_out():
    both = pd.concat([broken_rows(VARIANTS, eps=0.3), broken_rows({("sgm", "cw", 0): "x....."}, eps=0.2)])
    both = both.drop_duplicates(["image", "eps", "attack", "loss", "restart"])
    assert ledger(both)[["eps", "attack"]].to_numpy().tolist() == [[0.2, "sgm"]]
    assert ledger(both[both["eps"] == 0]).empty
    assert ledger(both.assign(kind="whitebox")).empty
    assert ledger(both.assign(target_member=0)).empty


def test_attempts_that_were_not_made_are_refused():
    rows = broken_rows(VARIANTS)
    rows.loc[len(rows) - 1, "correct"] = None
    with pytest.raises(UserError, match="expected an outcome of every variant on every image, got gaps"):
        ledger(rows)
    with pytest.raises(UserError, match="gaps"):
        ledger(rows.iloc[:-1])


def test_a_variant_that_is_there_twice_is_refused():
    rows = broken_rows(VARIANTS)
    with pytest.raises(UserError, match="got some of them twice"):
        ledger(pd.concat([rows, rows.iloc[-1:]]))


def test_greedy_by_hand():
    def matrix(*columns):
        return np.array([[mark == "x" for mark in column] for column in columns]).T

    assert greedy(matrix("....", "....")) == []
    assert greedy(matrix("xx..", "xx..")) == [0]
    assert greedy(matrix("x...", "xx..", "..xx", ".xxx")) == [3, 0]
    assert twins(np.array([[1, 2, 1, 3, 2]])).tolist() == [1, 2, 1, 0, 2]


@pytest.mark.slow
@settings(max_examples=40)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 8))))
def test_greedy_reaches_all_or_nothing_and_what_is_left_out_breaks_nothing_alone(broken):
    images, variants = broken.shape
    attacked = pd.DataFrame(
        {
            "image": np.repeat(np.arange(images), variants),
            "restart": np.tile(np.arange(variants), images),
            "correct": ~broken.ravel(),
            "predicted": np.where(broken, 2, 1).ravel(),
        }
    ).assign(source="s", attack="pgd", loss="cw")
    found = variant_ledger(attacked, pd.Series(True, index=range(images)))
    worst = attacked.groupby("image")["correct"].all().mean()
    deciding = found[found["order"].notna()].sort_values("order")
    assert (deciding["cumulative"].iloc[-1] if len(deciding) else 1.0) == worst
    assert deciding["cumulative"].is_monotonic_decreasing and deciding["cumulative"].is_unique
    assert deciding["order"].tolist() == list(range(1, len(deciding) + 1))
    assert (found["unique"] <= found["kills"]).all()
    assert found["unique"].sum() <= broken.any(axis=1).sum()
    assert (found.loc[found["order"].isna(), "unique"] == 0).all()
    assert (found.loc[found["twins"] > 0, "unique"] == 0).all()
    if len(deciding):
        assert deciding["correct"].iloc[0] == found["correct"].min()


def test_the_table_puts_what_decides_first():
    table = ledger_table(ledger(broken_rows(VARIANTS))).map(lambda cell: cell.replace(NBSP, " "))
    assert table["Order"].tolist() == ["1", "2", "3", "never", "never"]
    assert table["Same as"].tolist() == ["A", "", "", "A", ""]
    assert table.iloc[0].to_dict() == {
        "Order": "1",
        "Crafted on": "digits/s-3#1000",
        "Attack": "momentum_pgd",
        "Loss": "cross_entropy",
        "Start": "1",
        "Accuracy alone": "50.0% [18.8, 81.2]",
        "Breaks": "3",
        "Only it": "0",
        "So far": "50.0%",
        "Same as": "A",
    }
    assert table["So far"].tolist() == ["50.0%", "33.3%", "16.7%", "", ""]


def test_the_curve_stays_at_all_or_nothing_and_averages_seeds():
    one = ledger(broken_rows(VARIANTS))
    assert steps(one, 5).tolist() == pytest.approx([3 / 6, 2 / 6, 1 / 6, 1 / 6, 1 / 6])
    other = ledger(broken_rows({("sgm", "cw", 0): "x....."})).assign(seed=1)
    none = ledger(broken_rows({("sgm", "cw", 0): "......"})).assign(ensemble="digits/b-3", method="b")
    look = looks({"digits/a-3": "baseline", "digits/b-3": "dverge"})
    assert tips(greedy_curve(pd.concat([one, other, none]), look, "title")(400)) == [
        "a-3, after 1 variant: 66.7% ± 23.6, 2 seeds",
        "a-3, after 2 variants: 58.3% ± 35.4, 2 seeds",
        "a-3, after 3 variants: 50.0% ± 47.1, 2 seeds",
        *(f"b-3, after {number}: 100.0%" for number in ("1 variant", "2 variants", "3 variants")),
    ]


@pytest.mark.slow
def test_the_section(files):
    collection = collect(files)
    (section,) = ledger_sections(context_of(collection))
    deciding, *tables = [block for block in section.blocks if block.type == "table"]
    first = deciding.frame.iloc[0]
    assert first[["Ensemble", "Seed", "Variants that decide"]].tolist() == ["digits/baseline-3", "0", "8 of 8"]
    assert (first["All leave"], first["All or nothing"], deciding.collapsed) == ("27.0%", "27.0%", False)
    assert [len(table.frame) for table in tables] == [8, 8]
    assert all(table.collapsed for table in tables)
    figures = [figure.name for block in section.blocks if block.type == "figures" for figure in block.figures]
    assert figures == ["variants-1-digits-blackbox", "greedy-1-digits-blackbox"]
    assert (
        ledger_sections(context_of(collect([f for f in files if f.provenance["protocol"]["kind"] == "whitebox"]))) == []
    )


def test_the_ledger_ends_where_the_accuracy_is(files):
    rows = gather(files)
    rates = derive.accuracies(rows).set_index([*CELL, "eps"])["accuracy"]
    ends = ledger(rows).groupby([*CELL, "eps"])["cumulative"].min()
    assert len(ends) == 2
    pd.testing.assert_series_equal(ends, rates.loc[ends.index], check_names=False)
