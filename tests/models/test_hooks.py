"""Our ResNets under hooks, as Grad-CAM and feature extractors use them: as torchvision's behave, or better."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names
from torchvision.models.resnet import BasicBlock as TorchvisionBlock

from robustbench_ens.config.aggregations import AGGREGATIONS
from robustbench_ens.models.ensemble import Ensemble, SubModel
from robustbench_ens.models.fold import folded
from robustbench_ens.models.resnet import BasicBlock, ResNet

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network(activation: str = "relu") -> ResNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ResNet(14, width=4, activation=activation).eval()


def modules_of(model: nn.Module) -> dict[str, nn.Module]:
    return {name: module for name, module in model.named_modules() if name}


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
@pytest.mark.parametrize("training", [False, True])
def test_every_module_fires_and_nothing_it_gave_is_changed_afterwards(activation: str, training: bool) -> None:
    model = network(activation).train(training)
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def keep(name: str) -> None:
        modules_of(model)[name].register_forward_hook(
            lambda module, inputs, output: seen.setdefault(name, []).append((output, output.detach().clone()))
        )

    for name in modules_of(model):
        keep(name)
    model(IMAGES).sum().backward()
    assert set(seen) == set(modules_of(model))
    assert len(seen["layer2.0.relu"]) == 2
    assert all(torch.equal(kept, then) for pairs in seen.values() for kept, then in pairs)


def test_backward_hooks_work_on_every_module() -> None:
    model, plain = network(), network()
    fired = dict.fromkeys(modules_of(model), 0)

    def count(name: str) -> None:
        def hook(module: nn.Module, by_input: object, by_output: object) -> None:
            fired[name] += 1

        modules_of(model)[name].register_full_backward_hook(hook)

    for name in fired:
        count(name)
    x, y = IMAGES.clone().requires_grad_(), IMAGES.clone().requires_grad_()
    (found,) = torch.autograd.grad(model(x)[:, 0].sum(), x)
    (expected,) = torch.autograd.grad(plain(y)[:, 0].sum(), y)
    assert torch.equal(found, expected)
    assert all(fired.values())


def test_grad_cam_by_hand() -> None:
    """``relu(sum_k mean(dz_c / dA_k) A_k)`` of the last stage, whose pooled maps the last layer weighs linearly."""
    model = network()
    kept: dict[str, Tensor] = {}
    model.layer3.register_forward_hook(lambda module, inputs, output: kept.update(maps=output))
    model.layer3.register_full_backward_hook(lambda module, by_input, by_output: kept.update(gradient=by_output[0]))
    model(IMAGES)[:, 7].sum().backward()
    maps = kept["maps"].detach()
    assert maps.min() >= 0  # after the activation, as torchvision's stages give them
    cam = (kept["gradient"].mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1).relu()
    weights = model.fc.weight[7].detach() / maps[0, 0].numel()
    torch.testing.assert_close(cam, (weights.view(1, -1, 1, 1) * maps).sum(dim=1).relu())


def test_features_are_the_modules_outputs() -> None:
    model = network()
    kept: dict[str, Tensor] = {}
    for name in ("bn1", "layer1.0.bn1", "layer1.0", "layer3"):
        modules_of(model)[name].register_forward_hook(lambda m, i, output, name=name: kept.update({name: output}))
    model(IMAGES)
    assert torch.equal(model.features(IMAGES, 1), kept["bn1"])
    assert torch.equal(model.features(IMAGES, 2), kept["layer1.0.bn1"])
    assert torch.equal(model.features(IMAGES, 3).relu(), kept["layer1.0"])
    assert torch.equal(model.features(IMAGES, 13).relu(), kept["layer3"])


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_feature_extractors_find_torchvisions_nodes(activation: str) -> None:
    model = network(activation)
    nodes = ["relu", "layer1", "layer2.0.relu", "layer3.1", "avgpool", "flatten", "fc"]
    found = create_feature_extractor(model, nodes)(IMAGES)
    assert torch.equal(found["fc"], model(IMAGES))
    assert found["layer3.1"].shape == (2, 16, 2, 2)
    theirs = get_graph_node_names(TorchvisionBlock(4, 4))[1]
    assert get_graph_node_names(BasicBlock(4, 4, 1, nn.ReLU))[1] == theirs


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_feature_extractors_trace_a_whole_ensemble(aggregation: str) -> None:
    members = [SubModel(network(), torch.zeros(3), torch.ones(3)) for _ in range(2)]
    ensemble = Ensemble(members, aggregation).eval()
    found = create_feature_extractor(ensemble, ["members.1.model.layer3"])(IMAGES)
    assert found["members.1.model.layer3"].shape == (2, 16, 2, 2)


@pytest.mark.parametrize("name", ["", "bn1", "conv1", "relu", "layer1", "layer2.0.bn2", "layer3.1.relu", "fc"])
@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
def test_the_folded_copy_fires_hooks_as_the_network_does(name: str, kind: str) -> None:
    """Each hook doubles what it gets: folded away, or overwritten, it would be missing."""
    model = network()

    def doubled(values: object) -> object:
        return tuple(2 * value for value in values) if isinstance(values, tuple) else 2 * values  # type: ignore[operator]

    hooks = {
        "forward": lambda module, inputs, output: doubled(output),
        "forward_pre": lambda module, inputs: doubled(inputs),
        "full_backward": lambda module, by_input, by_output: doubled(by_input),
        "full_backward_pre": lambda module, by_output: doubled(by_output),
    }
    getattr(model.get_submodule(name), f"register_{kind}_hook")(hooks[kind])
    results = []
    for one in (model, folded(model, IMAGES)):
        x = IMAGES.clone().requires_grad_()
        scores = one(x)
        results.append((scores, torch.autograd.grad(scores[:, 0].sum(), x)[0]))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


def test_what_the_folded_copys_stages_give_is_not_changed_afterwards() -> None:
    fast, kept = folded(network(), IMAGES), list[tuple[Tensor, Tensor]]()
    for stage in (fast.layer1, fast.layer2, fast.layer3, *fast.blocks()):
        stage.register_forward_hook(lambda m, i, output: kept.append((output, output.clone())))
    with torch.no_grad():
        fast(IMAGES)
    assert len(kept) == 9
    assert all(torch.equal(one, then) for one, then in kept)


def test_parametrized_and_replaced_layers_are_not_folded() -> None:
    model, replaced = network(), network()
    torch.nn.utils.parametrizations.weight_norm(model.layer1[0].conv1)
    replaced.bn1 = nn.GroupNorm(2, 4)
    replaced.layer2[0].relu = nn.GELU()
    for one in (model, replaced):
        torch.testing.assert_close(folded(one, IMAGES)(IMAGES), one(IMAGES), rtol=1e-4, atol=1e-5)


def test_the_original_computes_nothing_in_place() -> None:
    model = network()
    folded(model, IMAGES)
    copied = copy.deepcopy(model)
    for one in (model, copied):
        assert not any(
            getattr(module, "inplace", False) or getattr(module, "adds_in_place", False) for module in one.modules()
        )
