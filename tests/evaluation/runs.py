"""Evaluations run part by part, and what tests of several kinds ask of them."""

from __future__ import annotations

import pandas as pd
import torch

from robustbench_ens.evaluation.base import evaluation_of
from robustbench_ens.evaluation.job import Job
from robustbench_ens.evaluation.part_log import measurement_rows


def parts(job):
    """The parts of the job's protocol."""
    return evaluation_of(job.settings).parts(job)


def attempts(settings, sub_models):
    """Attempts on each image under a protocol."""
    return evaluation_of(settings).attempts(sub_models)


def outcomes(job):
    """The rows of all parts."""
    return pd.concat([compute() for _, compute in parts(job)], ignore_index=True)


def measurements(job):
    """What all parts measured; they have no outcomes."""
    rows = []
    for _, compute in parts(job):
        assert compute().empty
        rows += taken(job)
    return pd.DataFrame(rows)


def arrays(job):
    """What all parts left to be drawn; they have no outcomes."""
    for _, compute in parts(job):
        assert compute().empty
    return job.take_arrays()


def progress(job, run):
    """How many attempts on an image the job's task is told of while it runs."""
    done = []

    class Task:
        def advance(self, units=1):
            done.append(units)

    job.task = Task()
    run(job)
    return sum(done)


def check_a_beaten_image_rests(rows, attempts):
    """Each image has one row per attempt, in order; after the first that beat it, all are null, and none before."""
    for _, image in rows.groupby(["eps", "image"]):
        correct = image["correct"].tolist()
        assert len(correct) == attempts
        first_loss = correct.index(False) if False in correct else attempts - 1
        assert all(value is True or value is False for value in correct[: first_loss + 1])
        assert all(pd.isna(value) for value in correct[first_loss + 1 :])
    assert rows["predicted"].isna().equals(rows["correct"].isna())


def check_train_mode_changes_nothing(job, run):
    """A target in train mode has the same outcomes, and neither its weights nor its running statistics move."""
    expected, ensemble = run(job), job.target.ensemble
    before = {key: value.clone() for key, value in ensemble.state_dict().items()}
    ensemble.train()
    pd.testing.assert_frame_equal(run(job), expected)
    after = ensemble.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in ensemble.parameters())


def taken(job: Job) -> list[dict]:
    """Return the rows of the measurements table that ``job`` left since it was last asked."""
    return measurement_rows(job.target.record.id, [job.take_log()])
