"""Loading of recipes and protocols for lists, without importing code from outside the project."""

from __future__ import annotations

from robustbench_ens.config.protocols import Protocol, load_protocol
from robustbench_ens.config.recipes import Recipe, load_recipe
from robustbench_ens.config.trust import OutsideCodeError, no_outside_code


def listed_recipe(name: str) -> Recipe | None:
    """Load the recipe ``name``, or return None if it names code from outside.

    Raises:
        UserError: there is no such recipe, or it is damaged.
    """
    try:
        with no_outside_code():
            recipe = load_recipe(name)
    except OutsideCodeError:
        return None
    return None if recipe.names_outside_code else recipe


def listed_protocol(name: str) -> Protocol | None:
    """Load the protocol ``name``, or return None if its kind is code from outside.

    Raises:
        UserError: there is no such protocol, or it is damaged.
    """
    try:
        with no_outside_code():
            return load_protocol(name)
    except OutsideCodeError:
        return None
