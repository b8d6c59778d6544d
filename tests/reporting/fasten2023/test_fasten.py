"""The section with the FASTEN paper's numbers, on made-up outcomes that are relabelled as CIFAR-10's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from robustbench_ens.config.chosen_on import WORDS
from robustbench_ens.config.protocols import STANDARD_AUTOATTACK
from robustbench_ens.core.text import NBSP
from robustbench_ens.outcomes import OutcomeFile, read_outcomes
from robustbench_ens.reporting.collect import collect
from robustbench_ens.reporting.context import Context, context_of
from robustbench_ens.reporting.document import Paragraph, Section, Table
from robustbench_ens.reporting.exports.latex_tables import papers
from robustbench_ens.reporting.fasten2023 import sections
from robustbench_ens.reporting.fasten2023.cost import COLUMNS, Training, cost_table, trainings
from robustbench_ens.reporting.fasten2023.differences import PAPER, fasten_differences
from robustbench_ens.reporting.fasten2023.orderings import CLAIMS, fasten_orderings
from robustbench_ens.reporting.fasten2023.subjects import BLACKBOX_EPS, METHODS, SOURCE, SUB_MODELS, asks
from robustbench_ens.reporting.pages import pages
from robustbench_ens.reporting.papers.orderings import FAILS, HOLDS, SIGNIFICANT
from robustbench_ens.reporting.papers.reference import reference
from tests.fake_outcomes import ensemble_record, write_fake_outcomes
from tests.reporting.test_tables import plain

LABELS = ("cifar10/baseline-3", "cifar10/dverge-3", "cifar10/fasten-3", "cifar10/trs-3")
KEPT = {"fasten": 0.7, "trs": 0.3, "dverge": 0.28, "baseline": 0.0}
"""Accuracy at eps 0.03; half as much is lost at 0.01."""


def accuracy(label: str, kind: str, eps: float, seed: int) -> float:
    left = KEPT[label.partition("/")[2].partition("-")[0]]
    return {0.0: 0.9, 0.01: (0.9 + left) / 2, 0.03: left}[eps]


def as_cifar(
    file: OutcomeFile, dataset: str = "cifar10", attacks: tuple[str, ...] = STANDARD_AUTOATTACK
) -> OutcomeFile:
    """The same outcomes, of an ensemble on ``dataset``; white-box ones become AutoAttack's."""
    document = file.provenance
    method = document["target"]["label"].partition("/")[2].partition("-")[0]
    start = {} if method in ("baseline", "trs") else {"init_from": "cifar10/baseline-3"}
    resolved = document["target"]["resolved"] | {"dataset": dataset} | start
    target = document["target"] | {"dataset": dataset, "method": method, "resolved": resolved}
    protocol = document["protocol"]
    if protocol["kind"] == "whitebox":
        name = f"{dataset}/autoattack"
        own = protocol["resolved"] | {"kind": "autoattack", "attacks": list(attacks)}
        protocol = protocol | {"kind": "autoattack", "name": name, "label": name, "resolved": own}
    return dataclasses.replace(file, provenance=document | {"target": target, "protocol": protocol})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[OutcomeFile]:
    root = tmp_path_factory.mktemp("fasten")
    paths = write_fake_outcomes(
        root, labels=LABELS, eps=(0.01, 0.03), images=200, accuracy=accuracy, kinds=("whitebox", "blackbox")
    )
    return [read_outcomes(path) for path in paths]


@pytest.fixture(scope="module")
def cifar(written: list[OutcomeFile]) -> Context:
    return context_of(collect([as_cifar(file) for file in written]))


def tables(context: Context) -> dict[str, pd.DataFrame]:
    (section,) = sections(context)
    return {
        block.caption.partition(",")[0].partition("?")[0]: plain(block.frame)
        for block in section.blocks
        if isinstance(block, Table)
    }


def test_the_papers_numbers() -> None:
    printed = reference("fasten2023", "autoattack").pivot(index="method", columns="eps", values="accuracy_percent")
    assert printed.loc["FASTEN"].tolist() == [61.4, 26.5, 8.8]
    assert printed.loc["TRS"].tolist() == [39.4, 15.0, 5.5]
    assert printed.loc["DVERGE"].tolist() == [37.3, 10.7, 1.9]
    assert {*printed.index} == {*METHODS.values()}
    blackbox = reference("fasten2023", "blackbox")
    assert blackbox["read_off"].all() and {*blackbox["eps"]} == {BLACKBOX_EPS} and {*blackbox["sub_models"]} == {3}


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_orderings_are_those_of_the_papers_numbers(claim: Any) -> None:
    printed = reference("fasten2023", claim.kind)
    for _, at_eps in printed.groupby("eps"):
        numbers = at_eps.set_index("method")["accuracy_percent"]
        assert numbers[claim.ahead] > max(numbers[list(claim.others)])


def test_autoattack_stands_above_the_papers_rows(cifar: Context) -> None:
    table = tables(cifar)["Accuracy under AutoAttack"]
    assert table["Method"].tolist() == ["DVERGE", "DVERGE", "TRS", "TRS", "FASTEN", "FASTEN"]
    assert table["Source"].tolist()[4:] == ["cifar10/fasten-3, 400 steps on cifar10, n = 200", SOURCE]
    assert table.iloc[5].tolist()[3:] == ["", "61.4%", "26.5%", "8.8%"]
    ours = table.iloc[4]
    assert ours["0.03"].startswith("70.0% [63.3,") and ours["0.02"] == "" and ours["clean"].startswith("90.0%")


def test_blackbox_is_shown_at_one_eps_and_says_about(cifar: Context) -> None:
    table = tables(cifar)["Accuracy under black-box transfer from hold-out baselines at eps 0.03"]
    assert list(table.columns)[3:] == ["clean", "0.03"]
    assert table.set_index(["Method", "Source"])["0.03"].to_dict() == {
        ("DVERGE", "cifar10/dverge-3, 400 steps on cifar10, n = 200"): "28.0% [22.2, 34.6]",
        ("DVERGE", SOURCE): "about 47%",
        ("TRS", "cifar10/trs-3, 400 steps on cifar10, n = 200"): "30.0% [24.1, 36.7]",
        ("FASTEN", "cifar10/fasten-3, 400 steps on cifar10, n = 200"): "70.0% [63.3, 75.9]",
        ("FASTEN", SOURCE): "about 70%",
    }


def test_orderings_at_each_eps_of_the_paper(cifar: Context) -> None:
    table = tables(cifar)["Do the paper's orderings hold"]
    told = [(row["In the paper"], row["eps"], row["Verdict"]) for row in table.to_dict("records")]
    first, second, third = (claim.text for claim in CLAIMS)
    assert told == [
        *((first, eps, SIGNIFICANT) for eps in ("0.01", "0.03")),
        *((second, eps, HOLDS) for eps in ("0.01", "0.03")),
        (third, "0.03", SIGNIFICANT),
    ]
    assert table["Of"].tolist() == ["TRS, DVERGE"] * 2 + ["DVERGE"] * 3
    assert table["Nearest other"].iloc[0].startswith("cifar10/trs-3 60.0%")


SUBJECTS = pd.DataFrame(
    [
        {"ensemble": f"x/{name}-3", "method": method, "sub_models": SUB_MODELS, "dataset": "x", "folder": "x"}
        for name, method in METHODS.items()
    ]
)


def rate(name: str, value: float, kind: str = "autoattack", eps: float = 0.01) -> dict[str, Any]:
    own = {"dataset": "x", "protocol": f"x/{kind}", "kind": kind, "ensemble": f"x/{name}-3", "seed": 0, "method": ""}
    return own | {"sub_models": 3, "n": 9, "eps": eps, "accuracy": value, "low": value - 0.05, "high": value + 0.05}


def test_an_ordering_that_does_not_hold() -> None:
    rates = pd.DataFrame(
        [rate("fasten", 0.31), rate("dverge", 0.1), rate("trs", 0.33), rate("dverge", 0.2, "blackbox")]
    )
    table = fasten_orderings(rates, SUBJECTS)
    assert table["Verdict"].tolist() == [FAILS, SIGNIFICANT]
    assert table["Nearest other"].tolist()[0].startswith("x/trs-3 33.0%")


@pytest.mark.parametrize(
    ("kind", "attacks", "sources", "answer"),
    [
        ("autoattack", STANDARD_AUTOATTACK, ["fasten"], "autoattack"),
        ("autoattack", STANDARD_AUTOATTACK[:2], ["fasten"], None),
        ("blackbox", (), ["baseline", "baseline"], "blackbox"),
        ("blackbox", (), ["fasten"], None),
        ("whitebox", (), ["fasten"], None),
    ],
)
def test_what_asks_the_same(kind: str, attacks: tuple[str, ...], sources: list[str], answer: str | None) -> None:
    protocol = {"kind": kind, "resolved": {"attacks": list(attacks)} if attacks else {}}
    assert asks({"protocol": protocol, "sources": [{"method": name} for name in sources]}) == answer


def only(files: list[OutcomeFile], *methods: str, kind: str = "whitebox") -> list[OutcomeFile]:
    """The outcomes of one kind of these methods, as they were written."""
    named = [file for file in files if file.provenance["protocol"]["kind"] == kind]
    return [file for file in named if file.provenance["target"]["label"][8:-2] in methods]


Choose = Callable[[list[OutcomeFile]], list[OutcomeFile]]


@pytest.mark.parametrize(
    ("choose", "there"),
    [
        (lambda files: [as_cifar(file) for file in only(files, "fasten")], True),
        (lambda files: [as_cifar(file) for file in only(files, "fasten", kind="blackbox")], True),
        (lambda files: [as_cifar(file) for file in only(files, "dverge")], True),
        (lambda files: [as_cifar(file, "cifar10-jpeg") for file in only(files, "trs")], True),
        (lambda files: [as_cifar(file, "cifar100") for file in only(files, "trs", "dverge")], False),
        (lambda files: [as_cifar(file, attacks=("apgd-ce",)) for file in only(files, "dverge")], False),
        (lambda files: [as_cifar(file) for file in only(files, "dverge", kind="blackbox")], False),
        (lambda files: [as_cifar(file) for file in only(files, "baseline")], False),
    ],
)
def test_when_the_section_is_there(written: list[OutcomeFile], choose: Choose, there: bool) -> None:
    assert bool(sections(context_of(collect(choose(written))))) is there


def test_the_paper_has_rows_of_methods_that_are_not_ours(written: list[OutcomeFile]) -> None:
    table = tables(context_of(collect([as_cifar(file) for file in only(written, "fasten")])))[
        "Accuracy under AutoAttack"
    ]
    assert table["Source"].tolist() == [SOURCE, SOURCE, "cifar10/fasten-3, 400 steps on cifar10, n = 200", SOURCE]


def test_other_data_have_orderings_alone(written: list[OutcomeFile]) -> None:
    context = context_of(collect([as_cifar(file, "shells") for file in written]))
    (section,) = sections(context)
    assert isinstance(section.blocks[0], Paragraph) and "no numbers on this data" in section.blocks[0].text
    assert list(tables(context)) == [
        "Do the paper's orderings hold",
        "Training time of FASTEN divided by that of another method",
    ]
    assert "paper" not in tables(context)["Training time of FASTEN divided by that of another method"].to_string()
    names = {table.name for table in papers(context)}
    assert "fasten-accuracy-under-autoattack-shells" in names
    assert not any(SOURCE in table.frame.to_string() for table in papers(context) if table.name.startswith("fasten"))


def test_the_page_is_one_of_the_report(cifar: Context) -> None:
    page = next(page for page in pages(cifar, "Report") if page.path == "details/fasten")
    assert isinstance(page.sections[0], Section) and page.title == "Beside the FASTEN paper"


def test_the_tables_of_a_paper_have_names_of_their_own(cifar: Context) -> None:
    names = [table.name for table in papers(cifar)]
    assert len({*names}) == len(names)
    assert [name for name in names if name.startswith("fasten")][2] == "fasten-accuracy-under-autoattack-cifar10"


def record(label: str, seconds: float, seed: int = 0, **training: Any) -> dict[str, Any]:
    own = ensemble_record(label, seed)
    return own | {"training": own["training"] | {"wall_time_s": seconds, "steps": 100, **training}}


def test_training_times_are_compared_on_the_same_hardware_alone() -> None:
    found = trainings(
        [
            record("x/fasten-3", 100.0),
            record("x/fasten-3", 100.0),  # the same weights under another protocol
            record("x/fasten-3", 300.0, seed=1),
            record("x/dverge-3", 800.0, steps=200),
            record("y/dverge-3", 800.0, threads=2),
            record("x/dverge-5", 800.0),
            record("x/advt-3", 800.0),
            record("x/trs-3", 800.0) | {"training": None},
        ]
    )
    assert [(one.text.partition(":")[0], one.seconds) for one in found] == [
        ("x/dverge-3", (800.0,)),
        ("x/dverge-5", (800.0,)),
        ("x/fasten-3", (100.0, 300.0)),
        ("y/dverge-3", (800.0,)),
    ]
    ours, claim = cost_table(found, reference("fasten2023", "training_speed")).to_dict("records")
    assert [ours[name].replace(NBSP, " ") for name in ("FASTEN", "The other")] == [
        "x/fasten-3: 100 steps of 128, fp32 in 3 min 20 s, mean of 2 seeds",
        "x/dverge-3: 200 steps of 128, fp32 in 13 min 20 s",
    ]
    assert [ours[name] for name in COLUMNS[-3:]] == ["Example CPU, 1 thread", "0.25", "0.50"]
    assert list(claim.values()) == ["DVERGE", "5", "FASTEN paper, as claimed", "", "", "0.14 (1/7)", ""]


def test_steps_of_other_sizes_are_not_compared() -> None:
    one = Training("FASTEN", 3, "a", "GPU", 128, 100, (10.0,))
    others = [
        dataclasses.replace(one, method="TRS", batch_size=64),
        dataclasses.replace(one, method="DVERGE", hardware=""),
    ]
    (row,) = cost_table([one, *others], reference("fasten2023", "training_speed").iloc[:0]).to_dict("records")
    assert (row["Other method"], row["Time, FASTEN / other"], row["Time of one step"]) == ("TRS", "1.00", "")


def document(label: str, kind: str, **hyperparameters: Any) -> dict[str, Any]:
    target = ensemble_record(label, 0) | {"dataset": "cifar10-x"}
    start = {"init_from": "x/baseline-3", "hyperparameters": hyperparameters} if "fasten" in label else {}
    target["resolved"] = {"dataset": "cifar10-x"} | start
    settings: dict[str, Any] = {"images": 200, "steps": 100, "eps": [0.01, 0.03], "seed": 0}
    if kind == "autoattack":
        settings["attacks"] = list(STANDARD_AUTOATTACK)
    else:
        variants = [{"attack": "sgm", "losses": ["cw"], "restarts": 2}]
        settings |= {"step_size": "eps/5", "precision": "bf16", "surrogates": [{}, {}], "variants": variants}
    protocol = {"kind": kind, "label": f"a/{kind}", "name": f"a/{kind}", "version": 1, "resolved": settings}
    sources = [ensemble_record("s/baseline-3", 1000)] if kind == "blackbox" else [target]
    return {"protocol": protocol, "target": target, "sources": sources}


def test_what_differs() -> None:
    own = [
        document("x/dverge-3", "autoattack"),
        document(
            "x/fasten-3", "blackbox", eps=0.08, layer="step", beta=1.5, clean_weight=1.0, distill_batch_norm="running"
        ),
        document("y/fasten-3", "autoattack", as_released=True),
    ]
    table = fasten_differences(own, "cifar10-x")
    assert table["What"].tolist() == [what for what in PAPER if what != "Settings chosen on"]
    assert table["FASTEN paper"].tolist() == [PAPER[what] for what in table["What"]]
    here = dict(zip(table["What"], table["Here"], strict=True))
    assert here["Attacked images"] == "200 test images of cifar10-x"
    assert here["Distillation"] == (
        "x/dverge-3: eps 0.07, 10 steps of eps/10, another layer every epoch; "
        "y/fasten-3: eps 0.06, 1 step, another layer every epoch, as released; "
        "x/fasten-3: eps 0.08, 1 step, another layer every step"
    )
    assert here["FASTEN's loss"] == (
        "y/fasten-3: beta 3, diversity 0.05, clean_weight 0; x/fasten-3: beta 1.5, diversity 0.05, clean_weight 1"
    )
    assert here["FASTEN's form"] == (
        "y/fasten-3: as released, distill_batch_norm batch_and_update; "
        "x/fasten-3: as described, distill_batch_norm running"
    )
    assert here["AutoAttack"] == "eps 0.01 to 0.03, 100 steps, apgd-ce, apgd-t, fab-t and square"
    assert here["Black-box"] == "eps 0.01 to 0.03, 100 steps of eps/5, surrogates: 2, variants: 4; bf16"


def test_what_settings_were_chosen_on_is_told_where_it_is_known() -> None:
    one = document("x/fasten-3", "autoattack")
    one["target"]["settings_chosen_on"] = {"recipe": "selection"}
    row = fasten_differences([one], "cifar10-x").set_index("What").loc["Settings chosen on"]
    assert row.tolist() == ["not known", f"x/fasten-3: {WORDS['selection']}"]


def test_what_the_paper_did_is_what_its_recipe_does() -> None:
    """The released settings are the defaults, under which the recipe of the paper's schedule trains."""
    (row,) = (
        fasten_differences([document("x/fasten-3", "autoattack", eps=0.06)], "cifar10-x")
        .query('What == "FASTEN\'s loss"')
        .to_dict("records")
    )
    assert row["Here"].endswith(PAPER["FASTEN's loss"].removesuffix(" (released code)"))


def test_nothing_is_said_of_what_was_not_evaluated() -> None:
    assert fasten_differences([], "cifar10-x").empty
    imported = document("x/fasten-3", "autoattack")
    imported["target"]["training"] = None
    found = fasten_differences([imported], "cifar10-x")["What"].tolist()
    assert found == ["Training images", "Attacked images", "Training", "Training seeds", "AutoAttack"]
    assert fasten_differences([document("x/baseline-3", "autoattack")], "cifar10-x").empty
