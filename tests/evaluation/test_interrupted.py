"""An evaluation that is killed, whenever it is, ends in the measurements of one that is not."""

from __future__ import annotations

import pandas as pd
import pytest

from robustbench_ens.config.protocols import KINDS, load_protocol
from robustbench_ens.core.store import Store
from robustbench_ens.evaluation import parts
from robustbench_ens.evaluation import runner as module
from robustbench_ens.evaluation.kinds import blackbox
from robustbench_ens.outcomes import read_outcomes
from robustbench_ens.perturb.starts import uniform_starts

SMALL = "images=12,eps=[0.1],steps=2"
HEALTH = "health.images=5"
PROTOCOLS = {
    "whitebox": f"digits/whitebox[images=12,eps=[0.05,0.1],steps=2,restarts=3,{HEALTH}]",
    "transferability": f"digits/transferability[{SMALL},restarts=3,{HEALTH}]",
    "blackbox": (
        f'digits/blackbox-compact[{SMALL},{HEALTH},variants=[{{attack="momentum_pgd",losses=["cw"],restarts=3}}]]'
    ),
    "adaptive": (
        f'digits/adaptive[{SMALL},starts=[{{attack="momentum_pgd",losses=["cw"],restarts=3}}],'
        'variants=[{objective="mean_softmax",losses=["cw"],restarts=2}]]'
    ),
    "whitebox-convergence": f"digits/whitebox-convergence[images=12,eps=[0.1],steps=[1,2],restarts=2,{HEALTH}]",
    "blackbox-convergence": (
        "digits/blackbox-convergence[images=12,eps=[0.1],steps=[1,2],"
        f'variants=[{{attack="momentum_pgd",losses=["cw"],restarts=2}}],{HEALTH}]'
    ),
    "diversity": "digits/diversity[images=12,eps=[0.05,0.1],steps=2]",
    "distillation": "digits/distillation[images=12,eps=[0.05,0.1],steps=2]",
}
OF_ONE_PIECE = {"autoattack", "gallery", "regions", "transfer-folder"}
"""Kinds that craft nothing of their own, or measure no health."""


def test_every_kind_is_here_or_has_a_reason_not_to_be() -> None:
    assert set(PROTOCOLS) | OF_ONE_PIECE == set(KINDS)


@pytest.fixture(autouse=True)
def restarts_repeat(monkeypatch):
    """Two images in three start where they started before, so that restarts have something to repeat."""

    def starts(shape, indices, *key):
        drawn = uniform_starts(shape, indices, *key)
        again = uniform_starts(shape, indices, *key[:-1])
        for row, index in enumerate(indices):
            if index % 3:
                drawn[row] = again[row]
        return drawn

    monkeypatch.setattr("robustbench_ens.perturb.attack.uniform_starts", starts)
    monkeypatch.setattr("robustbench_ens.evaluation.kinds.adaptive.uniform_starts", starts)


def in_pieces(arguments, monkeypatch, target, name):
    """Evaluate, killed after every call of ``target.name`` that finished something new; gives the number of kills."""
    plain = getattr(target, name)
    for kills in range(100):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, dies_after_something_new(plain))
            try:
                return kills, module.evaluate(*arguments)
            except KeyboardInterrupt:
                continue
    raise AssertionError("it never ends")


def dies_after_something_new(plain):
    def call(*arguments):
        path = next(argument for argument in arguments if hasattr(argument, "exists"))
        kept = path.exists()
        result = plain(*arguments)
        if not kept:
            raise KeyboardInterrupt
        return result

    return call


@pytest.mark.slow
@pytest.mark.parametrize("kind", PROTOCOLS)
def test_killed_after_every_part(kind, trained, digits, tmp_path, monkeypatch):
    protocol = load_protocol(PROTOCOLS[kind])
    sources = [trained[1000]] if hasattr(protocol.settings, "surrogates") else []
    whole = read_outcomes(module.evaluate(protocol, trained[0], sources, digits, Store(tmp_path / "whole")))
    points = [(parts, "compute_part")]
    if kind in ("blackbox", "blackbox-convergence", "adaptive"):
        points.append((blackbox, "save_crafted"))
    for target, name in points:
        arguments = (protocol, trained[0], sources, digits, Store(tmp_path / name))
        kills, path = in_pieces(arguments, monkeypatch, target, name)
        pieces = read_outcomes(path)
        assert kills > (kind != "adaptive" or name != "compute_part")
        pd.testing.assert_frame_equal(pieces.outcomes, whole.outcomes)
        pd.testing.assert_frame_equal(measured(pieces), measured(whole))
    if kind not in ("diversity", "distillation"):
        repeats = measured(whole)["name"].str.endswith("identical_restarts")
        assert (measured(whole).loc[repeats, "value"] > 0.3).any()


def measured(file):
    rows = file.measurements
    return rows[rows["name"].astype(str) != "time/attack"].reset_index(drop=True)


@pytest.mark.slow
def test_images_of_another_protocol_are_restarts_too(trained, digits, tmp_path, monkeypatch):
    """Two restarts crafted for one protocol, a third for another with the same images: it knows what it repeats."""
    first, second = (PROTOCOLS["blackbox"].replace("restarts=3", f"restarts={count}") for count in (2, 3))
    store = Store(tmp_path / "shared")
    for reference in (first, second):
        shared = module.evaluate(load_protocol(reference), trained[0], [trained[1000]], digits, store)
    alone = module.evaluate(load_protocol(second), trained[0], [trained[1000]], digits, Store(tmp_path / "alone"))
    pd.testing.assert_frame_equal(measured(read_outcomes(shared)), measured(read_outcomes(alone)))
