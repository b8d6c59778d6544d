"""Executors: classes that run the steps of a plan through one method, ``submit``. No torch.

An executor is constructed with the place and the number of steps to run at a time, and is a context manager. See
:class:`robustbench_ens.workflow.executors.base.Executor`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustbench_ens.config.outside import import_object
from robustbench_ens.errors import UserError

if TYPE_CHECKING:
    from robustbench_ens.workflow.executors.base import Executor

EXECUTORS = {
    "local": "robustbench_ens.workflow.executors.local:Local",
    "serial": "robustbench_ens.workflow.executors.serial:Serial",
    "processes": "robustbench_ens.workflow.executors.processes:Processes",
    "ray": "robustbench_ens.workflow.executors.ray_cluster:RayCluster",
}
"""Executors by name. ``--executor`` also takes ``package.module:Name``."""

DEFAULT_EXECUTOR = "local"


def executor_class(name: str, where: str = "--executor") -> type[Executor]:
    """Return the executor that a key of ``EXECUTORS`` or ``package.module:Name`` names.

    Raises:
        UserError: there is none of that name, or the imported object is not an executor.
    """
    from robustbench_ens.workflow.executors.base import Executor

    spec = EXECUTORS.get(name, name)
    if ":" not in spec:
        raise UserError(f"{where}: expected one of {', '.join(EXECUTORS)} or package.module:Name, got {name!r}")
    found = import_object(spec, where)
    if not (isinstance(found, type) and issubclass(found, Executor)):
        raise UserError(
            f"{where}: expected a subclass of robustbench_ens.workflow.executors.base.Executor, got {spec!r}"
        )
    return found
