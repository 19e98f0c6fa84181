"""Reading the mailbox: what workers and commands have said since it was last read."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from ...errors import Untrusted
from ...model import layout
from ...model.frames import parse
from ...model.job import Letter
from ...model.lifecycle.states import ACTIVE, CANCELLED, FAILED, RETRY_PENDING
from ...model.record import Command, Finished, Mail, Opened, Started
from ...model.state import Flight, State
from ...model.versions import require_schema
from ...worker.durable import make_directories, write_new
from ...worker.opener import decoded, frames_of, open_regular, read_open, require_place
from ...worker.trust import Trust, doubt, trust, user_name
from ..definition.load import damaged

_mail = msgspec.json.Decoder(Mail)
_command = msgspec.json.Decoder(Command)

#: bytes that the first frame of a mailbox file fits into
_OPENING = 1024
#: bytes in which a last record is looked for; a longer one is not
_LAST = 1 << 13

#: verb of what stands for a command whose file cannot be read
UNREADABLE = "unreadable"


#: verb of what stands for a command of somebody whom the run does not trust
STRANGE = "strange"


def frozen_trust(state: State) -> Trust:
    """Whom a run's configuration trusts, as of its submission."""
    return trust(state.trusted_owners, state.trusted_groups)


def read_box(root: str, box: str, start: int, trusted: Trust, *, last: bool = False) -> Letter | None:
    """What one mailbox file holds from `start` on, and the `last` record before it; None where there is no such file.

    The file is opened, not looked up: on a network file system only that tells
    what another host has written. What a stranger has written is passed over.

    Raises
    ------
    Untrusted
        It is of somebody who is trusted, and others may have written in it.
    """
    path = f"{root}/mailbox/{box}"
    try:
        file = open_regular(path)
    except FileNotFoundError:
        return None
    except OSError:
        return Letter(box, start, [])  # nobody whom this run believes keeps its reports from it
    try:
        status = os.fstat(file)
        if not trusted.believes(status.st_uid):
            return Letter(box, start, [])
        if (found := doubt(path, status, trusted))[0]:
            raise Untrusted(found[0], hint=found[1])
        require_place(os.path.dirname(path), trusted)
        if last:
            before = os.pread(file, min(start, _LAST), max(0, start - _LAST))
            begin = before.rfind(b"\n", 0, -1) + 1
            if begin or start <= _LAST:
                start -= len(before) - begin
        payloads, end = frames_of(file, start)
        first, _ = parse(os.pread(file, _OPENING, 0)) if payloads and start else (payloads, 0)
    finally:
        os.close(file)
    records = []
    try:
        if first:
            require_schema(path, first[0])
        for payload in payloads:
            record = _mail.decode(payload)
            if not isinstance(record, Opened):
                records.append((record, payload))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise damaged(root, f"{path} holds what is no report: {error}") from None
    return Letter(box, end, records)


def lanes(root: str, tag: str) -> list[str]:
    """Mailbox files of a pool's workers, any of which may have died before it could write one."""
    top = layout.mailbox(root, tag)
    skip = len(root) + len("/mailbox/")
    found: list[str] = []
    try:
        shards = [shard for shard in os.listdir(top) if shard.isdigit()]
    except FileNotFoundError:
        return []
    for shard in shards:
        found += [f"{top}/{shard}/{name}"[skip:] for name in os.listdir(f"{top}/{shard}")]
    return sorted(found)


def unread(root: str, state: State, trusted: Trust, *, again: bool = False) -> list[Letter]:
    """All that was reported and not yet ingested.

    Parameters
    ----------
    root : str
        Directory of the run.
    state : State
        What is known of it.
    trusted : Trust
        Whose reports count.
    again : bool
        Read from the beginning what jobs have said whose elements have not
        ended: that they have started is in no event.
    """
    letters: list[Letter] = []
    for tag in state.pools:
        for box in lanes(root, tag):
            # A worker has one element at a time: what it has started is the last that it has said.
            letter = read_box(root, box, state.boxes.get(box, 0), trusted, last=again)
            if letter is not None and letter.records:
                letters.append(letter)
    if state.pools:
        return letters
    flights = [(position, state.flights[position]) for position in state.open_flights.values()]
    # What has ended is not looked at again.
    letters += _slots(root, state, trusted, flights, ACTIVE, again=again)
    return letters


def belated(root: str, state: State, trusted: Trust, elements: Mapping[str, Sequence[int]]) -> list[Letter]:
    """What the last jobs of elements have reported after those had been given up or cancelled."""
    if state.pools:
        return []  # their workers were ended before anything was given up
    positions = {state.tasks[name].job[index] for name, indices in elements.items() for index in indices}
    flights = [(position, state.flights[position]) for position in sorted(positions) if position >= 0]
    return _slots(root, state, trusted, flights, (FAILED, RETRY_PENDING, CANCELLED))


def _slots(
    root: str,
    state: State,
    trusted: Trust,
    flights: Iterable[tuple[int, Flight]],
    wanted: Collection[int],
    *,
    again: bool = False,
) -> list[Letter]:
    """What is new in the mailboxes of these jobs' slots, of elements that stand so."""
    letters: list[Letter] = []
    skip = len(root) + len("/mailbox/")
    for position, flight in flights:
        progress = state.tasks[flight.task]
        for slot, index in enumerate(flight.elements):
            if progress.status[index] not in wanted or progress.job[index] != position:
                continue
            start = 1
            while True:
                box = layout.box(root, flight.tag, slot, start)[skip:]
                letter = read_box(root, box, 0 if again else state.boxes.get(box, 0), trusted)
                if letter is None:
                    break
                if letter.records:
                    letters.append(letter)
                start += 1
    return letters


def overlay(root: str, state: State, trusted: Trust) -> None:
    """Let a state that is only looked at know what workers have said since."""
    for letter in unread(root, state, trusted, again=True):
        for record, _ in letter.records:
            if isinstance(record, (Started, Finished)) and state.accepts(record):
                state.apply(record)  # type: ignore[arg-type]


def post(root: str, command: Command) -> None:
    """Mail a command to a run."""
    directory = layout.commands(root)
    make_directories(directory)
    write_new(f"{directory}/{command.id}.json", msgspec.json.encode(command))


def commands(root: str, state: State, trusted: Trust) -> list[Command]:
    """Commands that have not been obeyed, oldest first; for a file that holds none, one that is `UNREADABLE`.

    One of somebody who is not in `trusted`, or that others may write, is `STRANGE`.
    """
    directory = layout.commands(root)
    try:
        names = os.listdir(directory)
        wrong = doubt(directory, os.stat(directory), trusted)[0] if names else ""
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        identifier, _dot, end = name.rpartition(".")
        if end != "json" or identifier in state.obeyed:
            continue
        path = f"{layout.commands(root)}/{name}"
        try:
            file = open_regular(path)
        except FileNotFoundError:
            continue
        except OSError:
            found.append(Command(id=identifier, verb=UNREADABLE))
            continue
        try:
            status = os.fstat(file)
            command = decoded(_command.decode, read_open(file, path))
            if wrong or doubt(path, status, trusted)[0]:
                command = Command(id=identifier, verb=STRANGE, by=user_name(status.st_uid))
        except (OSError, msgspec.DecodeError):
            command = Command(id="", verb=UNREADABLE)
        finally:
            os.close(file)
        if command.id != identifier:  # it would be obeyed again and again
            command = Command(id=identifier, verb=UNREADABLE)
        found.append(command)
    return sorted(found, key=lambda command: (command.at, command.id))
