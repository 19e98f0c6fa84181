"""The local pool: whatever an element does to its worker is that element's affair alone."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from reflow import LocalExecutor, RunState
from reflow.worker import children

FAULTS = """
KINDS = [
    "fine", "killed", "segfault", "exit", "sys.exit", "raises", "slow", "stubborn", "closes", "closes fds", "chdir",
    "gone cwd", "child", "fork", "signals", "surrogates", "big", "bytes", "environ", "streams", "fine too",
]

@wf.job()
def make() -> list[str]:
    return KINDS

@wf.array_job(time="1s")
def timed(kind: Annotated[str, Result(step="make")]) -> str:
    if kind == "slow":
        time.sleep(60)
    if kind == "stubborn":
        try:
            time.sleep(60)
        except BaseException as error:
            note("interrupted", type(error).__name__)
            return "saved"
    return kind

@wf.array_job()
def work(kind: Annotated[str, Result(step="make")]) -> str:
    print("begin", kind, flush=True)
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "exit":
        os._exit(3)
    if kind == "sys.exit":
        sys.exit(4)
    if kind == "raises":
        raise ValueError("no")
    if kind == "closes":
        sys.stdout.close()
        sys.stderr.close()
        return kind
    if kind == "closes fds":
        os.close(1)
        os.close(2)
        return kind
    if kind == "chdir":
        os.chdir("/")
    if kind == "gone cwd":
        os.makedirs(HERE / "gone")
        os.chdir(HERE / "gone")
        os.rmdir(HERE / "gone")
    if kind == "child":
        child = subprocess.Popen(["sleep", "300"])
        (HERE / "child").write_text(str(child.pid))
    if kind == "fork":
        if os.fork() == 0:
            sys.exit(0)  # not os._exit: it comes back into the worker's own code
        os.wait()
    if kind == "signals":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
    if kind == "surrogates":
        print("\\ud800\\udcff", flush=True)
        print(b"\\xff\\xfe".decode("utf-8", "surrogateescape"), file=sys.stderr)
        return "\\ud800"
    if kind == "big":
        return "x" * 9_000_000
    if kind == "bytes":
        os.write(1, bytes(range(256)))
    if kind == "environ":
        os.environ["LEFT_BEHIND"] = "1"
        os.environ.pop("HOME")
    if kind == "streams":
        import io
        sys.stdout = io.StringIO()
    print("end", kind, flush=True)
    return kind

@wf.array_job(array_parallelism=1)
def after(kind: Annotated[str, Result(step="work")]) -> list[str]:
    print("after", flush=True)
    left = os.environ.get("LEFT_BEHIND", ""), os.environ.get("HOME", "gone")
    return [os.getcwd(), str(signal.getsignal(signal.SIGTERM) is signal.SIG_IGN), *left]
"""


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet counts."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_every_way_to_fail(lab: Any) -> None:
    lab.write(FAULTS)
    run = lab.run(LocalExecutor(max_workers=2))
    assert run.state is RunState.FAILED
    kinds = run.result("make")
    rows = run.status(elements=True)
    index = {kind: number for number, kind in enumerate(kinds)}
    failures = {
        kinds[one["index"]]: (one["class"], one["exit_code"], one["signal"])
        for one in rows["failures"]
        if one["task"] == "work"
    }
    assert failures == {
        "killed": ("exit", None, signal.SIGKILL),
        "segfault": ("exit", None, signal.SIGSEGV),
        "exit": ("exit", 3, None),
        "sys.exit": ("exit", 4, None),
        "raises": ("error", None, None),
    }
    timed = {kinds[one["index"]]: one["class"] for one in rows["failures"] if one["task"] == "timed"}
    assert timed == {"slow": "timeout"}
    assert lab.ran() == ["interrupted TaskInterrupted"]
    assert lab.counts(run)["work"] == {"SUCCESS": len(kinds) - 5, "FAILED": 5}
    assert lab.counts(run)["after"] == {"SUCCESS": len(kinds) - 5, "SKIPPED": 5}
    for kind, number in index.items():
        log = run.logs("work", number)
        assert log.count("begin") == 1, kind
        assert log.startswith(f"begin {kind}\n")
        if kind not in failures and kind not in ("closes", "closes fds", "streams", "surrogates", "big"):
            assert f"end {kind}\n" in log
    assert "ValueError: no" in run.logs("work", index["raises"])
    assert bytes(range(256)) in run.log_path("work", index["bytes"]).read_bytes()
    for kind in kinds:
        if kind not in failures:
            assert run.logs("after", index[kind]) == "after\n", kind
    for row in rows["elements"]:
        if row["state"] == "SUCCESS":
            assert row["attempt"] == 1
            assert row["max_rss"] > 1_000_000
            assert row["ended"] >= row["started"] > 0
    child = int((lab.path / "child").read_text())
    deadline = time.monotonic() + 5
    while not gone(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert gone(child)


def test_nothing_is_left_behind_for_the_next_element(lab: Any) -> None:
    lab.write(FAULTS)
    lab.edit("KINDS = [", "KINDS = ['chdir', 'signals', 'environ', 'gone cwd', 'streams', 'closes', 'fine']\nOLD = [")
    run = lab.good(LocalExecutor(max_workers=1))
    kinds = run.result("make")
    left = {tuple(kind) for kind in run.results("after")}
    assert left == {(os.getcwd(), "False", "", os.environ["HOME"])}
    assert run.logs("work", kinds.index("fine")) == "begin fine\nend fine\n"


def test_a_result_larger_than_any_buffer(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def big() -> str:
        return "x" * 20_000_000

    @wf.job()
    def size(big: Annotated[str, Result(step="big")]) -> int:
        return len(big)
    """)
    assert lab.good("local").result("size") == 20_000_000


def test_one_worker_that_dies_leaves_the_rest_to_a_new_one(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def make() -> list[int]:
        return list(range(20))

    @wf.array_job()
    def work(x: Annotated[int, Result(step="make")]) -> int:
        note(x)
        if x in (0, 7, 19):
            os.kill(os.getpid(), signal.SIGKILL)
        return x
    """)
    run = lab.run(LocalExecutor(max_workers=1))
    assert lab.counts(run)["work"] == {"SUCCESS": 17, "FAILED": 3}
    assert len(lab.ran()) == 20


def test_tasks_that_need_workers_of_their_own_wait_for_each_other(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def a() -> int:
        time.sleep(0.3)
        return int(os.environ.get("WHICH", 0))

    @wf.job(env={"WHICH": "1"})
    def b() -> int:
        return int(os.environ["WHICH"])

    @wf.job(env={"WHICH": "2"})
    def c() -> int:
        return int(os.environ["WHICH"])

    @wf.job(setup="export WHICH=3")
    def d() -> int:
        return int(os.environ["WHICH"])

    @wf.job(cpus=2)
    def e() -> str:
        return os.environ["OMP_NUM_THREADS"]
    """)
    run = lab.good(LocalExecutor(max_workers=1, cpus=4))
    assert [run.result(name) for name in "abcde"] == [0, 1, 2, 3, "2"]


def test_preparations_leave_path_and_find_modules(lab: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on schedulers: no login shell sets PATH anew, and the module command need not be there already."""
    monkeypatch.setenv("PATH", os.environ["PATH"] + os.pathsep + "/mine")
    init = tmp_path / "modules" / "init"
    init.mkdir(parents=True)
    (init / "bash").write_text('module() { [ "$2" != gone ] && export LOADED="$*"; }\n')
    monkeypatch.setenv("MODULESHOME", str(init.parent))
    monkeypatch.delenv("BASH_FUNC_module%%", raising=False)
    lab.write("""
    @wf.job(setup="export X=1")
    def path() -> str:
        return os.environ["PATH"]

    @wf.job(modules=["gcc/12", "netcdf c"])
    def loaded() -> str:
        return os.environ["LOADED"]

    @wf.job(modules=["gone"])
    def missing() -> None:
        pass
    """)
    run = lab.run(LocalExecutor(max_workers=1))
    assert run.result("path") == os.environ["PATH"]
    assert run.result("loaded") == "load gcc/12 netcdf c"
    (failure,) = run.status()["failures"]
    assert (failure["task"], failure["class"]) == ("missing", "launch")
    assert "cannot load modules: gone" in failure["reason"]


OVERLAPS = """
@wf.job()
def make() -> list[int]:
    return list(range(8))

@wf.array_job({options})
def work(x: Annotated[int, Result(step="make")]) -> int:
    note("begin", time.time(), "work")
    time.sleep(0.05)
    note("end", time.time(), "work")
    if x < 4 and reflow.context().attempt == 1:
        raise ValueError
    return x

@wf.array_job({others})
def other(x: Annotated[int, Result(step="make")]) -> int:
    note("begin", time.time(), "other")
    time.sleep(0.05)
    note("end", time.time(), "other")
    return x
"""


def most(lab: Any) -> int:
    """How many elements ran at once, at most."""
    now = found = 0
    moments = sorted((float(at), 1 if what == "begin" else -1) for what, at, _ in map(str.split, lab.ran()))
    for _, step in moments:
        now += step
        found = max(found, now)
    return found


@pytest.mark.parametrize(
    ("options", "others", "expected"),
    [
        ("array_parallelism=2, retries=1", "array_parallelism=1", 3),
        ("cpus=2, retries=1", "cpus=2", 2),
        ("mem='1G', retries=1", "mem='2G'", 3),
        ("retries=1", "", 4),
    ],
)
def test_parallelism_and_budgets_are_kept(lab: Any, options: str, others: str, expected: int) -> None:
    lab.write(OVERLAPS.format(options=options, others=others))
    lab.good(LocalExecutor(max_workers=4, cpus=4, mem=3 << 30))
    assert most(lab) <= expected


def test_parallelism_holds_over_attempts(lab: Any) -> None:
    lab.write(OVERLAPS.format(options="array_parallelism=1, retries=1", others=""))
    lab.edit('    note("begin", time.time(), "other")', "    return x")
    lab.good(LocalExecutor(max_workers=4))
    assert most(lab) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("cpus=9", "work asks for 9 cpus, this machine has 2: its elements run alone"),
        ("mem='5G'", "work asks for 5G of memory, this machine has 1.5G: its elements run alone"),
    ],
)
def test_larger_than_the_machine_runs_alone_and_says_so(lab: Any, options: str, says: str) -> None:
    lab.write(OVERLAPS.format(options=f"{options}, retries=1", others="cpus=1"))
    said: list[str] = []
    lab.good(LocalExecutor(max_workers=4, cpus=2, mem=3 << 29), on_progress=lambda step: said.append(step.message))
    assert says in said
    running: list[str] = []
    together: set[tuple[str, ...]] = set()
    for _, what, name in sorted((float(at), what, name) for what, at, name in map(str.split, lab.ran())):
        running.append(name) if what == "begin" else running.remove(name)
        together.add(tuple(sorted(running)))
    assert together <= {(), ("work",), ("other",), ("other", "other")}
    assert ("work",) in together


def test_an_executor_may_be_used_again(lab: Any) -> None:
    lab.write(OVERLAPS.format(options="retries=1", others=""))
    executor = LocalExecutor(max_workers=2)
    first, second = lab.good(executor, force=True), lab.good(executor, force=True)
    assert first.results("work") == second.results("work") == list(range(8))


def test_a_worker_that_cannot_start_is_a_failure_to_launch(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write("""
    @wf.job(setup="echo out of order >&2; exit 3")
    def one() -> int:
        return 1

    @wf.job()
    def other() -> int:
        return 1
    """)
    run = lab.run(LocalExecutor(max_workers=2))
    (failure,) = run.status()["failures"]
    assert (failure["task"], failure["class"]) == ("one", "launch")
    assert "out of order" in failure["reason"]
    assert lab.counts(run)["other"] == {"SUCCESS": 1}


def test_workers_that_end_before_they_take_anything_are_not_started_for_ever(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.write("""
    @wf.job()
    def one() -> int:
        return 1
    """)
    hollow = lab.path / "reflow_hollow"
    hollow.mkdir()
    (hollow / "sitecustomize.py").write_text(
        "import sys\n"
        "if '--lane' in sys.orig_argv:\n"
        "    import reflow.worker.main as main\n"
        "    main.Lane.serve = lambda lane: print('worn out', file=sys.stderr)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(hollow))
    run = lab.run(LocalExecutor(max_workers=2))
    (failure,) = run.status()["failures"]
    assert failure["class"] == "launch"
    assert "worn out" in failure["reason"]


def test_a_script_that_workers_cannot_import_fails_its_elements(lab: Any) -> None:
    lab.write("""
    if "reflow.worker" in " ".join(sys.orig_argv):
        raise RuntimeError("not here")

    @wf.job()
    def one() -> int:
        return 1
    """)
    run = lab.run("local")
    (failure,) = run.status()["failures"]
    assert "RuntimeError: not here" in failure["reason"]


def test_no_process_and_no_descriptor_is_left(lab: Any) -> None:
    lab.write(OVERLAPS.format(options="retries=1", others=""))
    lab.good("local")
    before, there = len(os.listdir("/proc/self/fd")), set(children.below(os.getpid()))
    lab.good("local", force=True)
    assert len(os.listdir("/proc/self/fd")) == before
    assert set(children.below(os.getpid())) <= there, "what other tests have left is theirs"
