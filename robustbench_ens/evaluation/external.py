"""External models as targets and surrogates of the same evaluations as trained ensembles."""

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
    """A user's module and its names.

    Attributes:
        module: the module, on the device to compute on.
        name: its name in outcomes.
        where: the beginning of errors and remarks.
        code: the identity of its code, by which a later command detects changes; None if no outcomes are kept.
    """

    module: nn.Module
    name: str
    where: str
    code: Code | None = None


class Shown(NamedTuple):
    """The images ``(B, C, H, W)`` on which models are inspected, and their dataset.

    ``classes`` is the number of classes that a model must have; None is any number from two.
    """

    images: Tensor
    classes: int | None
    dataset: str
    data_digest: str


class Inspected(NamedTuple):
    """An external model as it is evaluated, with remarks for the user."""

    model: LoadedModel
    remarks: list[str]


def inspected(model: UserModel, images: Shown, protocol: Protocol, *, is_target: bool = True) -> Inspected:
    """Inspect a model as the target of ``protocol`` or, unless ``is_target``, as a surrogate.

    Raises:
        UserError: it cannot be evaluated; see :func:`~robustbench_ens.evaluation.inspection.inspect_model`.
    """
    facts = protocol.settings.facts
    transfers = bool(getattr(protocol.settings, "surrogates", ()))
    members = is_target and facts.fewest_sub_models > 0
    # With surrogates, the gradient is followed on them; only kinds that need sub-models follow the target's too.
    gradient = facts.crafts and (members or transfers != is_target) and _follows_gradient(protocol)
    seen = inspect_model(model.module, images.images, images.classes, model.where, members=members, gradient=gradient)
    attacked = adapted(model.module, changes_input=seen.changes_input, converts=seen.converts)
    recognised = None
    if model.code is not None and seen.steady:
        recognised = probe(attacked, contiguous(images.images), seen.scores)
    record = external_record(model, seen, images, recognised)
    # The cast is safe: kinds that need sub-models have been refused without them, and others need only a module.
    return Inspected(LoadedModel(cast(Ensemble, attacked), record), seen.remarks)


def _follows_gradient(protocol: Protocol) -> bool:
    """Return whether an attack of ``protocol`` follows gradients. A kind that names no attack is assumed to."""
    names = named(protocol.settings, NAMES_ATTACK)
    return not names or any(attack_facts(name).follows_gradient for name in names)


def external_record(
    model: UserModel, seen: Inspection, images: Shown, recognised: Probe | None = None
) -> EnsembleRecord:
    """Return the record of an external model, in the schema for trained ensembles.

    Its hash covers its name, its weights and its code. ``recognised`` is compared with a tolerance and is therefore not
    part of the hash.

    Raises:
        UserError: its name cannot be used for files.
    """
    module = model.module
    check_name(model.name, f"model {shown(model.name)}")
    members = sub_models(module)
    first = members[0] if members else module
    state = {key: value for key, value in module.state_dict().items() if isinstance(value, Tensor)}
    weights = digest_state(state)
    # Only an Ensemble has an aggregation that is not part of its code.
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
