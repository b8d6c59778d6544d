"""Shards of a real plan: together they leave what one command leaves, bit by bit."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from robustbench_ens.outcomes import find_outcomes
from robustbench_ens.weights.record import read_record
from robustbench_ens.workflow.execute import run
from robustbench_ens.workflow.shard_run import assignment
from robustbench_ens.workflow.shards import Shard
from tests.workflow.test_execute import tiny_plan


def share(plan, number, count):
    pieces, mine, _ = assignment(plan, Shard(number, count))
    return [pieces[place].title for place in mine]


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_every_piece_falls_to_one_shard_and_done_ones_change_nothing(tmp_path, tiny_runs, count):
    fresh, finished = tiny_plan(tmp_path), tiny_plan(tiny_runs)
    assert not finished.due and len(fresh.due) == len(fresh.steps)
    shared = [share(fresh, number, count) for number in range(1, count + 1)]
    assert shared == [share(finished, number, count) for number in range(1, count + 1)]
    pieces, _, joins = assignment(fresh, Shard(1, count))
    alone = [piece.title for place, piece in enumerate(pieces) if place not in joins]
    assert sorted(title for titles in shared for title in titles) == sorted(alone)


def same_as(root: Path, expected: Path) -> bool:
    """Compare the rows of outcomes and the weights of two run directories."""
    left = find_outcomes([root / "outcomes"])
    assert len(left) == 3
    for path in left:
        ours, theirs = (pq.read_table(one / path.relative_to(root)) for one in (root, expected))
        assert ours.replace_schema_metadata(None).equals(theirs.replace_schema_metadata(None)), path
    for record in root.glob("ensembles/**/run.json"):
        there = expected / record.relative_to(root)
        assert read_record(record.parent).weights == read_record(there.parent).weights
    return True


@pytest.mark.slow
def test_shards_one_after_the_other_leave_the_same_bits(tiny_runs, tmp_path):
    for number in (3, 1, 2):
        run(tiny_plan(tmp_path, threads=1), shard=Shard(number, 3))
    assert not tiny_plan(tmp_path).due
    assert same_as(tmp_path, tiny_runs)
    assert not list(tmp_path.rglob("*.parts")) and not list(tmp_path.rglob(".rbe-*"))
