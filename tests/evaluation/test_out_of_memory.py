"""Memory that runs out moves no outcome of float64, and no later evaluation starts above what fitted."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pandas as pd
import pytest
import torch

from robustbench_ens.core.batch_sizes import BatchSizes
from robustbench_ens.core.fitting import Fitting
from tests.evaluation.runs import outcomes
from tests.shared import needs_advertorch

SMALL = "images=8,eps=[0.1],steps=2"
PROTOCOLS = {
    "whitebox": f"digits/whitebox[{SMALL},restarts=2]",
    "blackbox": f'digits/blackbox-compact[{SMALL},variants=[{{attack="m_di2_fgsm",losses=["cw"]}}]]',
    "adaptive": (
        f'digits/adaptive[{SMALL},starts=[{{attack="pgd"}}],variants=[{{objective="mean_softmax",losses=["cw"]}}]]'
    ),
    "transferability": f"digits/transferability[{SMALL},restarts=1]",
    "advertorch": f"digits/whitebox[{SMALL},restarts=1,attack=advertorch:LinfPGDAttack]",
    "torchattacks": f"digits/whitebox[{SMALL},restarts=1,attack=torchattacks:PGD]",
    "autoattack": f'digits/autoattack[{SMALL},square_queries=3,attacks=["apgd-ce","fab","square"]]',
}
NEEDS = {"torchattacks": "torchattacks", "autoattack": "pyautoattack"}


@contextmanager
def memory_for(most, job, only_gradients=False):
    """Let memory run out above ``most`` images, in every sub-model and every copy of one; lists what ran out."""
    ran_out = []

    def look(submodel, given):
        if len(given[0]) > most and (torch.is_grad_enabled() or not only_gradients):
            ran_out.append(len(given[0]))
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB.")

    members = [member for own in (job.target, *job.sources) for member in own.ensemble.members]
    handles = [member.register_forward_pre_hook(look) for member in members]
    try:
        yield ran_out
    finally:
        for handle in handles:
            handle.remove()


def anew(job, folder, **changes):
    """Return the job as another process would begin it, beside a run directory that has no crafted images yet."""
    sizes = BatchSizes(folder, "1 x 8 x 8", "this device")
    store = replace(job.store, root=job.store.root / f"anew-{len(list(job.store.root.iterdir()))}")
    store.root.mkdir()
    return replace(job, fitting=Fitting(sizes=sizes), store=store, **changes)


@pytest.mark.parametrize(
    ("kind", "only_gradients"),
    [
        ("whitebox", True),
        *(pytest.param(kind, True, marks=pytest.mark.slow) for kind in PROTOCOLS if kind != "whitebox"),
        *(pytest.param(kind, False, marks=pytest.mark.slow) for kind in ("whitebox", "transferability", "autoattack")),
    ],
)
def test_outcomes_are_equal_bit_by_bit_and_the_next_process_begins_with_what_fitted(
    kind, only_gradients, make_job, tmp_path
):
    if kind == "advertorch":
        needs_advertorch()
    elif kind in NEEDS:
        pytest.importorskip(NEEDS[kind])
    single = kind in ("advertorch", "torchattacks", "autoattack")  # which compute in float32
    job = make_job(PROTOCOLS[kind], dtype=torch.float32 if single else torch.float64)
    with memory_for(float("inf"), job):
        expected = outcomes(anew(job, tmp_path / "plenty"))
    assert not (tmp_path / "plenty").exists()
    for ran_out_before in (True, False):
        with memory_for(3, job, only_gradients) as ran_out:
            found = outcomes(anew(job, tmp_path / "little"))
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
        assert bool(ran_out) == ran_out_before


def test_a_network_of_another_architecture_begins_as_usual(make_job, tmp_path):
    job = make_job(PROTOCOLS["whitebox"])
    with memory_for(3, job):
        outcomes(anew(job, tmp_path / "sizes"))
    smaller = replace(job.target, ensemble=type(job.target.ensemble)(list(job.target.ensemble.members)[:2]))
    other = anew(job, tmp_path / "sizes", target=smaller)
    with memory_for(3, other) as ran_out:
        outcomes(other)
    assert 8 in ran_out


@pytest.mark.slow
def test_the_next_evaluation_of_a_surrogate_begins_with_what_fitted(make_job, tmp_path):
    """It is crafted on, and no target has its architecture."""
    job = make_job(PROTOCOLS["blackbox"])
    wider = replace(job.target, ensemble=type(job.target.ensemble)([*job.target.ensemble.members] * 2))
    for ran_out_before in (True, False):
        again = anew(job, tmp_path / "sizes", target=wider)
        with memory_for(3, again, only_gradients=True) as ran_out:
            outcomes(again)
        assert bool(ran_out) == ran_out_before


def test_what_is_halved_is_told_once(make_job):
    said = []
    job = make_job(PROTOCOLS["transferability"])
    with memory_for(3, job):
        outcomes(replace(job, fitting=Fitting(report=said.append)))
    assert said == [
        "out of memory with 8 images at a time; continuing with 4",
        "out of memory with 4 images at a time; continuing with 2",
    ]
