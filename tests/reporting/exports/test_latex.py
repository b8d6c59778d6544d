"""The folder for a paper: its tables say what the tests support, and its articles compile."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from robustbench_ens.core.text import MEAN_AND_STD, NBSP
from robustbench_ens.outcomes import OutcomeFile, read_outcomes
from robustbench_ens.reporting.board import board
from robustbench_ens.reporting.collect import Collection, collect
from robustbench_ens.reporting.context import context_of
from robustbench_ens.reporting.exports import latex_folder
from robustbench_ens.reporting.exports.latex_folder import latex_files
from robustbench_ens.reporting.exports.latex_tables import (
    DAGGER,
    STAR,
    LatexTable,
    comparisons,
    leaderboards,
    over_all_seeds,
    pair_rates,
    with_own_names,
)
from robustbench_ens.reporting.pages import pages
from tests.conftest import Rbe
from tests.fake_outcomes import LABELS, write_fake_outcomes
from tests.reporting.conftest import HOSTILE


@pytest.fixture(scope="module")
def collection(seeds: list[OutcomeFile]) -> Collection:
    return collect(seeds)


@pytest.mark.parametrize("supported", [True, False])
def test_signs_stand_only_where_the_tests_support_a_difference(collection: Collection, supported: bool) -> None:
    found = replace(collection, comparisons=collection.comparisons.assign(supported=supported))
    (board_table,) = leaderboards(context_of(found))
    (pairs,) = comparisons(found)
    column = list(board_table.frame.columns).index("Worst case")
    assert board_table.bold == {(0, column)}
    assert board_table.signs == ({(1, column): DAGGER} if supported else {})
    assert set(board_table.notes) == ({DAGGER} if supported else set())
    assert set(pairs.signs.values()) == ({STAR} if supported else set())


def test_the_leaderboard_is_that_of_the_report(collection: Collection) -> None:
    (table,) = leaderboards(context_of(collection))
    assert table.frame["Worst case"].tolist() == [row.worst.text for row in board(collection)]
    assert table.frame["Ensemble"].tolist() == [row.ensemble.removeprefix("digits/") for row in board(collection)]
    assert "n = 100" in table.caption and "training seeds: 3" in table.caption and "digits/..." in table.caption
    assert "AutoAttack" not in table.frame  # which was not run


def test_transferability_has_a_row_per_source(collection: Collection) -> None:
    own = collection.transferability
    frame = pair_rates(own[own["eps"] == 0.2])
    assert frame["Crafted on"].tolist() == ["0", "1", "2"] * 2
    assert list(frame.columns[3:]) == ["Scored on 0", "Scored on 1", "Scored on 2", "Scored on ensemble"]
    assert all(text == f"100.0%{NBSP}±{NBSP}0.0" for text in frame["Scored on 0"][::3])


def test_names_are_numbered_and_marks_are_explained() -> None:
    frame = pd.DataFrame({"x": [f"1.0%{NBSP}⚠"]})
    first, second = with_own_names([LatexTable("t", "c", frame), LatexTable("t", "c", frame)])
    assert (first.name, second.name) == ("t", "t-n2")
    assert list(first.notes) == ["$^{!}$"]


def test_rows_of_seeds_give_way_to_their_mean() -> None:
    columns = ["Ensemble", "eps", "Seed", "n", "x"]
    mean = f"3{NBSP}seeds"
    rows = [("a", "1", "0", "490", "1"), ("a", "1", "1", "500", "2"), ("a", "1", MEAN_AND_STD, mean, "1.5")]
    paper = ("paper", "1", "", "", "7")
    table = over_all_seeds(pd.DataFrame([*rows, paper], columns=columns))
    assert table.to_numpy().tolist() == [["a", "1", f"490 to 500, {mean}", "1.5"], ["paper", "1", "", "7"]]
    alone = ("b", "1", "0", "500", "4")
    table = over_all_seeds(pd.DataFrame([alone, *rows, paper], columns=columns))
    assert table["x"].tolist() == ["4", "1.5", "7"] and "Seed" in table
    single = pd.DataFrame([alone], columns=columns)
    assert over_all_seeds(single) is single


def hostile(tmp_path: Path) -> list[OutcomeFile]:
    """A collection with text that LaTeX could trip over, on few images."""
    files = [read_outcomes(path) for path in write_fake_outcomes(tmp_path, images=12, eps=(0.2,))]
    found = []
    for file in files:
        target = file.provenance["target"]
        label = f"{target['label']} [x=\\input{{/etc/passwd}}] & % $ # _ ~ ^ \\end{{document}} {HOSTILE}"
        found.append(replace(file, provenance=file.provenance | {"target": target | {"label": label}}))
    return found


def test_both_articles_compile_and_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    context = context_of(collect(hostile(tmp_path / "runs")))
    made = pages(context, HOSTILE)[:1]
    files = latex_files(context, made, HOSTILE, f"rbe report '{HOSTILE}'\n\\evil")
    assert latex_files(context, made, HOSTILE, f"rbe report '{HOSTILE}'\n\\evil") == files
    assert all(content.isascii() for path, content in files.items() if path.endswith(".tex"))
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    for article in ("report", "report-twocolumn"):
        command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", f"{article}.tex"]
        done = subprocess.run(command, cwd=tmp_path / "latex", capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stdout[-2000:]
        assert "LaTeX Error" not in done.stdout and "Too many unprocessed floats" not in done.stdout
        assert (tmp_path / "latex" / f"{article}.pdf").stat().st_size > 10_000


def test_the_command_writes_what_it_is_asked_for_and_says_what_is_outdated(
    rbe: Rbe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {"latex/report.tex": b"new", "latex/tables/t.tex": b"t"}
    monkeypatch.setattr(latex_folder, "latex_files", lambda *_: made)
    write_fake_outcomes(tmp_path, images=12, eps=(0.2,), kinds=("whitebox",), labels=LABELS[:1])
    folder = tmp_path / "reports" / "report"
    earlier = ("csv/accuracies.csv", "latex/tables/stale.tex", "latex/figures/stale-1col.pdf", "latex/my-paper.tex")
    for name in earlier:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    done = rbe("report", "--runs", tmp_path, "--latex")
    assert (done.code, done.err) == (0, "")
    assert {path: (folder / path).read_bytes() for path in made} == made
    assert [(folder / name).exists() for name in earlier] == [True, False, False, True]
    assert f"{folder}/csv is of an earlier report; --csv renews it".replace(" ", "") in "".join(done.out.split())


def test_nothing_is_exported_unasked(rbe: Rbe, tmp_path: Path) -> None:
    write_fake_outcomes(tmp_path, images=12, eps=(0.2,), kinds=("whitebox",), labels=LABELS[:1])
    done = rbe("report", "--runs", tmp_path)
    made = {path.name for path in (tmp_path / "reports" / "report").iterdir()}
    assert not made & {"csv", "latex"} and "earlier" not in done.out
    index = (tmp_path / "reports" / "report" / "index.html").read_bytes()
    rbe("report", "--runs", tmp_path, "--csv")
    assert (tmp_path / "reports" / "report" / "csv" / "accuracies.csv").is_file()
    assert (tmp_path / "reports" / "report" / "index.html").read_bytes() == index
