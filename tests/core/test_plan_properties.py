"""The planner against random graphs and random fates: a simulated executor that speaks in events alone."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from reflow.model.definition import Definition, Entry
from reflow.model.frames import HEAD, frame, parse
from reflow.model.job import Limits
from reflow.model.lifecycle.states import CACHED, CANCELLED, FAILED, PENDING, QUEUED, RUNNING, SKIPPED, SUCCESS
from reflow.model.names import FailureClass, Mode, RunState, Source
from reflow.model.ranges import from_ranges, to_ranges
from reflow.model.record import (
    Cancelled,
    Event,
    Expanded,
    Failed,
    Finished,
    Hit,
    Intent,
    Obeyed,
    Requeued,
    Reset,
    RunChanged,
    Skipped,
    Submitted,
    Voided,
)
from reflow.model.retry import Retry
from reflow.model.schema import Schema
from reflow.model.state import State
from reflow.model.task import Input, Task
from reflow.planning.plan import Expand, Finish, Record, Skip, Submit, next_due, plan

INT = Schema("int")
event_decoder = msgspec.json.Decoder(Event)


def graph(random: Random) -> Definition:
    """Any tasks in topological order; all arrays that are zipped have one size."""
    tasks: list[Task] = []
    for number in range(random.randint(1, 7)):
        array = bool(tasks) and random.random() < 0.6
        inputs = []
        for up in random.sample(tasks, random.randint(0, min(3, len(tasks)))):
            if array:
                mode = Mode.CHAIN if up.array else random.choice([Mode.FANOUT, Mode.BROADCAST])
            else:
                mode = Mode.GATHER if up.array else Mode.DIRECT
            tolerant = mode is Mode.GATHER and random.random() < 0.3
            inputs.append(
                Input(
                    name=f"p{len(inputs)}",
                    source=Source.RESULT,
                    schema=INT,
                    steps=(up.name,),
                    mode=mode,
                    allow_failed=tolerant,
                )
            )
        array = any(one.mode is not None and one.mode.spreads for one in inputs)
        after = tuple(up.name for up in tasks if random.random() < 0.1)
        retry = Retry(random.randint(0, 2), delay=random.choice([0.0, 10.0]))
        lanes = random.choice([None, None, 1, 2, 3])
        tasks.append(
            Task(
                name=f"t{number}",
                array=array,
                inputs=tuple(inputs),
                returns=INT,
                after=after,
                retry=retry,
                array_parallelism=lanes,
            )
        )
    return Definition(
        run_id="r", workflow="w", created=1.0, run_dir="/", cwd="/", entry=Entry(), tasks=tuple(tasks), executor="x"
    )


class World:
    """A run and the executor that it believes in."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.definition = graph(random)
        self.state = State(self.definition)
        self.log = bytearray()
        self.now = 100.0
        self.size = random.randint(0, 5)
        self.tags = 0
        self.free = 12  # events that no budget of attempts ends: requeues, refusals, commands
        self.limits = Limits(
            max_array=random.choice([None, 2]),
            max_submitted=random.choice([None, 1, 3]),
            throttle=random.choice([True, False]),
        )
        self.succeeded: set[tuple[str, int]] = set()

    def add(self, event: Any) -> None:
        payload = msgspec.json.encode(event)
        self.state.apply(event, 1, len(self.log) + HEAD, len(payload))
        self.log += frame(payload)

    def ready(self, task: Task, index: int) -> bool:
        """Whether all that an element needs is there, told from the state alone."""
        for name in task.after:
            assert self.state.tasks[name].succeeded
        for one in task.inputs:
            up = self.state.tasks[one.steps[0]]
            assert up.ended
            if one.mode is Mode.CHAIN:
                if up.status[index] not in (SUCCESS, CACHED):
                    return False
            elif not one.allow_failed:
                assert up.succeeded
        return True

    def expand(self, name: str) -> None:
        task, progress = self.definition.task(name), self.state.tasks[name]
        size = self.size if task.array else 1
        new = [i for i in range(size) if i >= len(progress.status) or progress.status[i] == PENDING]
        lacking = [i for i in new if not self.ready(task, i)]
        wanted = [i for i in new if i not in lacking]
        hits = [i for i in wanted if self.random.random() < 0.2]
        missing = [i for i in wanted if i not in hits]
        self.add(
            Expanded(
                task=name,
                size=size,
                part=progress.parts,
                pending=to_ranges(missing),
                skipped=to_ranges(lacking),
                at=self.now,
            )
        )
        for i in hits:
            self.add(Hit(t=name, i=i, r=msgspec.Raw(b"1")))
            self.succeeded.add((name, i))

    def submit(self, action: Submit) -> None:
        task, progress = self.definition.task(action.task), self.state.tasks[action.task]
        assert action.elements
        assert self.limits.max_array is None or len(action.elements) <= self.limits.max_array
        for index in action.elements:
            assert progress.status[index] == PENDING
            assert progress.attempt[index] == action.attempt
            assert progress.due.get(index, 0.0) <= self.now
            assert (action.task, index) not in self.succeeded, "nothing that succeeded runs twice"
            assert self.ready(task, index), "nothing runs before its inputs"
        self.tags += 1
        tag = f"tag{self.tags}"
        elements = to_ranges(action.elements)
        self.add(
            Intent(
                tag=tag,
                task=action.task,
                elements=elements,
                attempt=action.attempt,
                part=action.part,
                at=self.now,
                array=task.array,
                throttle=action.throttle,
            )
        )
        self.throttled(task)
        if self.free and self.random.random() < 0.1:
            self.free -= 1
            self.add(Voided(tag=tag, reason="nobody knows it", at=self.now))
        else:
            self.add(Submitted(tag=tag, id=str(self.tags), at=self.now))
        if self.limits.max_submitted is not None:
            assert sum(one.active for one in self.state.tasks.values()) <= self.limits.max_submitted

    def throttled(self, task: Task) -> None:
        """No more elements of an array may run at once than its task says."""
        if task.array and task.array_parallelism is not None:
            flights = [self.state.flights[place] for place in self.state.open_flights.values()]
            lanes = [min(one.left, one.throttle or one.left) for one in flights if one.task == task.name]
            assert sum(lanes) <= task.array_parallelism
            assert self.limits.throttle or not any(one.throttle for one in flights)

    def plan(self) -> None:
        """Do all that can be done, as `Engine.advance` does."""
        for _ in range(1000):
            actions = plan(self.definition, self.state, self.limits, self.now)
            if not actions:
                return
            for action in actions:
                if isinstance(action, Expand):
                    self.expand(action.task)
                elif isinstance(action, Submit):
                    self.submit(action)
                elif isinstance(action, Record):
                    self.add(action.event)
                elif isinstance(action, Skip):
                    above = [self.state.tasks[step] for step in self.definition.task(action.task).upstream]
                    assert all(up.ended for up in above)
                    assert not all(up.succeeded for up in above)
                    self.add(Skipped(task=action.task, reason=action.reason, at=self.now))
                else:
                    assert isinstance(action, Finish)
                    self.add(RunChanged(state=action.state, reason=action.reason, at=self.now))
        raise AssertionError("it plans for ever")

    def active(self) -> list[tuple[str, int]]:
        return [
            (name, index)
            for name, progress in self.state.tasks.items()
            for status in (QUEUED, RUNNING)
            for index in progress.indices(status)
        ]

    def happen(self) -> None:
        """One thing happens in the world outside."""
        random, planned = self.random, self.now
        self.now += random.choice([0, 1])
        active = self.active()
        if self.free and random.random() < 0.08:
            self.free -= 1
            self.command()
            return
        if not active:
            pause = next_due(self.state, planned)
            assert pause is not None, "nothing is stuck"
            self.now = max(self.now, planned + pause)
            return
        name, index = random.choice(active)
        progress = self.state.tasks[name]
        fate = random.random()
        attempt = progress.attempt[index]
        if fate < 0.55:
            record = Finished(t=name, i=index, a=attempt, b=self.now - 1, e=self.now, r=msgspec.Raw(b"1"))
            assert self.state.accepts(record)
            self.add(record)
            assert not self.state.accepts(record), "a success that is recorded stays"
            self.succeeded.add((name, index))
        elif fate < 0.75:
            record = Finished(t=name, i=index, a=attempt, b=self.now - 1, e=self.now, f="error", w="no")
            assert not self.state.accepts(msgspec.structs.replace(record, a=attempt + 1))
            self.add(record)
        elif fate < 0.9 or not self.free:
            cls = random.choice(list(FailureClass))
            self.add(Failed(task=name, elements=str(index), attempt=attempt, f=cls, at=self.now))
        else:
            self.free -= 1
            self.add(Requeued(task=name, elements=str(index), reason="its worker died", at=self.now))

    def command(self) -> None:
        name = self.random.choice(list(self.state.tasks))
        progress = self.state.tasks[name]
        if progress.ended:
            return
        elements = None if self.random.random() < 0.5 or not progress.size else "0"
        self.add(Cancelled(task=name, elements=elements, at=self.now, reason="cancelled"))
        self.add(Obeyed(id=str(self.now), verb="cancel", at=self.now))

    def run(self) -> None:
        for _ in range(3000):
            self.plan()
            if self.state.run.ended:
                return
            self.happen()
        raise AssertionError("it does not end")

    def retry(self) -> None:
        """As `Engine` does it."""
        for name, progress in self.state.tasks.items():
            indices = [i for status in (FAILED, CANCELLED, SKIPPED) for i in progress.indices(status)]
            if indices or progress.skipped or progress.cancelled:
                self.add(Reset(task=name, elements=to_ranges(indices), at=self.now))
        self.add(RunChanged(state=RunState.RUNNING, at=self.now))


def told(state: State) -> Any:
    """All that a state holds, as plain data."""
    found: dict[str, Any] = {key: value for key, value in vars(state).items() if key != "tasks"}
    for name, progress in state.tasks.items():
        for slot in progress.__slots__:
            found[f"{name}.{slot}"] = getattr(progress, slot)
    return found


def ended_well(world: World) -> None:
    """What holds of every run that has ended."""
    state = world.state
    assert not world.active()
    assert not state.open_flights
    for name, progress in state.tasks.items():
        assert progress.ended
        assert not progress.undecided
        assert set(progress.status) <= {SUCCESS, CACHED, FAILED, CANCELLED, SKIPPED}, name
        assert [progress.status.count(code) for code in range(len(progress.counts))] == progress.counts
        for index, code in enumerate(progress.status):
            assert ((name, index) in world.succeeded) == (code in (SUCCESS, CACHED))
            assert (code == FAILED) <= (index in progress.failures)
    good = all(progress.succeeded for progress in state.tasks.values())
    assert (state.run is RunState.SUCCESS) == good


@given(st.randoms(use_true_random=False))
@settings(max_examples=150)
def test_any_run_of_any_graph(random: Random) -> None:
    world = World(random)
    world.add(RunChanged(state=RunState.RUNNING, at=world.now))
    for _ in range(3):
        world.run()
        ended_well(world)
        if world.state.run is RunState.SUCCESS:
            break
        world.retry()
    again = State(world.definition)
    payloads, end = parse(bytes(world.log))
    assert end == len(world.log)
    offset = HEAD
    for payload in payloads:
        again.apply(event_decoder.decode(payload), 1, offset, len(payload))
        offset += len(payload) + 1 + HEAD
    assert told(again) == told(world.state)


@given(st.sets(st.integers(0, 300)))
def test_ranges_say_which_indices(indices: set[int]) -> None:
    assert list(from_ranges(to_ranges(indices))) == sorted(indices)


@given(st.lists(st.binary().map(lambda data: msgspec.json.encode(data.hex())), max_size=6), st.binary(max_size=30))
def test_frames_are_read_up_to_the_first_that_is_torn(payloads: list[bytes], garbage: bytes) -> None:
    whole = b"".join(map(frame, payloads))
    assert parse(whole) == (payloads, len(whole))
    ends = [0]
    for payload in payloads:
        ends.append(ends[-1] + len(frame(payload)))
    for cut in range(len(whole)):
        found, end = parse(whole[:cut])
        known = sum(one <= cut for one in ends) - 1
        assert (found, end) == (payloads[:known], ends[known])
    found, end = parse(whole + garbage + whole)
    assert found[: len(payloads)] == payloads
    assert end >= len(whole)


@given(st.data())
def test_a_byte_that_changed_is_noticed(data: st.DataObject) -> None:
    payloads = [msgspec.json.encode({"n": number}) for number in range(3)]
    whole = b"".join(map(frame, payloads))
    position = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[position] ^= data.draw(st.integers(1, 255))
    found, _ = parse(bytes(changed))
    assert found == payloads[: len(found)]
    assert len(found) < 3 or parse(bytes(changed))[0] == payloads
