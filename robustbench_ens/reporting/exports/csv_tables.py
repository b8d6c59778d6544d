"""The tidy tables of a report, with the meaning of their rows and columns."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from robustbench_ens.analysis.health import unhealthy
from robustbench_ens.reporting.collect import Collection
from robustbench_ens.reporting.exports.csv_columns import ACCURACY, SUBJECT, VARIANT, columns
from robustbench_ens.reporting.exports.leaderboard import leaderboard_rows
from robustbench_ens.reporting.exports.runs import ensembles, evaluations
from robustbench_ens.reporting.exports.tidy import Tidy


def marked(frame: pd.DataFrame, collection: Collection) -> pd.DataFrame:
    """Return ``frame`` with a column ``unhealthy``."""
    affected = unhealthy(collection.health)
    pairs = zip(frame["protocol"], frame["ensemble"], strict=True)
    return frame.assign(unhealthy=[(str(protocol), str(ensemble)) in affected for protocol, ensemble in pairs])


def _marked(name: str) -> Callable[[Collection], pd.DataFrame]:
    return lambda collection: marked(getattr(collection, name), collection)


def _comparisons(collection: Collection) -> pd.DataFrame:
    found = collection.comparisons
    return found.sort_values(["dataset", "protocol", "difference"], ascending=[True, True, False], kind="stable")


def _measurements(collection: Collection) -> pd.DataFrame:
    """Return the measurements without training histories, health and budgets, which have their own tables."""
    own = collection.measurements
    elsewhere = ("train/", "test/", "monitor/", "health/", "budget/")
    return own[~own["name"].astype(str).str.startswith(elsewhere)] if len(own) else own


TABLES: tuple[Tidy, ...] = (
    Tidy(
        "leaderboard",
        "A number of the leaderboard: the mean over seeds at the standard eps.",
        columns(
            "dataset place ensemble method sub_models eps quantity protocols n seeds mean_percent std_percent "
            "low_percent high_percent unhealthy set_by",
            place="in the order of the worst case, from 1",
            quantity="worst_case, clean, transfer, or the kind of an attack",
            protocols="protocols behind the number",
            n="images; a range such as 100 to 500 if seeds differ",
            seeds="training seeds",
            mean_percent="mean over seeds",
            std_percent="standard deviation (n - 1) over seeds; empty for one seed",
            low_percent="lower end of the 95% interval of one seed; empty for several",
            high_percent="upper end of it",
            set_by="protocol that alone leaves fewest images right",
        ),
        leaderboard_rows,
    ),
    Tidy(
        "worst_case",
        "An ensemble at one eps and seed, under every protocol that counts in the worst case.",
        columns(
            f"dataset ensemble method sub_models seed eps {ACCURACY} tiers set_by alone protocols",
            tiers="kinds of protocols that count",
            set_by="protocol that alone leaves fewest images right",
            alone="images that are right under it",
            protocols="protocols that count",
        ),
        lambda collection: collection.worst_case,
    ),
    Tidy(
        "accuracies",
        "An ensemble at one eps and seed, under one protocol.",
        columns(f"{SUBJECT} {ACCURACY} unhealthy"),
        _marked("accuracies"),
    ),
    Tidy(
        "attempts",
        "The attempts on each image: sources x attacks x losses x random starts.",
        columns("dataset protocol protocol_hash kind ensemble method sub_models seed attempts", attempts="how many"),
        lambda collection: collection.attempts,
    ),
    Tidy(
        "convergence",
        "An ensemble's accuracy after some number of attack steps.",
        columns(f"{SUBJECT} steps {ACCURACY} unhealthy"),
        _marked("convergence"),
    ),
    Tidy(
        "transferability",
        "Attacks crafted on one sub-model and scored on another, over the images that every sub-model gets right.",
        columns(f"{SUBJECT} source_member target_member n success rate_percent low_percent high_percent unhealthy"),
        _marked("transferability"),
    ),
    Tidy(
        "mean_transferability",
        "The mean over pairs of different sub-models.",
        columns(f"{SUBJECT} n rate_percent low_percent high_percent unhealthy"),
        _marked("mean_transferability"),
    ),
    Tidy(
        "comparisons",
        "Two ensembles under one protocol, or in the worst case, on the seeds and images they share.",
        columns(
            "dataset protocol eps higher=better lower=worse seeds n only_higher=only_better only_lower=only_worse "
            "difference_points low_points high_points spread_points p_by_seed p_images p_seeds p p_holm=p_adjusted "
            "significant=supported left_out",
            higher="ensemble with the higher accuracy",
            lower="the other ensemble",
            seeds="seeds they share",
            only_higher="images that the first gets right more often, over all seeds",
            only_lower="images that the second gets right more often",
            difference_points="difference of the accuracies, percentage points",
            low_points="lower end of its bootstrap 95% interval over images",
            high_points="upper end of it",
            spread_points="standard deviation over images",
            p_by_seed="McNemar's p-value of each seed",
            p_images="the largest of them; 1 if seeds disagree about which is better",
            p_seeds="p-value of Welch's t-test between the accuracies of the seeds; empty for one seed",
            p="the larger of both",
            p_holm="p after Holm's correction over the pairs under one protocol",
            significant="True if p_holm is below 0.05",
            left_out="pairs under the same protocol that were not compared",
        ),
        _comparisons,
    ),
    Tidy(
        "variants",
        "One variant of a black-box attack: what it breaks alone, and whether it decides.",
        columns(
            f"{SUBJECT} {VARIANT} {ACCURACY} n_clean breaks=kills only_it=unique order so_far_percent=cumulative "
            "same_as=twins all_or_nothing_percent",
            correct="images that are right under this variant alone",
            n_clean="images that are right when clean",
            breaks="of them, those it breaks",
            only_it="images that no other variant breaks",
            so_far_percent="accuracy left by it and the variants before it in that order",
            same_as="number of a group of variants with the same prediction on every image; 0: none",
            all_or_nothing_percent="accuracy under all variants",
        ),
        lambda collection: collection.ledger,
    ),
    Tidy(
        "beyond",
        "Two suites of variants against one target, on the images they share.",
        columns(
            "dataset protocol beyond ensemble method sub_models seed eps variants variants_beyond n correct "
            "correct_beyond correct_both only only_beyond",
            variants_beyond="variants of the other",
            correct="images right under the first",
            correct_beyond="images right under the other",
            correct_both="images right under both",
            only="images that only the first breaks",
            only_beyond="images that only the other breaks",
        ),
        lambda collection: collection.beyond.pairs,
    ),
    Tidy(
        "beyond_variants",
        "The variants of the first in greedy order, on what the other leaves.",
        columns(f"dataset protocol beyond ensemble method sub_models seed eps {VARIANT} order adds left"),
        lambda collection: collection.beyond.variants,
    ),
    Tidy(
        "beyond_attacks",
        "The same of attacks, each with all its variants, over the images of all targets.",
        columns("dataset protocol beyond eps attack order adds left n targets", targets="attacked ensembles and seeds"),
        lambda collection: collection.beyond.attacks,
    ),
    Tidy(
        "health",
        "A sign of attack health: its worst value over sources, eps and steps.",
        columns(
            "protocol kind ensemble seed attack loss sign eps step value limit healthy",
            sign="what was measured",
            eps="where the worst value is",
            step="where the worst value is",
            value="a share of images, of the budget or of accuracy, 0 to 1",
            limit="of the protocol",
            healthy="False if the value is beyond the limit",
        ),
        lambda collection: collection.health,
    ),
    Tidy(
        "budget",
        "One attempt: its passes, and the accuracy after it.",
        columns(
            f"{SUBJECT} attempt {VARIANT} forward backward passes accuracy_percent",
            attempt="place in the protocol's order, from 0",
            forward="its forward passes per image",
            backward="its backward passes per image",
            passes="both, of all attempts so far",
            accuracy_percent="share of images that no attempt so far has beaten",
        ),
        lambda collection: collection.budget,
    ),
    Tidy(
        "measurements",
        "A measured number that is not a classification: diversity, distillation, ...",
        columns(
            "dataset protocol protocol_hash kind ensemble method sub_models seed eps name step source source_member "
            "target_member value unit",
            step="attack step, layer, ...; 0 where it has no meaning",
            source_member="sub-model it was measured from, from 0; -1 is the ensemble",
            target_member="sub-model it was measured on, from 0; -1 is the ensemble",
        ),
        _measurements,
    ),
    Tidy(
        "history",
        "One quantity of a training run after one epoch.",
        columns(
            "ensemble method seed name target_member step value unit",
            step="epoch, from 0; training step of what was monitored",
            target_member="sub-model, from 0; -1 is the ensemble",
        ),
        lambda collection: collection.history,
    ),
    Tidy(
        "ensembles",
        "One trained ensemble.",
        columns(
            "ensemble seed dataset trained_on recipe recipe_hash method network sub_models settings_chosen_on "
            "parameters weights training_s training_steps device hardware threads cost",
            trained_on="dataset it was trained on",
            recipe="recipe of the training",
            recipe_hash="ten digits that name the recipe by what decides its results",
            network="network of the sub-models",
            settings_chosen_on="test images that its settings were chosen on: all, selection, none; empty: not known",
            parameters="trained numbers of all sub-models",
            weights="SHA-256 of the weights",
            training_s="wall time of its own training, seconds; empty if imported",
            training_steps="training steps",
            device="cpu or cuda",
            hardware="hardware of the training",
            threads="threads of the CPU",
            cost="training with the ensembles it was started from, mean over seeds",
        ),
        ensembles,
    ),
    Tidy(
        "evaluations",
        "One evaluation: a protocol run against an ensemble.",
        columns(
            "protocol protocol_hash kind protocol_version ensemble seed sources n wall_time_s finished_at device "
            "hardware threads software",
            protocol_version="version of the protocol",
            sources="ensembles that the attacks were crafted on",
            n="different images",
            wall_time_s="seconds it took",
            finished_at="time at which it finished",
            device="cpu or cuda",
            hardware="hardware of the evaluation",
            threads="threads of the CPU",
            software="versions",
        ),
        evaluations,
    ),
)
"""Every table, in the order of the folder's README."""
