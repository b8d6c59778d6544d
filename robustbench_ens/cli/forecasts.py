"""Forecasts on the terminal: the expected time of a plan's pieces on several workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robustbench_ens.cli.console import OUT
from robustbench_ens.core.text import counted, duration, listing, percent
from robustbench_ens.workflow.forecast import Forecast
from robustbench_ens.workflow.schedule import WorkerKind, schedule

NOUNS: Mapping[WorkerKind, str] = {"cpu": "worker", "gpu": "GPU"}
LONGEST_CHAIN = 6
"""The most pieces of the critical path that are named, which are then the longest ones."""


def print_forecast(forecast: Forecast) -> None:
    """Print wall time, critical path, efficiency, the bound, and the origins of the times."""
    for line in forecast_lines(forecast):
        OUT.print(line)


def forecast_lines(forecast: Forecast) -> list[str]:
    """Return the lines of a forecast."""
    made = forecast.schedule
    used = [kind for kind in NOUNS if made.graph.work(kind)]
    where = listing([counted(count, NOUNS[kind]) for kind, count in made.workers.items() if count])
    lines = [f"{counted(len(forecast.titles), 'piece')} on {where}: about {duration(made.makespan)}."]
    if made.makespan:
        shares = [f"{percent(made.efficiency(kind))} of the {NOUNS[kind]}s' time" for kind in used]
        work = [f"{duration(made.graph.work(kind))} on a {NOUNS[kind]}" for kind in used]
        lines += [
            f"Work: {listing(work)}. Efficiency: {listing(shares)}.",
            f"Critical path: {duration(made.graph.critical_seconds)}: {_chain(forecast.critical_path)}.",
            f"Bound by {_bound(forecast)}.",
        ]
    return [*lines, *_basis(forecast)]


def _chain(path: Sequence[tuple[str, float]]) -> str:
    """Return the names of the longest pieces of a chain, in order."""
    by_length = sorted(range(len(path)), key=lambda place: -path[place][1])
    longest = [path[place] for place in sorted(by_length[:LONGEST_CHAIN])]
    named = ", then ".join(f"{title} ({duration(seconds)})" for title, seconds in longest)
    more = len(path) - len(longest)
    return f"{named}, and {counted(more, 'shorter piece')}" if more else named


def _bound(forecast: Forecast) -> str:
    """Return the bound on the wall time, and what would reduce it."""
    made = forecast.schedule
    binds = forecast.binds
    if binds == "critical path":
        title, seconds = max(forecast.critical_path, key=lambda piece: piece[1])
        return f"the critical path: more workers save little. Its longest piece is {title} ({duration(seconds)})"
    more = {kind: count * (2 if kind == binds else 1) for kind, count in made.workers.items()}
    sooner = schedule(made.graph, more["cpu"], more["gpu"]).makespan
    return f"the {NOUNS[binds]}s: {counted(more[binds], NOUNS[binds])} would take about {duration(sooner)}"


def _basis(forecast: Forecast) -> list[str]:
    """Return the origins of the times, and the missing ones."""
    lines = []
    if forecast.origins:
        counts = listing([f"{count:,} {origin}" for origin, count in sorted(forecast.origins.items())])
        stand_in = " No time of a GPU is known: these are of a CPU." if forecast.stands_in else ""
        lines.append(f"Times: {counts}.{stand_in}")
    if forecast.unknown:
        count = len(forecast.unknown)
        lines.append(f"{counted(count, 'piece')} never timed, counted as nothing: {forecast.unknown[0]}{_more(count)}.")
    return lines


def _more(count: int) -> str:
    return f" and {count - 1:,} more" if count > 1 else ""
