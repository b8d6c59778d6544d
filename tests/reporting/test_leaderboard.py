from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from robustbench_ens.analysis.compare import WORST
from robustbench_ens.analysis.health import unhealthy
from robustbench_ens.config.kinds import shipped_kinds
from robustbench_ens.outcomes import read_outcomes
from robustbench_ens.reporting.collect import collect
from robustbench_ens.reporting.tables.leaderboard import columns, leaderboard
from robustbench_ens.reporting.tables.summary import strongest, summarise
from tests.analysis.test_worst_case import as_kind, only
from tests.fake_outcomes import write_fake_outcomes
from tests.reporting.test_tables import plain


@pytest.fixture(scope="module")
def board(files):
    return plain(leaderboard(collect(files)))


def test_the_best_worst_case_comes_first(board):
    assert list(board.columns) == columns(shipped_kinds())
    assert board["Ensemble"].tolist() == ["digits/dverge-3", "digits/baseline-3"]
    row = board.iloc[0]
    assert row["White-box"] == "23.0% [15.8, 32.2]"
    assert row["Black-box"] == "56.0% [46.2, 65.3]"
    assert row["AutoAttack"] == "not run"
    assert row["Clean"] == "99.0% [94.6, 99.8]"
    assert row["Transfer"].startswith("4.0% [")
    assert row[["Cost", "Parameters", "Health"]].tolist() == ["0.0195 CPU-h", "228,000", "not measured"]
    assert row[["eps", "n", "Seeds"]].tolist() == ["0.2", "100", "1"]


@pytest.mark.slow
def test_several_seeds(seeds):
    row = plain(leaderboard(collect(seeds))).iloc[0]
    assert row["White-box"] == "24.0% ± 1.0"
    assert row["Seeds"] == "3"


def test_what_was_not_attacked_comes_last(files):
    some = [only(files, "whitebox"), only(files, "transferability", "digits/dverge-3")]
    table = leaderboard(collect(some))
    assert table["Ensemble"].tolist() == ["digits/baseline-3", "digits/dverge-3"]
    assert table["Worst case"].tolist()[1] == table["Clean"].tolist()[1] == "not run"
    assert table["n"].tolist() == ["100", ""]


@pytest.mark.slow
def test_of_several_protocols_the_strongest_counts(files):
    white = only(files, "whitebox", "digits/dverge-3")
    harsh = white.outcomes["correct"].astype("boolean").where(white.outcomes["eps"] == 0, False)
    harsher = dataclasses.replace(white, outcomes=white.outcomes.assign(correct=harsh))
    other = as_kind(harsher, "whitebox")
    other.provenance["protocol"]["label"] = other.provenance["protocol"]["name"] = "digits/other"
    assert plain(leaderboard(collect([white, other])))["White-box"].tolist() == ["0.0% [0.0, 3.7]"]
    vote = as_kind(harsher, "whitebox", aggregation="majority_vote")
    vote.provenance["protocol"]["label"] = vote.provenance["protocol"]["name"] = "digits/vote"
    assert plain(leaderboard(collect([white, vote])))["White-box"].tolist() == ["23.0% [15.8, 32.2]"]


def test_a_protocol_of_one_seed_decides_nothing_beside_one_of_three():
    rates = [("digits/whitebox", seed, rate) for seed, rate in enumerate((0.3, 0.5, 0.7))]
    cell = pd.DataFrame([*rates, ("digits/other", 0, 0.25)], columns=["protocol", "seed", "accuracy"])
    assert strongest(cell)["protocol"].unique().tolist() == ["digits/whitebox"]
    both = pd.concat([cell, cell[1:3].assign(protocol="digits/other", accuracy=0.2)])
    assert strongest(both)["protocol"].unique().tolist() == ["digits/other"]


@pytest.mark.slow
def test_unhealthy_attacks_are_marked(files):
    whole = collect(files)
    sick = {"protocol": "digits/whitebox", "ensemble": "digits/dverge-3", "healthy": False}
    fine = {"protocol": "digits/whitebox", "ensemble": "digits/baseline-3", "healthy": True}
    board = leaderboard(dataclasses.replace(whole, health=pd.DataFrame([sick, fine]))).set_index("Ensemble")
    row = board.loc["digits/dverge-3"]
    assert row["Health"] == "⚠ digits/whitebox"
    assert row["White-box"].endswith("⚠") and row["Worst case"].endswith("⚠") and "⚠" not in row["Black-box"]
    assert board.loc["digits/baseline-3", "Health"] == "healthy"


@pytest.mark.slow
def test_the_worst_case_says_what_set_it(files):
    table = leaderboard(collect(files)).set_index("Ensemble")
    assert set(table["Set by"]) == {"whitebox"}
    alone = [file for file in files if file.provenance["protocol"]["kind"] == "blackbox"]
    assert set(leaderboard(collect(alone))["Set by"]) == {"blackbox"}


@pytest.mark.slow
def test_what_was_run_at_other_eps_alone_is_not_called_not_run(tmp_path):
    written = [
        *write_fake_outcomes(tmp_path / "one", kinds=("whitebox", "transferability"), eps=(0.1, 0.15)),
        *write_fake_outcomes(tmp_path / "two", kinds=("blackbox",), eps=(0.2,)),
    ]
    collection = collect(list(map(read_outcomes, written)))
    row = leaderboard(collection).iloc[0]
    assert (row["eps"], row["White-box"], row["Transfer"]) == ("0.2", "only at eps 0.1, 0.15", "only at eps 0.1, 0.15")
    assert row["AutoAttack"] == "not run"
    row = summarise(collection.accuracies, collection.transferability).iloc[0]
    assert (row["White-box accuracy"], row["Transferability"]) == ("only at eps 0.1, 0.15",) * 2


@pytest.mark.slow
def test_one_attack_at_another_eps_does_not_move_the_headline(files, tmp_path):
    (exploration, *_) = write_fake_outcomes(tmp_path, kinds=("whitebox",), eps=(0.1,))
    exploration = read_outcomes(exploration)
    protocol = exploration.provenance["protocol"] | {"label": "digits/whitebox[eps=[0.1]]", "hash": "f" * 10}
    exploration = dataclasses.replace(exploration, provenance=exploration.provenance | {"protocol": protocol})
    assert set(leaderboard(collect([*files, exploration]))["eps"]) == {"0.2"}


@pytest.mark.slow
def test_a_worst_case_is_marked_unless_each_kind_in_it_has_a_healthy_protocol(files):
    """A second, unhealthy white-box protocol only lowers what a healthy one leaves."""
    white = only(files, "whitebox", "digits/dverge-3")
    other = as_kind(white, "whitebox")
    other.provenance["protocol"]["label"] = other.provenance["protocol"]["name"] = "digits/other"
    whole = collect([white, other, only(files, "blackbox", "digits/dverge-3")])
    for sick, mark in (
        (["digits/other"], False),
        (["digits/other", "digits/whitebox"], True),
        (["digits/blackbox"], True),
    ):
        rows = [{"protocol": name, "ensemble": "digits/dverge-3", "healthy": False} for name in sick]
        changed = dataclasses.replace(whole, health=pd.DataFrame(rows))
        (worst,) = leaderboard(changed)["Worst case"]
        assert worst.endswith("⚠") == mark
        (summed,) = summarise(
            changed.accuracies, changed.transferability, changed.worst_case, unhealthy=unhealthy(changed.health)
        )["Worst case"]
        assert ("⚠" in summed) == mark
        assert bool(changed.unhealthy(WORST)) == mark
