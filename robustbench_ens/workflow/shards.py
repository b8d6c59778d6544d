"""Shares of a plan that are carried out apart: nothing but the run directory connects the commands that do so.

Which piece falls to which shard follows from the plan alone, never from what is done already, so that shards that begin
at different times agree. A shard whose pieces need what another one makes waits while somebody is at it, and makes it
itself if nobody is: a shard that died, or has not begun, blocks no other. What joins the pieces of an evaluation falls
to no shard. Whoever finds them all there joins them.
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
"""Seconds between two looks at what other shards are at; their run directory may lie on a network disk."""


@dataclass(frozen=True)
class Shard:
    """One of several equal shares of the work.

    Attributes:
        number: which one, from 1.
        count: how many there are.
    """

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def parse_shard(text: str, where: str = "--shard") -> Shard:
    """Return the shard that ``text`` names, such as ``3/16``.

    Raises:
        UserError: it names none.
    """
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    shard = Shard(int(match[1]), int(match[2])) if match else Shard(0, 0)
    if not 1 <= shard.number <= shard.count <= MOST_SHARDS:
        raise UserError(
            f"{where}: expected I/N with I from 1 to N and N at most {MOST_SHARDS:,}, such as 3/16, got {shown(text)}"
        )
    return shard


def shares(work: Sequence[float], count: int) -> list[int]:
    """Return which of ``count`` shares each piece belongs to, from 0.

    The heaviest piece that is left goes to the share that has least so far (Graham's longest processing time first). No
    share is then heavier than 4/3 of the heaviest one of the best assignment.

    Args:
        work: of each piece, in any unit.
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
    """The hands of a shard: how it looks, works, tries and speaks.

    Attributes:
        is_done: looks into the run directory for what a piece makes.
        run: carries pieces out that need nothing but each other and what is done, and waits for those that are held.
        attempt: carries one piece out, and raises a HeldError if another command is at it.
        message: prints a line.
        sleep: waits for so many seconds.
    """

    is_done: Callable[[P], bool]
    run: Callable[[Sequence[P]], None]
    attempt: Callable[[P], None]
    message: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep


class Share(Generic[P]):
    """What one shard does of a list of pieces.

    Args:
        pieces: all of them, in an order in which each finds what it needs.
        mine: places in ``pieces`` of those that fall to this shard.
        joins: places of those that fall to no shard, and are carried out once what they need is there.
        hands: what it is done with.
    """

    def __init__(self, pieces: Sequence[P], mine: Iterable[int], joins: Iterable[int], hands: Hands[P]) -> None:
        self._pieces = pieces
        self._mine = frozenset(mine)
        self._joins = frozenset(joins)
        self._hands = hands
        self._left = dict(enumerate(pieces))
        self._said: set[str] = set()

    def carry_out(self) -> None:
        """Carry the share out, then join what is there in all its pieces."""
        self._look(self._mine)
        while not self._mine.isdisjoint(self._left):
            if ready := self._ready(self._mine):
                self._run(ready)
            elif not self._help():
                self._hands.sleep(POLL_S)
        # After this shard's last piece: whichever shard ends last finds all pieces there.
        self._look(self._joins)
        if ready := self._ready(self._joins):
            self._run(ready)

    def _look(self, places: frozenset[int]) -> None:
        """Note which of these pieces, and of what they need, is done by now, whoever did it."""
        for place in self._needed(places):
            if self._hands.is_done(self._pieces[place]):
                del self._left[place]

    def _needed(self, places: frozenset[int]) -> list[int]:
        """Return what is left of these pieces and of all that they need, in order."""
        wanted: set[Hashable] = set()
        found = []
        for place, piece in reversed(self._left.items()):
            if place in places or piece.makes & wanted:
                wanted |= piece.needs
                found.append(place)
        return found[::-1]

    def _ready(self, places: frozenset[int]) -> list[int]:
        """Return what is left of these pieces and needs nothing but each other and what is done."""
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
        """Do one thing about what this shard waits for; return whether its own pieces may be ready now."""
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
        """Carry a piece of another shard out; return False if another command is at it."""
        piece = self._pieces[place]
        try:
            self._hands.attempt(piece)
        except HeldError as held:
            line = f"{piece.title}: process {held.holder} is at it; waiting for it to end"
            if line not in self._said:
                self._said.add(line)
                self._hands.message(line)
            return False
        del self._left[place]
        return True
