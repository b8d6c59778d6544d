"""What each command does, once its arguments are parsed."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from robustbench_ens import check as checking
from robustbench_ens.analysis.health import health_warnings
from robustbench_ens.api import given
from robustbench_ens.cli.console import OUT, Bars, show, table
from robustbench_ens.config.protocols import load_protocol
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.config.settings import parse_overrides
from robustbench_ens.config.trust import no_outside_code
from robustbench_ens.core.files import digest_file, visible_files
from robustbench_ens.core.locks import hold
from robustbench_ens.core.paths import inside
from robustbench_ens.core.progress import Silent
from robustbench_ens.core.store import DEFAULT_REPORT, Store, atomic_path, write_text
from robustbench_ens.core.text import duration
from robustbench_ens.errors import MissingDatasetError, UserError
from robustbench_ens.evaluation.runner import outcomes_file
from robustbench_ens.models.build import check_network
from robustbench_ens.models.external import blamed
from robustbench_ens.outcomes import (
    OutcomeFile,
    arrays_path,
    find_outcomes,
    measurements_path,
    read_evaluations,
)
from robustbench_ens.reporting.collect import Collection, collect
from robustbench_ens.reporting.sections.runs import without_digest
from robustbench_ens.reporting.tables.summaries import summary_tables
from robustbench_ens.reporting.tables.summary import NOT_RUN
from robustbench_ens.training.tensorboard import epoch_writer
from robustbench_ens.weights.record import read_record, run_dir
from robustbench_ens.weights.released import export_released, from_released, read_released
from robustbench_ens.weights.trained import digest_state, load_trained, save_trained
from robustbench_ens.workflow.execute import check_inputs, leftovers, run
from robustbench_ens.workflow.plan import Plan, Step, TrainStep, Workplace
from robustbench_ens.workflow.repeat import repeat_plan
from robustbench_ens.workflow.selection import Pair, add_attacks, all_pairs, told_apart
from robustbench_ens.workflow.targets import Trained


def workplace(
    runs: Path,
    data_root: Path | None,
    device: str,
    threads: int | None = None,
    tensorboard: bool = False,
    batch_size: int | None = None,
) -> Workplace:
    """The run directory, the data and the device of a command.

    Raises:
        UserError: the device does not exist.
    """
    available = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if device == "auto":
        device = available[-1] if len(available) == 1 else "cuda:0"
    elif device == "cuda" and len(available) > 1:
        device = "cuda:0"
    if device not in available:
        raise UserError(f"--device: expected auto or one of {', '.join(available)}, got {device!r}")
    hook = epoch_writer if tensorboard else None
    return Workplace(Store(runs), data_root, device, Bars(OUT), hook, threads, batch_size)


def show_plan(plan: Plan) -> None:
    """Print the steps in order, what is done or published, and how long the rest will take by past timings."""
    rows, known, unknown = [], 0.0, 0
    for number, step in enumerate(plan.steps, start=1):
        published = isinstance(step, TrainStep) and plan.is_published(step.ensemble)
        state = "published" if published else "done" if step.done else "due"
        rows.append((number, step.title, state, step.work, duration(step.seconds) if step.seconds is not None else "?"))
        if not step.done:
            known += step.seconds or 0.0
            unknown += step.seconds is None
    show(table("", ("#", "step", "state", "work", "takes about"), rows))
    for step in plan.due:
        if step.why is not None:
            OUT.print(f"{step.why}; due again", markup=False)
    times = [f"about {duration(known)}"] if known else []
    times += [f"{unknown} never timed"] if unknown else []
    OUT.print(f"{len(plan.due)} of {len(plan.steps)} steps due{': ' if times else ''}{', and '.join(times)}.")


def carry_out(plan: Plan, dry_run: bool, finished: Callable[[Step], None] | None = None) -> None:
    """Run what is due, or only show it; ``finished`` is called with each step that is done."""
    if dry_run:
        show_plan(plan)
        return
    if plan.due or leftovers(plan):
        check_inputs(plan)  # loads, or even downloads, what the steps need, without holding the run directory
        with plan.workplace.store.lock():
            now = plan.renewed()  # whoever held it before may have done what was due, or undone what was done
            check_inputs(now)
            run(now, finished)


def training_summary(plan: Plan, steps: Sequence[Step]) -> None:
    """Print clean accuracy, time and speed of every ensemble that ``steps`` train."""
    rows = []
    for step in steps:
        if not isinstance(step, TrainStep):
            continue
        record = plan.record(step.ensemble)
        if record is None or record.training is None or plan.is_published(step.ensemble):
            continue
        clean = {int(member): value for member, value in record.training["clean_accuracy"].items()}
        members = " ".join(f"{100 * clean[index]:.1f}" for index in range(record.sub_models))
        seconds, speed = record.training["wall_time_s"], record.training["steps_per_s"]
        rows.append((record.id, f"{100 * clean[-1]:.1f}", members, duration(seconds), f"{speed:.1f}"))
    columns = ("ensemble", "clean %", "sub-models %", "time", "steps/s")
    show(table("Trained ensembles, accuracy on the whole test split", columns, rows))


def train(place: Workplace, references: Sequence[str], seeds: Sequence[int], sets: Sequence[str], dry: bool) -> None:
    """`rbe train`."""
    plan = Plan(place, published=True)
    overrides = parse_overrides(list(sets))
    recipes = [load_recipe(reference, overrides) for reference in references]
    plan.train([Trained(recipe, seed) for recipe in recipes for seed in seeds])
    carry_out(plan, dry)
    if not dry:
        training_summary(plan, plan.steps)


def attack(
    place: Workplace,
    references: Sequence[str],
    seeds: Sequence[int],
    sets: Sequence[str],
    dry: bool,
    model: str | None = None,
) -> None:
    """`rbe attack`: ``references`` are protocols and recipes; ``model`` is one of one's own, for recipes and seeds.

    Where none of them is known as a protocol, the first should be one.
    """
    protocols, recipes = told_apart(references)
    if not protocols:
        protocols, recipes = list(references[:1]), list(references[1:])
    if model is not None and recipes:
        raise UserError(f"--model: expected no recipe beside it, got {', '.join(recipes)}; attack them one by one")
    if model is not None and list(seeds) != [0]:
        raise UserError("--seeds: expected none beside --model, whose weights are what they are")
    overrides = parse_overrides(list(sets))
    plan = Plan(place, published=True)
    loaded = [load_protocol(reference, overrides) for reference in protocols]
    if model is not None:
        pairs: Sequence[Pair] = given(place, loaded, model)
    else:
        pairs = all_pairs(plan, loaded, recipes, seeds)
    say_left_out(add_attacks(plan, pairs))
    with nullcontext() if model is None else blamed(f"--model {model}"):
        carry_out(plan, dry)
    if not dry:
        print_summary(collect(plan_outcomes(plan)))


def say_left_out(reasons: Iterable[str]) -> None:
    """Print which targets a protocol does not suit."""
    for reason in reasons:
        OUT.print(f"Left out: {reason}", markup=False)


def plan_outcomes(plan: Plan) -> list[OutcomeFile]:
    """The outcomes of every attack of a plan that was carried out, once also where two names mean one."""
    paths = []
    for step in plan.outcome_targets():
        record = plan.record(step.target)
        assert record is not None
        paths.append(outcomes_file(plan.workplace.store, step.protocol, record))
    return read_evaluations(list(dict.fromkeys(paths)))


def print_summary(collection: Collection) -> None:
    """Print the summary table of a report, those of protocols that it has no room for, and unhealthy attacks."""
    for title, frame in summary_tables(collection).items():
        show(table(title, [str(column) for column in frame.columns], frame.itertuples(index=False)))
    if text := without_digest(collection):
        OUT.print(f"Note: {text}", markup=False)
    say_unhealthy(collection)


def say_unhealthy(collection: Collection) -> None:
    """Print one line for each evaluation with an unhealthy attack."""
    for warning in health_warnings(collection.health):
        OUT.print(f"Warning: {warning}", markup=False)


def print_early(plan: Plan, step: Step) -> None:
    """Print the numbers of a step that has just finished, while others still run."""
    if isinstance(step, TrainStep):
        training_summary(plan, [step])
        return
    record = plan.record(step.target)
    assert record is not None
    path = outcomes_file(plan.workplace.store, step.protocol, record)
    collection = collect(read_evaluations([path]))
    for title, frame in summary_tables(collection).items():
        known = frame.loc[:, (frame != NOT_RUN).any()]
        show(table(title, [str(column) for column in known.columns], known.itertuples(index=False)))
    say_unhealthy(collection)


def make_plan(place: Workplace, references: Sequence[str], seeds: Sequence[int]) -> Plan:
    """The plan for recipes and protocols named together: each protocol against each recipe."""
    protocols, recipes = told_apart(references)
    plan = Plan(place, published=True)
    if not protocols:
        plan.train([Trained(recipe, seed) for recipe in map(load_recipe, recipes) for seed in seeds])
    loaded = [load_protocol(reference) for reference in protocols]
    say_left_out(add_attacks(plan, all_pairs(plan, loaded, recipes, seeds)))
    return plan


def _outcomes(place: Workplace, sources: Sequence[Path]) -> list[OutcomeFile]:
    """The outcomes among ``sources``, or else all of the run directory."""
    folder = place.store.root / "outcomes"
    paths = find_outcomes(sources or ([folder] if folder.exists() else []))
    if not paths:
        where = ", ".join(map(str, sources)) or str(folder)
        raise UserError(f"{where}: expected outcomes, got none; run `rbe attack PROTOCOL RECIPE` first")
    return read_evaluations(paths)


def report(place: Workplace, sources: Sequence[Path], name: str, publish: str | None) -> None:
    """`rbe report`."""
    command = ["rbe", "report", *map(str, sources), *([] if name == DEFAULT_REPORT else ["--name", name])]
    if publish:  # the outcomes that lie beside it make it again
        command = ["rbe", "report", f"reports/{publish}/outcomes", "--publish", publish]
    with place.store.lock_if_there() if publish else nullcontext():  # what is published is what was read
        write_report(place, _outcomes(place, sources), name, publish, shlex.join(command))


def write_report(place: Workplace, files: Sequence[OutcomeFile], name: str, publish: str | None, command: str) -> None:
    """Render a report, with the outcomes beside it if it is published; print its summary and where it lies."""
    from robustbench_ens.reporting.page import render  # with matplotlib, which no other command needs

    for part in (name, name if publish is None else publish):
        if Path(part).name != part or part in ("", ".", ".."):
            raise UserError(f"report name: expected a plain folder name, got {part!r}")
    destination = inside(Path("reports"), publish, "report name") if publish else place.store.report_dir(name)
    outcomes = published_outcomes(files, destination / "outcomes") if publish else {}
    collection = collect(files)
    with hold(destination.parent):
        index = render(collection, destination, title=f"Robustness report: {publish or name}", command=command)
        if publish:
            publish_outcomes(outcomes, destination / "outcomes")
    print_summary(collection)
    OUT.print(f"Report: {index} (and {destination / 'report.md'})", markup=False)


def published_outcomes(files: Sequence[OutcomeFile], folder: Path) -> dict[Path, Path]:
    """Where the outcomes of a published report lie in ``folder``, and which files they are copied from.

    Raises:
        UserError: a name in a file's provenance leads out of the folder.
    """
    wanted: dict[Path, Path] = {}
    for file in files:
        protocol, target = file.provenance["protocol"], file.provenance["target"]
        own = f"{protocol['name']}-{protocol['hash']}"
        place = inside(folder, f"{own}/{file.path.name}", f"{file.path}: name of the protocol")
        if place in wanted:  # of other weights, from another run directory
            name = f"{own}/{place.stem}-{target['weights'][:10]}{place.suffix}"
            place = inside(folder, name, f"{file.path}: digest of the weights")
        for part in (lambda path: path, measurements_path, arrays_path):
            if part(file.path).exists():
                wanted[part(place)] = part(file.path)
    return wanted


def publish_outcomes(wanted: Mapping[Path, Path], folder: Path) -> None:
    """Put the outcomes of a published report, and no others, beside it, so that anyone can make it again."""
    for destination, source in wanted.items():
        if not destination.exists() or not destination.samefile(source):
            with atomic_path(destination) as temporary:
                shutil.copyfile(source, temporary)
    for left_over in set(visible_files(folder, "")) - set(wanted):
        left_over.unlink()
        if not any(left_over.parent.iterdir()):
            left_over.parent.rmdir()


def check(
    place: Workplace,
    baseline: Path,
    sources: Sequence[Path],
    update: bool,
    paired: bool,
    form: str,
    outputs: Sequence[Path],
    again: bool = False,
    skip_missing_data: bool = False,
    trust: bool = False,
) -> bool:
    """`rbe check`: whether any number moved. ``outputs`` are written in the formats that their names ask for.

    ``again`` attacks what is pinned first; where its images are not there, ``skip_missing_data`` says so and finds
    nothing moved; ``trust`` lets the baseline name files and code from outside the project.
    """
    for output in outputs:
        if output.suffix not in checking.SUFFIXES:
            valid = ", ".join(f"{suffix} ({name})" for suffix, name in checking.SUFFIXES.items())
            raise UserError(f"--output: expected a file name that ends in one of {valid}, got {str(output)!r}")
    if update and outputs:
        raise UserError("--output: expected no --update, which compares nothing; leave one of them out")
    if paired and not update:
        raise UserError("--paired: expected --update beside it; the baseline says itself whether it is paired")
    if again and (sources or update):
        raise UserError("--attack: expected no OUTCOMES and no --update beside it: it makes the outcomes to compare")
    if skip_missing_data and (not again or outputs or form != "text"):
        raise UserError(
            "--skip-missing-data: expected --attack beside it, which is what needs the images, and no --output and no "
            "--format but text: nothing is found where it skips"
        )
    if trust and not again:
        raise UserError("--trust: expected --attack beside it; nothing else imports what a baseline names")
    if again and form != "text":
        place = replace(place, progress=Silent())
    try:
        files = _attacked_again(place, baseline, trust) if again else _outcomes(place, sources)
    except MissingDatasetError as error:
        if not skip_missing_data:
            raise
        OUT.print(f"Skipped: {baseline} was not checked, for its images are not here: {error}", markup=False)
        return False
    if update:
        pin = checking.make_pin(files, paired=paired)
        checking.write_pin(baseline, pin)
        OUT.print(f"{baseline}: pinned {len(files)} outcome files", markup=False)
        return False
    result = checking.check(checking.read_pin(baseline), files)
    for output in outputs:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_text(output, checking.FORMATS[checking.SUFFIXES[output.suffix]](result))
    OUT.out(checking.FORMATS[form](result), highlight=False)
    return result.moved


def _attacked_again(place: Workplace, baseline: Path, trust: bool) -> list[OutcomeFile]:
    """The outcomes of the attacks that a paired baseline pins, made now where the run directory has none."""
    plan = repeat_plan(place, checking.read_pin(baseline), baseline, trust)
    # A network's code is imported only when its weights are loaded, which is after planning.
    with nullcontext() if trust else no_outside_code():
        carry_out(plan, dry_run=False)
    return plan_outcomes(plan)


def import_checkpoint(place: Workplace, path: Path, reference: str, seed: int, sets: Sequence[str]) -> None:
    """`rbe import-checkpoint`."""
    recipe = load_recipe(reference, parse_overrides(list(sets)))
    folder = run_dir(place.store, recipe, seed)
    read_released(path)  # a damaged file is told before any dataset is downloaded
    dataset = place.dataset(recipe.settings.dataset, recipe.settings.max_pixels)
    check_network(recipe, dataset.x_test.shape[1:], dataset.num_classes)
    ensemble = from_released(path, recipe)
    channels = ensemble.state_dict()["members.0.normalizer.mean"].numel()
    if channels != dataset.channels:
        raise UserError(f"{path}: expected {dataset.channels} channels as in {dataset.name!r}, got {channels}")
    classes = ensemble(torch.zeros(1, *dataset.x_test.shape[1:], dtype=torch.float32, device="cpu")).shape[1]
    if classes != dataset.num_classes:
        raise UserError(f"{path}: expected {dataset.num_classes} classes as in {dataset.name!r}, got {classes}")
    digest = digest_state(ensemble.state_dict())
    with place.store.lock():
        there = read_record(folder)
        if there is not None:
            same = (there.fingerprint, there.data_digest) == (f"imported-{digest}", dataset.digest)
            if not same or load_trained(folder, recipe)[1].weights != digest:
                raise UserError(f"{folder}: there is a trained ensemble already; give another --seed, or move it away")
            OUT.print(f"{there.id}: imported already, these very weights lie in {folder}", markup=False)
            return
        record = save_trained(
            folder,
            ensemble,
            recipe,
            seed,
            run_fingerprint=f"imported-{digest}",
            data_digest=dataset.digest,
            channels=dataset.channels,
            classes=dataset.num_classes,
            lineage=[f"imported {digest}"],
            training=None,
            imported_from=digest_file(path),
        )
    OUT.print(f"{record.id}: imported from {path} into {folder}", markup=False)


def export_checkpoint(place: Workplace, reference: str, seed: int, path: Path, sets: Sequence[str]) -> None:
    """`rbe export-checkpoint`."""
    recipe = load_recipe(reference, parse_overrides(list(sets)))
    trained = Trained(recipe, seed)
    ensemble = Plan(place, published=True).serving.load(trained)
    export_released(path, ensemble)
    OUT.print(f"{trained.id}: exported to {path} ({ensemble.origin})", markup=False)
