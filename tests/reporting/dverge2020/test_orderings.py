"""The paper's orderings, judged on rates by hand."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pandas as pd
import pytest

from robustbench_ens.analysis.compare import Answers
from robustbench_ens.analysis.health import MARK
from robustbench_ens.reporting.dverge2020.orderings import CLEAN, HIGHEST, LOWEST, paper_orderings
from robustbench_ens.reporting.papers.orderings import FAILS, HOLDS, LEVEL, REVERSED, SIGNIFICANT

SUBJECTS = pd.DataFrame(
    [
        {"ensemble": f"x/{method.lower()}-{size}", "method": method, "sub_models": size, "dataset": "x", "folder": "x"}
        for method in ("DVERGE", "ADP", "GAL", "baseline", "AdvT")
        for size in (3, 5)
    ]
)


def rate(method: str, value: float, kind: str = "whitebox", eps: float = 0.01, size: int = 3, seed: int = 0) -> dict:
    name = "rate" if kind == "transferability" else "accuracy"
    own = {"dataset": "x", "protocol": f"x/{kind}", "kind": kind, "ensemble": f"x/{method.lower()}-{size}"}
    own |= {"seed": seed, "method": "", "sub_models": size, "n": 100, "eps": eps}
    return own | {name: value, "low": value - 0.05, "high": value + 0.05}


def orderings(*rows: dict, unhealthy: Collection[tuple[str, str]] = ()) -> pd.DataFrame:
    transfer = pd.DataFrame([row for row in rows if "rate" in row])
    return paper_orderings(pd.DataFrame([row for row in rows if "accuracy" in row]), transfer, SUBJECTS, unhealthy)


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [(0.5, SIGNIFICANT), (0.39, HOLDS), (0.3, LEVEL), (0.21, FAILS), (0.1, REVERSED)],
)
def test_accuracy_is_set_beside_the_best_other(ours: float, verdict: str) -> None:
    table = orderings(rate("DVERGE", ours), rate("ADP", 0.2), rate("baseline", 0.3), rate("AdvT", 0.9))
    (row,) = table.to_dict("records")
    assert (row["In the paper"], row["eps"], row["Verdict"]) == (HIGHEST["whitebox"], "0.01", verdict)
    assert row["Nearest other"].startswith("x/baseline-3 30.0%")
    assert row["Of"] == "ADP, baseline"


@pytest.mark.parametrize(
    ("ours", "verdict"), [(0.05, SIGNIFICANT), (0.25, HOLDS), (0.3, LEVEL), (0.39, FAILS), (0.6, REVERSED)]
)
def test_transferability_is_better_lower(ours: float, verdict: str) -> None:
    kind = "transferability"
    (row,) = orderings(rate("DVERGE", ours, kind), rate("GAL", 0.3, kind), rate("ADP", 0.8, kind)).to_dict("records")
    assert (row["In the paper"], row["Verdict"]) == (LOWEST, verdict)
    assert row["Nearest other"].startswith("x/gal-3 30.0%")


def test_sizes_protocols_and_eps_are_not_mixed() -> None:
    rows = [
        rate(method, value, eps=eps, size=size)
        for method, value in (("DVERGE", 0.6), ("ADP", 0.2))
        for eps in (0.01, 0.02)
        for size in (3, 5)
    ]
    table = orderings(*rows, rate("DVERGE", 0.6, eps=0.03), rate("GAL", 0.9, kind="blackbox"))
    assert len(table) == 4 and set(table["Verdict"]) == {SIGNIFICANT}


def test_the_worst_pair_of_seeds_counts() -> None:
    rows = [rate("DVERGE", 0.5), rate("DVERGE", 0.3, seed=1), rate("ADP", 0.1), rate("ADP", 0.3, seed=1)]
    (row,) = orderings(*rows).to_dict("records")
    assert row["Verdict"] == HOLDS and row["DVERGE"].startswith("x/dverge-3 40.0% [25.0,")


def test_clean_accuracy_is_a_difference_from_the_baseline() -> None:
    table = orderings(rate("DVERGE", 0.9, eps=0.0), rate("baseline", 0.93, eps=0.0), rate("ADP", 0.95, eps=0.0))
    (row,) = table.to_dict("records")
    assert (row["In the paper"], row["eps"]) == (CLEAN, "clean")
    assert row["Verdict"] == "\N{MINUS SIGN}3.0 points" and row["Nearest other"].startswith("x/baseline-3")


def test_nothing_to_compare() -> None:
    assert orderings(rate("DVERGE", 0.5), rate("AdvT", 0.9)).empty
    assert orderings(rate("ADP", 0.5), rate("baseline", 0.9)).empty


def test_clean_accuracies_are_of_one_protocol() -> None:
    rows = [rate("DVERGE", 0.9, eps=0.0), rate("baseline", 0.93, eps=0.0)]
    larger = [row | {"protocol": "x/larger", "n": 1000, "accuracy": row["accuracy"] - 0.1} for row in rows]
    only_one = [rate("DVERGE", 0.5, eps=0.0) | {"protocol": "x/largest", "n": 2000}]
    (row,) = orderings(*rows, *larger, *only_one).to_dict("records")
    assert row["Protocol"] == "x/larger" and row["DVERGE"].startswith("x/dverge-3 80.0%")


def test_other_schedules_are_not_set_beside() -> None:
    short = SUBJECTS.assign(ensemble=SUBJECTS["ensemble"].str.replace("x/", "short/"), folder="short")
    rows = [rate("DVERGE", 0.5) | {"ensemble": "short/dverge-3"}, rate("ADP", 0.2)]
    assert paper_orderings(pd.DataFrame(rows), pd.DataFrame(), pd.concat([SUBJECTS, short])).empty


@pytest.mark.parametrize("sick", ["x/dverge-3", "x/adp-3"])
def test_what_rests_on_an_unhealthy_attack_is_marked(sick: str) -> None:
    rows = [rate("DVERGE", 0.5), rate("ADP", 0.2)]
    (row,) = orderings(*rows, unhealthy={("x/whitebox", sick), ("x/blackbox", "x/adp-3")}).to_dict("records")
    assert row["Verdict"] == SIGNIFICANT + MARK
    assert [row[column].endswith(MARK) for column in ("DVERGE", "Nearest other")] == [
        sick == "x/dverge-3",
        sick == "x/adp-3",
    ]


@pytest.mark.parametrize(("scatter", "verdict"), [(0.001, SIGNIFICANT), (0.2, HOLDS)])
def test_seeds_must_agree(scatter: float, verdict: str) -> None:
    """Intervals apart in every pair of seeds; whether the seeds scatter little enough decides."""
    rows = [rate("DVERGE", value, seed=seed) for seed, value in enumerate((0.7 - scatter, 0.7, 0.7 + scatter))]
    rows += [rate("ADP", value, seed=seed) for seed, value in enumerate((0.3, 0.3001, 0.3002))]
    (row,) = orderings(*rows).to_dict("records")
    assert row["Verdict"] == verdict


def test_many_rows_are_many_tests() -> None:
    def both(eps: float, values: tuple[float, ...]) -> list[dict]:
        ours = [rate("DVERGE", value, seed=seed, eps=eps) for seed, value in enumerate(values)]
        return ours + [rate("ADP", 0.1, seed=seed, eps=eps) for seed in range(len(values))]

    alone = both(0.01, (0.6, 0.7, 0.9))
    (row,) = orderings(*alone).to_dict("records")
    assert row["Verdict"] == SIGNIFICANT
    several = [row for eps in (0.01, 0.02, 0.03, 0.04) for row in both(eps, (0.6, 0.7, 0.9))]
    assert set(orderings(*several)["Verdict"]) == {HOLDS}


def kept(method: str, right: range, of: int = 100, **facts: int) -> Answers:
    """The answers of an ensemble that gets the images in ``right`` right."""
    correct = pd.Series([image in right for image in range(of)])
    return Answers("x", "x/whitebox", f"x/{method}-3", facts.get("seed", 0), 0.01, frozenset(["x/whitebox"]), correct)


@pytest.mark.parametrize(
    ("ours", "other", "verdict"),
    [
        (range(36), range(30), SIGNIFICANT),  # six images against none: p = 2 / 2^6
        (range(35), range(30), HOLDS),  # five against none: p = 2 / 2^5
        (range(36), range(70, 100), HOLDS),  # 36 images against 30 others
        (range(30), range(36), REVERSED),
        (range(30), range(35), FAILS),
    ],
)
def test_shared_images_are_paired(ours: range, other: range, verdict: str) -> None:
    rows = [rate("DVERGE", len(ours) / 100), rate("ADP", len(other) / 100)]
    assert paired(rows, [kept("dverge", ours), kept("adp", other)]) == [verdict]


def paired(rows: list[dict], answers: list[Answers], **facts: set[tuple[str, str]]) -> list[str]:
    return paper_orderings(pd.DataFrame(rows), pd.DataFrame(), SUBJECTS, answers=answers, **facts)["Verdict"].tolist()


@pytest.mark.parametrize("seeds", [(1,), (0, 1)])
def test_other_seeds_are_not_paired(seeds: tuple[int, ...]) -> None:
    """Where only some seeds are shared, the pairs of one seed do not decide about all."""
    rows = [rate("DVERGE", 0.36), *(rate("ADP", 0.3, seed=seed) for seed in seeds)]
    answers = [kept("dverge", range(36)), *(kept("adp", range(30), seed=seed) for seed in seeds)]
    assert paired(rows, answers) == [HOLDS]


def test_a_lead_must_stand_against_every_other() -> None:
    """36 against 30 of the same images tells apart from ADP; 36 against 29 other images does not from GAL."""
    rows = [rate("DVERGE", 0.36), rate("ADP", 0.3), rate("GAL", 0.29)]
    answers = [kept("dverge", range(36)), kept("adp", range(30))]
    assert paired(rows, [*answers, kept("gal", range(71, 100))]) == [HOLDS]
    assert paired(rows, [*answers, kept("gal", range(29))]) == [SIGNIFICANT]


def test_the_best_of_several_is_a_choice() -> None:
    rows = [rate("DVERGE", 0.3), rate("ADP", 0.36), rate("GAL", 0.2)]
    answers = [kept("dverge", range(30)), kept("adp", range(36)), kept("gal", range(20))]
    assert paired(rows[:2], answers) == [REVERSED]  # p = 2 / 2^6
    assert paired(rows, answers) == [FAILS]  # twice as much
    answers[1] = kept("adp", range(37))
    assert paired(rows, answers) == [REVERSED]  # twice 2 / 2^7


def test_seeds_are_paired_with_seeds() -> None:
    def both(*ours: range) -> list[str]:
        rows = [rate("DVERGE", len(right) / 100, seed=seed) for seed, right in enumerate(ours)]
        answers = [kept("dverge", right, seed=seed) for seed, right in enumerate(ours)]
        rows += [rate("ADP", 0.3, seed=seed) for seed in range(len(ours))]
        return paired(rows, answers + [kept("adp", range(30), seed=seed) for seed in range(len(ours))])

    assert both(range(38), range(39), range(40)) == [SIGNIFICANT]
    assert both(range(38), range(29), range(90)) == [HOLDS]  # one seed disagrees


def test_paired_rows_are_many_tests_and_are_marked() -> None:
    rows = [rate(method, value, eps=eps) for eps in (0.01, 0.02) for method, value in (("DVERGE", 0.36), ("ADP", 0.3))]
    answers = [kept("dverge", range(36)), kept("adp", range(30))]
    several = [replace(own, eps=eps) for own in answers for eps in (0.01, 0.02)]
    assert paired(rows[:2], answers, unhealthy={("x/whitebox", "x/adp-3")}) == [SIGNIFICANT + MARK]
    assert paired(rows, several) == [HOLDS, HOLDS]  # 2 * 2 / 2^6
