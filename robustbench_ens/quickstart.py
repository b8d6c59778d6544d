"""The quickstart: the suite end to end on digits, in minutes."""

from __future__ import annotations

from robustbench_ens.plan import Plan, Workplace
from robustbench_ens.protocols import load_protocol
from robustbench_ens.recipes import load_recipe
from robustbench_ens.targets import Trained

RECIPES = ("digits/baseline-3", "digits/dverge-3")
PROTOCOLS = ("digits/quickstart-whitebox", "digits/quickstart-blackbox", "digits/quickstart-transferability")


def quickstart_plan(workplace: Workplace, seeds: list[int]) -> Plan:
    """Train the two ensembles and the surrogate, and run the three quickstart protocols on both."""
    plan = Plan(workplace)
    targets = [Trained(load_recipe(recipe), seed) for seed in seeds for recipe in RECIPES]
    for target in targets:
        plan.add_training(target)
    for protocol in PROTOCOLS:
        for target in targets:
            plan.add_attack(load_protocol(protocol), target)
    return plan
