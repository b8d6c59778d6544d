import dataclasses
import re

import pandas as pd
import pytest
import torch

from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.loaded_model import LoadedModel
from robustbench_ens.models.predict import predict


def test_predictions_do_not_depend_on_the_batch_size(make_job):
    job = make_job("digits/whitebox[images=30,eps=[0.1]]")
    ensemble = job.target.ensemble
    whole = predict(ensemble, job.images, job.device)
    assert torch.equal(predict(ensemble, job.images, job.device, batch_size=7), whole)
    assert (whole == job.labels).double().mean() > 0.5


def test_a_model_that_returns_nan_is_an_error(make_job):
    job = make_job("digits/whitebox[images=30,eps=[0.1]]")
    with pytest.raises(UserError, match=f"^{re.escape(job.target.record.id)}: the model returns NaN"):
        job.predict(lambda_module(lambda x: x.flatten(1) * torch.nan), job.images)


def test_a_surrogate_that_returns_nan_is_named(make_job):
    job = make_job("digits/whitebox[images=30,eps=[0.1]]")
    surrogate = lambda_module(lambda x: x.flatten(1) * torch.nan)
    job.sources = [LoadedModel(surrogate, dataclasses.replace(job.target.record, id="the surrogate"))]
    with pytest.raises(UserError, match="^the surrogate: the model returns NaN"):
        job.predict(surrogate, job.images)


def lambda_module(function):
    class Module(torch.nn.Module):
        def forward(self, x):
            return function(x)

    return Module()


def test_rows_say_what_was_attempted(make_job):
    job = make_job("digits/whitebox[images=3,eps=[0.1]]")
    attempted = torch.tensor([True, False, True])
    predicted = torch.stack([job.labels[0], job.labels[1], (job.labels[2] + 1) % 10])
    rows = job.rows(
        torch.arange(3), predicted, source="s#1", attack="pgd", loss="cw", eps=0.1, restart=2, attempted=attempted
    )
    assert rows["image"].tolist() == job.indices.tolist()
    assert rows["correct"].tolist() == [True, pd.NA, False]
    assert rows["predicted"].isna().tolist() == [False, True, False]
    assert set(rows["target_member"]) == {-1}
    assert rows["label"].tolist() == job.labels.tolist()


def test_clean_rows(make_job):
    job = make_job("digits/whitebox[images=5,eps=[0.1]]")
    rows = job.clean_rows()
    assert (rows["attack"] == "clean").all()
    assert (rows["eps"] == 0).all()
    assert (rows["steps"] == 0).all()
