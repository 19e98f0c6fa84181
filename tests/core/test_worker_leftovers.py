"""Nothing of an element outlives it: processes, timers, signal handlers, directory, file mode, variables."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from reflow import LocalExecutor
from reflow.testing import MemoryCluster
from reflow.worker import children

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are found by /proc")

#: ways to leave a process behind: each writes its own pid to a file
LEAVE = """
FLEE = "import os, sys, time; os.setsid(); open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(300)"

def leave(how):
    mark = HERE / f"left.{how}"
    flee = [sys.executable, "-c", FLEE, str(mark)]
    if how == "child":
        subprocess.Popen(["bash", "-c", f"echo $$ > {mark}; exec sleep 300"])
    elif how == "session":
        subprocess.Popen(flee)
    elif how == "daemon":  # its parent has ended: nobody's child, in a session of its own
        subprocess.run(["bash", "-c", '"$@" & ', "bash", *flee])
    elif how == "stubborn":
        subprocess.Popen(["bash", "-c", f"trap '' TERM INT HUP; echo $$ > {mark}; while :; do sleep 1; done"])
    elif how == "fork":  # with every descriptor of the worker's
        if os.fork() == 0:
            os.setsid()
            mark.write_text(str(os.getpid()))
            time.sleep(300)
            os._exit(0)
    while not (mark.exists() and mark.read_text().strip()):
        time.sleep(0.01)
"""

HOWS = ("child", "session", "daemon", "stubborn", "fork")


def ended(pid: int, seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while children._runs(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def left(lab: Any, how: str) -> int:
    path = lab.path / f"left.{how}"
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return int(path.read_text())


@linux
@pytest.mark.parametrize("end", ["return 1", "raise ValueError", "os.kill(os.getpid(), signal.SIGKILL)", "os._exit(3)"])
def test_processes_die_with_their_element(lab: Any, end: str) -> None:
    lab.write(
        LEAVE
        + f"""
    @wf.job()
    def make() -> list[str]:
        return {list(HOWS)!r}

    @wf.array_job()
    def work(how: Annotated[str, Result(step="make")]) -> int:
        leave(how)
        {end}

    @wf.array_job(after=["work"])
    def next(how: Annotated[str, Result(step="make")]) -> bool:
        return Path(f"/proc/{{(HERE / f'left.{{how}}').read_text().strip()}}").exists()
    """.replace("\n    ", "\n")
    )
    run = lab.run(LocalExecutor(max_workers=2))
    assert all(ended(left(lab, how)) for how in HOWS)
    if end == "return 1":
        assert run.results("work") == [1] * len(HOWS)
        assert run.results("next") == [False] * len(HOWS), "they are gone before the element's end is told"
        assert "reflow: killed what the task has left running: " in run.logs("work", 0)


@linux
def test_processes_die_at_the_walltime(lab: Any) -> None:
    lab.write(
        LEAVE
        + f"""
@wf.job()
def make() -> list[str]:
    return {list(HOWS)!r}

@wf.array_job(time="3s")
def work(how: Annotated[str, Result(step="make")]) -> int:
    leave(how)
    time.sleep(300)
    return 1
"""
    )
    run = lab.run(LocalExecutor(max_workers=len(HOWS)))
    assert [one["class"] for one in run.status()["failures"]] == ["timeout"] * len(HOWS)
    assert all(ended(left(lab, how)) for how in HOWS)


@linux
def test_an_orphan_cannot_keep_a_job(lab: Any) -> None:
    lab.write(
        LEAVE
        + """
@wf.job()
def work() -> int:
    leave("daemon")
    leave("fork")
    return 1
"""
    )
    cluster = MemoryCluster()
    cluster.held = True
    run = lab.flow.submit(lab.run_dir, executor=cluster)
    (script,) = (Path(run.root) / "scripts").glob("work.*.sh")
    read, write = os.pipe()
    process = subprocess.Popen(
        [str(script)], env={**os.environ, "REFLOW_SLOT": "0"}, pass_fds=[write], start_new_session=True
    )
    os.close(write)
    assert process.wait(60) == 0
    assert os.read(read, 1) == b"", "nobody holds what the job was given"
    os.close(read)
    assert ended(left(lab, "daemon"), 0)
    assert ended(left(lab, "fork"), 0)


@linux
def test_what_a_dead_driver_s_workers_have_left_is_killed_before_the_run_goes_on(lab: Any) -> None:
    lab.write(
        LEAVE
        + """
@wf.job()
def work() -> int:
    if flag("again"):
        return 2
    leave("session")
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(300)
    return 1
"""
    )
    driver = [sys.executable, str(lab.file), "run", "--executor", "local", "--run-dir", str(lab.run_dir)]
    assert subprocess.run(driver, timeout=120, check=False).returncode == -signal.SIGKILL
    orphan = left(lab, "session")
    lab.touch("again")
    from reflow import Run

    run = Run.open("latest")
    run.retry()
    run.drive()
    assert run.result("work") == 2
    assert ended(orphan, 0)


@linux
def test_a_worker_whose_processes_were_killed_makes_room_for_another(lab: Any) -> None:
    """A pool of processes that the script keeps for all its tasks is broken once they are killed."""
    lab.write("""
    from concurrent.futures import ProcessPoolExecutor
    import multiprocessing

    POOL = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))

    @wf.job()
    def make() -> list[int]:
        return [1, -2, 3]

    @wf.array_job()
    def work(n: Annotated[int, Result(step="make")]) -> int:
        return POOL.submit(abs, n).result()
    """)
    assert lab.good(LocalExecutor(max_workers=1)).results("work") == [1, 2, 3]


@linux
def test_services_of_the_interpreter_stay(lab: Any) -> None:
    lab.write("""
    import multiprocessing

    @wf.job()
    def make() -> list[int]:
        return [1, 2, 3]

    @wf.array_job()
    def work(n: Annotated[int, Result(step="make")]) -> list[int]:
        from multiprocessing import resource_tracker
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.map(abs, [-n]) == [n]
            pool.close()
            pool.join()
        return [os.getpid(), resource_tracker._resource_tracker._pid]
    """)
    run = lab.good(LocalExecutor(max_workers=1))
    ((worker, tracker),) = set(map(tuple, run.results("work")))
    assert ended(worker)
    assert ended(tracker)


LEAVINGS = """
@wf.job()
def make() -> list[int]:
    return [0, 1]

@wf.array_job(array_parallelism=1)
def work(n: Annotated[int, Result(step="make")]) -> dict[str, str]:
    seen = {
        "cwd": os.getcwd(),
        "umask": oct(os.umask(0o22)),
        "left": os.environ.get("LEFT", "no"),
        "home": os.environ.get("HOME", "no"),
        "timers": str([signal.getitimer(which)[0] > 0 for which in (0, 1, 2)]),
        "handlers": str([str(signal.getsignal(one)).partition(" object")[0].partition(" at ")[0] for one in SIGNALS]),
        "pid": str(os.getpid()),
    }
    if n == 0:
        os.chdir("/")
        os.umask(0o777)
        os.environ["LEFT"] = "1"
        del os.environ["HOME"]
        for one in SIGNALS:
            signal.signal(one, rude)
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.05, 0.05)
        signal.setitimer(signal.ITIMER_PROF, 0.05, 0.05)
        {end}
    until = time.monotonic() + 0.2
    while time.monotonic() < until:
        pass
    return seen

SIGNALS = [
    signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1,
    signal.SIGCHLD, signal.SIGPIPE, signal.SIGWINCH,
]

def rude(number, frame):
    raise RuntimeError(f"signal {number} has come too late")
"""


@pytest.mark.parametrize("end", ["return seen", "raise ValueError"])
def test_an_element_finds_its_process_as_the_one_before_did(lab: Any, end: str) -> None:
    lab.write(LEAVINGS.replace("{end}", end))
    umask = os.umask(0o22)
    os.umask(umask)
    run = lab.run(LocalExecutor(max_workers=1))
    assert lab.counts(run)["work"]["SUCCESS"] == (2 if end == "return seen" else 1), run.status()["failures"]
    if end == "return seen":
        first, second = run.results("work")
        assert first == second
        assert first["umask"] == oct(umask)
        assert first["timers"] == "[False, False, False]"


def test_a_person_s_own_timers_and_children_are_left_alone(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def work() -> int:
        return 1
    """)
    child = subprocess.Popen(["sleep", "300"])
    before = signal.signal(signal.SIGALRM, lambda number, frame: None)
    signal.setitimer(signal.ITIMER_REAL, 300)
    try:
        lab.good("inline")
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
        assert child.poll() is None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        child.kill()
        child.wait()


@linux
def test_children_are_found_without_the_kernel_s_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["bash", "-c", "sleep 300 & wait"], start_new_session=True) as child:
        deadline = time.monotonic() + 60
        while len(children.below(child.pid)) < 1:
            assert time.monotonic() < deadline
        found = children.below(os.getpid())
        assert sorted(children._children_by_parent(child.pid)) == sorted(children._children(child.pid))
        assert child.pid in found
        assert child.pid not in children.below(os.getpid(), but={child.pid})
        assert not set(children.below(child.pid)) & set(children.below(os.getpid(), but={child.pid}))
        os.killpg(child.pid, signal.SIGKILL)
    assert children._stat(child.pid) == []
    assert children._name(child.pid) == "?"
    assert children.below(child.pid) == []
