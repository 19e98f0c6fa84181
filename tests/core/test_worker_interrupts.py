"""Warnings, termination signals, new attempts on request, and what a later attempt finds."""

from __future__ import annotations

import _thread
import faulthandler
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reflow import LocalExecutor, Requeue, RunState, TaskInterrupted, checkpoint_dir, time_left
from reflow.errors import ReflowError, UsageError
from reflow.model.frames import parse
from reflow.model.signals import parse_signal
from reflow.testing import MemoryCluster
from reflow.worker.interrupts import Interrupts


def wait_for(path: Path, seconds: float = 60.0) -> str:
    deadline = time.monotonic() + seconds
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, f"{path.name} has not come"
        time.sleep(0.01)
    return path.read_text()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("INT@60", ("SIGINT", 60)),
        ("B:INT@60", ("SIGINT", 60)),
        ("sigterm@120", ("SIGTERM", 120)),
        ("R:10@5", ("SIGUSR1", 5)),
        (" USR2 @ 2m ", ("SIGUSR2", 120)),
    ],
)
def test_warnings_are_read(written: str, meant: tuple[str, int]) -> None:
    assert parse_signal(written) == meant
    assert parse_signal("{}@{}".format(*meant)) == meant


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("INT", "does not say when"),
        ("INT@", "does not say when"),
        ("INT@0", "at least a second"),
        ("INT@soon", "is not a duration"),
        ("INT@-5", "is not a duration"),
        ("INTR@60", "did you mean 'INT'"),
        ("KILL@60", "no signal that can warn"),
        ("99@60", "no signal that can warn"),
        ("@60", "is no warning"),
        ("", "is no warning"),
        (60, "is no warning"),
        (True, "is no warning"),
    ],
)
def test_what_is_no_warning_is_told(written: object, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_signal(written)


WARNED = """
@wf.job(time="{time}", signal="{signal}"{more})
def work() -> str:
    note("begin", reflow.context().attempt, round(reflow.time_left()))
    try:
        time.sleep(60)
    except reflow.TaskInterrupted as error:
        note("warned", error, round(reflow.time_left()))
        {answer}
    return "slept"
"""


def test_a_mistaken_warning_is_told_where_it_stands(lab: Any) -> None:
    lab.write(WARNED.format(time="1m", signal="INTT@5", more="", answer="raise"))
    with pytest.raises(ReflowError, match=r"lab_\d+\.py:\d+: task 'work': signal='INTT@5': .*did you mean 'INT'"):
        lab.flow.validate()


def test_a_warning_needs_a_walltime_that_it_comes_before(lab: Any) -> None:
    lab.write(WARNED.format(time="5s", signal="INT@5", more="", answer="raise"))
    with pytest.raises(UsageError, match=r"'work'.* would come before the task begins"):
        lab.run("local")
    lab.edit('time="5s", ', "")
    with pytest.raises(UsageError, match=r"'work'.*counts from the walltime, and none is asked for"):
        lab.run("local")
    assert not lab.run_dir.exists()


def test_a_warning_of_the_configuration_is_read_there(lab: Any) -> None:
    lab.write(WARNED.format(time="5s", signal="INT@5", more="", answer="raise"))
    (lab.path / "reflow.toml").write_text('[executor.submit_options]\nsignal = "INTT@5"\n')
    with pytest.raises(ReflowError, match=r"(?s)reflow\.toml.*did you mean 'INT'"):
        lab.run("local")


@pytest.mark.parametrize("name", ["INT", "TERM", "USR1"])
def test_a_warning_interrupts_the_task_ahead_of_its_walltime(lab: Any, name: str) -> None:
    lab.write(WARNED.format(time="30s", signal=f"B:{name}@29", more="", answer='return "saved"'))
    assert lab.good("local").result("work") == "saved"
    assert lab.ran() == ["begin 1 30", f"warned SIG{name} 29"]


def test_a_run_in_the_background_of_a_script_has_its_elements_warned(lab: Any) -> None:
    """Such a shell has it ignore SIGINT: that does not cancel the run, and is not for its elements."""
    lab.write("""
    @wf.job(time="30s", signal="INT@29")
    def work() -> str:
        try:
            os.kill(int((HERE / "run.pid").read_text()), signal.SIGINT)
            child = "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
            ignored = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True).stdout.strip()
            time.sleep(60)
        except reflow.TaskInterrupted:
            note("saved", ignored)
        return "saved"
    """)
    shell = f"trap '' INT; echo $$ > {lab.path}/run.pid; exec {sys.executable} {lab.file} run --executor local"
    done = subprocess.run(
        ["bash", "-c", f"{shell} --run-dir {lab.run_dir}"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert lab.ran() == ["saved False"]


def test_an_unheeded_warning_is_a_timeout(lab: Any) -> None:
    lab.write(WARNED.format(time="30s", signal="INT@29", more=", retries=1", answer="raise"))
    run = lab.run("local")
    (failure,) = run.status()["failures"]
    assert (failure["class"], failure["attempt"]) == ("timeout", 2)
    shown = [line for line in run.logs("work").strip().splitlines() if line.strip(" ~^")]  # 3.13 underlines
    *_, frame, line, end = shown
    assert ("in work" in frame, line.strip(), "TaskInterrupted" in end) == (True, "time.sleep(60)", True)
    assert failure["reason"] == "interrupted by SIGINT, 29 s before its walltime of 30 s is over"


def test_a_worker_that_was_warned_takes_the_next_element(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def make() -> list[int]:
        return [0, 1, 2]

    @wf.array_job(time="30s", signal="INT@29")
    def work(n: Annotated[int, Result(step="make")]) -> int:
        if n != 1:
            return os.getpid()
        try:
            time.sleep(60)
        except reflow.TaskInterrupted:
            return os.getpid()
        return 0
    """)
    run = lab.good(LocalExecutor(max_workers=1))
    (pid,) = set(run.results("work"))
    assert pid > 0


def test_a_task_may_handle_its_warning_itself(lab: Any) -> None:
    lab.write("""
    @wf.job(time="30s", signal="USR1@29")
    def work() -> str:
        said = []
        signal.signal(signal.SIGUSR1, lambda number, frame: said.append("saved"))
        while not said:
            time.sleep(0.01)
        return said[0]
    """)
    assert lab.good("local").result("work") == "saved"


def test_children_are_warned_and_may_end_by_themselves(lab: Any) -> None:
    """`subprocess.run` kills what it runs when it is interrupted: that has to come after the child has saved."""
    lab.write("""
    PROGRAM = '''
    trap 'echo saved > saved; exit 0' INT
    echo up > up
    while :; do sleep 0.05; done
    '''

    @wf.job(time="120s", signal="INT@115")
    def work() -> str:
        os.chdir(HERE)
        try:
            subprocess.run(["bash", "-c", PROGRAM])
        except reflow.TaskInterrupted as error:
            return str(error)
        return "not interrupted"
    """)
    run = lab.good("local")
    assert run.result("work") == "SIGINT"
    assert (lab.path / "saved").read_text() == "saved\n"


def test_what_the_script_has_started_itself_is_not_warned(lab: Any) -> None:
    """It serves all elements of a worker."""
    lab.write("""
    SERVER = subprocess.Popen(["sleep", "300"]) if "reflow.worker.main" in sys.modules else None

    @wf.job()
    def make() -> list[int]:
        return [0, 1]

    @wf.array_job(time="120s", signal="INT@119")
    def work(n: Annotated[int, Result(step="make")]) -> list[int]:
        if n == 0:
            try:
                time.sleep(60)
            except reflow.TaskInterrupted:
                pass
        return [SERVER.pid, int(SERVER.poll() is None)]
    """)
    run = lab.good(LocalExecutor(max_workers=1))
    (first, second) = run.results("work")
    assert first == second
    assert first[1] == 1
    assert not Path(f"/proc/{first[0]}").exists(), "it ends with the worker"


def test_threads_of_a_worker_s_own_leave_signals_to_the_main_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that took a termination signal as it began would keep Python up to 3.12 from raising it in the task."""
    masks = []

    def note(*_: object, **__: object) -> None:
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    monkeypatch.setattr(faulthandler, "dump_traceback_later", note)
    monkeypatch.setattr(_thread, "start_new_thread", note)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    former = signal.getsignal(signal.SIGUSR2)
    interrupts = Interrupts()
    try:
        interrupts.expect(signal.SIGUSR2, 3600, 3600)
        interrupts.watch(3600)
    finally:
        signal.signal(signal.SIGUSR2, former)
    assert len(masks) == 2
    assert all(mask >= {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2} for mask in masks)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


# --- as a job of a scheduler --------------------------------------------------


class Job:
    """One job of a scheduler, started by the test as the scheduler would."""

    def __init__(self, lab: Any, **given: Any) -> None:
        self.cluster = MemoryCluster()
        self.cluster.held = True
        self.run = lab.flow.submit(lab.run_dir, executor=self.cluster, **given)
        (self.script,) = (Path(self.run.root) / "scripts").glob("work.*.sh")

    def start(self, **environ: str) -> subprocess.Popen[bytes]:
        env = {**os.environ, "REFLOW_SLOT": "0", "REFLOW_EXEC": "exec", **environ}
        return subprocess.Popen([str(self.script)], env=env, start_new_session=True)

    def reported(self) -> dict[str, Any]:
        """What its one worker said of its element's end."""
        (box,) = (Path(self.run.root) / "mailbox").glob("*/*/0/0.1")
        payloads, _ = parse(box.read_bytes())
        (record,) = [record for record in map(msgspec.json.decode, payloads) if record["k"] == "finished"]
        return dict(record)


def test_the_clock_counts_from_the_start_of_the_job(lab: Any) -> None:
    lab.write(WARNED.format(time="1h", signal="TERM@600", more="", answer='return "saved"'))
    job = Job(lab)
    began = time.time() - 2999  # what the job's script did before took its time
    assert job.start(REFLOW_BEGIN=str(began)).wait(60) == 0
    assert job.reported()["r"] == "saved"
    (begin, warned) = lab.ran()
    assert 590 < int(begin.split()[-1]) <= 601
    assert 590 < int(warned.split()[-1]) <= 600


@pytest.mark.parametrize(
    ("number", "cls", "reason"),
    [
        (signal.SIGTERM, "cancelled", "interrupted by SIGTERM"),
        (signal.SIGINT, "cancelled", "interrupted by SIGINT"),
        (signal.SIGUSR2, "cancelled", "interrupted by SIGUSR2"),
        (signal.SIGUSR1, "timeout", "a limit of the scheduler's: interrupted by SIGUSR1"),
        (signal.SIGXCPU, "timeout", "a limit of the scheduler's: interrupted by SIGXCPU"),
        (signal.SIGALRM, "timeout", "a limit of the scheduler's: interrupted by SIGALRM"),
    ],
)
def test_signals_that_schedulers_send(lab: Any, number: int, cls: str, reason: str) -> None:
    lab.write("""
    def doze():  # a signal that comes just before a system call does not interrupt it
        until = time.monotonic() + 60
        while time.monotonic() < until:
            time.sleep(0.02)

    @wf.job()
    def work() -> int:
        child = subprocess.Popen(["sleep", "300"])
        (HERE / "up").write_text(str(child.pid))
        doze()
        return 0
    """)
    job = Job(lab)
    process = job.start()
    child = int(wait_for(lab.path / "up"))
    os.kill(process.pid, number)
    assert process.wait(60) == 0
    record = job.reported()
    assert (record["f"], record["w"]) == (cls, reason)
    assert not Path(f"/proc/{child}").exists()


def test_a_second_signal_does_not_interrupt_the_saving(lab: Any) -> None:
    lab.write("""
    def doze():
        until = time.monotonic() + 60
        while time.monotonic() < until:
            time.sleep(0.02)

    @wf.job()
    def work() -> str:
        try:
            (HERE / "up").write_text("1")
            doze()
        except reflow.TaskInterrupted:
            (HERE / "saving").write_text("1")
            while not flag("go"):
                time.sleep(0.01)
            return "saved"
        return "slept"
    """)
    job = Job(lab)
    process = job.start()
    wait_for(lab.path / "up")
    os.kill(process.pid, signal.SIGTERM)
    wait_for(lab.path / "saving")
    os.kill(process.pid, signal.SIGTERM)
    os.kill(process.pid, signal.SIGUSR1)
    lab.touch("go")
    assert process.wait(60) == 0
    assert job.reported()["r"] == "saved"


@pytest.mark.parametrize(
    ("options", "kept", "expected"),
    [
        ("cpus=3", "", ["3", "3", "3"]),
        ("", "", ["1", "1", "1"]),
        ("cpus=3, env={'MKL_NUM_THREADS': 7}", "", ["3", "7", "3"]),
        ("cpus=3", 'inherit_env = ["OMP_NUM_THREADS"]', ["5", "3", "3"]),
    ],
)
def test_libraries_start_as_many_threads_as_there_are_cpus(
    lab: Any, monkeypatch: pytest.MonkeyPatch, options: str, kept: str, expected: list[str]
) -> None:
    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"]
    lab.write(f"""
    @wf.job({options})
    def work() -> list[str]:
        return [os.environ[name] for name in {names}]
    """)
    (lab.path / "reflow.toml").write_text(f"[executor]\n{kept}\n")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    job = Job(lab)
    assert job.start(OMP_NUM_THREADS="99").wait(60) == 0  # what a node's profile says
    assert job.reported()["r"] == expected


# --- new attempts on request --------------------------------------------------

REQUEUES = """
@wf.job()
def make() -> list[int]:
    return [10, 20, 30]

@wf.array_job({options})
def work(n: Annotated[int, Result(step="make")]) -> int:
    saved = reflow.checkpoint_dir() / "steps"
    steps = int(saved.read_text()) if saved.exists() else 0
    note("attempt", n, reflow.context().attempt, steps)
    saved.write_text(str(steps + 1))
    if steps < {steps} and n != 20:
        raise reflow.Requeue(f"step {{steps}} is done")
    return n + steps
"""


@pytest.mark.parametrize("executor", ["local", "inline"])
def test_a_task_goes_on_in_a_new_attempt(lab: Any, executor: str) -> None:
    lab.write(REQUEUES.format(options="", steps=2))
    run = lab.good(executor)
    assert run.results("work") == [12, 20, 32]
    assert lab.ran() == sorted([f"attempt {n} {a} {a - 1}" for n in (10, 30) for a in (1, 2, 3)] + ["attempt 20 1 0"])
    rows = {row["index"]: row["attempt"] for row in run.status(elements=True)["elements"] if row["task"] == "work"}
    assert rows == {0: 3, 1: 1, 2: 3}
    assert "reflow: it goes on in a new attempt: step 1 is done" in run.logs("work", 0) or executor == "inline"


def test_new_attempts_on_request_are_bounded_and_use_up_no_retries(lab: Any) -> None:
    lab.write(REQUEUES.format(options="retries=Retry(max=1, requeues=3)", steps=99))
    run = lab.run("inline")
    assert {(one["class"], one["attempt"]) for one in run.status()["failures"]} == {("requeued", 4)}
    assert run.state is RunState.FAILED


def test_what_was_saved_is_there_after_retry_but_not_for_other_values(lab: Any) -> None:
    lab.write(REQUEUES.format(options="", steps=0))
    lab.edit(
        "    return n + steps", "    if n == 10 and not flag('fixed'):\n        raise ValueError\n    return n + steps"
    )
    run = lab.run("local")
    lab.touch("fixed")
    run.retry()
    assert run.results("work") == [11, 20, 30]
    assert lab.ran() == ["attempt 10 1 0", "attempt 10 2 1", "attempt 20 1 0", "attempt 30 1 0"]
    lab.edit("[10, 20, 30]", "[10, 21, 30]")
    again = lab.good("local")
    assert again.results("work") == [11, 21, 30], "a result is kept by its identity, saved steps or not"
    assert lab.ran() == ["attempt 21 1 0"]


def test_one_index_with_other_values_has_another_checkpoint(lab: Any) -> None:
    lab.write("""
    @wf.job(cache=False)
    def make() -> list[int]:
        return [int((HERE / "n").read_text())]

    @wf.array_job()
    def work(n: Annotated[int, Result(step="make")]) -> list[str]:
        kept = reflow.checkpoint_dir()
        assert kept == reflow.context().checkpoint_dir != reflow.context().scratch
        seen = sorted(os.listdir(kept))
        (kept / str(n)).touch()
        if not flag("fixed"):
            raise ValueError
        return seen
    """)
    (lab.path / "n").write_text("1")
    run = lab.run("inline")
    lab.touch("fixed")
    run.retry()
    assert run.results("work") == [["1"]]
    kept = list((Path(run.root) / "checkpoints" / "work" / "0").iterdir())
    assert [path.name.partition(".")[0] for path in kept] == ["0"]
    (lab.path / "fixed").unlink()
    other = lab.run("inline", force=True)
    (lab.path / "n").write_text("2")
    lab.touch("fixed")
    other.retry()
    assert other.results("work") == [["1"]], "only what failed is computed again"


def test_outside_a_task() -> None:
    assert time_left() is None
    with pytest.raises(UsageError, match="outside a running task"):
        checkpoint_dir()
    assert not issubclass(Requeue, Exception)


def test_nobody_listens_in_a_person_s_own_process() -> None:
    interrupts = Interrupts()
    assert interrupts.caused(KeyboardInterrupt())
    assert not interrupts.caused(ValueError())
    interrupts.relax()


def test_a_warning_that_interrupts_nothing_is_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that comes just before a system call leaves it waiting."""
    sent: list[int] = []
    kill = signal.pthread_kill

    def unheard(thread: int, number: int) -> None:
        sent.append(number)
        if len(sent) > 2:
            kill(thread, number)

    monkeypatch.setattr(signal, "pthread_kill", unheard)
    monkeypatch.setattr("reflow.worker.interrupts._AGAIN", 0.05)
    before = signal.getsignal(signal.SIGUSR2)
    interrupts = Interrupts()

    def sleep(interrupts: Interrupts) -> None:
        interrupts.expose()
        time.sleep(60)

    try:
        interrupts.expect(signal.SIGUSR2, 0.0, 1.0)
        with pytest.raises(TaskInterrupted, match="SIGUSR2"):
            sleep(interrupts)
        assert len(sent) == 3
        time.sleep(0.2)
        assert len(sent) == 3, "it was heard"
        assert (interrupts.warned, interrupts.asked) == ("SIGUSR2", "")
        signal.raise_signal(signal.SIGUSR2)
    except TaskInterrupted:
        assert interrupts.asked == "SIGUSR2", "what comes later is somebody else's"
    finally:
        interrupts.relax()
        signal.signal(signal.SIGUSR2, before)
    assert interrupts.asked
