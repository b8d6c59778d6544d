"""Shares of a plan: each piece falls to one, the same for all, and no shard waits for one that is not there."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ens.core.locks import HeldError
from robustbench_ens.errors import UserError
from robustbench_ens.workflow.shards import Hands, Shard, Share, parse_shard, shares

WORK = st.lists(st.floats(0, 1e12), max_size=60)


@pytest.mark.parametrize(("text", "shard"), [("1/1", Shard(1, 1)), ("3/16", Shard(3, 16)), ("02/4", Shard(2, 4))])
def test_a_shard_is_written_as_its_number_and_how_many_there_are(text, shard):
    assert parse_shard(text) == shard
    assert parse_shard(str(shard)) == shard


@pytest.mark.parametrize(
    "text", ["", "3", "0/4", "5/4", "-1/4", "1/0", "1/2/3", "1.0/4", "a/b", " 1/2", "1/10001", "٣/٤"]
)
def test_anything_else_is_refused_in_one_line(text):
    with pytest.raises(
        UserError, match="--shard: expected I/N with I from 1 to N and N at most 10,000, such as 3/16, "
    ):
        parse_shard(text)


@given(WORK, st.integers(1, 20))
def test_every_piece_has_one_share_and_the_heaviest_share_is_near_the_best(work, count):
    found = shares(work, count)
    assert len(found) == len(work) and all(0 <= share < count for share in found)
    loads = [sum(one for one, share in zip(work, found, strict=True) if share == wanted) for wanted in range(count)]
    # Below: no assignment is better than this. Above: a share is begun last by a piece no heavier than the mean so far.
    best = max([sum(work) / count, *work])
    assert max(loads) <= best * (2 - 1 / count) * (1 + 1e-9)


def test_shares_by_hand():
    assert shares([5, 4, 3, 3, 3], 2) == [0, 1, 1, 0, 1]  # 5, then 4, 4+3, 5+3, 7+3
    assert shares([1, 1, 1], 5) == [0, 1, 2]
    assert shares([0, 0, 2], 2) == [1, 1, 0]


class Piece(NamedTuple):
    """Written as ``"needs>makes"``, letter by letter."""

    title: str

    @property
    def needs(self):
        return frozenset(self.title.split(">")[0])

    @property
    def makes(self):
        return frozenset(self.title.split(">")[1])


class World:
    """A run directory, and who is at what in it."""

    def __init__(self, locks=True):
        self.done, self.held, self.runs, self.said = set(), {}, [], []
        self.locks = locks
        self.guard = threading.Lock()

    def attempt(self, piece):
        with self.guard:
            if self.locks and piece in self.held:
                raise HeldError("in use")
            due = piece not in self.done
            self.held[piece] = True
        if due:
            assert piece.needs <= {name for done in list(self.done) for name in done.makes}, "began too early"
            self.runs.append(piece.title)
        with self.guard:
            self.done.add(piece)
            self.held.pop(piece, None)

    def run(self, pieces):
        """Carry them out as lanes do: what is held is put off."""
        waiting = list(pieces)
        while waiting:
            piece = waiting.pop(0)
            try:
                self.attempt(piece)
            except HeldError:
                waiting.append(piece)

    def share(self, pieces, joins, mine, sleep=None):
        hands = Hands(self.done.__contains__, self.run, self.attempt, self.said.append, sleep or (lambda seconds: None))
        return Share(pieces, map(pieces.index, mine), map(pieces.index, joins), hands)


def pieces(*titles):
    return [Piece(title) for title in titles]


ALL = pieces(">a", ">b", "a>c", "b>d", "ab>e", "c>1", "d>2", "e>3", "1>x", "12>y", "123>z")
JOINS = ALL[-3:]
PARTS = ALL[:-3]


def of_shard(number, count):
    found = shares([1.0] * len(PARTS), count)
    return [piece for piece, share in zip(PARTS, found, strict=True) if share == number]


def test_a_shard_alone_carries_out_what_is_its_own_and_what_that_needs():
    world = World()
    world.share(ALL, JOINS, [Piece("e>3")]).carry_out()
    assert world.runs == [">a", ">b", "ab>e", "e>3"]


def test_own_pieces_come_before_those_of_others():
    world = World()
    world.share(ALL, JOINS, [Piece("d>2"), Piece(">a"), Piece("a>c")]).carry_out()
    assert world.runs == [">a", "a>c", ">b", "b>d", "d>2"]


@pytest.mark.parametrize("count", [1, 2, 3, 8, 20])
def test_shards_one_after_the_other_do_everything_once_and_the_last_one_joins(count):
    world = World()
    for number in range(count):
        world.share(ALL, JOINS, of_shard(number, count)).carry_out()
    assert sorted(world.runs) == sorted(piece.title for piece in ALL)


@pytest.mark.parametrize("locks", [True, False])
@pytest.mark.parametrize("count", [2, 5])
def test_shards_at_the_same_time_leave_everything_done(count, locks):
    for _ in range(20):
        world = World(locks)
        with ThreadPoolExecutor(count) as threads:
            for ended in [
                threads.submit(world.share(ALL, JOINS, of_shard(number, count)).carry_out) for number in range(count)
            ]:
                ended.result()
        times = Counter(world.runs)
        assert set(times) == {piece.title for piece in ALL}
        if locks:
            assert set(times.values()) == {1}


def test_what_another_command_is_at_is_waited_for():
    world = World()
    world.held[Piece(">a")] = True
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            world.done.add(Piece(">a"))
            world.held.clear()

    world.share(ALL, JOINS, [Piece("a>c")], sleep).carry_out()
    assert world.runs == ["a>c"] and len(waits) == 3
    assert world.said == [">a: process unknown is running it; waiting for it to end"]


def test_what_another_command_died_at_is_carried_out_here():
    world = World()
    world.held[Piece(">a")] = True
    world.share(ALL, JOINS, [Piece("a>c")], lambda seconds: world.held.clear()).carry_out()
    assert world.runs == [">a", "a>c"]


def test_while_one_thing_is_held_another_is_begun():
    world = World()
    world.held[Piece(">a")] = True

    def sleep(seconds):
        assert world.runs == [">b"]
        world.held.clear()

    world.share(ALL, JOINS, [Piece("ab>e")], sleep).carry_out()
    assert world.runs == [">b", ">a", "ab>e"]


def test_what_is_done_is_not_done_again_and_changes_no_share():
    world = World()
    world.done.update(ALL[:3])
    for number in range(4):
        world.share(ALL, JOINS, of_shard(number, 4)).carry_out()
    assert sorted(world.runs) == sorted(piece.title for piece in ALL[3:])


def test_a_failure_ends_the_shard():
    world = World()

    def fails(pieces):
        raise UserError("here")

    hands = Hands(world.done.__contains__, fails, world.attempt, world.said.append)
    with pytest.raises(UserError, match="here"):
        Share(ALL, range(len(PARTS)), [], hands).carry_out()
