"""The leaderboard as a picture: clean, black-box, white-box and worst-case accuracy of each ensemble on one axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robustbench_ens.analysis.chosen_on import MARK
from robustbench_ens.core.text import counted
from robustbench_ens.reporting.board import BoardRow, Rate, short_names
from robustbench_ens.reporting.scene import (
    GROUND,
    INK,
    RULE,
    SOFT,
    Circle,
    Line,
    Rect,
    Scene,
    fitted,
    text_width,
    tip_room,
)
from robustbench_ens.reporting.style import Look

MOST_ROWS = 12
"""The most ensembles that are drawn. The table has all of them."""

WIDE = 700.0
"""Width in pixels from which names, marks and numbers are side by side."""

HEALTHY = "#12a074"
UNHEALTHY = "#c98a00"

_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_SIGNS = {"worst": "worst case", "whitebox": "white-box", "blackbox": "black-box", "clean": "clean"}


@dataclass(frozen=True)
class _Place:
    """The layout: the ends of the axis, the height of a row, and the right ends of the columns of numbers."""

    left: float
    right: float
    top: float
    row: float
    worst: float
    transfer: float | None
    health: float
    stacked: bool

    def x(self, share: float) -> float:
        return self.left + share * (self.right - self.left)

    def y(self, number: int) -> float:
        """Return the vertical position of a row's marks."""
        return self.top + (number + (0.72 if self.stacked else 0.5)) * self.row


def leaderboard_figure(
    rows: Sequence[BoardRow], looks: Mapping[str, Look], pages: Mapping[str, str], *, width: float
) -> Scene:
    """Draw one row per ensemble: marks with whiskers, the worst case and transferability as numbers, and health.

    Args:
        rows: the rows of one dataset, the best first. At most ``MOST_ROWS`` are drawn.
        looks: the look of each ensemble.
        pages: the page of each ensemble that has one.
        width: the width in pixels. Below ``WIDE``, marks are drawn below the names.
    """
    shown = rows[:MOST_ROWS]
    short = short_names([row.ensemble for row in shown])
    names = {row.ensemble: short[row.ensemble] + (MARK if row.chosen_here else "") for row in shown}
    place = _layout(names, width)
    bottom = place.top + len(shown) * place.row
    scene = Scene(width, bottom + tip_room(width) + 4, (width / 2, bottom + 16, "middle"))
    scene.tip_size = 12.0 if width >= WIDE else 10.0
    _legend(scene, place, _meaning(shown))
    for tick in _TICKS:
        scene.line([(place.x(tick), place.top), (place.x(tick), bottom)], RULE)
        scene.text(place.x(tick), place.top - 6, f"{tick:.0%}", size=11, colour=SOFT, anchor="middle")
    for number, row in enumerate(shown):
        _row(scene, place, number, row, names[row.ensemble], looks[row.ensemble].colour, pages.get(row.ensemble, ""))
        if row.differs_below and number + 1 < len(shown):
            y = place.top + (number + 1) * place.row
            scene.line([(0, y), (width, y)], SOFT, dash=(2, 3))
    return scene


def _layout(names: Mapping[str, str], width: float) -> _Place:
    if width < WIDE:
        return _Place(16, width - 16, 74, 46, width - 24, None, width, stacked=True)
    longest = max(text_width(f"12. {name}", 13, bold=True) for name in names.values())
    left = 16 + min(longest, 0.3 * width)
    right = width - 224
    return _Place(left, right, 46, 30, right + 104, right + 176, width - 8, stacked=False)


def _meaning(rows: Sequence[BoardRow]) -> str:
    spread = "± sd over seeds" if any(row.seeds > 1 for row in rows) else "95% interval"
    return f"line: {spread} · dotted rule: significant difference"


def _legend(scene: Scene, place: _Place, meaning: str) -> None:
    x = 8.0
    for what, text in _SIGNS.items():
        _sign(scene, what, x, 12, INK, 1.0)
        scene.text(x + 9, 16, text, size=11, colour=SOFT)
        x += 21 + text_width(text, 11)
    if place.stacked:
        scene.text(4, 34, meaning, size=10, colour=SOFT)
        scene.text(place.worst, 52, "worst case", size=10, colour=SOFT, anchor="end")
        return
    scene.text(x + 2, 16, f"· {meaning}", size=11, colour=SOFT)
    for right, text in ((place.worst, "worst case"), (place.transfer, "transfer ↓"), (place.health + 8, "healthy")):
        scene.text(right or 0, place.top - 6, text, size=11, colour=SOFT, anchor="end")


def _row(scene: Scene, place: _Place, number: int, row: BoardRow, name: str, colour: str, page: str) -> None:
    rates = {what: rate for what, rate in _rates(row).items() if isinstance(rate, Rate)}
    y = place.y(number)
    base = place.top + number * place.row + 17 if place.stacked else y + 4.5
    room = place.worst - 92 if place.stacked else place.left - 14
    with scene.marked(f"{row.ensemble}: its page" if page else "", page):
        scene.text(4, base, fitted(f"{row.place}. {name}", 13, room, bold=True), size=13, bold=True)
    if rates:
        ends = [place.x(rate.value) for rate in rates.values()]
        scene.add(Rect(min(ends), y - 1.5, max(ends) - min(ends), 3, fill=colour, opacity=0.3))
    # The worst case is drawn last, on top: it often coincides with white-box accuracy.
    for what in ("clean", "blackbox", "whitebox", "worst"):
        if what in rates:
            _mark(scene, place, what, rates[what], row, y, colour)
    _numbers(scene, place, row, base)


def _rates(row: BoardRow) -> dict[str, Rate | str | None]:
    return {
        "worst": row.worst,
        "clean": row.clean,
        **{kind: row.attacks.get(kind) for kind in ("whitebox", "blackbox")},
    }


def _mark(scene: Scene, place: _Place, what: str, rate: Rate, row: BoardRow, y: float, colour: str) -> None:
    with scene.marked(tip_of(what, rate, row)):
        scene.line([(place.x(rate.low), y), (place.x(rate.high), y)], colour, width=2.2 if what == "worst" else 1.2)
        _sign(scene, what, place.x(rate.value), y, colour, 1.15)


def tip_of(what: str, rate: Rate, row: BoardRow) -> str:
    """Return the tip of a mark: the number, its interval, n and seeds, and the protocols behind it."""
    by = f", set by {', '.join(row.set_by)}" if what == "worst" else f", {', '.join(rate.protocols)}"
    if what == "clean":
        by = ""
    health = "" if rate.healthy else ", rests on an unhealthy attack"
    return f"{row.ensemble}, {_SIGNS[what]}: {rate.text}, n = {rate.n}, {counted(rate.seeds, 'seed')}{by}{health}"


def _sign(scene: Scene, what: str, x: float, y: float, colour: str, scale: float) -> None:
    size = 4.6 * scale
    match what:
        case "worst":
            scene.add(Circle(x, y, size, fill=colour, stroke=GROUND, width=1))
        case "clean":
            scene.add(Circle(x, y, size, fill=GROUND, stroke=colour, width=1.6))
        case "blackbox":
            scene.add(Rect(x - size, y - size, 2 * size, 2 * size, fill=GROUND, stroke=colour, width=1.6))
        case _:
            arm = 0.95 * size
            crossed = [[(x - arm, y - arm), (x + arm, y + arm)], [(x - arm, y + arm), (x + arm, y - arm)]]
            scene.add(Line(crossed, GROUND, width=4), Line(crossed, colour, width=2))


def _numbers(scene: Scene, place: _Place, row: BoardRow, base: float) -> None:
    worst = "not run" if row.worst is None else f"{100 * row.worst.value:.1f}%"
    spread = ""
    if row.worst is not None and not place.stacked:
        one = row.worst
        spread = f"± {100 * one.std:.1f}" if one.std is not None else f"[{100 * one.low:.0f}–{100 * one.high:.0f}]"
    edge = place.worst - (48 if not place.stacked else 0)
    scene.text(edge, base, worst, size=13, bold=row.worst is not None, anchor="end")
    scene.text(edge + 5, base, spread, size=11, colour=SOFT)
    if place.transfer is not None:
        transfer = f"{100 * row.transfer.value:.0f}%" if isinstance(row.transfer, Rate) else "–"
        scene.text(place.transfer, base, transfer, size=12, anchor="end")
    sign, colour, text = _health(row)
    with scene.marked(f"{row.ensemble}: {text}"):
        scene.text(place.health, base, sign, size=14, colour=colour, bold=True, anchor="end")


def _health(row: BoardRow) -> tuple[str, str, str]:
    if row.unhealthy:
        text = f"unhealthy attacks under {', '.join(row.unhealthy)}"
        if row.worst is not None and row.worst.healthy:
            return "(✓)", HEALTHY, f"{text}; the worst case does not rest on them"
        return "⚠", UNHEALTHY, text
    return ("✓", HEALTHY, "all attacks healthy") if row.health_known else ("–", SOFT, "health of attacks not measured")
