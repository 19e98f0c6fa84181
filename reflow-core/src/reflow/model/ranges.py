"""Sets of indices as short text: ``0-9,12,15-17``."""

from __future__ import annotations

from collections.abc import Iterable


def to_ranges(indices: Iterable[int]) -> str:
    """Write indices, in ascending order, as text."""
    parts: list[str] = []
    first = last = -2
    for index in sorted(indices):
        if index == last + 1:
            last = index
            continue
        if last >= 0:
            parts.append(str(first) if first == last else f"{first}-{last}")
        first = last = index
    if last >= 0:
        parts.append(str(first) if first == last else f"{first}-{last}")
    return ",".join(parts)


def from_ranges(text: str) -> list[int]:
    """Read what `to_ranges` wrote.

    Raises
    ------
    ValueError
        The text is not of that form.
    """
    indices: list[int] = []
    for part in text.split(",") if text else ():
        first, dash, last = part.partition("-")
        low, high = int(first), int(last if dash else first)
        if high < low:
            raise ValueError(f"{part!r} counts down")
        indices.extend(range(low, high + 1))
    return indices
