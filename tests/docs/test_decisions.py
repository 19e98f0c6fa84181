"""Each decision has a page with context, decision and consequences, and the architecture lists them all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted((DOCS / "decisions").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_the_three_parts_and_fits_a_screen_or_two(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("## ")] == ["## Context", "## Decision", "## Consequences"]
    assert len(lines) <= 60


def test_pages_are_numbered_and_listed_with_their_titles() -> None:
    titles = [page.read_text(encoding="utf-8").partition("\n")[0] for page in PAGES]
    assert [title.partition(".")[0] for title in titles] == [f"# {number}" for number in range(1, len(PAGES) + 1)]
    listed = re.findall(r"^\| \[(\d{4})\]\((\S+)\) \| (.+) \|$", (DOCS / "architecture.md").read_text("utf-8"), re.M)
    assert listed == [
        (page.name[:4], f"decisions/{page.name}", title.partition(". ")[2])
        for page, title in zip(PAGES, titles, strict=True)
    ]
