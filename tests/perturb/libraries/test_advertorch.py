import importlib

import pytest
import torch
from torch import nn

from robustbench_ens.config.attacks import loss_function
from robustbench_ens.config.libraries import LIBRARIES
from robustbench_ens.errors import UserError
from robustbench_ens.models.resnet import ResNet
from robustbench_ens.perturb.libraries import advertorch
from robustbench_ens.perturb.libraries.generators import global_generators
from robustbench_ens.perturb.starts import uniform_starts
from tests.crafting import craft_by
from tests.shared import needs_advertorch

needs_advertorch()

ADVERTORCH_ATTACKS = LIBRARIES["advertorch"].attacks
BUDGET = {"eps": 0.03, "step_size": 0.006, "steps": 6}
SETTINGS = {"eps": 0.03, "nb_iter": 6, "eps_iter": 0.006}


IMAGES = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1


def network():
    """A ResNet-8 of four channels, in float32, as advertorch's FAB wants it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ResNet(8, channels=1, width=4).eval()


def run(class_name, model=None, count=3, **changes):
    """Crafted against what the network itself says, so that every attack has something to change."""
    model = model or network()
    settings = {"loss": "cross_entropy", **BUDGET, "start_key": (0, 0), "device": torch.device("cpu")} | changes
    labels = model(IMAGES[:count]).argmax(1)
    return craft_by(model, IMAGES[:count], labels, range(count), attack=f"advertorch:{class_name}", **settings)


def test_zero_gradients():
    weight = torch.ones(2, requires_grad=True)
    weight.sum().backward()
    advertorch.zero_gradients(weight)
    advertorch.zero_gradients([weight, torch.ones(1)])
    assert weight.grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("loss", ["cross_entropy", "cw"])
def test_pgd_agrees_with_its_loop_from_the_same_random_start(loss):
    model = network().double()
    x = IMAGES[:4].double()
    y = model(x).argmax(1)
    start = uniform_starts(x.shape[1:], range(4), "pgd", loss, 7, 2).double()
    advertorch.attacks()
    loop = importlib.import_module("advertorch.attacks.iterative_projected_gradient").perturb_iterative
    delta = (x + 0.03 * start).clamp(0, 1) - x
    summed = {"loss_fn": lambda logits, labels: loss_function(loss)(logits, labels).sum(), "delta_init": delta}
    theirs = loop(x, y, model, **SETTINGS, **summed).detach()
    ours = craft_by(
        model, x, y, range(4), attack="pgd", loss=loss, **BUDGET, start_key=(7, 2), device=torch.device("cpu")
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["LinfPGDAttack", "LinfSPSAAttack"])
def test_batches_wait_for_each_other_whatever_the_workers(name):
    shared = {"count": 6, "batch_size": 2, "steps": 2}
    assert torch.equal(run(name, **shared, workers=4), run(name, **shared))


@pytest.mark.parametrize("loss", ["cross_entropy", "cw"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in ADVERTORCH_ATTACKS if "FAB" not in name and "SPSA" not in name),
        ("LinfSPSAAttack", {"nb_sample": 256, "lr": 0.02}),
    ],
)
def test_on_a_linear_model_every_pixel_goes_to_the_edge(name, options, loss):
    """SPSA too: it must see each image's own loss, not the sum of all."""
    weight = torch.tensor([[1.0, -1.0, -1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    model[1].weight.data.copy_(weight)
    images, labels = IMAGES[..., :2, :2], torch.tensor([0, 1, 0, 1, 0, 1])
    settings = {"eps": 0.05, "step_size": 0.02, "steps": 12, "start_key": (0,), "device": torch.device("cpu")}
    found = craft_by(
        model, images, labels, range(6), attack=f"advertorch:{name}", loss=loss, options=options, **settings
    )
    towards = torch.where(labels == 0, -1.0, 1.0).reshape(-1, 1, 1, 1) * weight[0].reshape(1, 1, 2, 2)
    torch.testing.assert_close(found, images + 0.05 * towards)


def test_fab_finds_the_boundary_within_the_budget():
    """Seen from above: where it stops, the network is about to change its mind, or has."""
    model = network()
    clean, found = model(IMAGES), model(run("LinfFABAttack", model, count=6, eps=0.3, steps=20))
    assert (clean.argmax(1) != found.argmax(1)).all()


def test_options_reach_the_constructor():
    without = run("LinfPGDAttack", options={"rand_init": False})
    assert torch.equal(without, run("LinfBasicIterativeAttack"))
    assert not torch.equal(without, run("LinfPGDAttack"))


def test_the_global_generator_comes_back_even_after_an_error():
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="stop"), global_generators(1, torch.device("cpu")):
        first = torch.rand(2)
        raise RuntimeError("stop")
    assert torch.equal(torch.get_rng_state(), state)
    with global_generators(1, torch.device("cpu")):
        assert torch.equal(torch.rand(2), first)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "Foo",
            {},
            "attack: expected an l-infinity attack of advertorch, advertorch: and one of L",
        ),
        ("L2PGDAttack", {}, "attack of advertorch (the closest: advertorch:PGDAttack"),
        (
            "LinfSPSAAttack",
            {"samples": 3},
            "attack 'advertorch:LinfSPSAAttack': unknown option 'samples'; valid options: delta, lr, nb_sample, "
            "max_batch_size, targeted",
        ),
        ("LinfPGDAttack", {"eps": 1.0}, "unknown option 'eps'; valid options: rand_init, targeted"),
        (
            "LinfSPSAAttack",
            {"nb_sample": "many"},
            "expected options that LinfSPSAAttack accepts, got {'nb_sample': 'many'}: invalid literal",
        ),
        ("LinfSPSAAttack", {"lr": 1}, "expected options that LinfSPSAAttack accepts, got {'lr': 1}"),
    ],
)
def test_errors(name, options, message):
    with pytest.raises(UserError) as error:
        run(name, options=options)
    assert message in str(error.value)
