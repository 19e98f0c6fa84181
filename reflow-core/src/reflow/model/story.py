"""Events as sentences: what each one means, for `reflow events` and for the log of the engine's decisions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from . import record
from .ranges import from_ranges
from .record import Event
from .resources import Resources

#: of a task, its elements as text; None: all of them
Subject = tuple[str, str | None]


def kind_of(event: Event) -> str:
    """Return the word by which an event is known in the journal and in the glossary."""
    return str(event.__struct_config__.tag)


def time_of(event: Event) -> float:
    """Return when an event was recorded, as far as it says so; else 0."""
    if isinstance(event, record.Hit):  # its time is that of the earlier run
        return 0.0
    return float(event.e if isinstance(event, record.Finished) else getattr(event, "at", 0.0))


def sentence(event: Event) -> str:
    """Return what an event means, in one line."""
    return " ".join(_SENTENCES[type(event)](event).split())


def named(task: str, elements: str | None, most: int = 40) -> str:
    """Return how elements are named in a line: ``work[0-9]``, shortened where there are many ranges."""
    if elements is None:
        return task
    return f"{task}[{elements if len(elements) <= most else f'{elements[:most]}…'}]"


class Subjects:
    """Finds the elements that an event is about, from the submissions that came before it."""

    def __init__(self) -> None:
        self._submissions: dict[str, Subject] = {}
        self._waits: dict[str, tuple[str, ...]] = {}

    def of(self, event: Event) -> list[Subject]:
        """Return the subjects of the next event, each once; none where it is about the whole run."""
        if isinstance(event, (record.Finished, record.Hit)):
            return [(event.t, str(event.i))]
        if isinstance(event, record.Intent):
            self._submissions[event.tag] = (event.task, event.elements)
        elif isinstance(event, record.Wake):
            self._waits[event.tag] = event.waits
        if isinstance(event, record.Expanded):
            return [(event.task, None)]
        task = getattr(event, "task", "")
        if task:
            return [(task, getattr(event, "elements", None))]
        return list(dict.fromkeys(self._named(event)))

    def _named(self, event: Event) -> Iterator[Subject]:
        if isinstance(event, record.Asked):
            for tag in event.waiting:
                yield from self._tagged(tag)
        elif isinstance(event, record.Read):
            yield from self._reported(event.box)
        elif isinstance(event, (record.Kill, record.Gone)) and event.elements:
            yield from ((task, event.elements) for task, _ in self._tagged(event.tag))
        else:
            yield from self._tagged(getattr(event, "tag", ""))

    def _tagged(self, tag: str) -> Iterator[Subject]:
        if tag in self._submissions:
            yield self._submissions[tag]
        for other in self._waits.get(tag, ()):
            if other in self._submissions:
                yield self._submissions[other]

    def _reported(self, box: str) -> Iterator[Subject]:
        """Find the element of ``TA/TAG/S/SLOT.START``; a worker of a pool reports of any."""
        tag, slot = box.split("/")[1], box.rpartition("/")[2].partition(".")[0]
        if tag in self._submissions:
            task, elements = self._submissions[tag]
            yield task, str(from_ranges(elements or "0")[int(slot)])


def _because(text: str, before: str = ": ") -> str:
    return f"{before}{text}" if text else ""


def _seconds(value: float) -> str:
    return f"{value:.2f} s"


def _resources(asked: Resources | None) -> str:
    given = {} if asked is None else {name: getattr(asked, name) for name in asked.__struct_fields__}
    return ", ".join(f"{name}={value}" for name, value in given.items() if value is not None)


def _ends(event: record.Failed | record.Gone | record.Finished) -> str:
    """Return how an element ended: its failure class, exit code or signal, and the reason."""
    how = [str(getattr(event.f, "value", event.f))] if event.f else []
    how += [f"exit code {event.x}"] if event.x else []
    how += [f"signal {event.s}"] if event.s else []
    return _because(", ".join(how), " (") + (")" if how else "") + _because(event.w)


def _epoch(event: record.Epoch) -> str:
    does = f"takes over from epoch {event.former}" if event.former else "begins"
    return (
        f"Process {event.pid} on {event.host} holds the lease and {does}: epoch {event.epoch}, reflow {event.version}"
    )


def _expanded(event: record.Expanded) -> str:
    pending, skipped = len(from_ranges(event.pending)), len(from_ranges(event.skipped))
    text = f"The task has {event.size} element{'' if event.size == 1 else 's'}: {pending} to run"
    text += f", {skipped} skipped" if skipped else ""
    cached = event.size - pending - skipped
    text += f", {cached} from the cache or done before" if cached else ""
    misses = "; ".join(f"{reason} ({len(from_ranges(elements))})" for reason, elements in event.misses.items())
    return text + _because(misses, ". Cache misses: ") + _because("; ".join(event.notes), ". Notes: ")


def _intent(event: record.Intent) -> str:
    what = "an array job" if event.array else "a job"
    lanes = f", at most {event.throttle} at once" if event.throttle is not None else ""
    asked = _because(_resources(event.resources), ", with ")
    return f"Attempt {event.attempt} is about to be submitted as {what}, submission {event.tag}{lanes}{asked}"


def _submitted(event: record.Submitted) -> str:
    id = event.id or ", ".join(event.slots.values())
    return f"The executor accepted submission {event.tag} as job {id}{_because(event.cluster, ' on cluster ')}"


def _finished(event: record.Finished) -> str:
    word = "failed" if event.f else "succeeded"
    return f"Attempt {event.a} {word}{_because(event.h, ' on ')} after {_seconds(event.e - event.b)}{_ends(event)}"


def _hit(event: record.Hit) -> str:
    return f"The result is taken from the cache{_because(event.by, ', computed by run ')}{_because(event.w, ', ')}"


def _again(event: record.Again) -> str:
    later = f", not before {event.due - event.at:.0f} s from now" if event.due > event.at else ""
    asked = _because(_resources(event.resources), ", with ")
    return f"Attempt {event.attempt} is scheduled{later}{asked}{_because(event.reason)}"


def _wake(event: record.Wake) -> str:
    if event.join:
        return f"Join job {event.tag} is about to be submitted; it waits for {', '.join(event.waits)}"
    parts = [f"waits for {', '.join(event.waits)}"] if event.waits else []
    parts += [f"starts {event.due - event.at:.0f} s from now at the earliest"] if event.due > event.at else []
    return f"Wake-up {event.tag} is about to be submitted{_because(' and '.join(parts), '; it ')}"


def _woke(event: record.Woke) -> str:
    does = "is not needed any more" if event.spare else "is not expected any more" if event.reason else "started"
    return f"Wake-up {event.tag} {does}{_because(event.reason)}"


def _bounded(event: record.Bounded) -> str:
    return "Configured bounds: " + (", ".join(f"{name}={value}" for name, value in event.bounds.items()) or "none")


def _barred(event: record.Barred) -> str:
    return f"{'The last worker of a group' if event.relay else 'A wake-up'} could not submit from its node: {event.w}"


def _gone(event: record.Gone) -> str:
    if event.back:
        return f"The scheduler knows elements of submission {event.tag} again"
    never = ", before it started" if event.never else ""
    return f"The scheduler has ended submission {event.tag}{never}, without a report so far{_ends(event)}"


def _asked(event: record.Asked) -> str:
    if event.problem:
        return f"The scheduler did not answer: {event.problem}"
    waiting = "; ".join(f"{tag}: {words}" for tag, words in event.waiting.items())
    return f"The scheduler answered{_because(waiting, '; what waits: ')}"


_SENTENCES: Mapping[type[Any], Callable[[Any], str]] = {
    record.Epoch: _epoch,
    record.RunChanged: lambda event: f"The run is {event.state.value}{_because(event.reason)}",
    record.Expanded: _expanded,
    record.Hit: _hit,
    record.Intent: _intent,
    record.Submitted: _submitted,
    record.Voided: lambda event: f"Submission {event.tag} came to nothing{_because(event.reason)}",
    record.PoolOpened: lambda event: f"Workers on {event.host} report as {event.tag}",
    record.Finished: _finished,
    record.Failed: lambda event: f"Attempt {event.attempt} ended without a report of its own{_ends(event)}",
    record.Requeued: lambda event: f"Pending again, without counting an attempt{_because(event.reason)}",
    record.Again: _again,
    record.Settled: lambda event: "Failed finally: no further attempt",
    record.Skipped: lambda event: f"The task is skipped{_because(event.reason)}",
    record.Cancelled: lambda event: f"Cancelled before it was submitted{_because(event.reason)}",
    record.Reset: lambda event: f"Starts over{_because(event.reason)}",
    record.CodeChanged: lambda event: f"Jobs run code generation {event.generation} from here on",
    record.Read: lambda event: f"Reports of {event.box} are read up to byte {event.upto}",
    record.Obeyed: lambda event: f"Command {event.id} ({event.verb}) was applied{_because(event.said)}",
    record.Wake: _wake,
    record.Woke: _woke,
    record.Capped: lambda event: f"An array was refused; arrays have {event.size} elements at most{_because(event.w)}",
    record.Bounded: _bounded,
    record.Barred: _barred,
    record.Kill: lambda event: f"Cancellation of submission {event.tag} is requested ({event.f}){_because(event.w)}",
    record.Killed: lambda event: f"The scheduler accepted the cancellation of {event.tag}",
    record.Gone: _gone,
    record.Asked: _asked,
    record.Told: lambda event: f"A notification is about to be sent: {event.occasion}",
    record.Kept: lambda event: "Results are in the cache",
    record.Uncached: lambda event: f"Results are not cached: {event.reason}",
}
