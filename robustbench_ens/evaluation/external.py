"""External models, given as modules, through the same evaluation as trained ensembles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from torch import Tensor, nn

from robustbench_ens.config.aggregations import DEFAULT_AGGREGATION
from robustbench_ens.config.attacks import attack_facts
from robustbench_ens.config.identity import Code
from robustbench_ens.config.protocols import NAMES_ATTACK, Protocol, named
from robustbench_ens.config.schema import Probe
from robustbench_ens.core.limits import check_name, shown
from robustbench_ens.core.store import digest_json, short_hash
from robustbench_ens.evaluation.inspection import Inspection, inspect_model
from robustbench_ens.evaluation.loaded_model import LoadedModel
from robustbench_ens.models.adapted import adapted
from robustbench_ens.models.build import count_parameters
from robustbench_ens.models.ensemble import Ensemble, SubModel
from robustbench_ens.models.external import sub_models
from robustbench_ens.models.layout import contiguous
from robustbench_ens.models.probe import probe
from robustbench_ens.outcomes import OWN_MODEL
from robustbench_ens.weights.record import EnsembleRecord
from robustbench_ens.weights.trained import digest_state


@dataclass(frozen=True)
class UserModel:
    """A user's module and what it is called.

    Attributes:
        module: on the device to compute on.
        name: what outcomes call it.
        where: what errors and remarks begin with.
        code: identifies its code where outcomes are kept, so that a later command can tell whether it is still the
            same; None where nothing is kept.
    """

    module: nn.Module
    name: str
    where: str
    code: Code | None = None


class Shown(NamedTuple):
    """The images that models are shown before anything is computed, ``(B, C, H, W)``, and the data they are from.

    ``classes`` is how many a model must have; None for any number from two.
    """

    images: Tensor
    classes: int | None
    dataset: str
    data_digest: str


class Inspected(NamedTuple):
    """An external model as it is evaluated, and what a person should know of it."""

    model: LoadedModel
    remarks: list[str]


def inspected(model: UserModel, images: Shown, protocol: Protocol, *, is_target: bool = True) -> Inspected:
    """Inspect a model as what ``protocol`` attacks or, if it is no target, crafts on.

    Raises:
        UserError: it cannot be evaluated, see :func:`~robustbench_ens.evaluation.inspection.inspect_model`.
    """
    facts = protocol.settings.facts
    transfers = bool(getattr(protocol.settings, "surrogates", ()))
    members = is_target and facts.fewest_sub_models > 0
    # Where there are surrogates, the target's own gradient is followed by no kind but those that look at sub-models.
    gradient = facts.crafts and (members or transfers != is_target) and _follows_gradient(protocol)
    seen = inspect_model(model.module, images.images, images.classes, model.where, members=members, gradient=gradient)
    attacked = adapted(model.module, changes_input=seen.changes_input, converts=seen.converts)
    recognised = None
    if model.code is not None and seen.steady:
        recognised = probe(attacked, contiguous(images.images), seen.scores)
    record = external_record(model, seen, images, recognised)
    # A kind that asks for sub-models is refused where there are none; others need no more than a module.
    return Inspected(LoadedModel(cast(Ensemble, attacked), record), seen.remarks)


def _follows_gradient(protocol: Protocol) -> bool:
    """Return whether an attack of ``protocol`` follows gradients; those that a kind does not name are taken to."""
    names = named(protocol.settings, NAMES_ATTACK)
    return not names or any(attack_facts(name).follows_gradient for name in names)


def external_record(
    model: UserModel, seen: Inspection, images: Shown, recognised: Probe | None = None
) -> EnsembleRecord:
    """Describe an external model in the words for a trained ensemble.

    Its hash covers its name, its weights and its code, which decides as much as weights do. ``recognised`` is compared
    with a tolerance and is part of no hash.

    Raises:
        UserError: files cannot be named after it.
    """
    module = model.module
    check_name(model.name, f"model {shown(model.name)}")
    members = sub_models(module)
    first = members[0] if members else module
    state = {key: value for key, value in module.state_dict().items() if isinstance(value, Tensor)}
    weights = digest_state(state)
    # Only an Ensemble has an aggregation that its code does not decide.
    own = module.aggregation if isinstance(module, Ensemble) else DEFAULT_AGGREGATION
    answers: dict[str, Any] = {} if own == DEFAULT_AGGREGATION else {"aggregation": own}
    if isinstance(module, Ensemble) and module.chances:
        answers["member_probabilities"] = list(module.chances)
    decided = {"model": model.name, "weights": weights, "code": model.code or {}, **answers}
    return EnsembleRecord(
        id=model.name,
        recipe=model.name,
        label=model.name,
        recipe_hash=short_hash(decided),
        seed=0,
        fingerprint=digest_json(decided),
        weights=weights,
        dataset=images.dataset,
        data_digest=images.data_digest,
        method=OWN_MODEL,
        network=type(first.model if isinstance(first, SubModel) else first).__name__,
        sub_models=max(len(members), 1),
        channels=images.images.shape[1],
        classes=seen.scores.shape[1],
        parameters=count_parameters(module),
        lineage=[f"{OWN_MODEL} {weights}"],
        resolved={"model": model.name, **answers},
        training=None,
        code=model.code or None,
        probe=recognised,
    )
