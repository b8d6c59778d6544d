"""The columns of tidy tables and their default meanings."""

from __future__ import annotations

from robustbench_ens.reporting.exports.tidy import Column

MEANINGS = {
    "dataset": "the attacked images",
    "protocol": "protocol of the attack",
    "protocol_hash": "ten digits that name the protocol by what decides its results",
    "kind": "kind of the protocol",
    "ensemble": "the attacked ensemble",
    "method": "training method of the ensemble",
    "sub_models": "number of its sub-models",
    "seed": "training seed",
    "eps": "l-infinity radius, pixel scale [0, 1]; 0 is the clean image",
    "n": "images the row is about",
    "correct": "of them, those right when clean and under every attempt (expected number if answers are random)",
    "accuracy_percent": "correct / n",
    "low_percent": "lower end of the 95% interval",
    "high_percent": "upper end of the 95% interval",
    "unhealthy": "True if the number rests on an attack beyond its health limits",
    "source_member": "sub-model the attack was crafted on, from 0",
    "target_member": "sub-model it was scored on, from 0; -1 is the ensemble",
    "success": "images that any start beats",
    "rate_percent": "success rate of the attack",
    "source": "ensemble that the attack was crafted on",
    "attack": "attack",
    "loss": "its loss",
    "restart": "random start, from 0",
    "order": "place in the greedy order, in which each variant is the most damaging; empty: breaks no further image",
    "variants": "variants of the protocol",
    "beyond": "protocol with fewer variants that it is compared with",
    "adds": "images that no variant above breaks",
    "left": "images that are left",
    "steps": "attack steps",
    "value": "the number",
    "unit": "its unit",
    "name": "what was measured",
}
"""The meaning of each column, in every table that does not state another one."""

SUBJECT = "dataset protocol protocol_hash kind ensemble method sub_models seed eps"
ACCURACY = "n correct accuracy_percent low_percent high_percent"
VARIANT = "source attack loss restart"


def columns(names: str, **stated: str) -> list[Column]:
    """Return the columns named in ``names``. The meanings ``stated`` extend or replace those of ``MEANINGS``.

    ``heading=source`` in ``names`` takes the values of another column of the frame.
    """
    pairs = [name.partition("=") for name in names.split()]
    return [Column(name, stated.get(name) or MEANINGS[name], source) for name, _, source in pairs]
