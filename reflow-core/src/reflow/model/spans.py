"""Stretches of time in which something worked."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

#: seconds between two stretches that count as one: what lies between two elements of one worker is no idleness
GAP = 1.0


class Spans:
    """A set of stretches of time, those that touch joined; seconds since the epoch.

    Parameters
    ----------
    pairs : iterable of (float, float)
        The first ones.
    """

    __slots__ = ("_begins", "_ends")

    def __init__(self, pairs: Iterable[tuple[float, float]] = ()) -> None:
        self._begins: list[float] = []
        self._ends: list[float] = []
        for begin, end in pairs:
            self.add(begin, end)

    def __iter__(self) -> Iterator[tuple[float, float]]:
        return zip(self._begins, self._ends, strict=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spans) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def add(self, begin: float, end: float) -> None:
        """Add one stretch; one that ends before it begins, as clocks that differ tell, is a moment."""
        begins, ends = self._begins, self._ends
        if end < begin:
            end = begin
        if ends and begin >= begins[-1]:  # as they mostly come
            if begin > ends[-1] + GAP:
                begins.append(begin)
                ends.append(end)
            elif end > ends[-1]:
                ends[-1] = end
            return
        first = bisect_left(ends, begin - GAP)
        last = bisect_right(begins, end + GAP)
        if first < last:
            begin, end = min(begin, begins[first]), max(end, ends[last - 1])
        begins[first:last] = [begin]
        ends[first:last] = [end]

    @property
    def total(self) -> float:
        """Seconds, each counted once."""
        return sum(self._ends) - sum(self._begins)
