"""The explanation why earlier outcomes of a changed external model are not reused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from robustbench_ens.config.identity import differences
from robustbench_ens.config.protocols import Protocol
from robustbench_ens.core.files import entries
from robustbench_ens.core.store import Store
from robustbench_ens.errors import UserError
from robustbench_ens.evaluation.record import outcomes_file
from robustbench_ens.models.probe import probe_differences
from robustbench_ens.outcomes import OWN_MODEL, read_provenance
from robustbench_ens.weights.record import EnsembleRecord


def since_attacked(store: Store, protocol: Protocol, record: EnsembleRecord) -> str | None:
    """Return in one line what changed in an external model since its last outcomes under ``protocol``.

    Returns:
        None if it has no outcomes, or no recorded fact changed.
    """
    older = max(_older_outcomes(store, protocol, record), key=lambda document: document["finished_at"], default=None)
    if older is None:
        return None
    date = older["finished_at"][:10]
    target = older["target"]
    if "code" not in target and "probe" not in target:
        return f"{record.id}: the outcomes of {date}, of an earlier version, do not record the model's code"
    what = [] if target["weights"] == record.weights else ["its weights"]
    what += [found] if (found := differences(target.get("code", {}), record.code or {})) else []
    if not what and target["data_digest"] == record.data_digest:
        what += [found] if (found := probe_differences(target.get("probe"), record.probe)) else []
    return f"{record.id}: {' and '.join(what)} changed since the outcomes of {date} were made" if what else None


def _older_outcomes(store: Store, protocol: Protocol, record: EnsembleRecord) -> Iterator[Mapping[str, Any]]:
    for path in entries(outcomes_file(store, protocol, record).parent):
        if path.suffix != ".parquet" or path.name.startswith(".") or path.name.endswith(".measurements.parquet"):
            continue
        try:
            provenance = read_provenance(path)
        except UserError:
            continue  # a report of these outcomes raises the error
        target = provenance.get("target", {})
        if (target.get("method"), target.get("id")) == (OWN_MODEL, record.id) and provenance.get("finished_at"):
            yield provenance
