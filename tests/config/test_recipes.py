from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ens.config.lookup import locate, names
from robustbench_ens.config.methods import METHODS
from robustbench_ens.config.recipe_keys import RecipeFile
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.errors import UserError
from robustbench_ens.models.build import build_ensemble, count_parameters

SHIPPED = names("zoo")


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zoo").mkdir()
    return tmp_path / "zoo"


def from_text(zoo: Path, text: str, name: str = "x") -> str:
    """The hash of a recipe with this text; the name stays, for it is part of the hash."""
    (zoo / f"{name}.toml").write_text(text)
    return load_recipe(name).hash


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == recipe.label == name
    assert load_recipe(str(locate("zoo", name))).hash == recipe.hash
    folder, _, file = name.partition("/")
    assert folder.removesuffix("-short") == recipe.settings.dataset
    if recipe.trained is not recipe:
        assert file == f"{recipe.settings.aggregation.replace('_', '-')}-{recipe.settings.sub_models}"
        return
    single = recipe.settings.sub_models == 1
    method = recipe.settings.method
    if single:
        assert file == ("single" if method == "baseline" else f"single-{method}")
    else:
        assert file.startswith(f"{method}-{recipe.settings.sub_models}")
    assert type(recipe.method).__name__.lower() == recipe.settings.method.replace("-", "") + "settings"


def test_no_two_shipped_recipes_are_the_same() -> None:
    assert len({load_recipe(name).hash for name in SHIPPED}) == len(SHIPPED)


@pytest.mark.parametrize("dataset", ["digits", "cifar10", "cifar10-short"])
def test_a_single_network_is_as_large_as_an_ensemble_of_three(dataset: str) -> None:
    def parameters(name: str) -> int:
        recipe = load_recipe(f"{dataset}/{name}")
        return count_parameters(
            build_ensemble(recipe, 0, channels=3, classes=10, mean=torch.zeros(3), std=torch.ones(3))
        )

    assert parameters("single") == parameters("single-advt") == pytest.approx(parameters("baseline-3"), rel=0.02)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_recipe_of_three_sub_models_on_digits(method: str) -> None:
    """Small enough to try it, and for the tests of all methods."""
    recipe = load_recipe(f"digits/{method}-3")
    assert (recipe.settings.method, recipe.settings.sub_models) == (method, 3)


def test_recipes_use_methods_of_the_table() -> None:
    assert {load_recipe(name).settings.method for name in SHIPPED} == set(METHODS)


settings = st.fixed_dictionaries(
    {},
    optional={
        "epochs": st.integers(1, 500),
        "dataset": st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8),
        "optimizer.lr": st.floats(1e-6, 10),
        "optimizer.nesterov": st.booleans(),
        "schedule.milestones": st.sampled_from([[0.5], [0.25, 0.75], []]),
        "network_args": st.sampled_from([{"width": 8}, {"width": 8, "activation": "leaky_relu"}, {}]),
        "hyperparameters.eps": st.sampled_from([0.1, "8/255"]),
        "precision": st.sampled_from(["fp32", "bf16"]),
    },
)


@pytest.mark.slow
@given(settings)
def test_a_label_loads_the_same_recipe(overrides: dict[str, object]) -> None:
    recipe = load_recipe("digits/dverge-3", overrides)
    again = load_recipe(recipe.label)
    assert (again.hash, again.label, again.resolved) == (recipe.hash, recipe.label, recipe.resolved)
    assert recipe.parent is not None
    assert load_recipe(recipe.parent.label).hash == recipe.parent.hash
    for key in ("dataset", "network_args"):
        assert getattr(recipe.parent.settings, key) == getattr(recipe.settings, key)


def test_a_default_left_out_or_written_is_the_same_recipe(zoo: Path) -> None:
    short = from_text(zoo, 'dataset = "digits"')
    assert short == from_text(
        zoo,
        """
        dataset = "digits"
        max_pixels = 50_000_000
        network = "resnet20"
        sub_models = 3
        method = "baseline"
        epochs = 200
        batch_size = 128
        augmentation = "pad-crop-flip"
        crop_padding = 0.125
        precision = "fp32"
        channels_last = true
        aggregation = "mean_softmax"
        member_probabilities = []
        settings_chosen_on = "unknown"
        network_args = {}
        hyperparameters = {}
        optimizer = {name = "sgd", lr = 0.1, momentum = 0.9, nesterov = false, weight_decay = 1e-4}
        schedule = {name = "multi-step", milestones = [0.5, 0.75], gamma = 0.1, warmup = 0.3, anneal = "cosine"}
        """,
    )
    written = set(RecipeFile.model_fields) - {
        *("dataset", "init_from", "steps", "monitor", "progressive_resizing", "members_of")
    }
    assert written == {
        *(
            "max_pixels",
            "network",
            "sub_models",
            "method",
            "epochs",
            "batch_size",
            "augmentation",
            "crop_padding",
            "precision",
        ),
        *(
            "channels_last",
            "aggregation",
            "member_probabilities",
            "settings_chosen_on",
            "network_args",
            "hyperparameters",
            "optimizer",
            "schedule",
        ),
    }, "a new key: write its default into the text above"


def test_defaults_of_a_method_are_left_out_too() -> None:
    plain = load_recipe("cifar10/dverge-3[hyperparameters.eps=0.07]")
    written = {"hyperparameters.steps": 10, "hyperparameters.layer": "epoch", "hyperparameters.eps": 0.07}
    assert load_recipe("cifar10/dverge-3", written).hash == plain.hash


def test_how_a_value_is_written_does_not_matter(zoo: Path) -> None:
    one = from_text(zoo, 'epochs = 5\ndataset = "digits"\n[optimizer]\nlr = 1\nmomentum = 0.5\n')
    assert one == from_text(zoo, 'dataset = "digits"\noptimizer = {momentum = 0.50, lr = "1"}\nepochs = 5\n')
    assert from_text(zoo, 'dataset = "digits"\noptimizer.lr = "8/255"') == from_text(
        zoo, f'dataset = "digits"\noptimizer.lr = {8 / 255!r}'
    )


CHANGES = [
    *(
        "max_pixels=100",
        "dataset=cifar10",
        "network=resnet14",
        "network_args.width=8",
        "sub_models=4",
        "method=baseline",
        "epochs=21",
    ),
    *("steps=7", "batch_size=32", "augmentation=pad-crop-flip", "precision=bf16", "channels_last=false"),
    *("optimizer.name=adam", "optimizer.lr=0.2", "optimizer.momentum=0.8", "optimizer.nesterov=true"),
    *("optimizer.weight_decay=0", "schedule.name=constant", "schedule.milestones=[0.4]", "schedule.gamma=0.2"),
    *("schedule.warmup=0.2", "hyperparameters.eps=0.1", "hyperparameters.steps=5", "hyperparameters.step_size=0.1"),
    *("hyperparameters.layer=3", "hyperparameters.layer=step", "hyperparameters.distill_batch_norm=batch"),
    *("hyperparameters.layer_steps=5", "monitor.images=10", "crop_padding=0.0625", "schedule.anneal=linear"),
    *("aggregation=crossmax", "members_of=digits/dverge-3"),
    "member_probabilities=[0.5,0.5,0],aggregation=random_member",
    *("init_from=digits/baseline-3[epochs=7]", "progressive_resizing.size=0.75", "progressive_resizing.until=0.3"),
]


def test_every_changed_value_is_another_recipe() -> None:
    hashes = {load_recipe("digits/dverge-3").hash}
    for change in CHANGES:
        reference = "digits/baseline-3" if change == "method=baseline" else f"digits/dverge-3[{change}]"
        hashes.add(load_recipe(reference).hash)
    assert len(hashes) == len(CHANGES) + 1
    changed = {change.split("=")[0].split(".")[0] for change in CHANGES}
    assert changed == set(RecipeFile.model_fields) - {"settings_chosen_on"}, "a new key: change it above"


@pytest.mark.parametrize("name", ["digits/dverge-3", "cifar10/baseline-3", "digits/crossmax-3"])
def test_where_settings_were_chosen_is_not_part_of_the_hash(name: str) -> None:
    """It decides no weights."""
    hashes = {load_recipe(f"{name}[settings_chosen_on={value}]").hash for value in ("all", "selection", "none")}
    assert hashes == {load_recipe(name).hash}


def test_the_name_and_the_parent_are_part_of_the_hash(zoo: Path) -> None:
    """The name seeds the members; the parent's weights are where they start."""
    assert from_text(zoo, 'dataset = "digits"', "x") != from_text(zoo, 'dataset = "digits"', "y")
    child = 'dataset = "digits"\ninit_from = "x"'
    before = from_text(zoo, child, "z")
    from_text(zoo, 'dataset = "digits"\nepochs = 3', "x")
    assert load_recipe("z").hash != before


def test_what_is_shared_with_the_parent_is_changed_in_both() -> None:
    shared = "network=resnet14,network_args.width=8,sub_models=4"
    recipe = load_recipe(f"digits/dverge-3[dataset=own,max_pixels=60000000,{shared},epochs=3]")
    assert recipe.parent is not None
    assert recipe.parent.label == f"digits/baseline-3[dataset=own,max_pixels=60000000,{shared}]"
    assert recipe.parent.settings.epochs == 30


def test_what_the_parent_does_not_share_is_an_error(zoo: Path) -> None:
    for key, value in (
        ("sub_models", "4"),
        ("dataset", '"own"'),
        ("network", '"resnet14"'),
        ("network_args", "{width=8}"),
    ):
        (zoo / "x.toml").write_text(f'extends = "digits/dverge-3"\n{key} = {value}')
        with pytest.raises(
            UserError, match=f"x.toml: key '{key}': expected .* as in 'digits/baseline-3', from which it"
        ):
            load_recipe("x")


def test_extends_keeps_what_is_not_said_again(zoo: Path) -> None:
    (zoo / "x.toml").write_text('extends = "digits/baseline-3"\nepochs = 3\n[optimizer]\nlr = 0.3')
    recipe, base = load_recipe("x").settings, load_recipe("digits/baseline-3").settings
    assert recipe.optimizer == base.optimizer.model_copy(update={"lr": 0.3})
    assert recipe == base.model_copy(update={"epochs": 3, "optimizer": recipe.optimizer})


def test_lineage() -> None:
    """Names and seeds: other settings of one recipe start from the same initialisation."""
    recipe = load_recipe("digits/dverge-3[epochs=3]")
    own = [f"digits/dverge-3#7/{member}" for member in range(3)]
    assert recipe.lineage(7) == own + [f"digits/baseline-3#7/{member}" for member in range(3)]
    assert load_recipe("digits/baseline-3[sub_models=1]").lineage(0) == ["digits/baseline-3#0/0"]


def test_a_method_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), *__import__("sys").path])
    Path("own_method_for_a_test.py").write_text(
        "from robustbench_ens.training.method import Method\nclass Own(Method):\n    weight: float = 1.0\n"
    )
    reference = "digits/baseline-3[method=own_method_for_a_test:Own,hyperparameters.weight=2.0]"
    recipe = load_recipe(reference)
    assert recipe.method.weight == 2.0
    assert recipe.resolved["hyperparameters"] == {"weight": 2.0}
    with pytest.raises(UserError, match="unknown key 'hyperparameters.wieght'; did you mean 'weight'"):
        load_recipe(reference.replace("weight", "wieght"))
