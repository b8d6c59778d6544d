"""Labels at the ends of lines, moved as little as possible so that they do not overlap."""

from __future__ import annotations

from collections.abc import Sequence


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return positions at least ``gap`` apart, in the same order, with the least sum of squared moves.

    Args:
        wanted: the wanted positions, in ascending order.
        gap: the least distance between two neighbours.
        low: the lowest position.
        high: the highest position. Positions go beyond it if there is too little room.
    """
    # With their gaps subtracted, the positions only have to ascend: isotonic regression by pooling adjacent violators.
    pools: list[tuple[float, int]] = []
    for number, position in enumerate(wanted):
        mean = position - number * gap
        size = 1
        while pools and pools[-1][0] > mean:
            other, count = pools.pop()
            mean = (mean * size + other * count) / (size + count)
            size += count
        pools.append((mean, size))
    room = max(low, high - (len(wanted) - 1) * gap)
    free = [min(max(mean, low), room) for mean, size in pools for _ in range(size)]
    return [position + number * gap for number, position in enumerate(free)]
