"""A world in which processes die: forked children run reflow, their parent keeps the cluster, the clock and the count.

Submit, workers, wake-ups and drive are real processes, forked from this one, in one real directory. The in-memory
cluster and its fake clock live here, in the parent, and survive them: a child asks over a pipe, and sleeps by letting
fake time pass, in which the cluster starts further children. Each child counts its *steps*: whatever changes a file
below the world's directory, and each call of the scheduler, before and after. At a step that was planned it is killed
(SIGKILL), stopped (SIGSTOP, until others have taken over), or told that the disk is full. What the kernel has then
is what the next process finds.
"""

from __future__ import annotations

import gc
import hashlib
import itertools
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from mmap import mmap
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from stat import S_ISDIR
from struct import Struct
from typing import Any, NamedTuple, NoReturn

import msgspec

from reflow import LocalExecutor, Run, RunState, Workflow
from reflow.errors import ExecutorError, ReflowError, RunNotFound
from reflow.local import pool
from reflow.model.definition import Entry
from reflow.model.frames import parse
from reflow.model.job import Job, JobRef, JobStatus, Limits, Submission
from reflow.model.names import FailureClass
from reflow.run.definition import open as opening
from reflow.run.drive import wakeup_main
from reflow.run.journal import lease
from reflow.run.service import api
from reflow.run.views.status import look
from reflow.testing import Died, MemoryCluster, Start
from reflow.worker import main as worker
from reflow.worker.load import load_flow

SCRIPT = """\
import time
from typing import Annotated
import crashlab
from reflow import Result, Workflow

wf = Workflow("crash")

@wf.job(retries=3)
def make() -> list[int]:
    crashlab.ran("make", 0)
    return [10, 20, 30]

@wf.array_job(retries=3)
def work(x: Annotated[int, Result(step="make")]) -> int:
    if crashlab.ran("work", x // 10 - 1) == 1 and x == 20:
        raise ValueError("the first time it fails")
    return x + 1

@wf.job(retries=3)
def total(xs: Annotated[list[int], Result(step="work")]) -> int:
    crashlab.ran("total", 0)
    return sum(xs)
"""

#: the right answer, and how often each element fails before it succeeds
ANSWER = 63
FAILURES = {("work", 1): 1}
ELEMENTS = [("make", 0), ("work", 0), ("work", 1), ("work", 2), ("total", 0)]

#: real seconds after which a silent child is taken for hung
PATIENCE = 120.0

#: fake seconds of silence after which ``status`` asks by itself
QUIET = 1000.0

#: fake seconds after which nothing more is expected
TOO_LATE = 200_000.0

#: how the life of a process that was stopped ends, as long as it is
STOPPED = "stopped"

_DOUBLE = Struct("d")
_EPOCH = 1_800_000_000.0
_real = {name: getattr(os, name) for name in ("open", "write", "close", "read", "listdir", "truncate")}
_CHANGES = ("mkdir", "rmdir", "rename", "replace", "link", "symlink", "unlink", "remove", "truncate", "ftruncate")


class Fault(NamedTuple):
    """What befalls one process at one of its steps, counted from 0."""

    process: int
    step: int
    #: kill; tear: kill in the midst of a write; lose: the node dies, and with it what was not synced; stop; or the name
    #: of an errno that this step, or it and all later ones (with a +), end with
    how: str = "kill"


class Past(NamedTuple):
    """A process that has lived."""

    role: str
    steps: list[str]
    #: how it ended: "" for well, else a signal's name or an error
    end: str


class World:
    """One run's world.

    Parameters
    ----------
    faults : sequence of Fault
        What is to go wrong.
    limits : Limits
        The cluster's.
    harm : FailureClass
        What the cluster says of workers that were killed.
    counting : bool
        Whether the steps of all processes are written down.
    """

    def __init__(
        self,
        *faults: Fault,
        limits: Limits | None = None,
        harm: FailureClass = FailureClass.EXIT,
        script: str = SCRIPT,
        settings: Mapping[str, str] | None = None,
        cluster: type[MemoryCluster] = MemoryCluster,
        counting: bool = False,
        **kwargs: Any,
    ) -> None:
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.path = Path(tempfile.mkdtemp(prefix="reflow-faults-", dir=base))
        self.faults = {(fault.process, fault.step): fault.how for fault in faults}
        self.harm = harm
        self.counting = counting
        self.settings = dict(settings or {})
        self.past: list[Past] = []
        self.stopped: list[Child] = []
        self._clock = mmap(-1, _DOUBLE.size)
        self.cluster = cluster(program=self._program, limits=limits or Limits(visibility_lag=2.0), **kwargs)
        (self.path / "pipeline.py").write_text(script)
        (self.path / "ledger").touch()
        self.nodes = 0
        #: seconds by which the clocks of processes that start from now on are ahead
        self.ahead = 0.0
        #: seconds for which processes that start from now on are shown directories as they were before
        self.stale = 0.0
        self.seen = 0

    #: whether hosts, clocks and the scheduler are
    simulated = True

    # --- living --------------------------------------------------------------

    def submit(self) -> str:
        """Submit the pipeline, from the login node; says how that process ended."""

        def act(life: Life) -> None:
            flow = load_flow(Entry(file=str(self.path / "pipeline.py"), module="pipeline", variable="wf"))
            assert isinstance(flow, Workflow)
            flow.submit(self.path / "run", executor=life.executor)

        return self._foreground("submit", act)

    def drive(self, *, once: bool = False) -> str:
        """What a person does with a run that does not go on: ``reflow drive``."""
        return self._foreground("drive", lambda life: self.run().drive(once=once))

    def command(self, verb: str, **given: Any) -> str:
        """Cancel or retry, from the login node."""
        return self._foreground(verb, lambda life: getattr(self.run(), verb)(**given))

    def standing(self) -> dict[str, str]:
        """What ``reflow status`` says of the run, on the login node."""
        told: dict[str, str] = {}

        def act(life: Life) -> Any:
            return self.run().status()["run"]

        self._foreground("status", act, told)
        return told

    def settle(self, seconds: float | None = None) -> None:
        """Let time pass: so much, or until the cluster has nothing more to do."""
        self._tick(seconds or 0.0)
        if seconds is None:
            self.cluster.drain()
            self._tick(0.0)

    def recover(self) -> None:
        """Do what a person would after something has died, and expect that it suffices."""
        self.settle()
        for _ in range(8):
            try:
                run = self.run()
            except RunNotFound:
                self.submit()  # nothing was made: once more
                self.settle()
                continue
            if run.state.ended:
                return
            if not self.queued():
                told = {"reason": "does not answer"}
                while "does not answer" in told["reason"]:  # nobody can tell then
                    self._tick(QUIET)
                    told = self.standing()
                if told["status"] != "STALLED" and RunState(told["status"]).ended:
                    return  # nothing was left of it, as its scheduler has said
                young = told["status"] == "PENDING" and not self.simulated  # it might be about to begin
                assert told["status"] == "STALLED" or young, (
                    f"nothing is queued, running or due, and status says {told}"
                )
                assert "reflow" in told["reason"] or young, "what goes on with it is not said"
            self.drive()
            self.settle()
        raise AssertionError(f"the run does not end: {self.standing()}")

    def run(self) -> Run:
        """The world's run."""
        return Run.open(self.path / "run")

    # --- judging -------------------------------------------------------------

    def check(
        self,
        elements: Sequence[tuple[str, int]] = ELEMENTS,
        failures: Mapping[tuple[str, int], int] = FAILURES,
    ) -> None:
        """Nothing lost, nothing twice, nothing stuck, the right answer, nothing left in the queue."""
        run = self.run()
        state = look(run.root, run.definition)
        assert state.run is RunState.SUCCESS, (state.run, run.status()["failures"])
        assert run.result("total") == ANSWER
        assert not self.queued()
        lines = (self.path / "ledger").read_text().splitlines()
        assert not [line for line in lines if line.endswith("TWICE")], lines
        calls = Counter(tuple(line.split()[:2]) for line in lines)
        harmed = self.harmed()
        for task, index in elements:
            least = 1 + failures.get((task, index), 0)
            assert least <= calls[task, str(index)] <= least + harmed, (task, index, lines)

    def harmed(self) -> int:
        """How often an element may have begun in vain."""
        return sum(past.role == "worker" and past.end != "" for past in self.past)

    def queued(self) -> list[str]:
        """Tags of jobs that the cluster has not done with."""
        return [tag for tag, slots in self.cluster.jobs().items() if not all(slot.state.ended for slot in slots)]

    def close(self) -> None:
        """Let go of everything."""
        for child in self.stopped:
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)
        self._clock.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def __enter__(self) -> World:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # --- inside --------------------------------------------------------------

    def _tick(self, seconds: float) -> None:
        if seconds:
            self.cluster.advance(seconds)
        _DOUBLE.pack_into(self._clock, 0, _EPOCH + self.cluster.now)

    def _foreground(self, role: str, act: Callable[[Life], Any], told: dict[str, Any] | None = None) -> str:
        child = self._fork(role, "login", act)
        play = self._play(child)
        while True:
            try:
                seconds = next(play)
            except StopIteration:
                break
            self._tick(seconds)
            if self.cluster.now > TOO_LATE:
                os.kill(child.pid, signal.SIGKILL)
                self._bury(child)
                raise AssertionError(f"{role} does not end")
        if told is not None and child.answer is not None:
            told.update(child.answer)
        return self.past[child.number].end

    def _program(self, start: Start) -> Generator[float, None, int | Died | None]:
        """Play a slot: what its script would start."""
        self._tick(0.0)
        root = str(Path(start.job.script).parents[1])
        environ = {**start.environ, "REFLOW_JOB_ID": start.ref.id}
        self.nodes += 1
        if start.job.spec is not None:
            role, act = "worker", lambda life: _work(root, start.job.tag, start.slot)
        else:
            role, act = "wake-up", lambda life: _left(wakeup_main.main([root, start.job.tag]))
        child = self._fork(role, f"node{self.nodes}", act, environ)
        try:
            yield from self._play(child)
        finally:
            if not child.ended and child not in self.stopped:
                os.kill(child.pid, signal.SIGKILL)
                self._bury(child)
        end = self.past[child.number].end
        if not end:
            return 0
        if end == STOPPED:
            return Died(signal=9, failure_class=FailureClass.NODE_FAIL, reason="the node does not answer")
        if end == "SIGKILL":
            return Died(signal=9, failure_class=self.harm)
        return 1

    def _fork(
        self, role: str, host: str, act: Callable[[Life], Any], environ: Mapping[str, str] | None = None
    ) -> Child:
        ours, theirs = Pipe()
        number = len(self.past)
        self.past.append(Past(role, [], "alive"))
        pid = os.fork()
        if pid == 0:
            ours.close()
            for child in self.stopped:
                child.conn.close()
            Life(self, theirs, number, host, environ or {}).live(act)
        theirs.close()
        return Child(pid, ours, number, role)

    def _play(self, child: Child) -> Generator[float, None, None]:
        """Serve a child until it has ended; yields the fake seconds that it sleeps."""
        while True:
            self._tick(0.0)
            if not child.conn.poll(PATIENCE):
                os.kill(child.pid, signal.SIGKILL)
                self._bury(child)
                raise AssertionError(f"process {child.number} ({child.role}) hangs")
            try:
                verb, *given = child.conn.recv()
            except (EOFError, ConnectionResetError):
                self._bury(child)
                return
            if verb == "sleep":
                yield given[0]
                self._tick(0.0)
                child.reply(None)
            elif verb == "stop":
                os.waitpid(child.pid, os.WUNTRACED)
                self.stopped.append(child)
                self.past[child.number] = self.past[child.number]._replace(end=STOPPED)
                return
            elif verb == "end":
                child.answer = given[1]
                child.word = given[0]
            else:
                child.reply(self._called(verb, given))

    def thaw(self) -> None:
        """Let those that were stopped go on to their end."""
        while self.stopped:
            child = self.stopped.pop()
            os.kill(child.pid, signal.SIGCONT)
            for seconds in self._play(child):
                self._tick(seconds)

    def _called(self, verb: str, given: Sequence[Any]) -> tuple[str, Any]:
        try:
            return "", getattr(self.cluster, verb)(*given)
        except ExecutorError as error:
            return error.message, (error.transient, error.maybe_done)

    def _bury(self, child: Child) -> None:
        child.ended = True
        child.conn.close()
        _, status = os.waitpid(child.pid, 0)
        # A child that has said its last word is killed as well: nothing of its parent's must be run by it.
        end = child.word if child.word is not None else signal.Signals(os.WTERMSIG(status)).name
        self.past[child.number] = self.past[child.number]._replace(end=end, steps=self.steps(child.number))

    def steps(self, number: int) -> list[str]:
        """What a process has done, where that is counted."""
        if not self.counting or not (self.path / "steps").exists():
            return []
        lines = [line.partition(" ") for line in (self.path / "steps").read_text().splitlines()]
        return [name for of, _, name in lines if of == str(number)]


#: lanes count from here
LANES = 1000


class LocalWorld(World):
    """A run on this machine: the driving process forks its lanes, and both may die."""

    simulated = False

    def submit(self) -> str:
        """Run the pipeline, in the foreground."""

        def act(life: Life) -> None:
            life.fork_lanes()
            flow = load_flow(Entry(file=str(self.path / "pipeline.py"), module="pipeline", variable="wf"))
            assert isinstance(flow, Workflow)
            flow.run_local(self.path / "run", executor=LocalExecutor(max_workers=2))

        return self._foreground("local", act)

    def drive(self, *, once: bool = False) -> str:
        """What a person does with a run whose process is gone."""

        def act(life: Life) -> None:
            life.fork_lanes()
            self.run().drive()

        return self._foreground("drive", act)

    def lanes(self) -> list[Past]:
        """Lanes that have lived, where steps are counted."""
        numbers = {int(line.split()[0]) for line in (self.path / "steps").read_text().splitlines()}
        return [Past("lane", self.steps(number), "") for number in sorted(numbers) if number >= LANES]

    def harmed(self) -> int:
        """How often an element may have begun in vain."""
        return 2 * sum(past.end != "" for past in self.past) + sum(number >= LANES for number, _ in self.faults)


class Forked:
    """A lane, forked in place of a fresh interpreter, as the pool knows it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._wait(os.WNOHANG)

    def wait(self, timeout: float | None = None) -> int | None:
        return self._wait(0)

    def _wait(self, how: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, how)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


class Child:
    """A process, as its parent knows it."""

    def __init__(self, pid: int, conn: Connection, number: int, role: str) -> None:
        self.pid = pid
        self.conn = conn
        self.number = number
        self.role = role
        self.ended = False
        self.answer: Any = None
        self.word: str | None = None

    def reply(self, answer: Any) -> None:
        """Answer a question; one of its threads may have ended the process since."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.conn.send(answer)


class Life:
    """What a child knows of itself."""

    def __init__(self, world: World, conn: Connection, number: int, host: str, environ: Mapping[str, str]) -> None:
        self.world = world
        self.conn = conn
        self.number = number
        self.host = host
        self.environ = environ
        self.steps = 0
        self.error = ""
        #: of files that were written: how much of them is durable
        self.durable: dict[str, int] = {}
        self.pid = os.getpid()
        self.executor = Remote(self)

    def live(self, act: Callable[[Life], Any]) -> NoReturn:
        global _life
        _life = self
        word, answer = "", None
        try:
            self._settle_in()
            answer = act(self)
        except ReflowError as error:
            word = f"{type(error).__name__}: {error}"
        except BaseException as error:
            word = f"[{type(error).__name__}] {error}\n" + traceback.format_exc()
        if os.getpid() == self.pid:
            try:
                self.conn.send(("end", word, answer if isinstance(answer, dict) else None))
            finally:
                os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)

    def _settle_in(self) -> None:
        """Be in this world; from here on steps are counted."""
        world = self.world
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        os.chdir(world.path)
        os.environ.update(self.environ)
        os.environ.update(world.settings)
        os.environ["REFLOW_STORE_PATH"] = str(world.path / "store")
        os.environ["XDG_CACHE_HOME"] = str(world.path / "index")
        if world.simulated:
            self._elsewhere()
        drawn = itertools.count()

        def urandom(size: int) -> bytes:  # the same in every life of that number, so that steps are
            return hashlib.sha256(f"{self.number} {next(drawn)}".encode()).digest()[:size]

        os.urandom = urandom  # type: ignore[assignment]
        for name in ("write", "pwrite", "fsync"):
            setattr(os, name, self._counted(name, getattr(os, name)))
        for name in _CHANGES:
            setattr(os, name, self._counted(name, getattr(os, name)))
        open_ = os.open

        def opened(path: Any, flags: int, *rest: Any, **more: Any) -> int:
            if flags & (os.O_CREAT | os.O_TRUNC):
                self.step("open", os.fspath(path))
            return open_(path, flags, *rest, **more)

        os.open = opened  # type: ignore[assignment]

    def _elsewhere(self) -> None:
        """Another host, another clock, another scheduler."""
        world = self.world
        named = os.uname()
        fields = (named.sysname, self.host, named.release, named.version, named.machine)
        os.uname = lambda: os.uname_result(fields)  # type: ignore[assignment,misc]

        def now() -> float:
            return float(_DOUBLE.unpack_from(world._clock, 0)[0])

        ahead = world.ahead
        time.time = lambda: now() + ahead  # type: ignore[assignment]
        time.time_ns = lambda: int(time.time() * 1e9)  # type: ignore[assignment]
        time.monotonic = now  # type: ignore[assignment]
        time.sleep = self._sleep  # type: ignore[assignment]
        lease.clock = now
        executor_of = lambda definition, root: self.executor  # noqa: E731
        for module in (api, opening):
            module.executor_of = executor_of  # type: ignore[attr-defined]
        until, listdir = now() + world.stale, os.listdir

        def listed(path: Any = ".") -> Any:
            """What there was when the listing grew stale, files that have changed since left out, too."""
            names = listdir(path)
            if now() > until:
                return names
            states = {name: os.stat(os.path.join(path, name)) for name in names}
            return [n for n, state in states.items() if S_ISDIR(state.st_mode) or state.st_ctime_ns < world.seen]

        if world.stale:
            os.listdir = listed  # type: ignore[assignment]

    def fork_lanes(self) -> None:
        """Let the pool fork its workers."""
        pool.spawn = self._spawn  # type: ignore[assignment]

    def _spawn(
        self, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, output: int, keep: Sequence[int] = ()
    ) -> Forked:
        ours = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # of which a fresh process knows nothing
        signal.pthread_sigmask(signal.SIG_BLOCK, ours)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of threads: the lease's beats, and holds no lock that the lane needs
            pid = os.fork()
        if pid:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ours)
            return Forked(pid)
        try:
            for number in ours:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ours)
            os.setsid()
            kept = {0, 1, 2, *keep}
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for descriptor in (1, 2):
                os.dup2(output, descriptor)
            for name in _real["listdir"]("/proc/self/fd"):
                if int(name) not in kept:
                    with suppress(OSError):
                        os.close(int(name))
            os.environ.clear()
            os.environ.update(env)
            os.chdir(cwd)
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
            words = list(argv[argv.index("--lane") :])
            self.pid, self.number, self.steps, self.error = os.getpid(), LANES + int(words[3]), 0, ""
            worker.main(words)
        except BaseException:
            traceback.print_exc()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)

    def _sleep(self, seconds: float) -> None:
        self.conn.send(("sleep", max(0.0, seconds)))
        self.conn.recv()

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        writes = name in ("write", "pwrite")

        def counted(first: Any, *rest: Any, **more: Any) -> Any:
            if os.getpid() != self.pid:
                return call(first, *rest, **more)
            if isinstance(first, int):
                try:
                    path = os.readlink(f"/proc/self/fd/{first}")
                except OSError:
                    path = ""
            else:
                path = os.fsdecode(first)
            torn = self.step(name, path, rest[0] if writes else None)
            if torn is not None:
                call(first, torn, *rest[1:], **more)
                os.kill(os.getpid(), signal.SIGKILL)
            if writes:
                self.durable.setdefault(path, os.fstat(first).st_size)
            found = call(first, *rest, **more)
            if name == "fsync" and path in self.durable:
                self.durable[path] = os.fstat(first).st_size
            elif name in ("rename", "replace", "link") and path in self.durable:
                self.durable[os.path.abspath(rest[0])] = self.durable[path]
            return found

        return counted

    def step(self, name: str, path: str = "", data: Any = None) -> bytes | None:
        """One step; returns what is to be written of `data` before the end, where that comes in its midst."""
        home = str(self.world.path) + "/"
        if name not in Remote.VERBS:
            path = os.path.join(os.getcwd(), path)
            if not path.startswith(home) or path == home + "ledger" or path.startswith(home + "index/"):
                return None
        number, self.steps = self.steps, self.steps + 1
        if self.world.counting:
            said = f"{self.number} {name} {path.removeprefix(home)}".strip()
            file = _real["open"](f"{home}steps", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            _real["write"](file, said.encode() + b"\n")
            _real["close"](file)
        how = self.world.faults.get((self.number, number), "")
        if how == "lose":
            for written, length in self.durable.items():
                if os.path.exists(written) and os.stat(written).st_size > length:
                    _real["truncate"](written, length)
        if how in ("kill", "lose") or (how == "tear" and data is None):
            os.kill(os.getpid(), signal.SIGKILL)
        elif how == "tear":
            return bytes(data)[: max(1, len(data) // 2)]
        elif how == "stop":
            self.conn.send(("stop",))
            os.kill(os.getpid(), signal.SIGSTOP)
        elif how:
            self.error = how
        if self.error and name not in Remote.VERBS:
            how = self.error
            if not how.endswith("+"):
                self.error = ""
            import errno

            code = getattr(errno, how.rstrip("+"))
            raise OSError(code, os.strerror(code), path)
        return None


class Remote:
    """The cluster, as a child sees it."""

    name = "memory"
    VERBS = ("before", "after")

    def __init__(self, life: Life) -> None:
        self._life = life
        self.settings: Mapping[str, Any] = {}
        self.limits = life.world.cluster.limits

    def _ask(self, verb: str, *given: Any) -> Any:
        self._life.step("before", verb)
        self._life.conn.send((verb, *given))
        problem, answer = self._life.conn.recv()
        self._life.step("after", verb)
        if problem:
            transient, maybe_done = answer
            raise ExecutorError(problem, transient=transient, maybe_done=maybe_done)
        return answer

    def submit(self, job: Job) -> Submission:
        found: Submission = self._ask("submit", job)
        return found

    def query(self, jobs: Sequence[JobRef]) -> Mapping[JobRef, JobStatus]:
        found: Mapping[JobRef, JobStatus] = self._ask("query", list(jobs))
        return found

    def find(self, tags: Collection[str]) -> Mapping[str, JobRef]:
        found: Mapping[str, JobRef] = self._ask("find", list(tags))
        return found

    def cancel(self, jobs: Sequence[JobRef]) -> None:
        self._ask("cancel", list(jobs))


_life: Life | None = None


def warm() -> None:
    """Let this process have imported, and built, what its children would otherwise each for themselves."""
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "warm.py"
        path.write_text(SCRIPT.replace("crashlab.ran", "(lambda *given: 2)"))
        flow = load_flow(Entry(file=str(path), module="warm", variable="wf"))
        assert isinstance(flow, Workflow)
        for name in ("once", "again"):
            run = flow.run_local(Path(home) / name, executor="inline", store_path=Path(home) / "store")
            assert run.state is RunState.SUCCESS
            run.status()
    with World() as world:
        # Once with everything in this process: decoders, for one, are made when they are used first.
        world.submit()
    gc.collect()
    gc.freeze()


def ran(task: str, index: int) -> int:
    """Write into the ledger that an element is being run; how often it has been, this time counted."""
    assert _life is not None
    ledger = _life.world.path / "ledger"
    twice = " TWICE" if recorded(_life.world.path / "run", task, index) else ""
    file = _real["open"](ledger, os.O_WRONLY | os.O_APPEND)
    _real["write"](file, f"{task} {index}{twice}\n".encode())
    _real["close"](file)
    lines = ledger.read_text().splitlines()
    if _life.world.simulated:
        time.sleep(1.0)
    return sum(line.split()[:2] == [task, str(index)] for line in lines)


def _work(root: str, tag: str, slot: int) -> None:
    """What a job's worker does: its element, and then what the last one of a group does."""
    wakes = worker.slot(root, tag, slot)
    if wakes:
        _left(wakeup_main.main(["--last", root, *wakes]))


def _left(code: int) -> None:
    if code:
        raise ReflowError(f"it ended with exit code {code}")


def recorded(run_dir: Path, task: str, index: int) -> bool:
    """Whether the success of an element is on record anywhere in a run directory."""
    for top in (run_dir / ".reflow").glob("*"):
        for path in [*top.glob("mailbox/*/*/*/*"), *top.glob("events/*/*.log")]:
            payloads, _ = parse(path.read_bytes())
            records = [msgspec.json.decode(payload) for payload in payloads]
            if any(
                one["k"] in ("finished", "hit") and (one["t"], one["i"]) == (task, index) and not one.get("f")
                for one in records
            ):
                return True
    return False


def shards(trials: Sequence[Callable[[], None]]) -> None:
    """Make trials in as many processes as there are processors; all that fail are told."""
    assert trials
    count = min(len(os.sched_getaffinity(0)), 4)
    pipes = [Pipe(duplex=False) for _ in range(count)]
    pids = []
    for number, (_, writer) in enumerate(pipes):
        pid = os.fork()
        if pid == 0:
            bad = []
            for trial in trials[number::count]:
                try:
                    trial()
                except BaseException as error:
                    name = f"{trial.args}" if isinstance(trial, partial) else ""
                    bad.append(f"{name}: " + "".join(traceback.format_exception_only(type(error), error))[:2000])
            writer.send((len(trials[number::count]), bad))
            os.kill(os.getpid(), signal.SIGKILL)
        pids.append(pid)
    for _, writer in pipes:
        writer.close()
    made = 0
    told: list[str] = []
    for (reader, _), pid in zip(pipes, pids, strict=True):
        number, bad = reader.recv()
        made += number
        told += bad
        os.waitpid(pid, 0)
    assert made == len(trials)
    assert not told, f"{len(told)} of {made}:\n" + "\n".join(told[:20])
