"""What holds for every method of the zoo."""

import pytest
import torch

from robustbench_ens.config.methods import METHODS
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.training.dverge import Dverge
from robustbench_ens.training.method import Context, Method, method_of
from tests.training.test_dverge import images, tiny

ADDITIVE = ["baseline", "advt", "dverge", "dverge-advt"]
"""Methods whose loss is a sum over sub-models once the images are crafted: one backward pass is the round robin."""


def gradients(name, ensemble, **hyperparameters):
    method = method_of(load_recipe(f"digits/{name}-3", hyperparameters).method)
    context = Context("a/0", 0, 0, lambda: images(2))
    terms = method(ensemble, images(1), context)
    torch.stack(list(terms.values())).sum().backward()
    return [torch.cat([p.grad.flatten() for p in member.parameters()]) for member in ensemble.members]


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("members", [2, 5])
def test_every_sub_model_learns(name, members):
    for gradient in gradients(name, tiny(members)):
        assert torch.isfinite(gradient).all() and torch.count_nonzero(gradient) > 0.9 * len(gradient)


STARTS = {"dverge-advt": {"hyperparameters.adversarial.random_start": False}}
"""DVERGE+AdvT's starts belong to a sub-model's place; without them nothing may."""


DRAWS_SUB_MODELS = {"fasten", "fasten-advt"}
"""Which sub-models they draw belongs to their places; ``test_fasten.py`` moves the draws along."""


@pytest.mark.parametrize("name", [name for name in METHODS if name not in DRAWS_SUB_MODELS])
def test_the_order_of_sub_models_does_not_matter(name):
    order = [2, 0, 1]
    plain = gradients(name, tiny(3), **STARTS.get(name, {}))
    members = tiny(3).members
    moved = gradients(name, Ensemble([members[i] for i in order]), **STARTS.get(name, {}))
    for place, member in enumerate(order):
        torch.testing.assert_close(moved[place], plain[member], rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", ADDITIVE)
def test_one_backward_pass_is_the_round_robin(name):
    """Each sub-model alone asks for gradients: what it gets is what it gets when all do."""
    together = gradients(name, tiny(3))
    for index in range(3):
        ensemble = tiny(3)
        for other in set(range(3)) - {index}:
            ensemble.members[other].requires_grad_(False)
        method = method_of(load_recipe(f"digits/{name}-3").method)
        terms = method(ensemble, images(1), Context("a/0", 0, 0, lambda: images(2)))
        torch.stack(list(terms.values())).sum().backward()
        alone = torch.cat([p.grad.flatten() for p in ensemble.members[index].parameters()])
        torch.testing.assert_close(alone, together[index], rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_runs_with_the_settings_of_its_recipe(name):
    settings = load_recipe(f"digits/{name}-3").method
    method = method_of(settings)
    assert not isinstance(settings, Method) and isinstance(method, (Method, type(settings)))
    assert f"{type(method).__module__}:{type(method).__name__}" == settings.runs
    assert method.model_dump() == settings.model_dump()
    assert (method.numerics, method.title, method.paper) == (settings.numerics, settings.title, settings.paper)
    assert method_of(method) is method


def test_a_subclass_of_a_shipped_method_trains_as_itself():
    class Own(Dverge):
        pass

    own = Own(eps=0.05)
    assert method_of(own) is own
