"""Explain why earlier outcomes are not used again because an external model changed."""

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
    """Say in one line what of an external model changed since its last outcomes under ``protocol``.

    Returns:
        none if it has no outcomes, or nothing that is known of it changed.
    """
    older = max(_older_outcomes(store, protocol, record), key=lambda document: document["finished_at"], default=None)
    if older is None:
        return None
    date, target = older["finished_at"][:10], older["target"]
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
            continue  # whoever reads it reports the damage
        target = provenance.get("target", {})
        if (target.get("method"), target.get("id")) == (OWN_MODEL, record.id) and provenance.get("finished_at"):
            yield provenance
