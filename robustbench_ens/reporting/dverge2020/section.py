"""What the DVERGE paper shows, from our outcomes, its printed numbers beside them; and what would make the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from robustbench_ens.analysis.health import marked, unhealthy
from robustbench_ens.config.kinds import KINDS, shipped_kinds
from robustbench_ens.core.text import listing, slug
from robustbench_ens.reporting.collect import Collection, headlines
from robustbench_ens.reporting.cost import training_costs
from robustbench_ens.reporting.document import Block, FigureBlock, Figures, Listing, Paragraph, Section, Table
from robustbench_ens.reporting.dverge2020 import paper
from robustbench_ens.reporting.dverge2020.ablation import layers, training_eps
from robustbench_ens.reporting.dverge2020.accuracy import paper_accuracy
from robustbench_ens.reporting.dverge2020.differences import paper_differences
from robustbench_ens.reporting.dverge2020.monitored import WINDOW, monitored
from robustbench_ens.reporting.dverge2020.orderings import OTHERS, paper_orderings
from robustbench_ens.reporting.dverge2020.rows import with_paper_convergence, with_paper_distillation
from robustbench_ens.reporting.dverge2020.time import paper_time
from robustbench_ens.reporting.dverge2020.training_eps import training_eps_curve
from robustbench_ens.reporting.dverge2020.transfer import paper_transfer
from robustbench_ens.reporting.figures.accuracy_curve import accuracy_curve
from robustbench_ens.reporting.style import Look
from robustbench_ens.reporting.svg import to_svg
from robustbench_ens.reporting.tables.convergence import SUBJECT, convergence_table
from robustbench_ens.reporting.tables.distillation import distillation_table
from robustbench_ens.reporting.tables.diversity import diversity_table

MEANING = (
    "The paper's tables and figures, made from these outcomes. Rows named “DVERGE paper” hold its printed numbers (200 "
    "epochs, no intervals; Tables 4 and 5 are means of three runs). All other rows are ours, with their own schedules "
    "and images: the two need not agree."
)
OURS_ONLY = "The paper's tables and figures, made from these outcomes. It has no numbers on this data."
CAPTIONS = {
    "4": ("Table 4: accuracy under black-box transfer from hold-out baselines", "table4_blackbox_baseline_surrogates"),
    "5": ("Table 5: accuracy under white-box attacks", "table5_whitebox"),
    "6": (
        "Table 6: accuracy under black-box transfer from ensembles of the same method",
        "table6_blackbox_same_defense_surrogates",
    ),
}
PAPER_EPS = {"blackbox": 0.03, "whitebox": 0.01}
"""Testing eps of Tables 3 and 7."""


class _Part:
    """What the outcomes of one dataset show; ``shown`` are the keys of ``paper.SHOWN`` that have something."""

    def __init__(self, collection: Collection, dataset: str, looks: Mapping[str, Look]) -> None:
        self.collection, self.dataset, self.looks = collection, dataset, looks
        documents = [d for d in collection.provenance if d["target"]["dataset"] == dataset]
        self.differences = paper_differences(documents, dataset)
        self.targets = [document["target"] for document in documents]
        self.subjects = paper.subjects(documents)
        self.questions = paper.questions(documents)
        self.beside = paper.of_family(dataset)
        self.shown: set[str] = set()

    def own(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["dataset"] == self.dataset]

    def asked(self, tables: str) -> pd.DataFrame:
        """Accuracies under the protocols that ask what these tables ask."""
        rates = self.own(self.collection.accuracies)
        pairs = zip(rates["protocol"], rates["ensemble"], strict=True)
        asked = [self.questions.get(pair) in tuple(tables) for pair in pairs]
        return rates[pd.Series(asked, index=rates.index, dtype=bool)]

    def reference(self, name: str) -> pd.DataFrame:
        """The paper's numbers, without its rows where they do not belong."""
        numbers = paper.reference(name)
        return numbers if self.beside else numbers.iloc[:0]

    def table(self, frame: pd.DataFrame, caption: str) -> Table:
        return Table(frame, f"{caption} ({self.dataset}).", collapsed=True, facts={"dataset": [self.dataset]})

    def figure(self, name: str, svg: str, alt: str, caption: str) -> Figures:
        block = FigureBlock(f"paper-{name}-{slug(self.dataset)}", svg, alt, {"dataset": [self.dataset]})
        return Figures([block], f"{caption} ({self.dataset}).")


def paper_sections(collection: Collection, looks: Mapping[str, Look]) -> list[Section]:
    """The section, or none where no dataset has outcomes for it and nothing that ships would make them."""
    blocks: list[Block] = []
    lines: list[str] = []
    parts = [
        _Part(collection, dataset, looks)
        for dataset in sorted({document["target"]["dataset"] for document in collection.provenance})
    ]
    for part in parts:
        for make in (
            _differences,
            _orderings,
            _monitored,
            _transfer,
            _accuracy,
            _training_eps,
            _layers,
            _time,
            _scratch,
            _measured,
            _convergence,
        ):
            blocks += make(part)
        for shown in paper.SHOWN:
            commands = [] if shown in part.shown else paper.commands(part.dataset, shown)
            lines += [f"# {shown} ({part.dataset})", *commands] if commands else []
    if not blocks and not lines:
        return []
    intro = MEANING if any(part.beside for part in parts) else OURS_ONLY
    rest: list[Block] = [Listing("\n".join(lines), "What the paper shows and these outcomes lack, and how to make it")]
    return [Section("Beside the DVERGE paper", "paper", [Paragraph(intro), *blocks, *(rest if lines else [])])]


def _differences(part: _Part) -> list[Block]:
    if not part.beside or part.differences.empty:
        return []
    return [replace(part.table(part.differences, "What differs from the paper"), collapsed=False)]


def _orderings(part: _Part) -> list[Block]:
    subjects = part.subjects[part.subjects["standard"] & ~part.subjects["scratch"]]
    transfer = part.own(part.collection.mean_transferability)
    table = paper_orderings(
        part.asked("45"), transfer, subjects, unhealthy(part.collection.health), part.collection.answers
    )
    if table.empty:
        return []
    caption = (
        f"Do the paper's orderings hold? DVERGE beside the best of {listing(OTHERS)}, as far as they were evaluated, "
        "with as many sub-models and on the same schedule; in brackets the outermost ends of the seeds' 95% intervals. "
        "Clearly: told apart from every one of them, by the paired test on the images that both were attacked on (see "
        "“Who beats whom”), p < 0.05 after Holm's correction over the rows; of transferability, and where they share "
        "no images or not the same seeds, these intervals do not touch and, over several seeds, Welch's t-test agrees"
    )
    return [replace(part.table(table, caption), collapsed=False, group="In the paper")]


def _monitored(part: _Part) -> list[Block]:
    history = part.collection.history
    rows = history[history["name"].str.startswith("monitor/") & history["ensemble"].isin(_labels(part))]
    if rows.empty:
        return []
    part.shown.add("Figure 2")
    title = "Diversity and transferability in training"
    alt = f"{title}: diversity (Equation 2) and mean transferability between sub-models by training step."
    caption = (
        f"Figure 2: thin: each measurement; bold: mean of the last {WINDOW}, as in the paper, which prints no numbers"
    )
    return [part.figure("monitored", to_svg(monitored(rows, part.looks, title)), alt, caption)]


def _labels(part: _Part) -> set[str]:
    return {target["label"] for target in part.targets}


def _transfer(part: _Part) -> list[Block]:
    rates = part.own(part.collection.transferability)
    if len(rates):
        part.shown.add("Figures 3, 8")
    if not part.beside:
        return []
    blocks: list[Block] = []
    standard = part.subjects[part.subjects["standard"] & (part.subjects["sub_models"] == 3)].sort_values("place")
    at_003 = rates[rates["eps"] == 0.03]
    table = paper_transfer(at_003, standard, part.reference("figure3_transferability_eps0.03"), "method")
    if _has_ours(at_003, standard):
        blocks.append(part.table(table, "Figure 3: transferability between 3 sub-models at eps 0.03"))
    by_layer = _by_layer(part.subjects)
    at_001 = rates[rates["eps"] == 0.01]
    table = paper_transfer(at_001, by_layer, part.reference("figure11_transferability_eps0.01_by_layer"), "layer")
    if _has_ours(at_001, by_layer) and by_layer["layer"].nunique() > 1:
        blocks.append(part.table(table, "Figure 11: the same by distillation layer at eps 0.01"))
    return blocks


def _has_ours(rates: pd.DataFrame, subjects: pd.DataFrame) -> bool:
    return bool(rates["ensemble"].isin(subjects["ensemble"]).any())


def _by_layer(subjects: pd.DataFrame) -> pd.DataFrame:
    """DVERGE on 3 sub-models as in the main results, but for the layer; in the order of Table 7."""
    order = [*paper.LAYERS.values(), "random"]
    usual = subjects["train_eps"] == paper.TRAIN_EPS[3]
    own = subjects[(subjects["method"] == "DVERGE") & (subjects["sub_models"] == 3) & ~subjects["scratch"] & usual]
    own = own[own["layer"].isin(order)]
    return own.sort_values("layer", key=lambda layers: layers.map(order.index), kind="stable")


def _accuracy(part: _Part) -> list[Block]:
    blocks: list[Block] = []
    if len(part.asked("45")):
        part.shown.add("Figures 4, 5, 9, 10; Tables 1, 4, 5")
    if len(part.asked("6")):
        part.shown.add("Table 6")
    if not part.beside:
        return []
    standard = part.subjects[part.subjects["standard"]]
    for number, (caption, name) in CAPTIONS.items():
        rates = part.asked(number)
        if _has_ours(rates, standard):
            called = paper.PAPER if number == "5" else paper.PAPER_BLACKBOX
            blocks.append(part.table(paper_accuracy(rates, standard, part.reference(name), called), caption))
    return blocks


def _training_eps(part: _Part) -> list[Block]:
    subjects = part.subjects
    own = subjects[(subjects["method"] == "DVERGE") & ~subjects["scratch"] & (subjects["layer"] == "random")]
    rates = part.asked("45")
    attacked = own[own["ensemble"].isin(rates["ensemble"])]
    if not (attacked.groupby("sub_models")["train_eps"].nunique() > 1).any():
        return []
    part.shown.add("Figure 6; Table 3")
    headline = headlines(part.collection.accuracies, part.collection.transferability)[part.dataset]
    eps = PAPER_EPS if part.beside else dict.fromkeys(PAPER_EPS, headline)
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
    points = points.merge(attacked[["ensemble", "sub_models", "train_eps"]], on="ensemble")
    look = part.looks[attacked["ensemble"].iloc[0]]
    title = "DVERGE by training eps"
    curve = to_svg(training_eps_curve(points, look, title))
    alt = f"{title}: accuracy and mean transferability against the training eps; the table holds the accuracies."
    table = training_eps(rates, attacked, part.reference("table3_dverge_training_eps"), eps)
    caption = f"Figure 6: mean transferability at eps {headline:g}, and accuracy; the paper prints no numbers"
    return [part.figure("training-eps", curve, alt, caption), part.table(table, "Table 3: DVERGE by training eps")]


def _layers(part: _Part) -> list[Block]:
    own, rates = _by_layer(part.subjects), part.asked("45")
    attacked = own[own["ensemble"].isin(rates["ensemble"])]
    if attacked["layer"].nunique() < 2 or not part.beside:
        return []
    part.shown.add("Figure 11; Table 7")
    table = layers(rates, attacked, part.reference("table7_distillation_layer"), PAPER_EPS)
    return [part.table(table, "Table 7: DVERGE by distillation layer")]


def _time(part: _Part) -> list[Block]:
    own = part.subjects[part.subjects["standard"]]
    if not part.beside or own.empty:
        return []
    sources = [source for document in part.collection.provenance for source in document["sources"]]
    costs = {name: str(cost) for name, cost in training_costs(part.targets, sources).items()}
    hardware = {t["label"]: t["training"]["hardware"] if t["training"] else "" for t in part.targets}
    table = paper_time(own, costs, hardware, part.reference("table1_training_hours_titan_xp"))
    return [part.table(table, "Table 1: cost of training, with what it was started from")]


def _scratch(part: _Part) -> list[Block]:
    subjects = part.subjects[part.subjects["standard"] | part.subjects["scratch"]]
    diverse = subjects[subjects["method"] == "DVERGE"]
    scratch, started = diverse[diverse["scratch"]], diverse[~diverse["scratch"]]
    scratch = scratch[scratch["sub_models"].isin(started["sub_models"])]
    blocks: list[Block] = []
    for kind, number in (("blackbox", "4"), ("whitebox", "5")):
        rates = part.asked(number)
        if not _has_ours(rates, scratch):
            continue
        part.shown.add("Figure 12")
        same_size = subjects[subjects["sub_models"].isin(scratch["sub_models"])]
        for protocol, rows in rates[rates["ensemble"].isin(same_size["ensemble"])].groupby("protocol", observed=True):
            title = f"{shipped_kinds()[kind].title}, with and without pre-training"
            alt = f"{title}: accuracy against eps under {protocol}, one line per ensemble."
            svg = to_svg(accuracy_curve(rows, part.looks, title))
            caption = f"Figure 12: {protocol}, of as many sub-models; the paper prints no numbers"
            blocks.append(part.figure(f"scratch-{slug(protocol)}", svg, alt, caption))
    return blocks


def _measured(part: _Part) -> list[Block]:
    rows = part.own(part.collection.measurements)
    blocks: list[Block] = []
    for (kind, protocol), own in rows.groupby(["kind", "protocol"], observed=True):
        if kind == "diversity":
            blocks.append(part.table(diversity_table(own), f"Diversity between sub-models, Equation 2, {protocol}"))
            continue
        if kind != "distillation":
            continue
        part.shown.add("Table 2")
        table = distillation_table(own)
        if part.beside:
            table = with_paper_distillation(table, part.reference("table2_distillation"))
        blocks.append(part.table(table, f"Table 2: distances after distillation and the diversity loss, {protocol}"))
    return blocks


def _convergence(part: _Part) -> list[Block]:
    rates = part.own(part.collection.convergence)
    blocks: list[Block] = []
    for (kind, protocol), own in rates.groupby(["kind", "protocol"], observed=True):
        if kind not in KINDS:
            continue
        part.shown.add("Table 8")
        table = convergence_table(own)
        numbers = [str(column) for column in table if column not in SUBJECT]
        table = marked(table, part.collection.sick(str(protocol)), numbers)
        ours = part.subjects[part.subjects["ensemble"].isin(own["ensemble"])]
        sizes = set(zip(ours["method"], ours["sub_models"], strict=True))
        printed = part.reference("table8_convergence")
        printed = printed[printed["attack"] == str(kind).removesuffix("-convergence")]
        table = with_paper_convergence(table, sizes, printed)
        blocks.append(part.table(table, f"Table 8: accuracy by the number of attack steps, {protocol}"))
    return blocks
