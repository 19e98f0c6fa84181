"""docs/performance.md, whose tables the benchmarks write."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"


def rows(cells: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table; the first row is its head."""
    head, *body = cells
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *body])


def machine() -> str:
    """Describe where this was measured."""
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def today() -> str:
    """Return the date."""
    return f"{datetime.now(timezone.utc):%Y-%m-%d}"


def renew(part: str, text: str, page: Path = PAGE) -> None:
    """Put new text between the two comments that hold a part of the page."""
    begin, end = f"<!-- begin {part} -->", f"<!-- end {part} -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{page} has no {begin} with its {end}")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
