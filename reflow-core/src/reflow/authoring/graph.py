"""Order among tasks that wait for each other."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from heapq import heapify, heappop, heappush


def topological(waits: Mapping[str, Collection[str]]) -> list[str]:
    """Order names so that each comes after what it waits for, otherwise as given; circles are left out."""
    position = {name: index for index, name in enumerate(waits)}
    names = list(waits)
    blocked = {name: len(set(waits[name])) for name in waits}
    followers: dict[str, list[str]] = {name: [] for name in waits}
    for name, upstream in waits.items():
        for step in set(upstream):
            followers[step].append(name)
    ready = [position[name] for name, count in blocked.items() if count == 0]
    heapify(ready)
    ordered = []
    while ready:
        name = names[heappop(ready)]
        ordered.append(name)
        for follower in followers[name]:
            blocked[follower] -= 1
            if blocked[follower] == 0:
                heappush(ready, position[follower])
    return ordered


def circles(waits: Mapping[str, Collection[str]]) -> list[list[str]]:
    """Circles among names: ``[a, b]`` where a waits for b and b for a. One for each knot, empty where there is none."""
    ordered = set(topological(waits))
    left = [name for name in waits if name not in ordered]
    found: list[list[str]] = []
    seen: set[str] = set()
    for start in left:
        path: list[str] = []
        name: str | None = start
        while name is not None and name not in seen:
            seen.add(name)
            path.append(name)
            name = next((step for step in waits[name] if step not in ordered), None)
        if name in path:
            found.append(path[path.index(name) :])
    return found
