"""Order and circles, for any graph."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reflow.authoring.graph import circles, topological

NAMES = "abcdefgh"
graphs = st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=4), max_size=8).map(
    lambda waits: {name: [step for step in steps if step in waits] for name, steps in waits.items()}
)


def reachable(waits: dict[str, list[str]], start: str) -> set[str]:
    """Everything that `start` waits for, directly or not."""
    seen: set[str] = set()
    ahead = list(waits[start])
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            ahead += waits[name]
    return seen


@given(graphs)
def test_each_name_comes_after_what_it_waits_for(waits: dict[str, list[str]]) -> None:
    ordered = topological(waits)
    assert len(set(ordered)) == len(ordered)
    for index, name in enumerate(ordered):
        assert set(waits[name]) <= set(ordered[:index])
    caught = {name for name in waits if any(step in reachable(waits, step) for step in {name, *reachable(waits, name)})}
    assert set(waits) - set(ordered) == caught


@given(graphs)
def test_the_order_is_the_first_possible_one(waits: dict[str, list[str]]) -> None:
    given_order = list(waits)
    ordered = topological(waits)
    for index, name in enumerate(ordered):
        ready = [
            other for other in given_order if other not in ordered[:index] and set(waits[other]) <= set(ordered[:index])
        ]
        assert name == ready[0]


@given(graphs)
def test_circles_are_circles_and_none_is_missed(waits: dict[str, list[str]]) -> None:
    found = circles(waits)
    for circle in found:
        assert len(set(circle)) == len(circle)
        for name, step in zip(circle, [*circle[1:], circle[0]], strict=True):
            assert step in waits[name]
    assert bool(found) == any(name in reachable(waits, name) for name in waits)
