from __future__ import annotations

import re

from robustbench_ens.analysis import derive
from robustbench_ens.core.text import MEAN_AND_STD, NBSP
from robustbench_ens.outcomes import gather
from robustbench_ens.reporting import summary
from robustbench_ens.reporting.collect import collect
from robustbench_ens.reporting.tables.accuracy import accuracy_by_eps, accuracy_table
from robustbench_ens.reporting.tables.runs import ensembles_table, evaluations_table, protocols_table
from robustbench_ens.reporting.tables.transfer import transfer_table
from tests.reporting.conftest import rates


def plain(frame):
    return frame.map(lambda cell: cell.replace(NBSP, " "))


def test_summary_has_one_row_per_ensemble(files):
    table = plain(summary(gather(files)))
    assert table.to_dict("records")[1] == {
        "Ensemble": "digits/dverge-3",
        "Seeds": "1",
        "n": "100",
        "eps": "0.2",
        "Clean accuracy": "99.0% [94.6, 99.8]",
        "White-box accuracy": "23.0% [15.8, 32.2]",
        "Black-box accuracy": "56.0% [46.2, 65.3]",
        "Transferability": "4.0% (4.0 to 4.0; n = 99)",
    }


def test_summary_over_seeds(seeds):
    row = plain(summary(gather(seeds))).iloc[0]
    assert row["Seeds"] == "3"
    assert row["White-box accuracy"] == "2.0% ± 1.0"
    assert re.fullmatch(r"45\.\d% ± 1\.0", row["Transferability"])


def test_summary_says_which_seed_stands_alone(seeds):
    fewer = [f for f in seeds if f.provenance["protocol"]["kind"] != "whitebox" or f.provenance["target"]["seed"] == 1]
    row = plain(summary(gather(fewer))).iloc[0]
    assert row["Seeds"] == "3"
    assert re.fullmatch(r"\d+\.\d% \[.*\] of seed 1 alone", row["White-box accuracy"])
    assert "seed" not in row["Black-box accuracy"]


def test_summary_says_what_was_not_run(files):
    table = summary(gather([file for file in files if file.provenance["protocol"]["kind"] == "whitebox"]))
    assert table["Black-box accuracy"].tolist() == ["not run"] * 2
    assert table["Transferability"].tolist() == ["not run"] * 2


def test_summary_of_transferability_alone(files):
    table = summary(gather([file for file in files if file.provenance["protocol"]["kind"] == "transferability"]))
    assert table["Clean accuracy"].tolist() == ["not run"] * 2
    assert table["n"].tolist() == [""] * 2


def test_summary_keeps_two_protocols_of_one_kind_apart():
    frame = rates([{"correct": 10}, {"correct": 90, "protocol": "digits/other"}])
    from robustbench_ens.reporting.tables.summary import summarise

    row = plain(summarise(frame, frame.head(0))).iloc[0]
    assert row["White-box accuracy: digits/other"].startswith("90.0%")
    assert row["White-box accuracy: digits/whitebox"].startswith("10.0%")
    assert "White-box accuracy" not in row


def test_accuracy_table():
    table = plain(accuracy_table(rates([{"eps": 0.0, "correct": 99}, {"correct": 50}])))
    assert table.to_numpy().tolist() == [
        ["digits/a-3", "clean", "0", "100", "99.0% [94.6, 99.8]"],
        ["digits/a-3", "0.2", "0", "100", "50.0% [40.4, 59.6]"],
    ]


def test_accuracy_table_ends_several_seeds_with_their_mean():
    table = accuracy_table(rates([{"seed": seed, "correct": 40 + 10 * seed} for seed in (2, 0, 1)]))
    assert table["Seed"].tolist() == ["0", "1", "2", MEAN_AND_STD]
    assert plain(table)["Accuracy"].iloc[-1] == "50.0% ± 10.0"


def test_accuracy_by_eps_has_a_row_per_ensemble():
    table = accuracy_by_eps(
        rates(
            [
                {"eps": 0.3, "correct": 10},
                {"eps": 0.0, "correct": 99},
                {"ensemble": "digits/b-3", "eps": 0.3, "correct": 40, "seed": 0},
                {"ensemble": "digits/b-3", "eps": 0.3, "correct": 60, "seed": 1},
            ]
        )
    )
    assert [*table.columns] == ["Ensemble", "Seeds", "n", "clean", "0.3"]
    assert plain(table).to_numpy().tolist() == [
        ["digits/a-3", "1", "100", "99.0% [94.6, 99.8]", "10.0% [5.5, 17.4]"],
        ["digits/b-3", "2", "100", "", "50.0% ± 14.1"],
    ]


def test_transfer_table_puts_the_ensemble_last(files):
    table = transfer_table(derive.transferability(gather(files)))
    assert table["To"].tolist()[:4] == ["0", "1", "2", "ensemble"]
    assert plain(table)["Success rate"].iloc[0] == "100.0% [96.3, 100.0]"


def test_what_was_run(files):
    collection = collect(files)
    ensembles = ensembles_table(collection.provenance)
    assert ensembles["Role"].tolist() == ["target", "surrogate", "surrogate", "target"]
    assert ensembles["Training"].iloc[0].endswith("400 steps, Example CPU")
    assert protocols_table(collection.provenance)["Protocol"].tolist() == [
        "digits/blackbox",
        "digits/transferability",
        "digits/whitebox",
    ]
    runs = plain(evaluations_table(collection.provenance, collection.images))
    assert runs["Finished"].unique().tolist() == ["2026-11-22 14:00 UTC"]
    assert runs["Crafted on"].iloc[0] == "digits/baseline-3 #1000, digits/baseline-5 #1000"
    assert runs["Images"].unique().tolist() == ["100"]


def test_imported_weights_have_no_training(files, relabelled):
    documents = [file.provenance for file in relabelled(files, training=None)]
    assert "imported weights" in ensembles_table(documents)["Training"].tolist()
