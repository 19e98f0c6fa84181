"""What reflow tells people of a run: at most one message per occasion and run, never one per element."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum
from typing import Protocol, runtime_checkable

import msgspec

from ..errors import ConfigError


class Occasion(str, Enum):
    """What happened to the run."""

    BEGIN = "begin"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"


#: the words of ``mail_type``, as schedulers' users know them
_WORDS: Mapping[str, tuple[Occasion, ...]] = {
    "NONE": (),
    "BEGIN": (Occasion.BEGIN,),
    "END": (Occasion.SUCCESS, Occasion.FAILED, Occasion.CANCELLED),
    "SUCCESS": (Occasion.SUCCESS,),
    "FAIL": (Occasion.FAILED,),
    "FAILED": (Occasion.FAILED,),
    "CANCELLED": (Occasion.CANCELLED,),
    "ALL": tuple(Occasion),
}


def occasions(words: str | Collection[str]) -> frozenset[Occasion]:
    """The occasions that ``mail_type`` asks for.

    Parameters
    ----------
    words : str or collection of str
        ``BEGIN``, ``END`` (however the run ended), ``SUCCESS``, ``FAIL``, ``CANCELLED``,
        ``ALL``, ``NONE``; in any case, a string may hold several between commas.

    Raises
    ------
    ConfigError
        For any other word.
    """
    given = words.split(",") if isinstance(words, str) else list(words)
    found: set[Occasion] = set()
    for word in (text.strip() for text in given):
        if not word:
            continue
        if word.upper() not in _WORDS:
            raise ConfigError(f"{word!r} is no occasion to tell people of", hint=f"Write one of {', '.join(_WORDS)}.")
        found.update(_WORDS[word.upper()])
    return frozenset(found)


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One message about a run.

    Attributes
    ----------
    occasion : Occasion
        What happened.
    run_id, workflow, run_dir : str
        Which run, of what, where.
    host, user : str
        Where and as whom it runs.
    time : float
        When, in seconds since the epoch.
    duration : float, optional
        Seconds in which elements ran; None at the run's beginning.
    idle : float, optional
        Seconds of the run in which none did: they were queued, or the run waited for its retry.
    reason : str
        Why it ended as it did, one sentence.
    summary : mapping of task to mapping of state to int
        How many elements of each task are in which state.
    failures : tuple of str
        The first failures, one line each.
    commands : tuple of str
        What to type next.
    """

    occasion: Occasion
    run_id: str
    workflow: str
    run_dir: str
    host: str = ""
    user: str = ""
    time: float = 0.0
    duration: float | None = None
    idle: float | None = None
    reason: str = ""
    summary: Mapping[str, Mapping[str, int]] = {}
    failures: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """One line, whatever the workflow is called."""
        what = {
            Occasion.BEGIN: "has begun",
            Occasion.SUCCESS: "succeeded",
            Occasion.FAILED: "FAILED",
            Occasion.CANCELLED: "was cancelled",
        }[self.occasion]
        return f"reflow: {' '.join(self.workflow.split())} {what} ({self.run_id})"

    def text(self) -> str:
        """The message as plain text, ending in a newline."""
        lines = [f"{self.subject}.", "", f"Run directory: {self.run_dir}"]
        if self.host:
            lines.append(f"Host:          {self.host}")
        if self.duration is not None:
            idle = f", idle {_clock(self.idle)}" if self.idle is not None and self.idle >= 1 else ""
            lines.append(f"Duration:      {_clock(self.duration)}{idle}")
        if self.reason:
            lines.append(f"Reason:        {self.reason}")
        if self.summary:
            lines += ["", "Tasks:"]
            for task, counts in self.summary.items():
                states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
                lines.append(f"  {task}: {states or 'it was never known how many elements it has'}")
        if self.failures:
            lines += ["", "Failures:", *(f"  {failure}" for failure in self.failures)]
        if self.commands:
            lines += ["", "Next:", *(f"  {command}" for command in self.commands)]
        return "\n".join(lines) + "\n"


def _clock(seconds: float) -> str:
    """Seconds as ``1:02:05``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


@runtime_checkable
class Notifier(Protocol):
    """What sends a notice. Created with ``create(settings, context)``."""

    def notify(self, message: Notice) -> None:
        """Send one message before returning.

        Raises
        ------
        ReflowError
            Where it could not be sent; the run goes on, and may have it sent from another host.
        """
        ...
