"""Recipes that only say how trained sub-models answer."""

import pickle
from pathlib import Path

import pytest

from robustbench_ens import load_ensemble
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.store import Store
from robustbench_ens.errors import UserError
from robustbench_ens.weights.published import check_publishable
from robustbench_ens.weights.record import run_dir
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.plan import Plan

BASELINE = "digits/baseline-3"


@pytest.mark.parametrize("reference", [f"{BASELINE}[aggregation=crossmax]", "digits/crossmax-3"])
def test_the_sub_models_are_those_of_the_recipe_that_is_trained(reference: str) -> None:
    recipe, trained = load_recipe(reference), load_recipe(BASELINE)
    assert recipe.hash != recipe.trained.hash == trained.hash
    assert recipe.trained.label == BASELINE
    assert recipe.lineage(0) == trained.lineage(0)
    assert run_dir(Store(Path("runs")), recipe, 0) == run_dir(Store(Path("runs")), trained, 0)
    assert pickle.loads(pickle.dumps(recipe)) == recipe


def test_the_default_is_left_out_of_the_hash() -> None:
    plain = load_recipe(BASELINE)
    assert load_recipe(f"{BASELINE}[aggregation=mean_softmax]").hash == plain.hash
    assert plain.trained is plain


def test_overrides_reach_the_recipe_that_is_trained() -> None:
    recipe = load_recipe("digits/crossmax-3[epochs=5]")
    assert (recipe.trained.label, recipe.settings.epochs) == (f"{BASELINE}[epochs=5]", 5)


def test_a_file_with_another_aggregation_is_trained_under_the_default(tmp_path: Path) -> None:
    file = tmp_path / "votes.toml"
    file.write_text(f'extends = "{BASELINE}"\naggregation = "majority_vote"\n')
    votes = load_recipe(str(file))
    assert votes.trained.settings.aggregation == "mean_softmax"
    assert pickle.loads(pickle.dumps(votes.trained)) == votes.trained
    assert load_recipe(str(file), {"aggregation": "mean_logits"}).trained.hash == votes.trained.hash


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            "digits/crossmax-3[members_of=digits/crossmax-3]",
            "expected a recipe that is trained, got 'digits/cross",
        ),
        ("digits/crossmax-3[members_of=digits/nothing]", "key 'members_of': unknown recipe 'digits/nothing'"),
        ("digits/crossmax-3[members_of=3]", "key 'members_of': expected the name or path of a recipe, got 3"),
        ("digits/single[aggregation=crossmax]", "expected at least 2 sub-models for aggregation 'crossmax', got 1"),
        (
            f"{BASELINE}[aggregation=random_member,member_probabilities=[0.5,0.4]]",
            r"key 'member_probabilities': expected 3 numbers in \[0, 1\] that sum to 1, .* got \[0.5, 0.4\]",
        ),
        (
            f"{BASELINE}[member_probabilities=[0.5,0.5,0]]",
            "key 'member_probabilities': expected no such key, since under",
        ),
        (f"{BASELINE}[aggregation=mean]", "key 'aggregation': expected one of mean_softmax, .*, got 'mean'"),
    ],
)
def test_mistakes_are_one_line(reference: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe(reference)


def test_other_keys_beside_members_of_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "odd.toml"
    file.write_text(f'members_of = "{BASELINE}"\nepochs = 7\n')
    with pytest.raises(UserError, match="key 'epochs': expected no such key beside 'members_of', got 7"):
        load_recipe(str(file))


def test_published_weights_answer_in_several_ways() -> None:
    broken, plain = load_ensemble("digits/crossmax-3"), load_ensemble(BASELINE)
    assert (broken.aggregation, plain.aggregation) == ("crossmax", "mean_softmax")
    assert broken.record is not None
    assert plain.record is not None
    assert broken.record.weights == plain.record.weights
    assert (broken.record.id, broken.record.label) == ("digits/crossmax-3#0", "digits/crossmax-3")
    assert broken.record.recipe_hash == load_recipe("digits/crossmax-3").hash
    assert broken.origin == plain.origin


def test_nothing_is_planned_but_the_training_of_the_sub_models(tmp_path: Path) -> None:
    plan = Plan(Workplace(Store(tmp_path), None, "cpu", progress=None))  # type: ignore[arg-type]
    plan.train([TrainingRun(load_recipe(name), 0) for name in ("digits/crossmax-3", BASELINE)])
    assert [step.title for step in plan.steps] == [f"train {BASELINE}#0"]


def test_weights_are_published_under_the_name_that_they_are_trained_by() -> None:
    with pytest.raises(UserError, match=f"expected one that is trained, to publish weights of; publish '{BASELINE}'"):
        check_publishable(load_recipe("digits/crossmax-3"), Path("zoo"))


def test_probabilities_of_sub_models_are_of_the_answer_and_not_of_the_weights(tmp_path: Path) -> None:
    equal, skewed = (
        load_recipe(f"digits/random-member-3{keys}") for keys in ("", "[member_probabilities=[0.5,0.3,0.2]]")
    )
    assert equal.hash != skewed.hash
    assert equal.trained.hash == skewed.trained.hash == load_recipe("digits/dverge-3").hash
    assert pickle.loads(pickle.dumps(skewed)) == skewed
    file = tmp_path / "own.toml"
    file.write_text(f'extends = "{BASELINE}"\naggregation = "random_member"\nmember_probabilities = [0.5, 0.3, 0.2]\n')
    assert load_recipe(str(file)).trained.settings.member_probabilities == ()
    answering = load_ensemble("digits/random-member-3[member_probabilities=[0.5,0.3,0.2]]")
    assert answering.aggregate.chances == (0.5, 0.3, 0.2)
    assert load_ensemble("digits/random-member-3").aggregate.chances == (1 / 3,) * 3
