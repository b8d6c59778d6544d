"""The textbook's steps give our weights, and the benchmark runs."""

from __future__ import annotations

import sys

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from benchmarks import attacks, batch_sizes, device, training
from robustbench_ens.models.predict import predict
from tests.shared import needs_advertorch

pytestmark = pytest.mark.slow

DVERGE, ADVT = "cifar10/dverge-3-scratch", "cifar10/advt-3"
CASES = [
    *(
        training.Case(f"layer {n}", DVERGE, {"hyperparameters.layer": n, **training.TINY}, training.dverge)
        for n in (1, 4, 7, 8)
    ),
    training.Case("AdvT", ADVT, training.TINY, training.advt),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_textbook_gives_the_same_weights_and_statistics(case: training.Case) -> None:
    """Two steps of each, in float64, where rounding turns no sign of a gradient."""
    ours = training.ours(case, training.noise_images(64, 8))
    ours.ensemble.double()
    ours.batches = device.Doubled(ours.batches)
    book = training.Textbook(case, ours)
    before = [tensor.clone() for tensor in ours.ensemble.state_dict().values()]
    for _ in range(2):
        ours.step()
        book.step()
    found = ours.ensemble.state_dict()
    expected = torch.nn.ModuleList(book.members).state_dict()
    assert list(found) == [f"members.{name}" for name in expected]
    for mine, theirs in zip(found.values(), expected.values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)
    assert sum(not torch.equal(a, b) for a, b in zip(before, found.values(), strict=True)) > len(before) / 2


def test_quick_run_prints_a_table() -> None:
    result = CliRunner().invoke(training.main, ["--quick", "--steps", "1", "--threads", "1"], catch_exceptions=False)
    assert result.exit_code == 0
    heading, _, *rows = [line.split("|") for line in result.output.splitlines() if line.startswith("|")]
    assert [cells[1].strip() for cells in rows] == [case.title for case in training.QUICK_CASES]
    assert {len(cells) for cells in rows} == {len(heading)}
    assert "n = 1 steps" in result.output


def test_quick_run_on_a_device_prints_its_tables() -> None:
    command = ["--device", "cpu", "--quick", "--steps", "1"]
    result = CliRunner().invoke(device.main, command, catch_exceptions=False)
    assert result.exit_code == 0
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in result.output.splitlines() if "|" in line]
    same = [row for row in rows if len(row) == 3 and row[0] in device.RECIPES]
    assert [row[0] for row in same] == list(device.RECIPES)
    assert {tuple(row[1:]) for row in same} == {("0.0e+00", "0.0e+00")}
    timed = [row[0] for row in rows if len(row) == 5 and row[0] in device.RECIPES]
    assert timed == [method for method in device.RECIPES for _ in ("fp32", "bf16")]
    assert "0 of 9 outcomes unlike the CPU's" in result.output


def test_what_a_device_does_otherwise_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    small = training.noise_images(64, 8)
    one, other = (device.run_of("baseline", training.TINY, small, device.CPU) for _ in range(2))
    assert device.largest_difference(one.ensemble, other.ensemble) == 0
    other.ensemble.members[1].model.bn1.running_var += 0.25
    assert device.largest_difference(one.ensemble, other.ensemble) == 0.25
    monkeypatch.setattr(device.Training, "resume", lambda self: True)  # which forgets the first step
    assert device.resumed("baseline", small, device.CPU) > 0


def work(workers: int = 2) -> attacks.Work:
    """An untrained ensemble that PGD beats on some of the images from the first start, and on others never."""
    ensemble = attacks.untrained(width=4)
    pixels, _ = attacks.load(None, 12, side=8)
    return attacks.Work(ensemble, pixels, predict(ensemble, pixels, attacks.CPU), 2, workers)


def test_their_outcomes_are_ours() -> None:
    """From the same starts, dropped or not; advertorch's own outcomes are of both kinds."""
    needs_advertorch()
    theirs = attacks.their_whitebox(work())
    assert 0 < int(theirs.sum()) < len(theirs)
    for dropping in (True, False):
        assert torch.equal(attacks.our_whitebox(work(), dropping), theirs)


def test_their_variant_stays_in_the_budget_and_is_no_start() -> None:
    needs_advertorch()
    crafted = attacks.their_variant(work())
    moved = (crafted - work().images).abs().amax(dim=(1, 2, 3))
    assert (moved > attacks.STEP_SIZE).all() and (moved <= attacks.EPS + 1e-6).all()


def test_quick_attacks_print_their_tables() -> None:
    needs_advertorch()
    options = ["--quick", "--steps", "1", "--variant-steps", "1", "--rounds", "1", "--count", "4"]
    result = CliRunner().invoke(attacks.main, options, catch_exceptions=False)
    assert result.exit_code == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in result.output.splitlines() if "|" in line]
    assert [row[0] for row in rows] == [
        *("attack", "---", "advertorch", "ours", "ours, every start", "ours, bf16"),
        *("attack", "---", "advertorch", "ours, fp32", "ours, bf16"),
    ]
    assert {len(row) for row in rows[:6]} == {5} and {len(row) for row in rows[6:]} == {4}


def test_rows_that_depend_on_the_batch_are_counted() -> None:
    one = pd.DataFrame({"predicted": [3, 4, None, 6], "correct": [True, False, None, False]})
    other = pd.DataFrame({"predicted": [3, 5, None, 7], "correct": [True, False, None, True]})
    assert batch_sizes.moved(one.convert_dtypes(), other.convert_dtypes()) == (2, 1)
    assert batch_sizes.moved(one, one) == (0, 0)


def test_quick_run_of_batch_sizes_prints_a_table() -> None:
    options = ["--quick", "--steps", "1", "--count", "12", "--sizes", "8", "--sizes", "3"]
    result = CliRunner().invoke(batch_sizes.main, options, catch_exceptions=False)
    assert result.exit_code == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in result.output.splitlines() if "|" in line]
    assert [row[0] for row in rows] == ["images together", "---", "8", "3"]
    assert rows[2][2:] == ["0", "0"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_a_small_evaluation_is_that_of_this_process() -> None:
    assert attacks.peak_here(4, 1, 2) > 100
