"""Shards: shares of a plan that separate commands run, connected by nothing but the run directory.

The assignment of pieces follows from the plan alone, never from what is done already, so that shards that begin at
different times agree. If a shard needs a piece of another shard, it waits while another process runs that piece, and
otherwise runs it itself. A shard that died or has not begun therefore blocks no other. Pieces that join an evaluation
belong to no shard: the first shard that finds all their inputs runs them.
"""

from __future__ import annotations

import heapq
import re
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from robustbench_ens.core.limits import shown
from robustbench_ens.core.locks import HeldError
from robustbench_ens.errors import UserError
from robustbench_ens.workflow.schedule import Linked

MOST_SHARDS = 10_000

POLL_S = 1.0
"""Seconds between two checks of what other shards have done. The run directory may lie on a network disk."""


@dataclass(frozen=True)
class Shard:
    """One of several shares of the work.

    Attributes:
        number: its number, from 1.
        count: the number of shards.
    """

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def parse_shard(text: str, where: str = "--shard") -> Shard:
    """Return the shard that ``text`` names, such as ``3/16``.

    Raises:
        UserError: it does not name one.
    """
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    shard = Shard(int(match[1]), int(match[2])) if match else Shard(0, 0)
    if not 1 <= shard.number <= shard.count <= MOST_SHARDS:
        raise UserError(
            f"{where}: expected I/N with I from 1 to N and N at most {MOST_SHARDS:,}, such as 3/16, got {shown(text)}"
        )
    return shard


def shares(work: Sequence[float], count: int) -> list[int]:
    """Return the share that each piece belongs to, from 0 to ``count - 1``.

    The heaviest remaining piece goes to the lightest share (Graham's longest processing time first). No share is then
    heavier than 4/3 of the heaviest share of the best assignment.

    Args:
        work: work of each piece, in any unit.
        count: number of shares.
    """
    lightest = [(0.0, share) for share in range(count)]
    found = [0] * len(work)
    for piece in sorted(range(len(work)), key=lambda piece: (-work[piece], piece)):
        load, share = lightest[0]
        found[piece] = share
        heapq.heapreplace(lightest, (load + work[piece], share))
    return found


P = TypeVar("P", bound=Linked)


@dataclass(frozen=True)
class Hands(Generic[P]):
    """The functions by which a shard checks, runs and reports.

    Attributes:
        is_done: checks whether the run directory has what a piece makes.
        run: runs pieces that need only each other and what is done, and waits for those that are held.
        attempt: runs one piece, and raises a HeldError if another command is running it.
        message: prints a line.
        sleep: waits for a number of seconds.
    """

    is_done: Callable[[P], bool]
    run: Callable[[Sequence[P]], None]
    attempt: Callable[[P], None]
    message: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep


class Share(Generic[P]):
    """The work of one shard on a list of pieces.

    Args:
        pieces: all pieces, in an order in which each finds what it needs.
        mine: positions in ``pieces`` of those of this shard.
        joins: positions of those that belong to no shard, and are run once what they need exists.
        hands: the functions that run the pieces.
    """

    def __init__(self, pieces: Sequence[P], mine: Iterable[int], joins: Iterable[int], hands: Hands[P]) -> None:
        self._pieces = pieces
        self._mine = frozenset(mine)
        self._joins = frozenset(joins)
        self._hands = hands
        self._left = dict(enumerate(pieces))
        self._printed: set[str] = set()

    def carry_out(self) -> None:
        """Run the share, then join the evaluations all of whose parts exist."""
        self._look(self._mine)
        while not self._mine.isdisjoint(self._left):
            if ready := self._ready(self._mine):
                self._run(ready)
            elif not self._help():
                self._hands.sleep(POLL_S)
        # After the last piece of this shard, so that the shard that ends last finds all pieces and joins them.
        self._look(self._joins)
        if ready := self._ready(self._joins):
            self._run(ready)

    def _look(self, places: frozenset[int]) -> None:
        """Remove from ``_left`` those of these pieces, and of what they need, that are done, by whichever shard."""
        for place in self._needed(places):
            if self._hands.is_done(self._pieces[place]):
                del self._left[place]

    def _needed(self, places: frozenset[int]) -> list[int]:
        """Return the positions of what is left of these pieces and of all that they need, in order."""
        wanted: set[Hashable] = set()
        found = []
        for place, piece in reversed(self._left.items()):
            if place in places or piece.makes & wanted:
                wanted |= piece.needs
                found.append(place)
        return found[::-1]

    def _ready(self, places: frozenset[int]) -> list[int]:
        """Return the positions of what is left of these pieces and needs only each other and what is done."""
        missing: set[Hashable] = set()
        ready = []
        for place, piece in self._left.items():
            if place in places and not piece.needs & missing:
                ready.append(place)
            else:
                missing |= piece.makes
        return ready

    def _run(self, places: Sequence[int]) -> None:
        self._hands.run([self._pieces[place] for place in places])
        for place in places:
            del self._left[place]

    def _help(self) -> bool:
        """Run one piece that this shard waits for, and return whether its own pieces may be ready now."""
        self._look(self._mine)
        if self._ready(self._mine):
            return True
        missing: set[Hashable] = set()
        for place in self._needed(self._mine):
            piece = self._pieces[place]
            if not piece.needs & missing and self._attempt(place):
                return True
            missing |= piece.makes
        return False

    def _attempt(self, place: int) -> bool:
        """Run a piece of another shard, or return False if another command is running it."""
        piece = self._pieces[place]
        try:
            self._hands.attempt(piece)
        except HeldError as held:
            line = f"{piece.title}: process {held.holder} is running it; waiting for it to end"
            if line not in self._printed:
                self._printed.add(line)
                self._hands.message(line)
            return False
        del self._left[place]
        return True
