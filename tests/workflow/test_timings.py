"""Expected times: measured before published before estimated, and estimates by hand."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.store import Store
from robustbench_ens.evaluation.crafted_images import Cost, save_crafted
from robustbench_ens.evaluation.record import Past
from robustbench_ens.weights.record import EnsembleRecord, read_record, run_dir
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow.speeds import GRADIENT_SHARE, Speed, Speeds, slowdown
from robustbench_ens.workflow.timings import Timing, Timings

RESNET8 = ("resnet8", "{}")
RESNET20 = ("resnet20", "{}")


PUBLISHED = Path(__file__).parents[2] / "zoo/weights/digits/baseline-3/seed-0"


def record(**training: Any) -> EnsembleRecord:
    """A published record, as if its training had gone otherwise."""
    found = read_record(PUBLISHED)
    assert found is not None
    assert found.training is not None
    return replace(found, training=found.training | training)


def test_the_speed_of_a_record() -> None:
    """40 steps of 64 images and 3 sub-models in 7.68 s on one thread: 1 ms each."""
    made = record(wall_time_s=7.68, steps=40, threads=1)
    assert Speed.of(made, here=True) == Speed("baseline", "digits", RESNET8, 0.001, 1, "cpu", True)


@pytest.mark.parametrize(
    "made",
    [
        replace(record(), training=None),
        record(steps=0),
        replace(record(), resolved={"progressive_resizing": {"size": 0.5, "until": 0.5}}),
    ],
    ids=["imported", "no steps", "images of several sizes"],
)
def test_no_speed_of_what_tells_none(made: EnsembleRecord) -> None:
    assert Speed.of(made, here=True) is None


def test_a_training_is_as_fast_as_others_of_its_method_and_network() -> None:
    speeds = Speeds(
        [
            Speed("dverge", "digits", RESNET8, 5.0, 1, "cpu", False),
            Speed("baseline", "digits", RESNET8, 1.0, 1, "cpu", False),
            Speed("baseline", "digits", RESNET8, 3.0, 1, "cpu", False),
            Speed("baseline", "other", RESNET8, 100.0, 1, "cpu", True),
            Speed("baseline", "digits", RESNET20, 50.0, 1, "cpu", False),
        ]
    )
    assert speeds.training(load_recipe("digits/baseline-5")) == 2.0
    assert speeds.training(load_recipe("digits/dverge-3")) == 5.0
    assert speeds.training(load_recipe("digits/adp-3")) is None
    assert speeds.training(load_recipe("digits/baseline-5[network_args.width=3]")) is None


def test_a_gradient_costs_a_share_of_the_fastest_training_of_the_network() -> None:
    speeds = Speeds(
        [
            Speed("dverge", "digits", RESNET8, 5.0, 1, "cpu", False),
            Speed("adp", "digits", RESNET8, 1.0, 1, "cpu", False),
        ]
    )
    assert speeds.gradient(load_recipe("digits/gal-3")) == GRADIENT_SHARE  # its activations cost the same
    assert speeds.gradient(load_recipe("cifar10/baseline-3")) is None


def test_records_of_this_run_directory_and_dataset_count_first() -> None:
    here = Speed("baseline", "digits", RESNET8, 9.0, 1, "cpu", True)
    elsewhere = Speed("baseline", "digits", RESNET8, 1.0, 1, "cpu", False)
    other = Speed("baseline", "other", RESNET8, 4.0, 1, "cpu", True)
    recipe = load_recipe("digits/baseline-3")
    assert Speeds([elsewhere, here, other]).training(recipe) == 9.0
    assert Speeds([elsewhere, other]).training(recipe) == 1.0
    assert Speeds([other]).training(recipe) == 4.0


def test_measured_comes_before_published_and_that_before_estimated(tmp_path: Path) -> None:
    recipe = load_recipe("digits/baseline-3")
    timings = Timings(Store(tmp_path))
    training = record().training
    assert training is not None
    seconds = training["wall_time_s"]
    assert timings.training(recipe) == Timing(seconds, "published")
    longer = timings.training(load_recipe("digits/baseline-3[epochs=60]"))
    assert longer is not None
    assert longer.origin == "estimated"
    assert longer.seconds == pytest.approx(2 * seconds)
    assert timings.training(load_recipe("digits/baseline-3[network=resnet32]")) is None
    shutil.copytree(PUBLISHED, run_dir(Store(tmp_path), recipe, 0))
    assert Timings(Store(tmp_path)).training(recipe) == Timing(seconds, "measured")


def test_gradients_by_published_speeds(tmp_path: Path) -> None:
    timings = Timings(Store(tmp_path))
    three = timings.gradients(load_recipe("digits/baseline-3"), 1000)
    eight = timings.gradients(load_recipe("digits/baseline-8"), 3000)
    assert three is not None and eight is not None
    assert three.origin == "estimated"
    assert eight.seconds == pytest.approx(8 * three.seconds)
    assert timings.gradients(load_recipe("digits/baseline-3[network=resnet32]"), 1) is None


def test_fewer_threads_than_before_take_longer_and_more_take_no_less() -> None:
    assert [slowdown(2, threads) for threads in (1, 2, 4)] == [2.0, 1.0, 1.0]
    speed = Speed("baseline", "digits", RESNET8, 3.0, 2, "cpu", False)
    recipe = load_recipe("digits/baseline-3")
    assert [Speeds([speed], threads).training(recipe) for threads in (1, 2, 4)] == [6.0, 3.0, 3.0]


def test_crafting_is_as_fast_as_it_was_with_the_same_attack_on_the_same_recipe(tmp_path: Path) -> None:
    recipe, other = load_recipe("digits/baseline-3"), load_recipe("digits/baseline-5")
    for number, (gradients, seconds) in enumerate([(10, 1.0), (30, 5.0)]):
        path = tmp_path / "adversarial" / f"{number}.safetensors"
        images = torch.zeros(1, 1, 2, 2)
        save_crafted(path, images, images, 0.1, (), Cost(recipe.hash, "sgm", gradients, seconds, "cpu"))
    timings = Timings(Store(tmp_path))
    assert timings.crafting(recipe, "sgm", 100) == Timing(15.0, "measured")
    assert timings.crafting(recipe, "pgd", 100) is None
    assert timings.crafting(other, "sgm", 100) is None


def test_evaluations_and_their_groups_take_the_mean_of_what_they_took(tmp_path: Path) -> None:
    protocol, target = load_protocol("digits/whitebox"), TrainingRun(load_recipe("digits/baseline-3"), 7)
    key = (protocol.hash, target.hash)
    timings = Timings(Store(tmp_path))
    assert timings.evaluation(protocol, target) is None
    timings._attacks = [
        Past(*key, 10.0, {"eps-0.1": 2.0, "eps-0.2": 8.0}, "cpu"),
        Past(*key, 20.0, {"eps-0.1": 4.0}, "cpu"),
        Past(protocol.hash, "another", 99.0, {"eps-0.1": 99.0}, "cpu"),
        Past("another", target.hash, 99.0, {"eps-0.1": 99.0}, "cpu"),
    ]
    assert timings.evaluation(protocol, target) == Timing(15.0, "measured")
    assert timings.group(protocol, target, "eps-0.1") == Timing(3.0, "measured")
    assert timings.group(protocol, target, "eps-0.2") == Timing(8.0, "measured")
    assert timings.group(protocol, target, "eps-0.3") is None


def test_times_of_another_device_stand_in_only_if_there_are_none_of_this_one(tmp_path: Path) -> None:
    recipe = load_recipe("digits/baseline-3")
    timings = Timings(Store(tmp_path), device="cuda:1")
    assert timings.stands_in
    on_cpu = timings.training(recipe)
    assert on_cpu is not None
    path = tmp_path / "adversarial" / "a.safetensors"
    images = torch.zeros(1, 1, 2, 2)
    save_crafted(path, images, images, 0.1, (), Cost(recipe.hash, "sgm", 10, 1.0, "cuda"))
    timings = Timings(Store(tmp_path), device="cuda:1")
    assert not timings.stands_in
    assert timings.training(recipe) is None
    assert timings.crafting(recipe, "sgm", 100) == Timing(10.0, "measured")
    assert not Timings(Store(tmp_path)).stands_in
    assert Timings(Store(tmp_path)).training(recipe) == on_cpu
