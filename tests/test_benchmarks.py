"""The textbook's steps give our weights, and the benchmark runs."""

from __future__ import annotations

import pytest
import torch
from click.testing import CliRunner

from benchmarks import training
from robustbench_ens.training.batches import Batches
from robustbench_ens.training.method import Batch

DVERGE, ADVT = "cifar10/dverge-3-scratch", "cifar10/advt-3"
CASES = [
    *(
        training.Case(f"layer {n}", DVERGE, {"hyperparameters.layer": n, **training.TINY}, training.dverge)
        for n in (1, 4, 7, 8)
    ),
    training.Case("AdvT", ADVT, training.TINY, training.advt),
]


class DoubleBatches:
    """The same batches in float64."""

    def __init__(self, batches: Batches) -> None:
        self.batches, self.per_epoch = batches, batches.per_epoch

    def batch(self, step: int) -> Batch:
        images, labels = self.batches.batch(step)
        return Batch(images.double(), labels)

    def source(self, step: int) -> Batch:
        images, labels = self.batches.source(step)
        return Batch(images.double(), labels)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_textbook_gives_the_same_weights_and_statistics(case: training.Case) -> None:
    """Two steps of each, in float64, where rounding turns no sign of a gradient."""
    ours = training.ours(case, training.noise_images(64, 8))
    ours.ensemble.double()
    ours.batches = DoubleBatches(ours.batches)
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
