"""DVERGE by one of its settings, ours beside the paper's: Table 3 (training eps) and Table 7 (distillation layer)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from robustbench_ens.core.text import percent
from robustbench_ens.reporting.collect import standard_eps_by_dataset
from robustbench_ens.reporting.dverge2020.reference import PAPER_BLACKBOX, PAPER_EPS
from robustbench_ens.reporting.dverge2020.subjects import by_layer
from robustbench_ens.reporting.dverge2020.training_eps import training_eps_curve
from robustbench_ens.reporting.papers.part import Part, Shown
from robustbench_ens.reporting.papers.subjects import sample
from robustbench_ens.reporting.tables.summary import NOT_RUN, over_seeds, strongest

QUANTITIES = {"clean": "Clean", "blackbox": "Black-box", "whitebox": "White-box"}

Printed = dict[tuple[object, ...], dict[str, str]]


def training_eps(
    accuracies: pd.DataFrame, subjects: pd.DataFrame, reference: pd.DataFrame, eps: Mapping[str, float]
) -> pd.DataFrame:
    """Clean, black-box and white-box accuracy by number of sub-models and training eps (Table 3).

    Args:
        accuracies: rows as ``derive.accuracies`` gives them, of the protocols of the paper's Tables 4 and 5.
        subjects: DVERGE ensembles, as ``subjects_of`` gives them.
        reference: the paper's Table 3; empty where its numbers do not belong.
        eps: testing eps of each kind.
    """
    printed: Printed = {(row["sub_models"], row["train_eps"]): _printed(row) for row in reference.to_dict("records")}
    ordered = subjects.sort_values(["sub_models", "train_eps"])
    return _ablation(accuracies, ordered, {"sub_models": "Sub-models", "train_eps": "Training eps"}, printed, eps)


def layers(
    accuracies: pd.DataFrame, subjects: pd.DataFrame, reference: pd.DataFrame, eps: Mapping[str, float]
) -> pd.DataFrame:
    """The same by distillation layer (Table 7), in the order of ``subjects``; arguments as of :func:`training_eps`."""
    printed: Printed = {(row["layer"],): _printed(row) for row in reference.to_dict("records")}
    return _ablation(accuracies, subjects, {"layer": "Layer"}, printed, eps)


def headings(eps: Mapping[str, float]) -> dict[str, str]:
    """The columns of the three accuracies."""
    return {kind: title + (f", eps {eps[kind]:g}" if kind in eps else "") for kind, title in QUANTITIES.items()}


def _printed(row: Mapping[Any, Any]) -> dict[str, str]:
    found = {kind: [row[name] for name in row if str(name).startswith(f"{kind}_percent")] for kind in QUANTITIES}
    return {kind: percent(numbers[0] / 100) for kind, numbers in found.items() if numbers}


def _ablation(
    accuracies: pd.DataFrame,
    subjects: pd.DataFrame,
    by: Mapping[str, str],
    printed: Printed,
    eps: Mapping[str, float],
) -> pd.DataFrame:
    titles = headings(eps)
    rows: list[dict[str, str]] = []
    for key, same in subjects.groupby(list(by), observed=True, sort=False):
        setting = {title: _text(value) for title, value in zip(by.values(), key, strict=True)}
        for subject in same.sort_values("source").to_dict("records"):
            own = accuracies[accuracies["ensemble"] == subject["ensemble"]]
            cells = {titles[kind]: accuracy_of(own, kind, eps.get(kind, 0.0)) for kind in QUANTITIES}
            rows.append(setting | {"Source": subject["source"] + sample(own), **cells})
        if key in printed:
            rows.append(setting | {"Source": PAPER_BLACKBOX} | {titles[k]: text for k, text in printed[key].items()})
    columns = [*by.values(), "Source", *titles.values()]
    return pd.DataFrame(rows, columns=columns, dtype=object).fillna("").astype(str)


def accuracy_of(own: pd.DataFrame, kind: str, eps: float) -> str:
    """One rate of one ensemble; of several protocols of a kind the one that leaves least."""
    cell = own[own["eps"] == eps] if kind == "clean" else own[(own["kind"] == kind) & (own["eps"] == eps)]
    if not len(cell):
        return NOT_RUN
    return over_seeds(strongest(cell), own)


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def show_training_eps(part: Part) -> Shown:
    """Show Figure 6 and Table 3, if DVERGE was attacked at several training eps of one size."""
    subjects = part.subjects
    own = subjects[(subjects["method"] == "DVERGE") & ~subjects["scratch"] & (subjects["layer"] == "random")]
    rates = part.asked("4", "5")
    attacked = own[own["ensemble"].isin(rates["ensemble"])]
    if not (attacked.groupby("sub_models")["train_eps"].nunique() > 1).any():
        return Shown()
    headline = standard_eps_by_dataset(part.collection.accuracies, part.collection.transferability)[part.dataset]
    eps = PAPER_EPS if part.beside else dict.fromkeys(PAPER_EPS, headline)
    points = _points(part, attacked, headline, eps)
    look = part.looks[attacked["ensemble"].iloc[0]]
    title = "DVERGE by training eps"
    curve = training_eps_curve(points, look, title)
    alt = f"{title}: accuracy and mean transferability against the training eps; the table holds the accuracies."
    table = training_eps(rates, attacked, part.reference("table3_dverge_training_eps"), eps)
    caption = f"Figure 6: mean transferability at eps {headline:g}, and accuracy; the paper prints no numbers"
    figure = part.figure("training-eps", curve, alt, caption)
    return Shown([figure, part.table(table, "Table 3: DVERGE by training eps")], frozenset({"Figure 6; Table 3"}))


def _points(part: Part, attacked: pd.DataFrame, headline: float, eps: Mapping[str, float]) -> pd.DataFrame:
    """The points of Figure 6: clean accuracy, that of each kind at its ``eps``, transferability at ``headline``."""
    rates = part.asked("4", "5")
    transfer = part.own(part.collection.mean_transferability)
    at_eps = [
        rates[rates["eps"] == 0].assign(quantity="clean", rate=rates["accuracy"]).drop_duplicates(["ensemble", "seed"]),
        *(
            rates[(rates["kind"] == kind) & (rates["eps"] == radius)].assign(quantity=kind, rate=rates["accuracy"])
            for kind, radius in eps.items()
        ),
        transfer[transfer["eps"] == headline].assign(quantity="transferability"),
    ]
    points = pd.concat([rows[["ensemble", "quantity", "seed", "rate"]] for rows in at_eps if len(rows)])
    return points.merge(attacked[["ensemble", "sub_models", "train_eps"]], on="ensemble")


def show_layers(part: Part) -> Shown:
    """Show Table 7, if DVERGE was attacked with several distillation layers, beside the paper's own data."""
    own = by_layer(part.subjects)
    rates = part.asked("4", "5")
    attacked = own[own["ensemble"].isin(rates["ensemble"])]
    if attacked["layer"].nunique() < 2 or not part.beside:
        return Shown()
    table = layers(rates, attacked, part.reference("table7_distillation_layer"), PAPER_EPS)
    block = part.table(table, "Table 7: DVERGE by distillation layer")
    return Shown([block], frozenset({"Figure 11; Table 7"}))
