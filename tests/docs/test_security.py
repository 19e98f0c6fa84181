"""docs/security.md names a test for each claim; each one is there, and each trial between two users is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("|") and not re.match(r"\|(---|\s*claim\s*\|)", line)]


def names_in(directory: str) -> set[str]:
    """Names of all tests below a directory."""
    found: set[str] = set()
    for path in (ROOT / "tests" / directory).rglob("test_*.py"):
        found.update(re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE))
    return found


def test_each_claim_names_tests_that_are_there() -> None:
    assert len(ROWS) > 20
    there = names_in(".")
    for row in ROWS:
        claim, tests = row.strip("|").split("|")
        named = re.findall(r"`(test_\w+)`", tests)
        assert named, f"no test proves: {claim}"
        assert set(named) <= there, f"{sorted(set(named) - there)} do not exist"


def test_each_attack_is_named() -> None:
    assert not names_in("security") - set(re.findall(r"`(test_\w+)`", PAGE))


@pytest.mark.parametrize("page", ["README.md", "docs/guide.md", "docs/configuration.md"])
def test_it_is_linked(page: str) -> None:
    assert "security.md" in (ROOT / page).read_text(encoding="utf-8")
