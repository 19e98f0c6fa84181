"""Sets of indices as short text: ``0-9,12,15-17``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


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


def from_ranges(text: str) -> Sequence[int]:
    """Read what `to_ranges` wrote; a single range stays one, of however many indices.

    Raises
    ------
    ValueError
        The text is not of that form.
    """
    first, dash, last = text.partition("-")
    if dash and first.isdigit() and last.isdigit() and int(first) <= int(last):
        return range(int(first), int(last) + 1)
    indices: list[int] = []
    for part in text.split(",") if text else ():
        first, dash, last = part.partition("-")
        low, high = int(first), int(last if dash else first)
        if high < low:
            raise ValueError(f"{part!r} counts down")
        indices.extend(range(low, high + 1))
    return indices
