"""What a task's state has to say for itself, in words. Pure: from its progress alone."""

from __future__ import annotations

from collections.abc import Mapping

from ...model.failed import Failed
from ...model.lifecycle.states import CANCELLED, FAILED, QUEUED, RETRY_PENDING, SKIPPED
from ...model.spans import Spans
from ...model.state import Progress, State

#: why an element whose own upstream element failed did not run
UPSTREAM = "its upstream element did not succeed"

_WORDS = ((FAILED, "failed"), (SKIPPED, "skipped"), (CANCELLED, "cancelled"))


def task_reason(progress: Progress, waiting: str = "") -> str:
    """Return why a task stands as it does now; "" where its state says it all.

    Parameters
    ----------
    progress : Progress
        The task's.
    waiting : str
        What the scheduler said of its jobs that wait.
    """
    if progress.skipped or progress.cancelled:
        return progress.reason
    if not progress.ended:
        return waiting if progress.counts[QUEUED] else ""
    if progress.succeeded:
        return ""
    if progress.array:
        why = _why(progress)
        if why and progress.size in (progress.counts[CANCELLED], progress.counts[SKIPPED]):
            return why
        counts = _counts(progress)
        return f"{counts}: {why}" if why else counts
    failure = progress.failures.get(0)
    return f"{failure.cls.value}: {_line(failure.reason)}" if failure is not None else _why(progress)


def element_reason(progress: Progress, index: int, cancelled: Mapping[int, str]) -> str:
    """Return why an element did not succeed, or has not yet.

    Parameters
    ----------
    progress : Progress
        Its task's.
    index : int
        The element.
    cancelled : mapping
        ``progress.cancel_reasons()``.
    """
    failure = progress.failures.get(index)
    code = progress.status[index]
    if code == SKIPPED:
        return UPSTREAM
    if failure is None:
        return cancelled.get(index, "")
    if code in (FAILED, RETRY_PENDING, CANCELLED):
        return failure.reason
    return f"attempt {failure.attempt} failed: {failure.cls.value}: {failure.reason}"


def task_times(progress: Progress, now: float) -> tuple[float | None, float | None]:
    """Return for how many seconds elements of a task ran, and for how many of its time none did.

    Attempts and retries count as one time, from the first element's begin to the last one's end.
    """
    spans = Spans([*progress.worked, *_running(progress, now)])
    if not progress.started_at:
        return None, None
    end = progress.ended_at if progress.ended else now
    return spans.total, max(0.0, end - progress.started_at - spans.total)


def run_times(state: State, now: float) -> tuple[float | None, float | None]:
    """Return for how many seconds elements of any task of a run ran, and for how many of its time none did."""
    spans = Spans(pair for progress in state.tasks.values() for pair in (*progress.worked, *_running(progress, now)))
    if not state.started:
        return None, None
    end = state.ended if state.run.ended and state.ended else now
    return spans.total, max(0.0, end - state.started - spans.total)


def _running(progress: Progress, now: float) -> list[tuple[float, float]]:
    """The stretch that elements which run now have run for."""
    return [(min(progress.began.values()), now)] if progress.began else []


def fate_of(progress: Progress, index: int, cancelled: Mapping[int, str]) -> Failed:
    """Return what stands for an element that did not succeed; `cancelled`: ``progress.cancel_reasons()``."""
    failure = progress.failures.get(index)
    if failure is not None and progress.status[index] in (FAILED, RETRY_PENDING, CANCELLED):
        return Failed(progress.name, index, failure.cls.value, failure.reason)
    kind = "skipped" if progress.status[index] == SKIPPED else "cancelled"
    return Failed(progress.name, index, kind, element_reason(progress, index, cancelled))


def waiting_reasons(state: State) -> dict[str, str]:
    """Return, by task, what the scheduler said of its jobs that wait when it was last asked."""
    return {
        state.flights[position].task: state.asked.waiting[tag]
        for tag, position in state.open_flights.items()
        if tag in state.asked.waiting
    }


def _counts(progress: Progress) -> str:
    """``3 of 10 elements failed, 2 were skipped, 5 succeeded``."""
    counted = [(progress.counts[code], word) for code, word in _WORDS if progress.counts[code]]
    parts = [
        f"{count} of {progress.size} elements {'failed' if word == 'failed' else f'were {word}'}"
        if place == 0
        else f"{count} {word}"
        for place, (count, word) in enumerate(counted)
    ]
    return ", ".join([*parts, *([f"{progress.done} succeeded"] if progress.done else [])])


def _why(progress: Progress) -> str:
    """What lies behind elements that were skipped or cancelled; those that failed have reasons of their own."""
    if progress.counts[CANCELLED]:
        told = list(dict.fromkeys(reason for reason, _ in progress.cancels))
        told += [one.reason for one in progress.failures.values() if one.cls.value == "cancelled"][:1]
        return next((reason for reason in reversed(told) if reason not in ("", "cancelled")), "")
    if progress.counts[SKIPPED] and not progress.counts[FAILED]:
        return "their upstream elements did not succeed"
    return ""


def _line(text: str) -> str:
    return text.splitlines()[0] if text else ""
