"""The texts of `rbe show` about an ensemble. No torch, and statistics only if there are outcomes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_ens.config.listed import listed_protocol
from robustbench_ens.config.lookup import names
from robustbench_ens.config.method_facts import method_facts
from robustbench_ens.config.recipes import AGGREGATION, Recipe
from robustbench_ens.core.files import entries, visible_files
from robustbench_ens.core.notices import silenced
from robustbench_ens.core.store import Store
from robustbench_ens.core.text import NBSP, listing
from robustbench_ens.errors import MissingDatasetError, UserError
from robustbench_ens.reporting.descriptions import optimizer, planned, ran
from robustbench_ens.weights.library import Library
from robustbench_ens.weights.record import EnsembleRecord, answering, check_weights, read_record
from robustbench_ens.weights.run import TrainingRun

if TYPE_CHECKING:
    from robustbench_ens.reporting.board import Rate
    from robustbench_ens.reporting.collect import Collection

Rows = list[tuple[str, str]]
"""Pairs of a label and a text. Empty texts are not shown."""

_BAR = 20


@dataclass(frozen=True)
class Weights:
    """The weights of one seed.

    Attributes:
        origin: origin and folder of the weights; empty if there are none.
        record: record of the weights.
    """

    seed: int
    origin: str = ""
    record: EnsembleRecord | None = None

    @property
    def rows(self) -> Rows:
        """The rows about the weights and their training."""
        if self.record is None:
            return [("Weights", "not yet")]
        found = [("Weights", self.origin), ("SHA-256", self.record.weights)]
        return found + list(ran(self.record.training) if self.record.training else [])


def find_weights(store: Store, recipe: Recipe, seeds: Sequence[int]) -> list[Weights]:
    """Return the weights of each seed, without loading a dataset.

    Raises:
        UserError: a record or weights are damaged.
    """
    library = Library(store, _not_loaded)
    return [_weights(library, TrainingRun(recipe, seed)) for seed in seeds]


def _weights(library: Library, run: TrainingRun) -> Weights:
    origin = library.origin(run.trained)
    record = read_record(origin.folder)
    if record is None:
        return Weights(run.seed)
    check_weights(origin.folder, record, run.recipe)
    return Weights(run.seed, f"{origin.kind}, {_short(origin.folder)}", answering(record, run.recipe))


def _not_loaded(name: str, max_pixels: int) -> Any:
    raise MissingDatasetError(f"{name}: not looked for")


def title(recipe: Recipe) -> str:
    """Return a line about a recipe: ``digits/dverge-3: 3 resnet8 networks trained by DVERGE on digits``."""
    settings = recipe.settings
    networks = f"{settings.sub_models} {settings.network} network" + ("" if settings.sub_models == 1 else "s")
    method = method_facts(recipe.trained.method).title or recipe.trained.settings.method
    return f"{recipe.label}: {networks} trained by {method} on {settings.dataset}"


def recipe_rows(recipe: Recipe) -> Rows:
    """Return rows about the training and the aggregation of an ensemble."""
    trained = recipe.trained
    facts = method_facts(trained.method)
    chances = listing([f"{chance:g}" for chance in recipe.settings.member_probabilities])
    return [
        ("Method", " ".join(part for part in (trained.settings.method, facts.paper and f"({facts.paper})") if part)),
        ("Hyper-parameters", _assigned(facts.hyperparameters)),
        *facts.described.items(),
        ("Network", " ".join([trained.settings.network, _assigned(trained.settings.network_args)]).strip()),
        ("Training", planned(trained.resolved)),
        ("Optimizer", optimizer({"training": {}, "resolved": trained.resolved})),
        ("Augmentation", trained.settings.augmentation),
        ("Sub-models of", trained.label if trained is not recipe else ""),
        (AGGREGATION.capitalize(), recipe.settings.aggregation + (f", with {chances}" if chances else "")),
        ("Recipe", f"{_short(Path(recipe.file))}, hash {recipe.hash}"),
    ]


def _short(path: Path) -> Path:
    """Return a path relative to the working directory if it lies inside."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _assigned(values: dict[str, Any]) -> str:
    return listing([f"{name} = {value}" for name, value in values.items() if value is not None])


def numbers(store: Store, recipe: Recipe, weights: Sequence[Weights]) -> Iterator[tuple[str, Rows]]:
    """Yield the source and rows of the numbers, if there are any: the run directory, else a published report.

    Raises:
        UserError: an outcomes file is damaged.
    """
    published = [folder / "outcomes" for folder in entries(Path("reports"))]
    for folder in (store.root / "outcomes", *published):
        paths = _outcomes(folder, recipe, weights)
        if paths:
            yield str(folder), _numbers(paths)
            return


def _outcomes(folder: Path, recipe: Recipe, weights: Sequence[Weights]) -> list[Path]:
    """Return the outcomes of exactly these weights or, for seeds without weights here, of any weights."""
    found = []
    ends = {f"-{recipe.hash}-seed-{one.seed}.parquet": one for one in weights}
    for path in visible_files(folder, ".parquet") if folder.is_dir() else []:
        one = next((one for end, one in ends.items() if path.name.endswith(end)), None)
        if one is None:
            continue
        from robustbench_ens.outcomes import read_provenance  # heavy, and not needed without numbers

        if one.record is None or read_provenance(path)["target"]["weights"] == one.record.weights:
            found.append(path)
    return sorted(found)


def _numbers(paths: Sequence[Path]) -> Rows:
    """Return the rates of an ensemble as in the leaderboard, and the health of its attacks."""
    from robustbench_ens.outcomes import read_evaluations
    from robustbench_ens.reporting.board import board
    from robustbench_ens.reporting.card import health_lines
    from robustbench_ens.reporting.collect import collect

    collection = collect(read_evaluations(paths))
    rows: Rows = []
    for row in board(collection):
        eps = f"eps {row.eps.eps:g}" if row.eps else "not attacked"
        rows.append(("Images", f"{row.n} of {row.dataset}, {eps}, {_seeds(collection)}"))
        set_by = f", by {listing(row.set_by)}" if row.set_by else ""
        rows.append(("Worst case", _rate(row.worst, set_by)))
        rows += [(collection.kinds[kind].title, _rate(rate)) for kind, rate in row.attacks.items()]
        rows += [("Clean", _rate(row.clean)), ("Transfer", _rate(row.transfer))]
        rows.append(("Cost with its start", str(row.cost)))
    return [*rows, *(("Health", line) for line in health_lines(collection))]


def _seeds(collection: Collection) -> str:
    seeds = sorted({document["target"]["seed"] for document in collection.provenance})
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"


def _rate(rate: Rate | str | None, more: str = "") -> str:
    """Return a bar and a number, or the reason why there is none."""
    from robustbench_ens.cli.console import OUT
    from robustbench_ens.cli.leaderboard import bar_of

    if rate is None or isinstance(rate, str):
        return rate or ""
    bar = bar_of(rate.value, _BAR, unicode=OUT.encoding.lower().startswith("utf"))
    return f"{bar}  {rate.marked.replace(NBSP, ' ')}{more}"


def commands(recipe: Recipe, given: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """Return the commands that train an ensemble and attack it.

    Args:
        recipe: recipe of the ensemble.
        given: its reference as given by the user, and options that change it.
        seeds: training seeds.
    """
    reference = [*given, *([] if list(seeds) == [0] else ["--seeds", ",".join(map(str, seeds))])]
    attacks = _attacks(recipe.settings.dataset)
    lines = [["rbe", "train", *reference], *(["rbe", "attack", name, *reference] for name in attacks)]
    return [shlex.join(line) for line in lines]


def _attacks(dataset: str) -> list[str]:
    """Return the protocol with the shortest name of each kind on the leaderboard, for a dataset."""
    found: dict[str, str] = {}
    for name in names("attacks", lambda why: None):
        try:
            with silenced():
                protocol = listed_protocol(name)
        except UserError:
            continue  # `rbe list` prints its error
        if protocol is None or protocol.settings.recipes_dataset != dataset or not protocol.settings.facts.leaderboard:
            continue
        known = found.setdefault(protocol.settings.kind, name)
        found[protocol.settings.kind] = min(known, name, key=len)
    return sorted(found.values())
