"""The base class of evaluations. Each kind of protocol has one subclass."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Generic, TypeVar

import pandas as pd
import pyarrow as pa

from robustbench_ens.config.kinds import KINDS
from robustbench_ens.config.outside import import_object
from robustbench_ens.config.protocols import NAMES_ATTACK, ProtocolFile, named
from robustbench_ens.core.limits import shown
from robustbench_ens.data import Dataset
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.images import EvaluationImages, evaluation_images
from robustbench_ens.evaluation.job import Job, Part
from robustbench_ens.evaluation.partition import Group, Outline
from robustbench_ens.models.external import blamed
from robustbench_ens.outcomes import AT_RANDOM, OUTCOMES, PROBABILITY
from robustbench_ens.perturb.libraries import check_installed

AnyProtocol = TypeVar("AnyProtocol", bound=ProtocolFile)


class Evaluation(ABC, Generic[AnyProtocol]):
    """An evaluation by protocols of one kind. ``settings`` is the protocol."""

    def __init__(self, settings: AnyProtocol) -> None:
        self.settings = settings

    @abstractmethod
    def parts(self, job: Job) -> Iterator[Part]:
        """Yield the parts of the evaluation, each of which is kept by itself so that an interrupted run can resume.

        Raises:
            UserError: the target or a surrogate does not meet the protocol's needs.
        """

    @abstractmethod
    def attempts(self, sub_models: int) -> int:
        """Return the number of attempts on each image of a target with ``sub_models``, for progress and plans."""

    def groups(self, outline: Outline) -> list[Group]:
        """Return the names of the parts, grouped by what one worker computes, before anything is loaded.

        By default there are no groups, and one worker computes all parts.
        """
        return []

    def further_attempts(self, job: Job) -> int:
        """Return the number of further attempts on each image that depend on the target of ``job``, for progress."""
        return 0

    def images(self, dataset: Dataset) -> EvaluationImages:
        """Return the images that are attacked."""
        return evaluation_images(self.settings, dataset)

    def digest(self) -> str | None:
        """Return the digest of the files read besides the dataset, or None without such files."""
        return None

    def check(self) -> None:
        """Check that the required files and packages exist, before anything runs.

        Raises:
            UserError: one is missing.
        """
        check_installed(named(self.settings, NAMES_ATTACK))

    def fits(self, classes: int) -> None:
        """Check that the evaluation supports this number of classes.

        Raises:
            UserError: it does not support it.
        """


class _FromOutside(Evaluation[ProtocolFile]):
    """An evaluation by code from outside. Its errors and malformed results become one line that names it.

    ``own`` is the wrapped evaluation.
    """

    def __init__(self, own: Evaluation[Any]) -> None:
        super().__init__(own.settings)
        self._own = own
        self._where = f"protocol kind {own.settings.kind!r}"

    def parts(self, job: Job) -> Iterator[Part]:
        seen: set[str] = set()
        with blamed(self._where, "kind"):
            for name, compute in self._own.parts(job):
                if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name) or name in seen:
                    raise UserError(
                        f"{self._where}: expected parts with names of letters, digits and . _ -, each once, got "
                        f"{shown(name)}"
                    )
                seen.add(name)
                yield name, partial(self._compute, name, compute)

    def attempts(self, sub_models: int) -> int:
        with blamed(self._where, "kind"):
            return int(self._own.attempts(sub_models))

    def further_attempts(self, job: Job) -> int:
        with blamed(self._where, "kind"):
            return int(self._own.further_attempts(job))

    def images(self, dataset: Dataset) -> EvaluationImages:
        with blamed(self._where, "kind"):
            return self._own.images(dataset)

    def digest(self) -> str | None:
        with blamed(self._where, "kind"):
            return self._own.digest()

    def check(self) -> None:
        with blamed(self._where, "kind"):
            self._own.check()

    def fits(self, classes: int) -> None:
        with blamed(self._where, "kind"):
            self._own.fits(classes)

    def _compute(self, name: str, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        with blamed(self._where, "kind"):
            try:
                rows = compute()
            except UserError as error:
                raise UserError(f"{self._where}: part {name!r}: {error}") from error
            if not isinstance(rows, pd.DataFrame) or list(rows.columns) not in (OUTCOMES.names, AT_RANDOM.names):
                got = f"columns {list(rows.columns)}" if isinstance(rows, pd.DataFrame) else f"a {type(rows).__name__}"
                raise UserError(
                    f"{self._where}: part {name!r}: expected rows as `job.rows`, `Survivors.rows` or `no_outcomes` "
                    f"make them, got {shown(got)}"
                )
            schema = AT_RANDOM if PROBABILITY in rows else OUTCOMES
            pa.Table.from_pandas(rows, schema=schema, preserve_index=False)
        return rows


def evaluation_of(settings: ProtocolFile) -> Evaluation[Any]:
    """Import and return the evaluation that runs a protocol.

    Raises:
        UserError: it cannot be imported, or is not a subclass of :class:`Evaluation`.
    """
    where = f"protocol kind {settings.kind!r}: 'runs'"
    found = import_object(settings.runs, where)
    if not (isinstance(found, type) and issubclass(found, Evaluation)):
        raise UserError(f"{where}: expected a subclass of robustbench_ens.evaluation.Evaluation, got {settings.runs!r}")
    missing = sorted(found.__abstractmethods__)
    if missing:
        raise UserError(f"{where}: expected {settings.runs!r} to define {missing[0]!r}, got none")
    if settings.kind in KINDS:
        return found(settings)
    return _FromOutside(found(settings))
