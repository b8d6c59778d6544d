import pytest
import torch

from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.errors import UserError
from robustbench_ens.weights.released import export_released, from_released, read_released
from tests import golden


def test_a_released_checkpoint_survives_the_round_trip(tmp_path):
    recipe = load_recipe("cifar10/baseline-3")
    ensemble = from_released(golden.CHECKPOINT, recipe)
    export_released(tmp_path / "again.pth", ensemble)
    before, after = read_released(golden.CHECKPOINT), read_released(tmp_path / "again.pth")
    assert list(before) == list(after) == ["model_0", "model_1", "model_2"]
    for key, state in before.items():
        assert state.keys() == after[key].keys()
        assert all(torch.equal(state[name], after[key][name]) for name in state)


@pytest.mark.slow
def test_the_leaky_checkpoint_gives_leaky_networks():
    recipe = load_recipe("cifar10/baseline-3", {"network_args.activation": "leaky_relu"})
    ensemble = from_released(golden.LEAKY_CHECKPOINT, recipe)
    own = golden.ensemble(golden.LEAKY_CHECKPOINT, "leaky_relu")
    x = golden.vectors()["x"]
    with torch.no_grad():
        torch.testing.assert_close(ensemble.double()(x), own(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_another_precision_becomes_the_networks(tmp_path, dtype):
    recipe = load_recipe("cifar10/baseline-3")
    states = read_released(golden.CHECKPOINT)
    other = {key: {name: tensor.to(dtype) for name, tensor in state.items()} for key, state in states.items()}
    torch.save(other, tmp_path / "x.pth")
    ensemble = from_released(tmp_path / "x.pth", recipe)
    same = from_released(golden.CHECKPOINT, recipe).state_dict()
    for name, tensor in ensemble.state_dict().items():
        assert tensor.dtype == same[name].dtype
        assert torch.equal(tensor, same[name].to(dtype).to(tensor.dtype))
    assert ensemble(golden.vectors()["x"].float()).dtype == torch.float32


WEIGHT, COUNT, VAR, STD = (
    "model.conv1.weight",
    "model.bn1.num_batches_tracked",
    "model.bn1.running_var",
    "normalizer.std",
)


def _with(name, change):
    states = read_released(golden.CHECKPOINT)
    return {**states, "model_1": {**states["model_1"], name: change(states["model_1"][name])}}


def _set_first(value):
    def change(tensor):
        changed = tensor.clone()
        changed.view(-1)[0] = value
        return changed

    return change


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        (WEIGHT, _set_first(float("nan")), "expected finite numbers, got NaN or infinity"),
        (WEIGHT, _set_first(float("inf")), "expected finite numbers, got NaN or infinity"),
        (WEIGHT, lambda tensor: tensor.double() * 1e300, " as torch.float32: expected finite numbers, got NaN or inf"),
        (WEIGHT, lambda tensor: tensor.to(torch.complex64), "expected a plain tensor of floating-point numbers or"),
        (WEIGHT, lambda tensor: tensor.to_sparse(), "expected a plain tensor of floating-point numbers or"),
        (WEIGHT, lambda tensor: tensor.int(), "expected torch.float32 or another precision, as in the network, got "),
        (WEIGHT, lambda tensor: tensor[:1, :1, :1, :1].expand(tensor.shape), "expected a tensor that stores each"),
        (
            WEIGHT,
            lambda tensor: torch.zeros(1).expand(2**30),
            "expected a tensor that stores each of its elements, got shape",
        ),
        (COUNT, lambda tensor: tensor + 0.5, "expected whole numbers, as in the network, got torch.float32"),
        (COUNT, lambda tensor: tensor * 0 + 1e30, "expected whole numbers, as in the network, got torch.float32"),
        (VAR, _set_first(-1), "expected variances of at least 0, got -1"),
        (STD, _set_first(0), "expected deviations above 0, got 0"),
    ],
)
def test_weights_that_cannot_be(tmp_path, name, change, says):
    torch.save(_with(name, change), tmp_path / "x.pth")
    with pytest.raises(UserError, match=f"x.pth: model_1.{name}.*{says}") as error:
        from_released(tmp_path / "x.pth", load_recipe("cifar10/baseline-3"))
    assert str(error.value).isprintable()
