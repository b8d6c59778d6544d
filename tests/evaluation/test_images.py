"""The images of a protocol lie in the half of the test images that it names, whatever its kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.progress import Silent
from robustbench_ens.core.store import Store
from robustbench_ens.data.halves import are_in_half, images_in_half
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation import runner
from robustbench_ens.evaluation.images import check_count, check_half, chosen_indices, evaluation_images
from robustbench_ens.evaluation.kinds.blackbox import Bench, crafting_hash
from robustbench_ens.evaluation.partition import Variant, expand
from robustbench_ens.evaluation.runner import evaluate
from robustbench_ens.outcomes import read_outcomes
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow.pieces import CraftPiece
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.plan import Plan
from robustbench_ens.workflow.split import pieces_of
from tests.evaluation.test_partition import ALL

REGIONS = "digits/regions[images=12,grid=3]"
KINDS_THAT_DRAW = ALL | {"regions": REGIONS}


def in_half(reference: str, half: str) -> str:
    return f"{reference.removesuffix(']')},test_half={half}]"


@pytest.mark.parametrize(("kind", "half"), [*((kind, "report") for kind in KINDS_THAT_DRAW), ("gallery", "selection")])
def test_every_kind_draws_its_images_out_of_the_half(kind, half, trained, digits, tmp_path):
    protocol = load_protocol(in_half(KINDS_THAT_DRAW[kind], half))
    sources = [trained[1000]] if hasattr(protocol.settings, "surrogates") else []
    file = read_outcomes(evaluate(protocol, trained[0], sources, digits, Store(tmp_path)))
    attacked = torch.tensor(file.outcomes["image"].unique().astype(np.int64))
    assert len(attacked) == protocol.settings.images
    assert are_in_half(attacked, half).all()
    assert file.provenance["protocol"]["resolved"]["test_half"] == half


def test_all_images_are_those_of_before(digits):
    """What published results were measured on."""
    drawn = torch.randperm(500, generator=torch.Generator().manual_seed(3))[:20].sort().values
    plain = evaluation_images(load_protocol("digits/whitebox[images=20,seed=3]").settings, digits)
    assert torch.equal(plain.indices, drawn)
    assert torch.equal(plain.labels, digits.y_test[drawn])


def test_fewer_images_of_a_half_are_among_more():
    small, large = (
        chosen_indices(load_protocol(f"cifar10-jpeg/{name}").settings, 10_000).tolist()
        for name in ("autoattack", "whitebox-report-half")
    )
    assert (len(small), len(large)) == (200, 1000)
    assert set(small) < set(large)


def test_protocols_of_the_jpeg_copy_keep_the_halves_apart():
    drawn = {}
    for name in ("whitebox", "blackbox", "autoattack"):
        settings = load_protocol(f"cifar10-jpeg/{name}-selection").settings
        drawn[name] = set(chosen_indices(settings, 10_000).tolist())
    reported = set()
    for name in ("whitebox-report-half", "blackbox-two-surrogates", "autoattack", "adaptive"):
        reported |= set(chosen_indices(load_protocol(f"cifar10-jpeg/{name}").settings, 10_000).tolist())
    assert len(reported) == 1000
    assert drawn["autoattack"] < drawn["whitebox"] == drawn["blackbox"]
    assert not drawn["whitebox"] & reported


def test_crafted_images_of_two_halves_are_others(trained):
    variant = Variant("momentum_pgd", "cw", 0)
    hashes = set()
    for half in ("all", "selection", "report"):
        settings = load_protocol(in_half(ALL["blackbox"], half)).settings
        hashes.add(
            crafting_hash(Bench(settings, "digest", chosen_indices(settings, 500).tolist()), trained[0].record, variant)
        )
    assert len(hashes) == 3


def test_pieces_craft_each_half_by_itself(tmp_path):
    plan = Plan(Workplace(Store(tmp_path), None, "cpu", Silent()))
    for half, images in (("report", 12), ("selection", 12), ("all", 12), ("report", 11)):
        protocol = load_protocol(f"digits/blackbox-compact[images={images},eps=[0.1],steps=2,test_half={half}]")
        plan.add_attack(protocol, TrainingRun(load_recipe("digits/baseline-3"), 0))
    alone = len(expand(load_protocol("digits/blackbox-compact").settings.variants))
    assert sum(isinstance(piece, CraftPiece) for piece in pieces_of(plan)) == 4 * alone


@pytest.mark.parametrize(
    ("half", "images", "test", "message"),
    [
        (
            "report",
            251,
            500,
            "key 'images': expected at most 250, all test images in the report half of 'own', got 251",
        ),
        ("report", 2, 3, "key 'images': expected at most 1, all test images in the report half of 'own', got 2"),
        ("report", 1, 1, "key 'test_half': expected at least 2 test images, two halves, got 1 in 'own'"),
        ("all", 2, 1, "key 'images': expected at most 1, all test images of 'own', got 2"),
    ],
)
def test_more_images_than_there_are(half, images, test, message):
    protocol = load_protocol(f"digits/whitebox[images={images},test_half={half}]")
    with pytest.raises(UserError) as error:
        check_count(protocol, test, "own")
    assert str(error.value) == f"protocol {protocol.label!r}: {message}"


def test_as_many_images_as_there_are():
    check_count(load_protocol("digits/whitebox[images=250,test_half=report]"), 500, "digits")
    check_count(load_protocol("digits/whitebox[images=1]"), 1, "own")


def test_images_of_the_other_half_are_refused():
    protocol = load_protocol("digits/whitebox[images=9,test_half=report]")
    check_half(protocol, images_in_half(500, "report"), "indices")
    with pytest.raises(UserError, match=r"^indices: expected places of test images in the report half, .* got 2 of"):
        check_half(protocol, torch.tensor([3, 2]), "indices")


def test_a_kind_that_draws_out_of_the_other_half_is_refused(trained, digits, tmp_path, monkeypatch):
    """As a kind from outside may, which chooses its images itself."""
    protocol = load_protocol(in_half(ALL["whitebox"], "report"))
    other = evaluation_images(load_protocol(in_half(ALL["whitebox"], "selection")).settings, digits)

    class Careless:
        def digest(self):
            return None

        def images(self, dataset):
            return other

    monkeypatch.setattr(runner, "evaluation_of", lambda settings: Careless())
    with pytest.raises(UserError, match="protocol kind 'whitebox': expected places of test images in the report half"):
        evaluate(protocol, trained[0], [], digits, Store(tmp_path))
