from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core import memory
from robustbench_ens.errors import UserError
from robustbench_ens.models.build import build_ensemble, check_network, count_parameters, seeded


def build(seed=0, reference="digits/baseline-3"):
    mean, std = torch.tensor([0.3]), torch.tensor([0.4])
    return build_ensemble(load_recipe(reference), seed, channels=1, classes=10, mean=mean, std=std)


def first_weights(ensemble):
    return [member.model.conv1.weight for member in ensemble.members]


def test_the_same_seed_gives_the_same_members_and_each_its_own():
    first, again, other = first_weights(build()), first_weights(build()), first_weights(build(seed=1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert not torch.equal(first[0], first[1])


def test_the_global_generator_is_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    build()
    assert torch.equal(torch.rand(2), expected)


def test_normalisation_lies_inside_the_sub_models():
    member = build().members[1]
    assert member.normalizer.mean.item() == torch.tensor(0.3)
    assert member.normalizer.std.item() == torch.tensor(0.4)


def test_networks_that_do_not_fit_in_memory_are_not_built(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**30)
    recipe = load_recipe("digits/baseline-3[network_args.width=1024,sub_models=64]")
    with pytest.raises(UserError, match=r"expected networks that fit in memory, 1,.* available, got .* \(\d+.\d GiB\)"):
        check_network(recipe, (1, 8, 8), 10)
    needed = 3 * 4 * count_parameters(build())
    monkeypatch.setattr(memory, "available_bytes", lambda: needed)
    check_network(load_recipe("digits/baseline-3"), (1, 8, 8), 10)
    monkeypatch.setattr(memory, "available_bytes", lambda: needed - 1)
    with pytest.raises(UserError, match=f"got {needed:,} bytes"):
        check_network(load_recipe("digits/baseline-3"), (1, 8, 8), 10)


@pytest.mark.parametrize(("key", "value"), [("width", 0), ("width", 1025), ("slope", -0.1), ("slope", 1.1)])
def test_bounds_of_network_args(key, value):
    with pytest.raises(UserError, match=f"key 'network_args.{key}': expected . to .*, got {value}"):
        check_network(load_recipe("digits/baseline-3", {f"network_args.{key}": value}), (1, 8, 8), 10)


def test_threads_that_initialise_at_the_same_time_draw_nothing_from_each_other():
    """PyTorch initialises networks from one generator of the whole process."""

    def build(seed):
        return seeded(seed, lambda: torch.nn.Sequential(*(torch.nn.Linear(50, 50) for _ in range(20)))).state_dict()

    alone = [build(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(build, range(8)))
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
