"""Transferability between sub-models, ours beside the paper's: the numbers in Figures 3 and 11 of DVERGE."""

from __future__ import annotations

import pandas as pd

from robustbench_ens.analysis.derive import between_sub_models
from robustbench_ens.core.text import mean_and_std, percent
from robustbench_ens.reporting.collect import standard_eps_by_dataset
from robustbench_ens.reporting.document import Block
from robustbench_ens.reporting.dverge2020.reference import PAPER
from robustbench_ens.reporting.dverge2020.subjects import by_layer
from robustbench_ens.reporting.papers.part import Part, Shown, has_ours
from robustbench_ens.reporting.papers.subjects import sample

NUMBERS = ["Mean over pairs", "Lowest to highest pair", "On itself"]


def paper_transfer(transfer: pd.DataFrame, subjects: pd.DataFrame, reference: pd.DataFrame, by: str) -> pd.DataFrame:
    """Per ``by``: a row for each of our ensembles, then the paper's.

    Args:
        transfer: rows as ``derive.transferability`` gives them, at one eps.
        subjects: as ``subjects_of`` gives them, in order.
        reference: the paper's ``by``, ``source``, ``target``, ``attack_success_rate``.
        by: ``method`` or ``layer``.

    Returns:
        ``by`` as a heading, ``Source``, and ``NUMBERS``: success rates as text, over several seeds mean and standard
        deviation.
    """
    title = by.capitalize()
    printed = reference.rename(
        columns={"source": "source_member", "target": "target_member", "attack_success_rate": "rate"}
    ).assign(seed=0)
    rows = []
    for value, same in subjects.groupby(by, observed=True, sort=False):
        for subject in same.to_dict("records"):
            own = transfer[transfer["ensemble"] == subject["ensemble"]]
            if len(own):
                rows.append({title: value, "Source": subject["source"] + sample(own), **_numbers(own)})
        paper = printed[printed[by] == value]
        if len(paper):
            rows.append({title: value, "Source": PAPER, **_numbers(paper)})
    return pd.DataFrame(rows, columns=[title, "Source", *NUMBERS], dtype=str)


def _numbers(transfer: pd.DataFrame) -> dict[str, str]:
    pairs = between_sub_models(transfer)
    itself = transfer[transfer["target_member"] == transfer["source_member"]]
    pairs_mean, itself_mean = (_mean(rows) for rows in (pairs, itself))
    extremes = f"{100 * pairs['rate'].min():.1f} to {100 * pairs['rate'].max():.1f}" if len(pairs) else ""
    return dict(zip(NUMBERS, (pairs_mean, extremes, itself_mean), strict=True))


def _mean(rows: pd.DataFrame) -> str:
    by_seed = rows.groupby("seed")["rate"].mean()
    if not len(by_seed):
        return ""
    return mean_and_std(by_seed) if len(by_seed) > 1 else percent(by_seed.iloc[0])


def show_transfer(part: Part) -> Shown:
    """Show the numbers of Figures 3 and 11."""
    rates = part.own(part.collection.transferability)
    keys = frozenset({"Figures 3, 8"}) if len(rates) else frozenset()
    if not (part.beside or part.every_table):
        return Shown(keys=keys)
    blocks: list[Block] = []
    standard = part.subjects[part.subjects["standard"] & (part.subjects["sub_models"] == 3)].sort_values("place")
    eps = 0.03 if part.beside else standard_eps_by_dataset(part.collection.accuracies, rates).get(part.dataset, 0.03)
    chosen = rates[rates["eps"] == eps]
    table = paper_transfer(chosen, standard, part.reference("figure3_transferability_eps0.03"), "method")
    if has_ours(chosen, standard):
        blocks.append(part.table(table, f"Figure 3: transferability between 3 sub-models at eps {eps:g}"))
    layers = by_layer(part.subjects)
    at_001 = rates[rates["eps"] == 0.01]
    table = paper_transfer(at_001, layers, part.reference("figure11_transferability_eps0.01_by_layer"), "layer")
    if has_ours(at_001, layers) and layers["layer"].nunique() > 1:
        blocks.append(part.table(table, "Figure 11: the same by distillation layer at eps 0.01"))
    return Shown(blocks, keys)
