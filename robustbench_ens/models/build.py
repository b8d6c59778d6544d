"""From a recipe to an untrained ensemble."""

from __future__ import annotations

import difflib
import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_ens.config.method_facts import method_facts
from robustbench_ens.config.outside import import_object
from robustbench_ens.config.recipes import Recipe
from robustbench_ens.core.limits import shown
from robustbench_ens.core.memory import check_fits
from robustbench_ens.core.process import usual_defaults
from robustbench_ens.core.seeds import GLOBAL_GENERATORS, derive_seed
from robustbench_ens.errors import UserError
from robustbench_ens.models.ensemble import Ensemble, SubModel
from robustbench_ens.models.resnet import RESNET_DEPTHS, ResNet

Build = Callable[..., nn.Module]

NETWORKS: dict[str, Build] = {f"resnet{depth}": partial(ResNet, depth) for depth in RESNET_DEPTHS}
"""Networks by name: ``build(channels=, classes=, **network_args)``. A recipe may also say ``package.module:build``."""


BOUNDS: dict[str, tuple[float, float]] = {"width": (1, 1024), "slope": (0, 1)}
"""What ``network_args`` of these networks may be; the paper's networks have width 16."""


def network_builder(recipe: Recipe) -> Build:
    """The function that builds one network of ``recipe``, its ``network_args`` checked and bound.

    Raises:
        UserError: unknown network, or unknown ``network_args``.
    """
    spec, arguments = recipe.settings.network, recipe.settings.network_args
    if spec not in NETWORKS and ":" not in spec:
        raise UserError(
            f"recipe {recipe.label!r}: key 'network': expected one of {', '.join(NETWORKS)} or package.module:build, "
            f"got {spec!r}"
        )
    build = NETWORKS.get(spec) or import_object(spec, f"recipe {recipe.label!r}: key 'network'")
    try:
        parameters = inspect.signature(build).parameters
    except (TypeError, ValueError):
        raise UserError(
            f"recipe {recipe.label!r}: key 'network': expected a function build(channels=, classes=, ...), got {spec!r}"
        ) from None
    valid = sorted(set(parameters) - {"depth", "channels", "classes"})
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    unknown = sorted(set(arguments) - set(valid))
    if unknown and not takes_any:
        raise UserError(
            f"recipe {recipe.label!r}: unknown key 'network_args.{unknown[0]}'; {_hint(unknown[0], valid)}"
            f"valid keys: {', '.join(valid) or 'none'}"
        )
    for key, value in arguments.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"recipe {recipe.label!r}: key 'network_args.{key}': expected a finite number, got {value}")
        default = parameters[key].default if key in parameters else None
        kinds = (float, int) if isinstance(default, float) else type(default)
        wrong_kind = not isinstance(value, kinds) or isinstance(value, bool) != isinstance(default, bool)
        if isinstance(default, (int, float, str)) and wrong_kind:
            raise UserError(
                f"recipe {recipe.label!r}: key 'network_args.{key}': expected a value like {default!r}, got "
                f"{shown(value)}"
            )
        low, high = BOUNDS.get(key, (-math.inf, math.inf)) if spec in NETWORKS else (-math.inf, math.inf)
        if isinstance(value, (int, float)) and not low <= value <= high:
            raise UserError(
                f"recipe {recipe.label!r}: key 'network_args.{key}': expected {low} to {high}, got {value!r}"
            )
    return partial(build, **arguments)


def _hint(name: str, valid: list[str]) -> str:
    close = difflib.get_close_matches(name, valid, n=1)
    return f"did you mean {close[0]!r}? " if close else ""


def check_network(recipe: Recipe, shape: Sequence[int], classes: int) -> nn.Module:
    """Build one network and show it a black image of ``shape`` (C, H, W), to see that it takes both; returns it.

    Raises:
        UserError: unknown network or ``network_args``, or the network refuses their values or the image.
    """
    build = network_builder(recipe)
    if recipe.settings.network in NETWORKS:
        _check_memory(recipe, build, shape[0], classes)
    try:
        with warnings.catch_warnings(), usual_defaults():
            warnings.simplefilter("ignore")
            network = seeded(0, lambda: build(channels=shape[0], classes=classes)).eval()
            with torch.no_grad():
                returned = tuple(network(torch.zeros(1, *shape, dtype=torch.float32, device="cpu")).shape)
    except UserError as error:
        raise UserError(f"recipe {recipe.label!r}: key 'network_args': {error}") from None
    except Exception as error:  # a network refuses its arguments with whatever it likes
        raise UserError(
            f"recipe {recipe.label!r}: network {recipe.settings.network!r}: expected one that maps images "
            f"{tuple(shape)} to {classes} classes with network_args {recipe.settings.network_args}, "
            f"got {type(error).__name__}: {' '.join(str(error).split())}"
        ) from None
    if returned != (1, classes):
        raise UserError(
            f"recipe {recipe.label!r}: network {recipe.settings.network!r}: expected scores of shape (1, {classes}) "
            f"for one image, got {returned}"
        )
    return network


def _check_memory(recipe: Recipe, build: Build, channels: int, classes: int) -> None:
    """Check that the ensemble's weights, gradients and momentum fit in memory, without making them."""
    try:
        with torch.device("meta"):
            network = seeded(0, lambda: build(channels=channels, classes=classes))
    except UserError as error:
        raise UserError(f"recipe {recipe.label!r}: key 'network_args': {error}") from None
    needed = 3 * recipe.settings.sub_models * sum(p.numel() * p.element_size() for p in network.parameters())
    check_fits(needed, f"recipe {recipe.label!r}", "networks", "give a smaller network_args.width, or fewer sub_models")


def seeded(seed: int, build: Callable[[], nn.Module]) -> nn.Module:
    """Call ``build`` under ``seed``; the global generator is afterwards as it was."""
    with GLOBAL_GENERATORS, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def build_ensemble(recipe: Recipe, seed: int, *, channels: int, classes: int, mean: Tensor, std: Tensor) -> Ensemble:
    """An untrained ensemble; member ``i`` is initialised from a seed derived from (recipe, seed, i).

    Args:
        recipe: names the network and its arguments.
        seed: the training seed.
        channels, classes: of the dataset.
        mean, std: per channel, ``(C,)``, in [0, 1] pixel scale; they become the sub-models' normalisation.
    """
    build = network_builder(recipe)

    def member(index: int) -> SubModel:
        member_seed = derive_seed("member", recipe.name, seed, index)
        network = seeded(member_seed, lambda: build(channels=channels, classes=classes))
        return SubModel(network, mean, std)

    with usual_defaults():
        return Ensemble(member(index) for index in range(recipe.settings.sub_models))


def count_parameters(module: nn.Module) -> int:
    """Number of trainable scalars."""
    return sum(parameter.numel() for parameter in module.parameters())


def describe(recipe: Recipe) -> dict[str, Any]:
    """What a report says about a recipe."""
    settings = recipe.settings
    return {
        "recipe": recipe.name,
        "label": recipe.label,
        "recipe_hash": recipe.hash,
        "dataset": settings.dataset,
        "method": settings.method,
        "network": settings.network,
        "sub_models": settings.sub_models,
        "resolved": recipe.resolved,
        "method_facts": method_facts(recipe.method).model_dump(mode="json"),
        "code": recipe.code or None,
    }
