"""Relative paths among parameters are those of where the run was submitted, however deep they lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from reflow.run.definition.freeze import _absolute


class Pair(NamedTuple):
    number: int
    file: Path


@dataclass(frozen=True)
class Box:
    name: str
    file: Path
    more: tuple[Path, ...] = ()
    made: Path = field(default=Path("c"), init=False)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Path("a"), Path("/w/a")),
        (Path("/a"), Path("/a")),
        ([Path("a"), "a", None], [Path("/w/a"), "a", None]),
        ({"k": (Path("a"), 1)}, {"k": (Path("/w/a"), 1)}),
        (Pair(1, Path("a")), Pair(1, Path("/w/a"))),
        ([{Pair(1, Path("a"))}], [{Pair(1, Path("/w/a"))}]),
    ],
)
def test_paths_become_absolute(value: object, expected: object) -> None:
    assert _absolute(value, "/w") == expected
    assert type(_absolute(value, "/w")) is type(expected)


def test_paths_in_dataclasses() -> None:
    given = Box("a", Path("a"), (Path("b"),))
    found = _absolute(given, "/w")
    assert (found.name, found.file, found.more, found.made) == ("a", Path("/w/a"), (Path("/w/b"),), Path("/w/c"))
    assert given.file == Path("a"), "the user's own is left as it is"
