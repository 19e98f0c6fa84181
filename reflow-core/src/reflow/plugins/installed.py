"""What is installed, as it lies on ``sys.path``.

`importlib.metadata` tells the same, but imports the email package, which takes as long as all else that a command
imports to find its plugins. So it is asked only where distributions may lie elsewhere than in directories.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from importlib.machinery import PathFinder


def normal(name: str) -> str:
    """A distribution's or plugin's name in its normal form."""
    return re.sub(r"[-_.]+", "-", name).lower()


class Installed:
    """One distribution, whose files are read when they are asked for.

    Parameters
    ----------
    read : callable
        Gives the text of one of its metadata files by name, "" where it cannot be read.
    """

    def __init__(self, read: Callable[[str], str]) -> None:
        self._read = read

    @cached_property
    def entry_points(self) -> str:
        """The text of its file of entry points, "" where it has none."""
        return self._read("entry_points.txt")

    @cached_property
    def name(self) -> str:
        """Its name, as it calls itself."""
        return self._fields.get("name") or "an unnamed distribution"

    @cached_property
    def version(self) -> str:
        """Its version, "?" where it tells none."""
        return self._fields.get("version") or "?"

    @cached_property
    def _fields(self) -> dict[str, str]:
        """What its metadata begins with: lines up to the first empty one."""
        text = self._read("METADATA") or self._read("PKG-INFO")
        fields: dict[str, str] = {}
        for line in text.partition("\n\n")[0].splitlines():
            field, _, value = line.partition(":")
            fields.setdefault(field.lower(), value.strip())
        return fields


def installed(name: str = "") -> Iterator[Installed]:
    """Go through the distributions, in the order of ``sys.path``.

    Parameters
    ----------
    name : str
        Only those of this normalised name; "" for all.
    """
    places = [os.path.abspath(entry) for entry in dict.fromkeys(sys.path)]
    if any(map(_is_elsewhere, places)) or any(map(_finds_more, sys.meta_path)):
        for one in _told():
            if name in ("", normal(one.name)):
                yield one
        return
    for place in places:
        try:
            found = sorted(os.listdir(place))
        except OSError:
            continue
        for directory in found:
            stem, suffix = os.path.splitext(directory)
            if suffix in (".dist-info", ".egg-info") and name in ("", normal(stem.partition("-")[0])):
                yield Installed(_reader(f"{place}/{directory}"))


def entries(text: str, group: str) -> list[tuple[str, str]]:
    """The entry points of a group, as pairs of name and value.

    Raises
    ------
    ValueError
        A line in the group is neither an entry nor a comment.
    """
    found: list[tuple[str, str]] = []
    inside = False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            inside = line == f"[{group}]"
        elif inside and line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            if not (name.strip() and value.strip()):
                raise ValueError(f"entry_points.txt has a line that is no entry: {line!r}")
            found.append((name.strip(), value.strip()))
    return found


def _is_elsewhere(place: str) -> bool:
    """Whether distributions may lie in something that is no directory, or is one of an old kind."""
    return place.endswith(".egg") or os.path.isfile(place)


def _finds_more(finder: object) -> bool:
    return finder is not PathFinder and hasattr(finder, "find_distributions")


def _reader(directory: str) -> Callable[[str], str]:
    def read(file: str) -> str:
        try:
            with open(f"{directory}/{file}", encoding="utf-8") as stream:
                return stream.read()
        except (OSError, ValueError):  # not ours to judge
            return ""

    return read


def _told() -> Iterator[Installed]:
    """Distributions as `importlib.metadata` tells of them."""
    from importlib import metadata

    def reader(distribution: metadata.Distribution) -> Callable[[str], str]:
        def read(file: str) -> str:
            try:
                return distribution.read_text(file) or ""
            except (OSError, ValueError):
                return ""

        return read

    for distribution in metadata.distributions():
        yield Installed(reader(distribution))
