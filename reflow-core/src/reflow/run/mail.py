"""Reading the mailbox: what workers and commands have said since it was last read."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from ..model import layout
from ..model.frames import parse
from ..model.job import Letter
from ..model.migration import schema_of, upgrade
from ..model.record import SCHEMA, Command, Finished, Mail, Opened, Started
from ..model.state import CANCELLED, FAILED, QUEUED, RUNNING, Flight, State
from ..store.trust import owners, user
from ..worker.durable import write_new
from .load import require_known

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


def believed(root: str, state: State) -> frozenset[int]:
    """User ids whose mail counts: the run's owner, whoever looks, root, and whom the run's configuration trusts."""
    try:
        own = {os.stat(root).st_uid}
    except FileNotFoundError:  # a run that is only rehearsed: there is no mail
        own = set()
    return owners(state.trusted_owners) | own


def read_box(root: str, box: str, start: int, trusted: Collection[int], *, last: bool = False) -> Letter | None:
    """What one mailbox file holds from `start` on, and the `last` record before it; None where there is no such file.

    The file is opened, not looked up: on a network file system only that tells
    what another host has written. What a stranger has written is passed over.
    """
    try:
        file = os.open(f"{root}/mailbox/{box}", os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except PermissionError:
        return Letter(box, start, [])  # nobody whom this run believes keeps its reports from it
    try:
        if os.fstat(file).st_uid not in trusted:
            return Letter(box, start, [])
        if last:
            before = os.pread(file, min(start, _LAST), max(0, start - _LAST))
            begin = before.rfind(b"\n", 0, -1) + 1
            if begin or start <= _LAST:
                start -= len(before) - begin
        data = b""
        while more := os.pread(file, 1 << 22, start + len(data)):
            data += more
        opening = os.pread(file, _OPENING, 0) if data and start else data
    finally:
        os.close(file)
    payloads, end = parse(data)
    records = []
    first, _ = parse(opening) if start else (payloads, 0)
    schema = schema_of(first[0]) if first else SCHEMA
    require_known(f"{root}/mailbox/{box}", schema)
    for payload in payloads:
        current = upgrade("mail", payload, schema)
        record = _mail.decode(current)
        if not isinstance(record, Opened):
            records.append((record, current))
    return Letter(box, start + end, records)


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


def unread(root: str, state: State, *, again: bool = False) -> list[Letter]:
    """All that was reported and not yet ingested.

    Parameters
    ----------
    root : str
        Directory of the run.
    state : State
        What is known of it.
    again : bool
        Read from the beginning what jobs have said whose elements have not
        ended: that they have started is in no event.
    """
    letters: list[Letter] = []
    trusted = believed(root, state)
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
    letters += _slots(root, state, trusted, flights, (QUEUED, RUNNING), again=again)
    return letters


def belated(root: str, state: State, elements: Mapping[str, Sequence[int]]) -> list[Letter]:
    """What the last jobs of elements have reported after those had been given up or cancelled."""
    if state.pools:
        return []  # their workers were ended before anything was given up
    positions = {state.tasks[name].job[index] for name, indices in elements.items() for index in indices}
    flights = [(position, state.flights[position]) for position in sorted(positions) if position >= 0]
    return _slots(root, state, believed(root, state), flights, (FAILED, CANCELLED))


def _slots(
    root: str,
    state: State,
    trusted: Collection[int],
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


def overlay(root: str, state: State) -> None:
    """Let a state that is only looked at know what workers have said since."""
    for letter in unread(root, state, again=True):
        for record, _ in letter.records:
            if isinstance(record, (Started, Finished)) and state.accepts(record):
                state.apply(record)  # type: ignore[arg-type]


def post(root: str, command: Command) -> None:
    """Mail a command to a run."""
    directory = layout.commands(root)
    os.makedirs(directory, exist_ok=True)
    write_new(f"{directory}/{command.id}.json", msgspec.json.encode(command))


def commands(root: str, state: State) -> list[Command]:
    """Commands that have not been obeyed, oldest first; for a file that holds none, one that is `UNREADABLE`."""
    try:
        names = os.listdir(layout.commands(root))
    except FileNotFoundError:
        return []
    found = []
    trusted = believed(root, state)
    for name in names:
        identifier, _dot, end = name.rpartition(".")
        if end != "json" or identifier in state.obeyed:
            continue
        try:
            with open(f"{layout.commands(root)}/{name}", "rb") as stream:
                uid = os.fstat(stream.fileno()).st_uid
                command = _command.decode(stream.read())
            if uid not in trusted:
                command = Command(id=identifier, verb=STRANGE, by=user(uid))
        except (msgspec.DecodeError, UnicodeDecodeError, PermissionError, IsADirectoryError):
            command = Command(id="", verb=UNREADABLE)
        if command.id != identifier:  # it would be obeyed again and again
            command = Command(id=identifier, verb=UNREADABLE)
        found.append(command)
    return sorted(found, key=lambda command: (command.at, command.id))
