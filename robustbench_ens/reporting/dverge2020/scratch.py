"""DVERGE with and without pre-training: Figure 12."""

from __future__ import annotations

from robustbench_ens.config.kinds import shipped_kinds
from robustbench_ens.core.text import slug
from robustbench_ens.reporting.document import Block
from robustbench_ens.reporting.figures.accuracy_curve import accuracy_curve
from robustbench_ens.reporting.papers.part import Part, Shown, has_ours


def show_scratch(part: Part) -> Shown:
    """Show the curves of either kind of attack, if DVERGE was trained from scratch and not."""
    subjects = part.subjects[part.subjects["standard"] | part.subjects["scratch"]]
    diverse = subjects[subjects["method"] == "DVERGE"]
    scratch = diverse[diverse["scratch"]]
    started = diverse[~diverse["scratch"]]
    scratch = scratch[scratch["sub_models"].isin(started["sub_models"])]
    blocks: list[Block] = []
    for kind, number in (("blackbox", "4"), ("whitebox", "5")):
        rates = part.asked(number)
        if not has_ours(rates, scratch):
            continue
        same_size = subjects[subjects["sub_models"].isin(scratch["sub_models"])]
        for protocol, rows in rates[rates["ensemble"].isin(same_size["ensemble"])].groupby("protocol", observed=True):
            title = f"{shipped_kinds()[kind].title}, with and without pre-training"
            alt = f"{title}: accuracy against eps under {protocol}, one line per ensemble."
            draw = accuracy_curve(rows, part.looks, title)
            caption = f"Figure 12: {protocol}, of as many sub-models; the paper prints no numbers"
            blocks.append(part.figure(f"scratch-{slug(protocol)}", draw, alt, caption))
    return Shown(blocks, frozenset({"Figure 12"} if blocks else ()))
