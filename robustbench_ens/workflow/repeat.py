"""Attack again what a paired baseline pins: the same weights under the same protocols."""

from __future__ import annotations

from pathlib import Path

from robustbench_ens.check import Pin
from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.config.references import split_reference
from robustbench_ens.config.trust import OutsideCodeError, no_outside_code
from robustbench_ens.core.store import digest_json
from robustbench_ens.errors import UserError
from robustbench_ens.weights.run import TrainingRun
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.plan import Plan
from robustbench_ens.workflow.steps import record_of
from robustbench_ens.workflow.targets import compatible_surrogates


def repeat_plan(place: Workplace, pin: Pin, baseline: Path, trust: bool = False) -> Plan:
    """Plan the attacks behind ``pin``, on weights that were trained in the run directory or else are published.

    Args:
        place: the run directory, data and device.
        pin: the content of the file ``baseline``.
        baseline: the path that errors name.
        trust: whether the pin may also name files and code from outside the project. Without trust it may only name
            recipes of ``zoo`` and protocols of ``attacks``.

    Raises:
        UserError: the baseline is not paired, names something that cannot be loaded again or is not trusted, or its
            weights are missing.
    """
    where = f"{baseline}: --attack: "
    if not pin.paired:
        raise UserError(
            f"{where}expected a paired baseline, of certain weights, got one of training seeds; run `rbe attack` "
            "first, and check its outcomes"
        )
    if trust:
        return _planned(place, pin, where)
    try:
        for item in pin.evaluations:
            _check_name("attacks", item.protocol)
            _check_name("zoo", item.ensemble)
        with no_outside_code():
            return _planned(place, pin, where)
    except OutsideCodeError as error:
        raise UserError(f"{where}{error}; give --trust if you trust whoever wrote the baseline") from None


def _check_name(kind: str, reference: str) -> None:
    """Check that ``reference`` is a name in the folder ``kind``, not a path."""
    name, _ = split_reference(reference)
    if name.endswith(".toml"):
        raise OutsideCodeError(f"expected a name in {kind}/, got the path {name!r}")


def _planned(place: Workplace, pin: Pin, where: str) -> Plan:
    plan = Plan(place, published=True)
    for item in pin.evaluations:
        try:
            protocol = load_protocol(item.protocol)
            recipe = load_recipe(item.ensemble)
        except OutsideCodeError:  # a UserError too, but the caller adds the advice on --trust
            raise
        except UserError as error:
            raise UserError(f"{where}{error}; run `rbe attack` by hand, and check its outcomes") from None
        for seed, pinned in item.seeds.items():
            target = TrainingRun(recipe, int(seed))
            ensembles = [target, *compatible_surrogates(protocol, target)]
            weights = [record.weights if (record := record_of(plan.workplace, one)) else None for one in ensembles]
            ids = ", ".join(one.id for one in ensembles)
            if None in weights or digest_json(weights) != pinned.weights:
                raise UserError(
                    f"{where}expected the pinned weights of {ids}, got {'none' if None in weights else 'others'} in "
                    f"{place.store.root} and among the published ones; give the --runs that has them, or an empty one "
                    "if they are published"
                )
            plan.add_attack(protocol, target)
    return plan
