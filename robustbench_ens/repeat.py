"""Attack again what a paired baseline pins: the same weights under the same protocols."""

from __future__ import annotations

from pathlib import Path

from robustbench_ens.check import Pin
from robustbench_ens.errors import UserError
from robustbench_ens.plan import Plan, TrainStep, Workplace
from robustbench_ens.protocols import load_protocol
from robustbench_ens.recipes import load_recipe
from robustbench_ens.targets import Trained


def repeat_plan(place: Workplace, pin: Pin, baseline: Path) -> Plan:
    """The attacks behind ``pin``, on weights that were trained in the run directory or are published.

    Raises:
        UserError: the baseline is not paired, or some of its weights are not there.
    """
    if not pin.paired:
        raise UserError(
            f"{baseline}: --attack: expected a paired baseline, of certain weights, got one of training seeds; "
            "run `rbe attack` first, and check its outcomes"
        )
    plan = Plan(place, published=True)
    for item in pin.evaluations:
        for seed in item.seeds:
            plan.add_attack(load_protocol(item.protocol), Trained(load_recipe(item.ensemble), int(seed)))
    missing = [step.ensemble.id for step in plan.due if isinstance(step, TrainStep)]
    if missing:
        raise UserError(
            f"{baseline}: --attack: expected weights, trained in {place.store.root} or published, got none of "
            f"{', '.join(missing)}; run `rbe train` first"
        )
    return plan
