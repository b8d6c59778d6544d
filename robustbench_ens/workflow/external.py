"""External models, named on the command line, as targets of protocols."""

from __future__ import annotations

from collections.abc import Sequence

from robustbench_ens.config.identity import code_of
from robustbench_ens.config.protocols import Protocol
from robustbench_ens.data import to_float
from robustbench_ens.evaluation.external import Shown, UserModel, inspected
from robustbench_ens.evaluation.inspection import PROBE_IMAGES
from robustbench_ens.models.external import blamed, import_model
from robustbench_ens.models.modes import outside_inference
from robustbench_ens.models.probe import modules_behind
from robustbench_ens.models.restore import check_filled
from robustbench_ens.workflow.place import Workplace
from robustbench_ens.workflow.targets import ExternalModel


def external_models(place: Workplace, protocols: Sequence[Protocol], spec: str) -> list[tuple[Protocol, ExternalModel]]:
    """Import the model ``package.module:name``, and inspect it as a target of each protocol.

    It is imported once, and each remark on it is printed once.

    Raises:
        UserError: there is no such model, or it does not classify the images of a protocol's dataset.
    """
    where = f"--model {spec}"
    module = import_model(spec, "--model")
    check_filled(module, where)
    module = outside_inference(module)
    with blamed(where):
        module.to(place.device)
    model = UserModel(module, spec, where, code_of(spec.partition(":")[0], modules_behind(module)))
    pairs = []
    remarks: dict[str, None] = {}
    for protocol in protocols:
        dataset = place.dataset(protocol.settings.dataset, protocol.settings.max_pixels)
        images = to_float(dataset.x_test[:PROBE_IMAGES]).to(place.device)
        found = inspected(model, Shown(images, dataset.num_classes, dataset.name, dataset.digest), protocol)
        remarks |= dict.fromkeys(found.remarks)
        pairs.append((protocol, ExternalModel(found.model)))
    for remark in remarks:
        place.progress.message(f"warning: {remark}")
    return pairs
