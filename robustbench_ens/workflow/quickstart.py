"""The quickstart: the suite end to end on digits, in minutes."""

from __future__ import annotations

from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.plan import Plan

RECIPES = ("digits/baseline-3", "digits/dverge-3[epochs=10]")
PROTOCOLS = ("digits/quickstart-whitebox", "digits/quickstart-blackbox", "digits/quickstart-transferability")


def quickstart_plan(workplace: Workplace, seeds: list[int]) -> Plan:
    """Plan to train the two ensembles and the surrogate, and to run the three quickstart protocols on both.

    DVERGE is trained for half the epochs of its recipe, which is enough for most of its gain in robustness.

    The order gives early numbers: the first attack follows the first training, and DVERGE, the longest step, trains
    while the baseline is attacked.
    """
    plan = Plan(workplace)
    baseline, dverge = map(load_recipe, RECIPES)
    whitebox, *others = map(load_protocol, PROTOCOLS)
    for seed in seeds:
        plan.add_attack(whitebox, TrainingRun(baseline, seed))
    for seed in seeds:
        plan.add_training(TrainingRun(dverge, seed))
    for protocol in others:
        for seed in seeds:
            plan.add_attack(protocol, TrainingRun(baseline, seed))
    for protocol in (whitebox, *others):
        for seed in seeds:
            plan.add_attack(protocol, TrainingRun(dverge, seed))
    return plan
