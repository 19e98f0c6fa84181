"""The local pool holds what it promises: nothing is lost, nothing starves, nothing spins, nothing is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from reflow import LocalExecutor, Run, RunState
from reflow.local import pool as local
from reflow.model.python import WORKER, program
from reflow.model.record import TOKEN
from reflow.worker import children


def drive(lab: Any, **given: Any) -> Run:
    """Run the script in a process of its own, which may hang only for a while."""
    code = f"""
    import {lab.module} as script
    from reflow import LocalExecutor
    script.wf.run_local({str(lab.run_dir)!r}, executor=LocalExecutor(**{given!r}))
    """
    python(lab.path, code)
    return Run.open(lab.run_dir)


def python(path: Path, code: str) -> str:
    """What a piece of code prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        cwd=path,
        timeout=60,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


#: a pool whose workers are a script of the test's, which begins with its arguments
HARNESS = """
import os, sys
from pathlib import Path
from reflow import LocalExecutor
from reflow.model.job import Job
from reflow.model.record import JobSpec
from reflow.model.resources import Resources

HERE = Path.cwd()

def worker(source):
    path = HERE / "worker"
    path.write_text("#!" + sys.executable + '''
import os, select, sys, time
root, tag, slot, tokens, bell, control, parent = sys.argv[4:]
tokens, bell, control = int(tokens), int(bell), int(control)
def note(word):
    with open(os.path.dirname(os.path.abspath(__file__)) + "/ledger", "a") as stream:
        stream.write(word + chr(10))
def take():
    while True:
        if control in select.select([tokens, control], [], [])[0]:
            sys.exit()
        try:
            return os.read(tokens, 16)
        except BlockingIOError:
            pass
''' + source)
    path.chmod(0o755)
    return str(path)

def opened(source, **given):
    pool = LocalExecutor(**given)
    tag = os.urandom(5).hex()  # of this pool alone: by it a pool knows which processes are its own to end
    pool.open(str(HERE / f"root{tag}"), tag, python=worker(source), cwd=str(HERE))
    return pool

def job(number, **resources):
    asked = Resources(**resources)
    spec = JobSpec(tag=f"t{number}", run_id="r", task=f"task_{number}_" + "x" * 60, array=False, elements="0",
                   attempt=1, inputs="", generation=1, resources=asked)
    return Job(tag=f"t{number}", name=f"t{number}", script="", resources=asked, spec=spec)
"""


def test_a_lane_that_is_dismissed_takes_nothing_more(tmp_path: Path) -> None:
    tokens, put = os.pipe()
    control, dismiss = os.pipe()
    bell, ring = os.pipe()
    os.set_blocking(tokens, False)
    os.write(put, TOKEN.pack(0, 0, 0, 0))
    os.write(dismiss, b"\0")
    numbers = map(str, (0, tokens, ring, control, os.getpid()))
    try:
        done = subprocess.run(
            program(sys.executable, WORKER, "--lane", str(tmp_path), "abcdefghij", *numbers),
            pass_fds=(tokens, ring, control),
            timeout=60,
            check=False,
        )
        assert done.returncode == 0
        assert os.read(tokens, 100) == TOKEN.pack(0, 0, 0, 0)
        assert os.read(bell, 100)
    finally:
        for descriptor in (tokens, put, control, dismiss, bell, ring):
            os.close(descriptor)


def test_lanes_change_between_groups_and_no_element_is_lost(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def root() -> int:
        return 1

    @wf.job()
    def slow(x: Annotated[int, Result(step="root")]) -> int:
        time.sleep(1)
        return 1

    @wf.job(env={"X": "1"})
    def make(x: Annotated[int, Result(step="root")]) -> list[int]:
        return list(range(300))

    @wf.array_job()
    def work(x: Annotated[int, Result(step="make")]) -> int:
        time.sleep(0.005)
        return x
    """)
    run = drive(lab, max_workers=1)
    assert run.state is RunState.SUCCESS
    assert run.results("work") == list(range(300))


def test_jobs_beyond_number_do_not_fill_any_pipe(tmp_path: Path) -> None:
    said = python(
        tmp_path,
        HARNESS
        + """
pool = opened("time.sleep(60)", max_workers=2)
for number in range(3000):
    pool.submit(job(number))
    if number % 100 == 0:
        pool.wait(0.0)
pool.wait(0.0)
for lane in pool._lanes:
    lane.process.kill()
pool.close()
print("closed")
""",
    )
    assert said == "closed\n"


def test_a_pool_that_is_not_open_says_so(tmp_path: Path) -> None:
    said = python(
        tmp_path,
        HARNESS
        + """
from reflow.errors import ExecutorError
try:
    LocalExecutor().submit(job(0))
except ExecutorError as error:
    print(error)
""",
    )
    assert "not open" in said


def test_waiting_for_a_stubborn_task_is_no_work(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write("""
    @wf.job(time=1)
    def stubborn() -> int:
        for seconds in (60, 1):
            try:
                time.sleep(seconds)
            except BaseException:
                pass
        return 1
    """)
    rounds = []
    listen = LocalExecutor._listen
    monkeypatch.setattr(LocalExecutor, "_listen", lambda self, timeout: rounds.append(1) or listen(self, timeout))
    lab.run(LocalExecutor(max_workers=1))
    assert len(rounds) < 300


def intervals(lab: Any) -> list[tuple[str, str]]:
    """What began and ended, in order."""
    lines = (lab.path / "ledger").read_text().splitlines()
    return [(line.split()[0], line.split()[1]) for line in lines]


def most(events: list[tuple[str, str]]) -> int:
    now = found = 0
    for what, _ in events:
        now += 1 if what == "begin" else -1
        found = max(found, now)
    return found


TURNS = """
@wf.job()
def make() -> list[int]:
    return list(range(30))

@wf.array_job({long})
def long(x: Annotated[int, Result(step="make")]) -> int:
    note("begin", "long")
    time.sleep(0.05)
    note("end", "long")
    return x

@wf.job({other})
def other(x: Annotated[list[int], Result(step="make")]) -> int:
    note("begin", "other")
    time.sleep(0.1)
    note("end", "other")
    return 1
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_another_group_has_its_turn_and_no_more_run_than_may(
    lab: Any, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(local, "_TURN", 0.1)
    lab.write(TURNS.format(long="", other="env={'OTHER': '1'}"))
    lab.good(LocalExecutor(max_workers=workers))
    events = intervals(lab)
    assert events[-1] != ("end", "other"), "it ran when all else was done"
    assert most(events) <= workers


def test_two_long_arrays_in_two_groups_share(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_TURN", 0.2)
    lab.write(TURNS.format(long="", other=""))
    lab.edit("@wf.job()\ndef other(x: Annotated[list[int]", "@wf.array_job(env={'A': '1'})\ndef other(x: Annotated[int")
    run = lab.good(LocalExecutor(max_workers=1))
    events = intervals(lab)
    assert most(events) == 1
    assert lab.counts(run)["long"] == lab.counts(run)["other"] == {"SUCCESS": 30}
    first = {name: events.index(("begin", name)) for name in ("long", "other")}
    last = {name: len(events) - events[::-1].index(("end", name)) for name in ("long", "other")}
    assert max(first.values()) < min(last.values())


def test_groups_whose_workers_take_longer_to_start_than_a_turn_lasts(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker was once let go for the other group's turn before it had begun anything, and so on for ever."""
    monkeypatch.setattr(local, "_TURN", 0.1)
    monkeypatch.setattr(local, "_MOST_FRUITLESS", 20)
    hired: list[str] = []
    hire = LocalExecutor._hire
    monkeypatch.setattr(LocalExecutor, "_hire", lambda self, group: hired.append(group.key) or hire(self, group))
    lab.write("""
    @wf.job(setup="sleep 0.3")
    def one() -> int:
        return 1

    @wf.job(setup="sleep 0.3 ")
    def other() -> int:
        return 2
    """)
    run = lab.good(LocalExecutor(max_workers=1))
    assert (run.result("one"), run.result("other")) == (1, 2)
    assert len(set(hired)) == 2


@pytest.mark.parametrize("huge", ["cpus=1, mem='1000G'", "cpus=2"])
def test_what_needs_all_of_the_machine_has_its_turn(lab: Any, monkeypatch: pytest.MonkeyPatch, huge: str) -> None:
    monkeypatch.setattr(local, "_TURN", 0.1)
    lab.write(TURNS.format(long="cpus=1", other=huge))
    lab.good(LocalExecutor(max_workers=2, cpus=2, mem=1 << 30))
    events = intervals(lab)
    assert events[-1] != ("end", "other"), "it ran when all else was done"
    begin = events.index(("begin", "other"))
    assert events[begin + 1] == ("end", "other")
    assert most(events) <= 2
    assert [what for what, _ in events[:begin]].count("begin") == [what for what, _ in events[:begin]].count("end")


def test_an_interruption_of_the_tasks_own_making_is_its_error(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def make() -> list[str]:
        return ["KeyboardInterrupt", "TaskInterrupted", "none"]

    @wf.array_job()
    def work(kind: Annotated[str, Result(step="make")]) -> str:
        if kind == "KeyboardInterrupt":
            raise KeyboardInterrupt
        if kind == "TaskInterrupted":
            raise reflow.TaskInterrupted("of my own")
        return kind
    """)
    run = lab.run(LocalExecutor(max_workers=1))
    assert run.state is RunState.FAILED
    failures = [(one["index"], one["class"]) for one in run.status()["failures"]]
    assert failures == [(0, "error"), (1, "error")]
    assert "TaskInterrupted: of my own" in run.logs("work", 1)


def test_a_log_that_cannot_be_written_fails_its_element(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def make() -> list[int]:
        (root,) = (HERE / "run" / ".reflow").glob("lab-*")
        (root / "logs" / "work" / "0" / "1.log").mkdir(parents=True)
        return [0, 1, 2]

    @wf.array_job()
    def work(x: Annotated[int, Result(step="make")]) -> int:
        print("worked on", x)
        return x
    """)
    run = drive(lab, max_workers=1)
    (failure,) = run.status()["failures"]
    assert (failure["task"], failure["index"]) == ("work", 1)
    assert "1.log cannot be written: Is a directory" in failure["reason"]
    assert lab.counts(run)["work"] == {"SUCCESS": 2, "FAILED": 1}
    assert run.logs("work", 0) == "worked on 0\n"


def test_an_element_whose_workers_die_before_it_begins_is_given_up(tmp_path: Path) -> None:
    said = python(
        tmp_path,
        HARNESS
        + """
pool = opened('''
take()
note("took")
sys.exit(3)
''', max_workers=2)
for number in range(2):
    pool.submit(job(number))
ended = []
while len(ended) < 2:
    ended += pool.wait(1.0).ended
pool.close()
import json
print(json.dumps([[one.tag, one.status.failure_class.value, one.status.reason] for one in ended]))
""",
    )
    ended = json.loads(said)
    assert sorted(tag for tag, _, _ in ended) == ["t0", "t1"]
    assert {cls for _, cls, _ in ended} == {"launch"}
    assert len((tmp_path / "ledger").read_text().splitlines()) <= 8


#: serves as a lane does, but runs nothing
SERVES = """
import struct
from reflow.model.layout import announcements
from reflow.worker.mailbox import Mailbox
import msgspec
box = Mailbox(root, tag, int(slot))
while True:
    number, index, flags, _ = struct.unpack("<IIII", take())
    with open(announcements(root, tag), "rb") as stream:
        line = stream.readlines()[number]
    task = msgspec.json.encode(msgspec.json.decode(line)["task"])
    box.started(task, index, 1, 0.0)
    box.succeeded(task, index, 1, 0.0, 0.0, 0, b"1", b"{}")
    os.write(bell, bytes(1))
"""


@pytest.mark.parametrize("claims", ["", "cpus=1"])
def test_what_a_job_costs_does_not_grow_with_their_number(tmp_path: Path, claims: str) -> None:
    said = python(
        tmp_path,
        HARNESS
        + f"""
source = {SERVES!r}
def calls(jobs):
    counted = 0
    def count(frame, event, argument):
        nonlocal counted
        counted += event in ("call", "c_call")
    pool = opened(source, max_workers=2, cpus=4)
    sys.setprofile(count)
    for number in range(jobs):
        pool.submit(job(number, {claims}))
    done = 0
    while done < jobs:
        heard = pool.wait(1.0)
        assert not heard.ended, heard.ended
        for letter in heard.letters:
            done += sum(type(record).__name__ == "Finished" for record, _ in letter.records)
    sys.setprofile(None)
    pool.close()
    return counted
few, many = calls(150), calls(900)
print(few, many, many / few)
""",
    )
    assert float(said.split()[-1]) < 6 * 2, said


def test_many_workers_leave_no_descriptor_and_no_process(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def make() -> list[int]:
        return list(range(16))

    @wf.array_job()
    def dies(x: Annotated[int, Result(step="make")]) -> int:
        if x % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return x
    """)
    before, there = set(os.listdir("/proc/self/fd")), set(children.below(os.getpid()))
    run = lab.run(LocalExecutor(max_workers=2))
    assert lab.counts(run)["dies"] == {"SUCCESS": 8, "FAILED": 8}
    lab.edit(
        "@wf.array_job()",
        "".join(f"@wf.job(env={{'N': '{n}'}})\ndef n{n}() -> int:\n    return {n}\n\n" for n in range(8))
        + "@wf.array_job()",
    )
    run = lab.run(LocalExecutor(max_workers=2), force=True)
    assert [run.result(f"n{n}") for n in range(8)] == list(range(8))
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert set(children.below(os.getpid())) <= there, "what other tests have left is theirs"


def test_more_groups_than_descriptors(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_MOST_PIPES", 1)
    lab.write("".join(f"@wf.job(env={{'N': '{n}'}})\ndef n{n}() -> int:\n    return {n}\n\n" for n in range(6)))
    most_open = 0
    listen = LocalExecutor._listen

    def watched(self: LocalExecutor, timeout: float) -> Any:
        nonlocal most_open
        most_open = max(most_open, len(self._active))
        return listen(self, timeout)

    monkeypatch.setattr(LocalExecutor, "_listen", watched)
    run = lab.good(LocalExecutor(max_workers=1))
    assert [run.result(f"n{n}") for n in range(6)] == list(range(6))
    assert most_open <= 2
