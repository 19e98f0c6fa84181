"""What a run does while somebody watches: bars on a terminal, plain lines elsewhere, both on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .render import clean, coloured, duration, say

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ..run.drive.pool import Progress as Report

#: seconds between two plain lines about one task that is still running
QUIET = 10.0


def _summary(event: Report) -> tuple[int, str]:
    """Elements that have ended, and all that is worth saying of them."""
    counts = {state: count for state, count in event.counts.items() if count}
    done = sum(counts.get(state, 0) for state in ("SUCCESS", "FAILED", "CANCELLED", "SKIPPED"))
    words = [
        f"{counts[state]} {state.lower()}" for state in ("RUNNING", "FAILED", "CANCELLED", "SKIPPED") if state in counts
    ]
    return done, ", ".join(words)


class Plain:
    """One line when a task begins to report, every ten seconds, when something fails and when it ends."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._said: dict[str, tuple[int, int, float]] = {}

    def __enter__(self) -> Plain:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self, event: Report) -> None:
        """Say what is new."""
        if event.message:
            say(event.message)
        if not event.task:
            return
        now = time.monotonic()
        done, words = _summary(event)
        failed = event.counts.get("FAILED", 0)
        before, failed_before, at = self._said.get(event.task, (-1, 0, float("-inf")))
        ended = 0 < event.total == done
        if before == done and failed == failed_before:
            return
        if not ended and failed == failed_before and now - at < QUIET:
            return
        self._said[event.task] = (done, failed, now)
        more = f" ({words})" if words else ""
        say(f"[{duration(now - self._start):>8}] {clean(event.task)}: {done}/{event.total}{more}")


class Live:
    """A bar for each task."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._bars: dict[str, TaskID] = {}
        self._progress: Progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[words]}", markup=False),
            console=Console(file=sys.stderr, highlight=False, emoji=False, markup=False),
            refresh_per_second=4,
            # What is printed meanwhile moves the bars on, but data for a pipe or a file must not end on stderr.
            redirect_stdout=sys.stdout.isatty(),
        )

    def __enter__(self) -> Live:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, event: Report) -> None:
        """Move the task's bar."""
        if event.message:
            self._progress.console.print(clean(event.message, lines=True))
        if not event.task:
            return
        done, words = _summary(event)
        if event.task not in self._bars:
            self._bars[event.task] = self._progress.add_task(clean(event.task), total=None, words="")
        changes: dict[str, Any] = {"completed": done, "words": words}
        if event.total:
            changes["total"] = event.total
        self._progress.update(self._bars[event.task], **changes)


def watching() -> Plain | Live:
    """What shows progress on this stderr."""
    return Live() if coloured(sys.stderr) else Plain()
