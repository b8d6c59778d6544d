"""What every kind of protocol has that runs: its parts, and what is known of them before."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from robustbench_ens.data import Dataset
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.job import Job, Part, evaluation_images
from robustbench_ens.outside import import_object
from robustbench_ens.protocols import ProtocolFile

AnyProtocol = TypeVar("AnyProtocol", bound=ProtocolFile)


class Evaluation(ABC, Generic[AnyProtocol]):
    """How protocols of one kind are run; ``settings`` are the protocol."""

    def __init__(self, settings: AnyProtocol) -> None:
        self.settings = settings

    @abstractmethod
    def parts(self, job: Job) -> Iterator[Part]:
        """The parts of the evaluation; each is kept by itself, so that an interrupted one goes on after them.

        Raises:
            UserError: target or surrogates are not what the protocol needs.
        """

    @abstractmethod
    def attempts(self, sub_models: int) -> int:
        """Attempts on each image of a target with so many sub-models, for progress and plans."""

    def images(self, dataset: Dataset) -> dict[str, Any]:
        """What is attacked: ``indices``, ``images``, ``labels``, ``data_digest`` and ``classes`` of :class:`Job`."""
        return evaluation_images(self.settings, dataset)

    def digest(self) -> str | None:
        """Digest of the files that are read beside the dataset; none where there are none."""
        return None

    def check(self) -> None:
        """Check the files and packages that it needs, before anything runs.

        Raises:
            UserError: one is missing.
        """

    def fits(self, classes: int) -> None:
        """Check that it works with so many classes.

        Raises:
            UserError: it does not.
        """


def evaluation_of(settings: ProtocolFile) -> Evaluation[Any]:
    """Return what runs a protocol, which is imported now.

    Raises:
        UserError: it cannot be imported, or is no subclass of :class:`Evaluation`.
    """
    where = f"protocol kind {settings.kind!r}: 'runs'"
    found = import_object(settings.runs, where)
    if not (isinstance(found, type) and issubclass(found, Evaluation)):
        raise UserError(f"{where}: expected a subclass of robustbench_ens.evaluation.Evaluation, got {settings.runs!r}")
    missing = sorted(found.__abstractmethods__)
    if missing:
        raise UserError(f"{where}: expected {settings.runs!r} to define {missing[0]!r}, got none")
    return found(settings)
