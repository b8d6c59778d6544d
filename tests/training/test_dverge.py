import pytest
import torch
from torch.nn import functional as F

from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.errors import UserError
from robustbench_ens.models.build import build_ensemble
from robustbench_ens.perturb.distill import distill
from robustbench_ens.training.dverge import Dverge, diversification_losses
from robustbench_ens.training.layers import draw_layer
from robustbench_ens.training.method import Batch, Context
from tests import golden


def context(source, epoch=0, step=0):
    return Context(seed="test/0", epoch=epoch, step=step, draw_source=lambda: source)


def tiny(members, seed=0):
    recipe = load_recipe("digits/baseline-3", {"sub_models": members, "network_args.width": 4})
    zeros = torch.zeros(1)
    return build_ensemble(recipe, seed, channels=1, classes=10, mean=zeros, std=zeros + 1).double().train()


def images(seed, count=6):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(count, 1, 8, 8, generator=generator, dtype=torch.float64)
    return Batch(pixels, torch.randint(0, 10, (count,), generator=generator))


@pytest.mark.slow
@pytest.mark.parametrize("layer", [3, 13])
def test_one_step_matches_the_released_code(layer):
    """Losses, weights after SGD, and BatchNorm running statistics of a whole training step, in float64."""
    vectors, expected = golden.vectors(), golden.numbers()[f"dverge_step_layer{layer}"]
    ensemble = golden.ensemble().train()
    optimizer = torch.optim.SGD(ensemble.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    method = Dverge(eps=0.07, layer=layer)
    source = Batch(vectors["x"], vectors["y"])
    terms = method(ensemble, Batch(vectors["x_target"], vectors["y_target"]), context(source))
    torch.stack(list(terms.values())).sum().backward()
    optimizer.step()
    assert terms["diversification"].item() == pytest.approx(sum(expected["loss"]), rel=1e-6)
    for index, member in enumerate(ensemble.members):
        network = member.model
        assert network.fc.weight.norm().item() == pytest.approx(expected["fc_weight_after_norm"][index], rel=1e-6)
        assert network.conv1.weight.norm().item() == pytest.approx(expected["conv1_weight_after_norm"][index], rel=1e-6)
        moved = float(network.bn1.running_mean.sum())
        assert moved == pytest.approx(expected["bn1_running_mean_after_sum"][index], rel=1e-6)
    if layer == 13:
        after = vectors["dverge_step_layer13_model0_fc_weight_after"]
        torch.testing.assert_close(ensemble.members[0].model.fc.weight.detach(), after, rtol=0, atol=1e-6)


@pytest.mark.parametrize("members", [2, 5])
def test_losses_by_hand(members):
    """Sub-models that always answer their own constant logits: each is charged for the others' images."""
    ensemble = tiny(members)
    for index, member in enumerate(ensemble.members):
        member.model.fc.weight.data.zero_()
        member.model.fc.bias.data.zero_()
        member.model.fc.bias.data[0] = float(index)
    labels = torch.zeros(6, dtype=torch.int64)
    found = diversification_losses(ensemble, [images(i).images for i in range(members)], labels)
    biases = torch.arange(members, dtype=torch.float64)
    expected = (members - 1) * (torch.log(biases.exp() + 9) - biases)
    torch.testing.assert_close(found, expected)


def test_no_sub_model_learns_from_its_own_images():
    ensemble = tiny(3)
    seen = {index: [] for index in range(3)}
    for index, member in enumerate(ensemble.members):
        member.register_forward_pre_hook(lambda _, inputs, index=index: seen[index].append(inputs[0]))
    distilled = [images(i).images for i in range(3)]
    diversification_losses(ensemble, distilled, images(0).labels)
    for index, inputs in seen.items():
        others = [j for j in range(3) if j != index]
        assert [next(j for j, d in enumerate(distilled) if d is x) for x in inputs] == others


def test_the_source_is_changed_and_gives_the_labels():
    """The trained images lie near the source, not near the batch; labels are the source's."""
    ensemble, batch, source = tiny(2), images(1), images(2)
    inputs = []
    ensemble.members[0].register_forward_pre_hook(lambda _, args: inputs.append(args[0].detach()))
    terms = Dverge(eps=0.1, steps=3)(ensemble, batch, context(source))
    trained_on = inputs[-1]
    assert (trained_on - source.images).abs().max() <= 0.1 + 1e-12
    assert (trained_on - batch.images).abs().max() > 0.2
    assert torch.isfinite(terms["diversification"])


def test_sum_of_losses_is_the_round_robin_update():
    """One backward pass through the sum, against one optimiser and one step per sub-model."""
    together, apart = tiny(3), tiny(3)
    batch, source = images(1), images(2)
    one = torch.optim.SGD(together.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    many = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4) for m in apart.members]
    method = Dverge(eps=0.1, steps=2)
    for step in range(3):
        now = context(source, step=step)
        one.zero_grad()
        method(together, batch, now)["diversification"].backward()
        one.step()
        layer = draw_layer(method, 8, now)
        settings = {"eps": 0.1, "step_size": 0.05, "steps": 2, "batch_norm": "batch_and_update"}
        distilled = [distill(m, source.images, batch.images, layer, **settings) for m in apart.members]
        for i, optimizer in enumerate(many):
            optimizer.zero_grad()
            others = (x for j, x in enumerate(distilled) if j != i)
            sum(F.cross_entropy(apart.members[i](x), source.labels) for x in others).backward()
            optimizer.step()
    for a, b in zip(together.state_dict().values(), apart.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_layer_is_drawn_per_epoch_per_step_or_fixed():
    source = images(0)
    by_epoch = {draw_layer(Dverge(), 20, context(source, epoch=3, step=s)) for s in range(10)}
    by_step = {draw_layer(Dverge(layer="step"), 20, context(source, epoch=3, step=s)) for s in range(50)}
    over_epochs = {draw_layer(Dverge(), 20, context(source, epoch=e)) for e in range(400)}
    assert len(by_epoch) == 1
    assert len(by_step) > 5
    assert over_epochs == set(range(1, 21))
    assert draw_layer(Dverge(layer=7), 20, context(source)) == 7


def test_the_layer_is_recorded():
    now = context(images(2))
    Dverge(eps=0.1, steps=1, layer=5)(tiny(2), images(1), now)
    assert now.records == {"layer": 5}


@pytest.mark.parametrize(
    ("method", "sub_models", "layers", "message"),
    [
        (Dverge(layer=9), 3, 8, "'hyperparameters.layer': expected 1 to 8, got 9"),
        (Dverge(), 1, 8, "'sub_models': expected at least 2 for this method, got 1"),
        (Dverge(), 3, None, "addressable layers"),
    ],
)
def test_impossible_ensembles_are_errors(method, sub_models, layers, message):
    Dverge().check("recipe x", 2, 8)
    with pytest.raises(UserError, match=message):
        method.check("recipe x", sub_models, layers)
