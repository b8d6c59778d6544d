from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from robustbench_ens.analysis import derive
from robustbench_ens.analysis.beyond import assembled, beyond, pairs_of_target
from robustbench_ens.errors import UserError
from robustbench_ens.outcomes import gather
from robustbench_ens.reporting.collect import collect
from robustbench_ens.reporting.context import context_of
from robustbench_ens.reporting.sections.beyond import OPEN_ROWS, beyond_sections, sentence
from robustbench_ens.reporting.tables.beyond import COLUMNS, beyond_table, variants_table
from tests.analysis.test_ledger import broken_rows

OLD = {("pgd", "cw", 0): "xx......", ("sgm", "cw", 0): "..x....."}
NEW = {
    ("sia", "cw", 0): "x...xx..",
    ("bsr", "cw", 0): "xx..xxx.",
    ("bsr", "cross_entropy", 0): "......x.",
    ("svre", "cw", 0): "..x.x...",
}
CLEAN = "...x...."


def suites(*protocols, **facts):
    """Gathered rows of one target; each protocol is a name, its variants and what differs."""
    frames = [
        broken_rows(variants, clean=CLEAN).assign(protocol=name, **changes) for name, variants, changes in protocols
    ]
    return pd.concat(frames, ignore_index=True).assign(**facts)


def both(**facts):
    return suites(("digits/new", NEW, {}), ("digits/old", OLD, {}), **facts)


def test_a_pair_by_hand():
    """The old suite leaves images 4 to 7, of which the new one leaves image 7; image 3 is wrong when clean."""
    found = assembled(pairs_of_target(both()))
    (pair,) = found.pairs.to_dict("records")
    assert (pair["protocol"], pair["beyond"], pair["eps"]) == ("digits/new", "digits/old", 0.2)
    assert (pair["variants"], pair["variants_beyond"], pair["n"]) == (4, 2, 8)
    assert (pair["correct"], pair["correct_beyond"], pair["correct_both"]) == (1, 4, 1)
    assert (pair["only"], pair["only_beyond"]) == (3, 0)
    order = found.variants[["attack", "loss", "order", "adds", "left"]].to_numpy().tolist()
    assert order == [["bsr", "cw", 1, 3, 1]]
    assert found.attacks[["attack", "order", "adds", "left", "n", "targets"]].to_numpy().tolist() == [
        ["bsr", 1, 3, 1, 8, 1]
    ]


def test_accuracies_are_those_of_the_protocols():
    rows = both()
    rates = derive.accuracies(rows).set_index(["protocol", "eps"])["correct"]
    (pair,) = assembled(pairs_of_target(rows)).pairs.to_dict("records")
    assert (pair["correct"], pair["correct_beyond"]) == (rates["digits/new", 0.2], rates["digits/old", 0.2])


def test_attacks_are_ordered_over_all_targets():
    """Alone bsr adds three images of the first target; svre adds those of the second, which nothing else breaks."""
    second = suites(
        ("digits/new", {("svre", "cw", 0): "xxxxxxxx", ("bsr", "cw", 0): "........", ("sia", "cw", 0): "x......."}, {}),
        ("digits/old", {("pgd", "cw", 0): "........"}, {}),
        ensemble="digits/b-3",
    )
    found = assembled([*pairs_of_target(both()), *pairs_of_target(second)])
    assert found.attacks[["attack", "adds", "left"]].to_numpy().tolist() == [["svre", 8, 3], ["bsr", 2, 1]]
    assert found.attacks[["n", "targets"]].drop_duplicates().to_numpy().tolist() == [[16, 2]]
    assert found.pairs["ensemble"].tolist() == ["digits/a-3", "digits/b-3"]
    said = sentence(found, ("digits", "digits/new", "digits/old", 0.2))
    assert said == (
        "Of 11 images of 2 targets that withstand digits/old at eps 0.2, digits/new breaks 10; in greedy order, its "
        "attacks add svre (+8) and bsr (+2)."
    )


@pytest.mark.parametrize(
    ("changes", "pairs"),
    [
        ({}, [("digits/new", "digits/old")]),
        ({"kind": "whitebox"}, []),
        ({"target_member": 0}, []),
        ({"aggregation": "majority_vote"}, []),
    ],
)
def test_only_suites_of_one_aggregation_are_compared(changes, pairs):
    rows = suites(("digits/new", NEW, {}), ("digits/old", OLD, changes))
    found = assembled(pairs_of_target(rows)).pairs
    assert list(found[["protocol", "beyond"]].itertuples(index=False, name=None)) == pairs


def test_each_suite_is_compared_with_the_next_smaller_one():
    third = {("pgd", "cw", restart): "x......." for restart in range(3)}
    rows = suites(("digits/c", OLD, {}), ("digits/b", NEW, {}), ("digits/a", third, {}))
    found = assembled(pairs_of_target(rows)).pairs
    assert found[["protocol", "beyond"]].to_numpy().tolist() == [["digits/a", "digits/c"], ["digits/b", "digits/a"]]
    assert found["only"].tolist() == [0, 5]
    assert found["only_beyond"].tolist() == [2, 0]


def test_images_and_eps_must_be_shared():
    new = suites(("digits/new", NEW, {}))
    old = suites(("digits/old", OLD, {}))
    shared = pd.concat([new[new["image"] < 5], old[old["image"] > 1]])
    (pair,) = assembled(pairs_of_target(shared)).pairs.to_dict("records")
    assert (pair["n"], pair["correct_beyond"], pair["only"]) == (3, 1, 1)
    assert not pairs_of_target(pd.concat([new[new["image"] < 3], old[old["image"] > 3]]))
    assert not pairs_of_target(pd.concat([new, old.replace({"eps": {0.2: 0.1}})]))


def test_a_suite_that_breaks_nothing_more_has_no_order():
    found = assembled(
        pairs_of_target(suites(("digits/new", {**OLD, ("pgd", "cw", 1): "x......."}, {}), ("digits/old", OLD, {})))
    )
    assert found.variants.empty
    assert found.attacks.empty
    assert sentence(found, ("digits", "digits/new", "digits/old", 0.2)).endswith("digits/new breaks 0.")


def test_answers_at_random_count_by_how_likely_they_are_right():
    """One image, right with 0.75 when clean and 0.5 under the old suite: the new one leaves 0.125, by two variants."""
    new = {("sia", "cw", 0): "xx......", ("bsr", "cw", 0): "x.x....."}
    rows = suites(("digits/new", {**new, ("tim", "cw", 0): "x......."}, {}), ("digits/old", OLD, {}))
    rows = rows[rows["image"] == 0]
    chances = {"clean": 0.75, "pgd": 0.5, "sgm": 1.0, "sia": 0.375, "bsr": 0.125, "tim": 0.625}
    found = assembled(pairs_of_target(rows.assign(correct=rows["attack"].map(chances))))
    (pair,) = found.pairs.to_dict("records")
    assert (pair["correct"], pair["correct_beyond"], pair["only"], pair["only_beyond"]) == (0.125, 0.5, 0.375, 0)
    assert found.variants[["attack", "adds", "left"]].to_numpy().tolist() == [["bsr", 0.375, 0.125]]
    assert beyond_table(found.pairs)["Only it breaks"].tolist() == ["0.4"]


def test_attempts_that_were_not_made_are_refused():
    with pytest.raises(UserError, match="gaps"):
        pairs_of_target(both().iloc[1:-1])


def test_tables():
    found = assembled(pairs_of_target(both()))
    table = beyond_table(found.pairs)
    assert table.columns.tolist() == COLUMNS
    assert table.to_numpy().tolist() == [
        ["digits/a-3", "0", "digits/new", "digits/old", "0.2", "8", "12.5%", "50.0%", "12.5%", "3", "0"]
    ]
    sick = beyond_table(found.pairs, lambda protocol: {"digits/a-3"} if protocol == "digits/old" else set())
    marked = [name for name in COLUMNS if sick.loc[0, name] != table.loc[0, name]]
    assert marked == ["Under the other", "Under both", "Only it breaks", "Only the other"]
    assert variants_table(found.variants).to_numpy().tolist() == [
        ["digits/a-3", "0", "1", "digits/s-3#1000", "bsr", "cw", "0", "3", "1"]
    ]


def test_the_table_that_is_open_has_the_largest_suite_and_few_rows(files):
    """Of twenty targets under three suites; all of them stand in a table below."""
    three = suites(("digits/c", OLD, {}), ("digits/b", NEW, {}), ("digits/a", {("pgd", "cw", 0): "x......."}, {}))
    found = assembled(pair for number in range(20) for pair in pairs_of_target(three.assign(ensemble=f"e-{number}")))
    (section,) = beyond_sections(context_of(replace(collect(files), beyond=found)))
    said, opened, every, *order = section.blocks
    assert len(said.items) == 1
    assert set(opened.frame["Protocol"]) == {"digits/b"}
    assert (len(opened.frame), opened.collapsed) == (OPEN_ROWS, False)
    assert (len(every.frame), every.collapsed) == (40, True)
    assert [table.collapsed for table in order] == [True, True]


def test_the_section_of_a_report(files):
    """Of two protocols of one size, as the same outcomes under another name are; none of one protocol alone."""
    suite = [file for file in files if file.provenance["protocol"]["kind"] == "blackbox"]
    again = [
        replace(file, provenance=file.provenance | {"protocol": file.provenance["protocol"] | {"label": "digits/x"}})
        for file in suite
    ]
    assert beyond_sections(context_of(collect(suite))) == []
    collection = collect([*suite, *again])
    (section,) = beyond_sections(context_of(collection))
    assert [type(block).__name__ for block in section.blocks] == ["Bullets", "Table"]
    assert section.blocks[1].frame["Only it breaks"].tolist() == ["0"] * len(suite)
    survivors = derive.accuracies(gather(suite))
    at = survivors[survivors["eps"] == collection.beyond.pairs["eps"].iloc[0]]
    assert sorted(at["correct"]) == sorted(beyond([*suite, *again]).pairs["correct_both"])
