"""The examples train, from recipes outside the zoo; a method and a network of one's own are part of the hash."""

from pathlib import Path

import pytest
import torch

from robustbench_ens import evaluate, load_ensemble
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.errors import UserError
from robustbench_ens.models.nodes import NamedNodes
from robustbench_ens.perturb.batch_norm import batch_norm_mode
from tests.conftest import Rbe

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES.parent)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["label-noise", "shufflenet-dverge"])
def test_the_examples_train(rbe: Rbe, tmp_path: Path, name: str) -> None:
    recipe = str(EXAMPLES / f"{name}.toml")
    result = rbe("train", recipe, "--set", "steps=2", "--runs", tmp_path)
    assert (result.code, result.err) == (0, "")
    ensemble = load_ensemble(f"{recipe}[steps=2]", runs=tmp_path)
    assert ensemble(torch.rand(2, 1, 8, 8)).shape == (2, 10)


def test_hyper_parameters_of_a_function_are_checked_and_hashed() -> None:
    recipe = str(EXAMPLES / "label-noise.toml")
    assert load_recipe(recipe).method.share == 0.2
    assert load_recipe(f"{recipe}[hyperparameters.share=0.3]").hash != load_recipe(recipe).hash
    with pytest.raises(UserError, match="unknown key 'hyperparameters.shore'; did you mean 'share'"):
        load_recipe(f"{recipe}[hyperparameters.shore=0.3]")
    with pytest.raises(UserError, match="key 'hyperparameters.share': expected"):
        load_recipe(f"{recipe}[hyperparameters.share=much]")
    with pytest.raises(UserError, match=r"expected a function \(ensemble, batch, context"):
        load_recipe(f"{recipe}[method=examples.small_shufflenet:build]")


def network() -> NamedNodes:
    from examples.small_shufflenet import build

    torch.manual_seed(0)
    built = build(1, 10)
    assert isinstance(built, NamedNodes)
    return built


def test_named_nodes_are_layers() -> None:
    built, images = network().eval(), torch.rand(2, 1, 8, 8)
    assert built.num_layers == 5
    torch.testing.assert_close(built.features(images, 5), built(images))
    assert built.features(images, 1).shape == (2, 8, 8, 8)
    assert len(dict(built.named_parameters())) == len(dict(built.network.named_parameters()))


@pytest.mark.slow
def test_named_nodes_leave_batch_norm_as_it_is_told() -> None:
    built, images = network().train(), torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        expected = network().eval().features(images, 3)
        with batch_norm_mode(built, "running"):
            torch.testing.assert_close(built.features(images, 3), expected)
        assert all(module.training for module in built.network.modules())
        assert not torch.allclose(built.features(images, 3), expected)


@pytest.mark.slow
def test_a_node_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(UserError, match="nowhere"):
        NamedNodes(network().network, ["conv1.1", "nowhere"])


METHODS_OF_ONES_OWN = """
import sys
import torch

def nothing(ensemble, batch, context): return None
def number(ensemble, batch, context): return 0.5
def empty(ensemble, batch, context): return {}
def vector(ensemble, batch, context): return {"loss": ensemble(batch.images).logsumexp(dim=1)}
def detached(ensemble, batch, context): return {"loss": torch.zeros(())}
def raises(ensemble, batch, context): raise ValueError("too much")
def leaves(ensemble, batch, context): sys.exit(3)
"""
TERMS, ONE_LINE = (
    "expected a method that returns scalar loss terms by name, got ",
    "expected a method that works on every",
)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", f"{TERMS}a NoneType"),
        ("number", f"{TERMS}a float"),
        ("empty", f"{TERMS}{{}}"),
        ("vector", f"{TERMS}{{loss: (32,)}}"),
        ("detached", "expected a method whose loss depends on the ensemble, got one without gradient"),
        ("raises", f"{ONE_LINE} batch of images, got ValueError: too much ("),
        ("leaves", f"{ONE_LINE} batch of images, got SystemExit: 3 ("),
    ],
)
def test_a_broken_method_stops_training_in_one_line(
    rbe: Rbe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    (tmp_path / "my_methods.py").write_text(METHODS_OF_ONES_OWN)
    monkeypatch.syspath_prepend(tmp_path)
    recipe = f"digits/baseline-3[method=my_methods:{name},batch_size=32,steps=2]"
    result = rbe("train", recipe, "--runs", tmp_path / "runs")
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert f"{recipe.split('[')[0]}[" in line and "key 'method': " in line and message in line


def test_the_python_api_takes_an_attack_and_a_loss_from_outside() -> None:
    """Each of the examples, on a linear model whose answer after them is known."""
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.stack([torch.full((64,), 0.1), torch.full((64,), -0.1)]))
        model[1].bias.copy_(torch.tensor([-3.2, 3.2]))
    images = torch.tensor([0.49, 0.52, 0.7, 0.3]).reshape(4, 1, 1, 1).expand(4, 1, 8, 8)
    attack = "attack=examples.look_ahead:LookAhead,loss=examples.look_ahead:mean_gap"
    protocol = f"digits/whitebox[{attack},restarts=1,steps=6,eps=[0.1],health.images=0]"
    rows = evaluate(model.eval(), images, [1, 0, 0, 1], protocol)
    attacked = rows[rows["attack"] == "examples.look_ahead:LookAhead"]
    assert set(attacked["loss"]) == {"examples.look_ahead:mean_gap"}
    assert attacked.sort_values("image")["correct"].tolist() == [False, False, True, True]
