"""Shards of a real plan: together they leave what one command leaves, bit by bit."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from robustbench_ens.core.locks import HeldError, hold_artefact
from robustbench_ens.outcomes import find_outcomes
from robustbench_ens.weights.library import Library
from robustbench_ens.weights.record import read_record
from robustbench_ens.workflow.execute import run
from robustbench_ens.workflow.pieces import CraftPiece
from robustbench_ens.workflow.shard_run import _remembering, assignment, expected_seconds
from robustbench_ens.workflow.shards import Shard
from robustbench_ens.workflow.split import pieces_of
from robustbench_ens.workflow.timings import Timing
from tests.workflow.test_execute import tiny_plan


def shared(plan, count):
    pieces, places, _ = assignment(plan, count)
    return [[pieces[place].title for place in mine] for mine in places]


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_every_piece_falls_to_one_shard_and_done_ones_change_nothing(tmp_path, tiny_runs, count):
    fresh, finished = tiny_plan(tmp_path), tiny_plan(tiny_runs)
    assert not finished.due and len(fresh.due) == len(fresh.steps)
    assert shared(fresh, count) == shared(finished, count)
    pieces, _, joins = assignment(fresh, count)
    alone = [piece.title for place, piece in enumerate(pieces) if place not in joins]
    assert sorted(title for titles in shared(fresh, count) for title in titles) == sorted(alone)


def timed(plan, seconds):
    timings = [None if one is None else Timing(one, "measured") for one in seconds]
    plan.steps = [replace(step, timing=timing) for step, timing in zip(plan.steps, timings, strict=True)]
    return plan


def test_the_expected_time_is_that_of_the_longest_share_and_of_what_it_waits_for(tmp_path):
    """Trainings of 100 s; DVERGE, the heaviest by far, of 1000 s after its parent; attacks of 10 s."""
    plan = timed(tiny_plan(tmp_path), [100, 10, 100, 10, 1000, 10])
    assert expected_seconds(plan, 1) == pytest.approx(1230 + 1110, rel=0.01)  # attacks are split
    assert expected_seconds(timed(plan, [100, 10, 100, 10, 1000, None]), 1) is None
    plan.steps = [replace(step, done=True) for step in plan.steps]
    assert expected_seconds(plan, 1) == 0


def test_images_that_another_process_crafts_are_left_to_it(runs):
    """Lanes and shards then have something else to do; those who only wait would follow each other."""
    plan = tiny_plan(runs)
    craft = next(piece for piece in pieces_of(plan, everything=True) if isinstance(piece, CraftPiece))
    assert craft.is_done(plan.workplace)
    with hold_artefact(craft._path(plan.workplace)), pytest.raises(HeldError):
        craft.run(plan.workplace)
    craft.run(plan.workplace)


def test_a_look_reads_the_record_of_a_finished_ensemble_once(runs, tmp_path, monkeypatch):
    """And that of an unfinished one every time: another shard may train it meanwhile."""
    reads = []
    real = Library.record
    monkeypatch.setattr(Library, "record", lambda self, one: reads.append(one.key) or real(self, one))
    for root in (runs, tmp_path / "empty"):
        plan = tiny_plan(root)
        looking = _remembering(plan.workplace)
        pieces = pieces_of(plan, everything=True)
        assert [piece.is_done(looking) for piece in pieces] == [piece.is_done(plan.workplace) for piece in pieces]
        reads.clear()
        looking = _remembering(plan.workplace)
        for piece in pieces * 2:
            piece.is_done(looking)
        top = {key: reads.count(key) for key in reads}
        assert len(top) == 3 and (max(top.values()) < 5 if root == runs else min(top.values()) > 5)


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
