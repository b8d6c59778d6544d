"""The section with the paper's tables, on made-up outcomes that are relabelled as CIFAR-10's."""

from __future__ import annotations

import dataclasses
from functools import partial

import pandas as pd
import pytest

from robustbench_ens.config.lookup import names
from robustbench_ens.outcomes import gather_measurements, read_outcomes
from robustbench_ens.reporting.collect import collect
from robustbench_ens.reporting.context import context_of
from robustbench_ens.reporting.document import Figures, Listing, Table
from robustbench_ens.reporting.dverge2020 import sections
from robustbench_ens.reporting.dverge2020.ablation import training_eps
from robustbench_ens.reporting.dverge2020.commands import SHOWN, commands
from robustbench_ens.reporting.dverge2020.convergence import with_paper_convergence
from robustbench_ens.reporting.dverge2020.measured import with_paper_distillation
from robustbench_ens.reporting.dverge2020.monitored import WINDOW, monitored, rolling
from robustbench_ens.reporting.dverge2020.orderings import paper_orderings
from robustbench_ens.reporting.dverge2020.reference import PAPER, PAPER_BLACKBOX
from robustbench_ens.reporting.dverge2020.subjects import DVERGE
from robustbench_ens.reporting.dverge2020.time import paper_time
from robustbench_ens.reporting.dverge2020.training_eps import training_eps_curve
from robustbench_ens.reporting.dverge2020.transfer import paper_transfer
from robustbench_ens.reporting.papers.accuracy import paper_accuracy
from robustbench_ens.reporting.papers.reference import of_family
from robustbench_ens.reporting.papers.reference import reference as reference_of
from robustbench_ens.reporting.papers.subjects import questions_of, subjects_of
from robustbench_ens.reporting.scene import Circle, Line, Shape
from robustbench_ens.reporting.style import looks
from tests.fake_outcomes import write_fake_outcomes
from tests.reporting.conftest import rates
from tests.reporting.drawings import marks, texts, tips
from tests.reporting.test_measured_tables import distillation_rows
from tests.reporting.test_tables import plain

reference = partial(reference_of, "dverge2020")
subjects = partial(subjects_of, paper=DVERGE)
questions = partial(questions_of, paper=DVERGE)

OURS = {
    "cifar10/baseline-3": {},
    "cifar10/dverge-3": {"init_from": "cifar10/baseline-3"},
    "cifar10/dverge-3-eps-0.03": {"init_from": "cifar10/baseline-3", "hyperparameters": {"eps": 0.03}},
    "cifar10/dverge-3-layer-7": {"init_from": "cifar10/baseline-3", "hyperparameters": {"layer": 7}},
    "cifar10/dverge-3-scratch": {},
}


def as_cifar(file):
    """The same outcomes, of an ensemble on CIFAR-10."""
    target = file.provenance["target"]
    label = target["label"]
    facts = {
        "dataset": "cifar10",
        "method": label.split("/")[1].split("-")[0],
        "resolved": OURS[label],
        "sub_models": 3,
    }
    return dataclasses.replace(file, provenance=file.provenance | {"target": target | facts})


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    root = tmp_path_factory.mktemp("cifar")
    written = write_fake_outcomes(root, labels=tuple(OURS), eps=(0.01, 0.03))
    return collect([as_cifar(read_outcomes(path)) for path in written])


@pytest.fixture(scope="module")
def section(cifar):
    (found,) = sections(context_of(cifar))
    return found


def tables(section):
    return {block.caption.split(":")[0]: plain(block.frame) for block in section.blocks if isinstance(block, Table)}


def subject(label, method="DVERGE", size=3, place=3, **facts):
    plain_facts = {"dataset": "cifar10", "train_eps": 0.07, "layer": "random", "scratch": False, "standard": True}
    named = {"ensemble": label, "method": method, "sub_models": size, "place": place, "source": f"{label}, 5 steps"}
    return {**plain_facts, **named, **facts}


def test_what_our_ensembles_are_in_the_papers_words(cifar):
    found = subjects(cifar.provenance).set_index("ensemble")
    assert found["standard"].to_dict() == {
        "cifar10/baseline-3": True,
        "cifar10/dverge-3": True,
        "cifar10/dverge-3-eps-0.03": False,
        "cifar10/dverge-3-layer-7": False,
        "cifar10/dverge-3-scratch": False,
    }
    assert found.loc["cifar10/dverge-3-layer-7", "layer"] == "resblock1"
    assert found.loc["cifar10/dverge-3-eps-0.03", "train_eps"] == 0.03
    assert found.loc["cifar10/dverge-3", "train_eps"] == 0.07
    assert found.loc["cifar10/dverge-3-scratch", "scratch"]
    assert found.loc["cifar10/baseline-3", "source"] == "cifar10/baseline-3, 400 steps on cifar10"


@pytest.mark.parametrize(
    ("kind", "methods", "resolved", "table"),
    [
        ("blackbox", ["baseline", "baseline"], {}, "4"),
        ("blackbox", ["dverge"], {}, "6"),
        ("blackbox", ["baseline", "dverge"], {}, None),
        ("whitebox", ["dverge"], {}, "5"),
        ("whitebox", ["dverge"], {"aggregation": "majority_vote"}, None),
        ("adaptive", ["dverge"], {}, None),
    ],
)
@pytest.mark.parametrize("own", ["mean_softmax", "majority_vote"])
def test_which_table_asks_the_same(kind, methods, resolved, table, own):
    table = table if own == "mean_softmax" else None
    document = {
        "protocol": {"label": "p", "kind": kind, "resolved": resolved},
        "target": {"label": "a", "method": "dverge", "resolved": {"aggregation": own}},
        "sources": [{"method": method} for method in methods],
    }
    assert questions([document]).get(("p", "a")) == table


@pytest.mark.parametrize(
    ("dataset", "its"), [("cifar10", True), ("cifar10-jpeg", True), ("cifar100", False), ("cifar101-x", False)]
)
def test_the_papers_numbers_stand_beside_its_data_alone(dataset, its):
    assert of_family(dataset) is its


def test_the_papers_rows_stand_below_ours_and_say_whose_they_are(section):
    table = tables(section)["Table 4"]
    assert table["Source"].tolist() == [
        "cifar10/baseline-3, 400 steps on cifar10, n = 100",
        PAPER_BLACKBOX,
        "cifar10/dverge-3, 400 steps on cifar10, n = 100",
        PAPER_BLACKBOX,
    ]
    assert table.iloc[3].tolist()[3:] == ["91.3%", "83.2%", "69.7%", "51.0%", "30.7%", "15.8%", "6.0%", "1.5%"]
    assert table.loc[2, "clean"].startswith("99.0% [") and table.loc[2, "0.02"] == ""
    assert list(tables(section)["Table 5"]["Source"])[-1] == PAPER


def test_several_protocols_are_named():
    both = rates([{"correct": 50, "ensemble": "x"}, {"correct": 40, "ensemble": "x", "protocol": "digits/other"}])
    table = paper_accuracy(both, pd.DataFrame([subject("x")]), reference("table5_whitebox"), "paper")
    assert table["Source"].tolist() == [
        "x, 5 steps, digits/other, n = 100",
        "x, 5 steps, digits/whitebox, n = 100",
        "paper",
    ]


def test_training_eps(section):
    table = tables(section)["Table 3"]
    assert table["Training eps"].tolist() == ["0.03", "0.03", "0.07", "0.07"]
    assert table.iloc[1].tolist()[2:] == [PAPER_BLACKBOX, "92.9%", "4.2%", "22.7%"]
    assert list(table.columns)[3:] == ["Clean", "Black-box, eps 0.03", "White-box, eps 0.01"]
    alone = pd.DataFrame([subject("x")])
    nothing = reference("table3_dverge_training_eps").iloc[:0]
    frame = rates([{"correct": 90, "eps": 0.0, "ensemble": "x"}, {"correct": 50, "eps": 0.01, "ensemble": "x"}])
    row = plain(training_eps(frame, alone, nothing, {"blackbox": 0.03, "whitebox": 0.01})).iloc[0]
    assert row["Clean"].startswith("90.0%") and row.iloc[-1].startswith("50.0%") and row.iloc[-2] == "not run"


def test_layers_and_figure_11(section):
    assert tables(section)["Table 7"]["Layer"].tolist() == ["resblock1", "resblock1", "random", "random"]
    assert tables(section)["Table 7"].iloc[3].tolist()[2:] == ["", "51.0%", "37.4%"]
    figure = tables(section)["Figure 11"]
    assert figure["Source"].tolist()[1::2] == [PAPER] * 2
    assert figure.iloc[1].tolist()[2:] == ["2.3%", "1.4 to 4.0", "80.6%"]


def test_figure_3():
    printed = reference("figure3_transferability_eps0.03")
    transfer = pd.DataFrame(
        [
            {"ensemble": "x", "seed": s, "source_member": 0, "target_member": t, "n": 9, "rate": 0.2 * t + s / 10}
            for s in (0, 1)
            for t in (0, 1)
        ]
    )
    table = plain(paper_transfer(transfer, pd.DataFrame([subject("x")]), printed, "method"))
    assert table["Mean over pairs"].tolist() == ["25.0% ± 7.1", "4.5%"]
    assert table["Lowest to highest pair"].tolist() == ["20.0 to 30.0", "3.0 to 6.0"]


def test_time():
    table = paper_time(
        pd.DataFrame([subject("x")]), {"x": "1 GPU-h"}, {"x": "GPU"}, reference("table1_training_hours_titan_xp")
    )
    assert table["Cost"].tolist() == ["1 GPU-h", "10.5 GPU-h"]
    assert table["Hardware"].tolist() == ["GPU", "one NVIDIA TITAN Xp"]


def test_convergence_and_distillation():
    ours = pd.DataFrame([["x", "0.01", "0", "100", "40.0%", "38.0%", "38.0%", "−2.0"]])
    ours.columns = ["Ensemble", "eps", "Seed", "n", "50 steps", "500 steps", "1,000 steps", "Largest change"]
    white = reference("table8_convergence").query("attack == 'whitebox'")
    table = with_paper_convergence(ours, {("DVERGE", 3)}, white)
    assert table.iloc[1].tolist() == [f"DVERGE/3, {PAPER}", "0.01", "", "", "42.7%", "41.6%", "41.5%", "−1.2"]
    assert with_paper_convergence(ours, {("GAL", 3)}, white).equals(ours)
    from robustbench_ens.reporting.tables.distillation import distillation_table

    table = with_paper_distillation(distillation_table(distillation_rows()), reference("table2_distillation"))
    assert table["Feature distance, l2"].tolist()[1:] == ["1.056", "0.793", "0.703"]
    assert table["Ensemble"].tolist()[1] == f"two baselines, {PAPER}"


def test_figures_of_the_section(section):
    figures = [figure.name for block in section.blocks if isinstance(block, Figures) for figure in block.figures]
    assert figures == [
        "paper-training-eps-cifar10",
        "paper-scratch-digits-blackbox-cifar10",
        "paper-scratch-digits-whitebox-cifar10",
    ]


@pytest.mark.slow
def test_orderings_are_judged_by_the_answers(cifar, monkeypatch):
    given = []
    monkeypatch.setattr(
        "robustbench_ens.reporting.dverge2020.orderings.paper_orderings",
        lambda *arguments: given.append(arguments[-1]) or paper_orderings(*arguments),
    )
    sections(context_of(cifar))
    (answers,) = given
    assert answers is cifar.answers and len(answers) == len(cifar.accuracies[cifar.accuracies["eps"] > 0])


def test_the_rest_says_how_to_make_it(section):
    listing = section.blocks[-1]
    assert isinstance(listing, Listing) and listing.title
    assert "# Table 6 (cifar10)\nrbe attack cifar10/blackbox-same-defense cifar10/adp-3" in listing.text
    assert (
        "# Figure 2 (cifar10)\nrbe attack cifar10/transferability cifar10/dverge-3-monitored --seeds 0,1,2"
        in listing.text
    )
    assert "Table 3" not in listing.text


@pytest.mark.parametrize("dataset", ["digits", "cifar10"])
def test_commands_name_what_ships(dataset):
    for shown, (_, recipes) in SHOWN.items():
        lines = commands(dataset, shown)
        assert lines or dataset == "digits"
        for line in lines:
            words = line.split()
            assert words[2] in names("attacks") and set(words[3:-2]) <= set(names("zoo"))
        if dataset == "cifar10":
            assert sum(len(line.split()) - 5 for line in lines) == len(lines) * len(recipes)


def test_commands_are_of_the_dataset_itself_on_the_short_schedule_where_there_is_no_other():
    assert commands("cifar10-jpeg", "Figure 2", "0") == [
        "rbe attack cifar10-jpeg/transferability cifar10-jpeg-short/dverge-3-monitored --seeds 0"
    ]


@pytest.mark.slow
def test_digits_have_no_numbers_beside_them(files):
    (section,) = sections(context_of(collect(files)))
    assert "no numbers on this data" in section.blocks[0].text
    assert len(section.blocks) == 2 and "rbe attack digits/distillation" in section.blocks[1].text


@pytest.mark.slow
def test_methods_that_the_paper_does_not_have_are_left_out(files, relabelled):
    own = collect(relabelled(files, method="mine", dataset="cifar10"))
    (section,) = sections(context_of(own))
    assert [type(block) for block in section.blocks[1:]] == [Listing]


@pytest.mark.slow
def test_a_dataset_of_ones_own_has_no_section(files, relabelled):
    own = collect(relabelled(files, dataset="shells"))
    assert sections(context_of(own)) == []


def test_rolling_mean_of_thirty():
    values = pd.Series(range(100), dtype=float)
    assert WINDOW == 30
    assert rolling(values).iloc[[0, 1, 99]].tolist() == [0, 0.5, sum(range(70, 100)) / 30]


def history():
    rows = [
        {"ensemble": "a", "seed": seed, "name": f"monitor/{name}", "step": step, "value": step / 10}
        for seed in (0, 1)
        for name in ("diversity", "transferability", "images")
        for step in range(3)
    ]
    return pd.DataFrame(rows)


def test_monitored_figure_draws_every_seed_and_its_mean():
    look = looks({"a": "dverge"})
    scene = monitored(history(), look, "title")(500)
    upper, lower = (placed.scene for placed in scene.marks)
    assert {"diversity (nats)", "title", "a"} <= set(texts(upper))
    assert "transferability (%)" in texts(lower)
    thin, bold, *_ = [
        line for line in marks(lower, Line) if line.colour == look["a"].colour and len(line.paths[0]) == 3
    ]
    bottom = thin.paths[0][0][1]
    # Halfway and all the way up the mean is half of what was measured: (0 + 10) / 2, and (0 + 10 + 20) / 3.
    assert [bottom - y for _, y in bold.paths[0]] == pytest.approx([(bottom - y) / 2 for _, y in thin.paths[0]])
    assert (thin.opacity < bold.opacity, thin.width < bold.width) == (True, True)
    assert texts(lower).count("a") == 1


def test_monitored_history_is_in_the_section(files):
    rows = pd.DataFrame(
        [("monitor/diversity", 1.0, "nats", 10), ("monitor/transferability", 0.5, "1", 10)],
        columns=["name", "value", "unit", "step"],
    )
    first = files[0]
    target = first.provenance["target"]["id"]
    own = rows.assign(target=target, target_member=-1, source=target, source_member=-1, eps=0.0)
    watched = dataclasses.replace(first, measurements=pd.concat([first.measurements, own]))
    (section,) = sections(context_of(collect([watched])))
    assert section.blocks[1].caption.startswith("Figure 2")
    assert "Figure 2" not in section.blocks[-1].text
    assert len(gather_measurements([watched])) > len(own)


def test_training_eps_figure():
    points = [
        {"train_eps": eps, "sub_models": size, "quantity": "clean", "seed": seed, "rate": eps + seed / 10}
        for eps in (0.03, 0.07)
        for size in (3, 5)
        for seed in (0, 1)
    ]
    scene = training_eps_curve(pd.DataFrame(points), looks({"a": "dverge"})["a"], "title")(700)
    assert tips(scene) == [
        f"clean, {size} sub-models, training eps {told}, 2 seeds"
        for size in (3, 5)
        for told in ("0.03: 8.0% ± 7.1", "0.07: 12.0% ± 7.1")
    ]
    assert {"clean, 3 sub-models", "clean, 5 sub-models"} <= set(texts(scene))
    assert len(marks(scene, Circle)) == len([shape for shape in marks(scene, Shape) if len(shape.points) == 4]) == 3
