"""Ladders of float32 ops: their order by hand, their predictions by counting, and which rung is tried next."""

import random

import pytest

from gristmill.analysis.candidates import Item
from gristmill.analysis.ladders import Ladder, beginnings, by_share, next_rung, thinned

ITEMS = [Item(("a", "b"), 0.5), Item(("b", "c"), 0.3), Item(("d",), 0.1), Item(("e",), 0.0, loses=True)]


def rungs(ladder):
    return [(set(ladder.kept(rung)), pytest.approx(ladder.left[rung])) for rung in range(len(ladder))]


def test_by_share():
    """What loses numbers first; then the largest share for each op, of which some are there already."""
    ladder = by_share(ITEMS)
    assert ladder.left_at_start == 1
    assert rungs(ladder) == [({*"e"}, 1), ({*"abe"}, 0.5), ({*"abce"}, 0.2), ({*"abcde"}, 0.1)]
    later = by_share(ITEMS, frozenset("eb"))
    assert rungs(later) == [({*"abe"}, 0.5), ({*"abce"}, 0.2), ({*"abcde"}, 0.1)]


def test_beginnings():
    ladder = beginnings(ITEMS, ["d", "b", "c", "a"])
    assert rungs(ladder) == [({*"d"}, 0.9), ({*"db"}, 0.9), ({*"dbc"}, 0.6), ({*"dbca"}, 0.1)]


def test_thinned():
    """Downwards the op goes first that is missed least; what loses numbers never goes."""
    ladder = thinned(ITEMS, frozenset("abcde"))
    assert ladder.start == {"e"}
    assert rungs(ladder)[-3:] == [({*"abe"}, 0.5), ({*"abce"}, 0.2), ({*"abcde"}, 0.1)]


@pytest.mark.parametrize("seed", range(20))
def test_predictions_are_what_items_leave(seed):
    """At each rung remain the shares of the items that are not within it, and no rung is predicted to be worse."""
    pick = random.Random(seed)
    names = [f"op{index}" for index in range(12)]
    weights = [pick.random() for _ in range(15)]
    items = [
        Item(tuple(pick.sample(names, pick.randint(1, 4))), w / sum(weights), pick.random() < 0.1) for w in weights
    ]
    start = frozenset(pick.sample(names, 2))
    for ladder in (by_share(items), by_share(items, start), beginnings(items, names), thinned(items, frozenset(names))):
        for rung in range(len(ladder)):
            inside = sum(item.share for item in items if set(item.ops) <= ladder.kept(rung))
            assert ladder.left[rung] == pytest.approx(1 - inside, abs=1e-9)
        assert list(ladder.left) == sorted(ladder.left, reverse=True)
        assert ladder.kept(len(ladder) - 1) >= {name for item in items for name in item.ops}


LEFT = (0.5, 0.2, 0.1, 0.05, 0.01)
LADDER = Ladder(frozenset(), [(str(rung),) for rung in range(5)], LEFT, 1.0)


@pytest.mark.parametrize(
    ("low", "high", "at_low", "at_high", "rung"),
    [
        (-1, 5, 1.0, None, 3),  # as predicted: 0.05 of the noise is left
        (-1, 5, 8.0, None, 4),  # more noise to begin with: a higher rung
        (-1, 5, 100.0, None, 4),  # none is enough: the highest
        (3, 5, 0.2, None, 4),  # it is four times the prediction
        (-1, 3, 1.0, 0.02, 2),  # less noise than predicted: a lower rung may do
        (-1, 3, 1.0, 0.05, None),  # just enough, and by the prediction nothing lower
        (2, 3, 0.1, 0.05, None),  # nothing between
    ],
)
def test_next_rung(low, high, at_low, at_high, rung):
    """A noise of 0.07 is good enough; what was measured corrects the prediction."""
    assert next_rung(LADDER, low, high, 0.07, at_low, at_high) == rung


@pytest.mark.parametrize(("low", "high", "rung"), [(-1, 5, 2), (1, 5, 3), (1, 4, 2), (3, 5, 4)])
def test_next_rung_without_a_measure_of_noise(low, high, rung):
    """It begins where a tenth is left, doubles, and halves."""
    assert next_rung(LADDER, low, high, None, None, None) == rung
