"""Plans on the terminal: showing them, running them, and printing their results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from robustbench_ens.cli.console import OUT, show, table
from robustbench_ens.cli.workers import shown
from robustbench_ens.core.text import counted, duration
from robustbench_ens.evaluation.record import outcomes_file
from robustbench_ens.outcomes import OutcomeFile, read_evaluations
from robustbench_ens.workflow.execute import leftovers, run
from robustbench_ens.workflow.executors import DEFAULT_EXECUTOR
from robustbench_ens.workflow.forecast import step_timings
from robustbench_ens.workflow.inputs import check_inputs
from robustbench_ens.workflow.plan import Plan
from robustbench_ens.workflow.shard_run import assignment
from robustbench_ens.workflow.shards import Shard
from robustbench_ens.workflow.steps import Step, TrainStep, record_of
from robustbench_ens.workflow.timings import Timing


def show_plan(plan: Plan) -> None:
    """Print the steps in order, their states, and their expected times."""
    rows = []
    known = 0.0
    unknown = 0
    timings = step_timings(plan)
    for number, (step, timing) in enumerate(zip(plan.steps, timings, strict=True), start=1):
        published = isinstance(step, TrainStep) and plan.workplace.library.is_published(step.ensemble)
        state = "published" if published else "done" if step.done else "due"
        rows.append((number, step.title, state, step.work, *_takes(timing)))
        if not step.done:
            known += timing.seconds if timing else 0.0
            unknown += timing is None
    show(table("", ("#", "step", "state", "work", "takes about", "basis"), rows))
    for step in plan.due:
        if step.why is not None:
            OUT.print(f"{step.why}; due again", markup=False)
    times = [f"about {duration(known)}"] if known else []
    times += [f"{unknown} never timed"] if unknown else []
    OUT.print(f"{len(plan.due)} of {len(plan.steps)} steps due{': ' if times else ''}{', and '.join(times)}.")


def _takes(timing: Timing | None) -> tuple[str, str]:
    """Return the expected time of a step and its origin, as text."""
    return ("?", "") if timing is None else (duration(timing.seconds), timing.origin)


def carry_out(
    plan: Plan,
    dry_run: bool,
    finished: Callable[[Step], None] | None = None,
    executor: str = DEFAULT_EXECUTOR,
    shard: Shard | None = None,
) -> None:
    """Run the due steps or one shard of them, or only show them. ``finished`` is called with each finished step."""
    if dry_run:
        if shard is None:
            show_plan(plan)
        else:
            show_shard(plan, shard)
        return
    if plan.due or leftovers(plan):
        check_inputs(plan)  # loads, or even downloads, what the steps need
        now = plan.renewed()  # loading takes time, in which another command may have finished or undone steps
        check_inputs(now)
        run(now, finished, executor, shard, partial(shown, console=OUT))


def show_shard(plan: Plan, shard: Shard) -> None:
    """Print the pieces of one shard."""
    pieces, shared, _ = assignment(plan, shard.count)
    mine = shared[shard.number - 1]
    place = plan.workplace
    rows = [(index + 1, pieces[index].title, "done" if pieces[index].is_done(place) else "due") for index in mine]
    show(table("", ("#", "piece", "state"), rows))
    OUT.print(f"Shard {shard} has {len(mine)} of {counted(sum(map(len, shared)), 'piece')}.")


def shard_summary(plan: Plan, shard: Shard) -> None:
    """Print that one shard is done, and the progress of the whole plan."""
    steps = len(plan.steps)
    done = sum(step.is_done(plan.workplace) for step in plan.steps)
    if done == steps:
        OUT.print(f"Shard {shard} is done, and so is the whole plan; `rbe report` shows its results.")
    else:
        OUT.print(f"Shard {shard} is done; {done} of {counted(steps, 'step')} of the whole plan are finished.")


def training_summary(plan: Plan, steps: Sequence[Step]) -> None:
    """Print the clean accuracy, time and speed of every ensemble that ``steps`` trained."""
    rows = []
    for step in steps:
        if not isinstance(step, TrainStep):
            continue
        record = record_of(plan.workplace, step.ensemble)
        if record is None or record.training is None or plan.workplace.library.is_published(step.ensemble):
            continue
        clean = {int(member): value for member, value in record.training["clean_accuracy"].items()}
        members = " ".join(f"{100 * clean[index]:.1f}" for index in range(record.sub_models))
        seconds = record.training["wall_time_s"]
        speed = record.training["steps_per_s"]
        rows.append((record.id, f"{100 * clean[-1]:.1f}", members, duration(seconds), f"{speed:.1f}"))
    columns = ("ensemble", "clean %", "sub-models %", "time", "steps/s")
    show(table("Trained ensembles, accuracy on the whole test split", columns, rows))


def report_skipped(reasons: Iterable[str]) -> None:
    """Print why incompatible pairs of protocol and target were skipped."""
    for reason in reasons:
        OUT.print(f"Skipped: {reason}", markup=False)


def plan_outcomes(plan: Plan) -> list[OutcomeFile]:
    """Read the outcomes of every attack of a finished plan, each file once even if two names mean the same."""
    paths = []
    for step in plan.outcome_targets():
        record = record_of(plan.workplace, step.target)
        assert record is not None
        paths.append(outcomes_file(plan.workplace.store, step.protocol, record))
    return read_evaluations(list(dict.fromkeys(paths)))


def print_results(plan: Plan) -> None:
    """Print the summary of a plan's attacks."""
    from robustbench_ens.cli.summaries import print_summary  # heavy, and not needed for planning
    from robustbench_ens.reporting.collect import collect

    print_summary(collect(plan_outcomes(plan)))


def print_early(plan: Plan, step: Step) -> None:
    """Print the results of a step that has just finished, while others still run."""
    from robustbench_ens.cli.summaries import print_known
    from robustbench_ens.reporting.collect import collect

    if isinstance(step, TrainStep):
        training_summary(plan, [step])
        return
    record = record_of(plan.workplace, step.target)
    assert record is not None
    path = outcomes_file(plan.workplace.store, step.protocol, record)
    print_known(collect(read_evaluations([path])))
