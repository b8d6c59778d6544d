"""The attributes of a table of outcomes: its protocol, the health of its attacks, and warnings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from robustbench_ens.analysis.health import attack_warnings, file_health
from robustbench_ens.outcomes import OutcomeFile


def attributes(file: OutcomeFile, remarks: Sequence[str] = ()) -> dict[str, Any]:
    """Return the ``attrs`` of the outcomes in ``file``, as plain JSON values.

    pandas keeps them through most operations, compares them when it concatenates frames, and writes them into Parquet.

    Args:
        file: the outcomes of one evaluation.
        remarks: remarks of the inspection of the model.

    Returns:
        ``protocol`` and ``protocol_hash``, texts; ``health``, one entry for each attack, loss and sign: ``attack``,
        ``loss``, ``sign``, ``eps`` and ``step`` where it was worst, its ``value``, the protocol's ``limit``, and
        ``healthy``; ``warnings``, the remarks and a sentence for each unhealthy attack.
    """
    health = file_health(file)
    protocol = file.provenance["protocol"]
    signs = health[["attack", "loss", "sign", "eps", "step", "value", "limit", "healthy"]]
    return {
        "protocol": protocol["label"],
        "protocol_hash": protocol["hash"],
        "health": json.loads(signs.to_json(orient="records", double_precision=15)),
        "warnings": [*remarks, *attack_warnings(health)],
    }
