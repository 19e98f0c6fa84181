"""The page that says which trap is held by which test tells the truth."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_test_that_the_page_names_exists() -> None:
    page = (ROOT / "docs" / "schedulers.md").read_text(encoding="utf-8")
    table = page[page.index("| scheduler | trap | held by |") :]
    rows = table.split("\n\n")[0].splitlines()[2:]
    assert len(rows) > 40
    folders = [ROOT / "tests", ROOT / "reflow-core" / "src" / "reflow" / "testing"]
    sources = "\n".join(path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py"))
    defined = set(re.findall(r"def (test_\w+)\(", sources))
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row.split("|")[3])
        assert named, row
        assert set(named) <= defined, (row, set(named) - defined)
