"""Columns of tidy tables, and what they mean wherever a table does not state otherwise."""

from __future__ import annotations

from robustbench_ens.reporting.exports.tidy import Column

MEANINGS = {
    "dataset": "the attacked images",
    "protocol": "protocol of the attack",
    "protocol_hash": "ten digits that name the protocol by what decides its results",
    "kind": "kind of the protocol",
    "ensemble": "the attacked ensemble",
    "method": "how it was trained",
    "sub_models": "how many sub-models it has",
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
    "source": "what the attack was crafted on",
    "attack": "attack",
    "loss": "its loss",
    "restart": "random start, from 0",
    "order": "place in the greedy order, each time the most damaging; empty: breaks no further image",
    "variants": "variants of the protocol",
    "beyond": "protocol with fewer variants that it is compared with",
    "adds": "images that no variant above breaks",
    "left": "images that are left",
    "steps": "attack steps",
    "value": "the number",
    "unit": "its unit",
    "name": "what was measured",
}
"""What a column means in every table that has it and does not state otherwise."""

SUBJECT = "dataset protocol protocol_hash kind ensemble method sub_models seed eps"
ACCURACY = "n correct accuracy_percent low_percent high_percent"
VARIANT = "source attack loss restart"


def columns(names: str, **stated: str) -> list[Column]:
    """Return columns named in ``names``; ``stated`` are meanings in place of or beside ``MEANINGS``.

    ``heading=source`` in ``names`` takes the values of another column of the frame.
    """
    pairs = [name.partition("=") for name in names.split()]
    return [Column(name, stated.get(name) or MEANINGS[name], source) for name, _, source in pairs]
