"""Passes of every attack in the measurements of an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from robustbench_ens.evaluation.job import Job
from robustbench_ens.evaluation.kinds.blackbox import crafted, variants
from tests.evaluation.runs import outcomes, taken

SMALL = "images=12,steps=3"
MakeJob = Callable[..., Job]


def budget(job: Job) -> dict[tuple[str, float, str], float]:
    rows = [row for row in taken(job) if row["name"].startswith("budget/")]
    assert all(row["unit"] == "passes" for row in rows)
    return {(row["name"].removeprefix("budget/"), row["eps"], row["source"]): row["value"] for row in rows}


def test_whitebox_counts_one_pass_a_step_and_no_health_check(make_job: MakeJob) -> None:
    job = make_job(f"digits/whitebox[{SMALL},eps=[0.05,0.1],restarts=2]")
    outcomes(job)
    own = job.target.record.id
    expected = {(f"pgd/cross_entropy/{way}", eps, own): 3.0 for way in ("forward", "backward") for eps in (0.05, 0.1)}
    assert budget(job) == expected


def test_crafted_images_keep_their_counts(make_job: MakeJob) -> None:
    job = make_job(f'digits/blackbox-compact[{SMALL},eps=[0.1],variants=[{{attack="sim",losses=["cw"]}}]]')
    again = replace(job, crafting=[], measured=[])
    for one in (job, again):
        crafted(one, one.sources[0], variants(one.settings)[0], 0.1)  # type: ignore[arg-type]
    first = budget(job)
    assert first == budget(again)
    source = job.sources[0].record.id
    # Health is told the loss of the plain images too, at the first and at the last step.
    assert first == {("sim/cw/forward", 0.1, source): 17.0, ("sim/cw/backward", 0.1, source): 15.0}


def test_autoattack(make_job: MakeJob) -> None:
    pytest.importorskip("pyautoattack")
    job = make_job('digits/autoattack[attacks=["apgd-ce","square"],eps=[0.1],images=12,steps=3,square_queries=5]')
    outcomes(job)
    found = {name: value for (name, _, _), value in budget(job).items()}
    assert set(found) == {f"{name}/{way}" for name in ("apgd-ce/cross_entropy", "square/cw") for way in WAYS}
    assert 3 <= found["apgd-ce/cross_entropy/backward"] <= found["apgd-ce/cross_entropy/forward"] <= 10
    assert 1 <= found["square/cw/forward"] <= 10
    assert found["square/cw/backward"] == 0


WAYS = ("forward", "backward")
