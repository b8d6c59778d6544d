import torch

from robustbench_ens.models.released import export_released, from_released, read_released
from robustbench_ens.recipes import load_recipe
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


def test_the_leaky_checkpoint_gives_leaky_networks():
    recipe = load_recipe("cifar10/baseline-3", {"network_args.activation": "leaky_relu"})
    ensemble = from_released(golden.LEAKY_CHECKPOINT, recipe)
    own = golden.ensemble(golden.LEAKY_CHECKPOINT, "leaky_relu")
    x = golden.vectors()["x"]
    with torch.no_grad():
        torch.testing.assert_close(ensemble.double()(x), own(x), rtol=0, atol=1e-6)
