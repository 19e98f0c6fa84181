"""What a run of the live suite has shown, as a page (Markdown) that a site can publish."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

#: parts of the page, by the module that tests them
PARTS = {
    "test_live_conformance": "What reflow relies on in a scheduler",
    "test_live_runs": "Whole runs",
    "test_live_events": "Preemption, lost nodes, other clusters, limits",
    "test_live_outages": "Daemons that stop",
    "test_live_kills": "Random kills",
}
INTERRUPTED = "the tests ended before it"
_MARKS = {"passed": "passed", "failed": "**failed**", "missing": "not run"}


@dataclass
class Outcome:
    """How one test ended: ``passed``, ``failed`` or ``missing``."""

    part: str
    name: str
    state: str = "missing"
    reason: str = INTERRUPTED
    seconds: float = 0.0

    @property
    def title(self) -> str:
        """The test's name as words."""
        return self.name.removeprefix("test_").replace("_", " ")


@dataclass
class Proof:
    """All outcomes, and of what."""

    scheduler: str
    version: str
    reflow: str
    python: str
    system: str
    date: str
    outcomes: list[Outcome] = field(default_factory=list)

    def count(self, state: str) -> int:
        """Return how many tests ended so."""
        return sum(one.state == state for one in self.outcomes)

    @property
    def minutes(self) -> float:
        """The minutes that all tests took."""
        return sum(one.seconds for one in self.outcomes) / 60

    def page(self) -> str:
        """Return the page."""
        lines = [
            f"# reflow on {self.scheduler} {self.version}",
            "",
            f"The live suite of reflow {self.reflow} on {self.date}, with Python {self.python} on {self.system}:"
            f" **{self.count('passed')} passed, {self.count('failed')} failed, {self.count('missing')} not run**"
            f" ({self.minutes:.0f} minutes).",
        ]
        for part in dict.fromkeys(one.part for one in self.outcomes):
            rows = [one for one in self.outcomes if one.part == part]
            lines += ["", f"## {PARTS.get(part, part)}", "", "| what | result |", "|---|---|"]
            lines += [f"| {_cell(one.title)} | {_result(one)} |" for one in rows]
        return "\n".join([*lines, ""])


def _result(one: Outcome) -> str:
    because = f": {_cell(one.reason)}" if one.state != "passed" and one.reason else ""
    return _MARKS[one.state] + because


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


def interrupted(outcomes: Iterable[Outcome]) -> list[str]:
    """Return the names of the tests that the end came before."""
    return [one.name for one in outcomes if one.state == "missing" and one.reason == INTERRUPTED]
