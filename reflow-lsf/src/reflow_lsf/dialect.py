"""IBM Spectrum LSF and OpenLava, as their commands speak."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from reflow.plugin import (
    JSON,
    SCRIPT,
    WORKER,
    Call,
    Cell,
    CommandExecutor,
    Completed,
    Context,
    Dialect,
    FailureClass,
    Job,
    JobState,
    JobStatus,
    Limits,
    Row,
    Site,
    UsageError,
    Words,
    built,
    cancelled,
    ceiling,
    exited,
    failed,
    flag,
    given,
    layout,
    names,
    outliving,
    pending,
    refused,
    running,
    succeeded,
    to_ranges,
    unknown,
)

_UNITS = {"KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40, "PB": 2**50, "EB": 2**60}

#: where LSF looks for lsf.conf without LSF_ENVDIR
_CONFIGURATION = "/etc"

#: the longest list of elements that is asked for, else all of the array; characters of ids, else all of the user's jobs
_LONGEST, _ROOM = 250, 100_000

_STATES = {
    "PEND": pending("PEND", "waiting"),
    "PSUSP": pending("PSUSP", "held"),
    "WAIT": pending("WAIT", "waiting"),
    "PROV": pending("PROV", "waiting for its host to be prepared"),
    "RUN": running("RUN"),
    "USUSP": running("USUSP", "suspended"),
    "SSUSP": running("SSUSP", "suspended"),
    "UNKWN": running("UNKWN", "its host does not answer"),
    "ZOMBI": running("ZOMBI", "cancelled, but its host does not answer"),
    "DONE": succeeded("DONE"),
    "EXIT": failed(FailureClass.EXIT, "EXIT"),
}
_TERMINATED = {
    "TERM_RUNLIMIT": (FailureClass.TIMEOUT, "walltime exceeded"),
    "TERM_DEADLINE": (FailureClass.TIMEOUT, "deadline reached"),
    "TERM_CPULIMIT": (FailureClass.TIMEOUT, "CPU time exceeded"),
    "TERM_MEMLIMIT": (FailureClass.OOM, "more memory than it asked for"),
    "TERM_SWAP": (FailureClass.OOM, "more memory than it asked for"),
    "TERM_PREEMPT": (FailureClass.PREEMPTED, "preempted"),
    "TERM_ZOMBIE": (FailureClass.NODE_FAIL, "its host was lost"),
}


class LSF(Dialect):
    """IBM Spectrum LSF 10.1."""

    name = "lsf"
    title = "LSF"
    prefix = "#BSUB"
    programs = ("bsub", "bjobs", "bkill", "bparams")
    limits = Limits(array_base=1, max_array=1000, max_after=400, visibility_lag=5.0)
    index = "LSB_JOBINDEX"
    job_id = '"${LSB_JOBID-}"'
    # A job whose topmost shell is killed counts as done on OpenLava, and so does one that survives being killed.
    outlive = outliving()
    asks: ClassVar[Mapping[str, Words]] = {"variant": ("bsub", "-V"), "parameters": ("bparams", "-a")}
    accepted = r"Job <(\d+)> is submitted"
    ends = "bkill"
    dashes = "-"
    joint, both = ") && ended(", " && "
    # A time that has passed when the command reads it is next year's.
    moment, ahead = "%m:%d:%H:%M", 30.0
    cells: ClassVar[Mapping[str, Cell]] = {
        "name": flag("-J {}"),
        "queue": flag("-q {}"),
        "account": flag("-P {}"),
        "project": flag("-P {}"),
        "qos": refused("LSF has service classes: sla=NAME"),
        "time": built("-W {} minutes"),
        "mem": built("-M {}, -R rusage[mem={}], in the site's unit"),
        "cpus": built("-n {}, -R span[hosts=1]"),
        "nodes": built("-R span[ptile={}]"),
        "tasks": built("-n {}"),
        "gpus": built("-gpu num={}"),
        "exclusive": flag("-x"),
        "constraint": built("-R select[{}]"),
        "reservation": flag("-U {}"),
        "priority": flag("-sp {}"),
        "nice": refused("LSF has priorities only: priority=1"),
        "begin": built("-b {}"),
        "array": built("-J NAME[1-{}]"),
        "array_parallelism": built("-J NAME[1-9]%{}"),
        "after": built("-w ended({})"),
        "env": SCRIPT,
        "cwd": SCRIPT,
        "output": flag("-o {}"),
        "mail_user": flag("-u {}"),
        "mail_type": built("-B, -N"),
        "signal": WORKER,
        "requeue": built("-r, else nothing"),
    }
    letters: ClassVar[Mapping[str, str]] = {"BEGIN": "B", "END": "N", "FAIL": "N", "ALL": "BN", "NONE": ""}
    native = names(
        "a alloc_flags app c clusters C core_isolation csm D data datachk E Ep eptl ext F f freq G g H hl hostfile i is"
        " jm jobaff jsm k l_smt L m mig network nnodes ns pack ptl Q rcacct S s sla smt ss stage step_cgroup swap t T"
        " ti ul v wa wt XF Zs"
    )
    own = names("B cwd e eo env I Ip Is K M N n o oo outdir r R rn tty W w")
    passing = r"not responding|Communication time out|LIM is down|[Cc]onnection refused|Failed in an LSF library call"
    full = r"[Pp]ending job threshold reached"
    gone = (
        r"is not found|No matching job found|has already finished|Operation is in progress|is being (?:term|sig)"
        r"|No (?:unfinished |running |pending |suspended |DONE/EXIT )?job found"
    )
    vanished = r"No matching job found"
    hints: ClassVar[Mapping[str, str]] = {
        r"No such queue": "`bqueues` lists the queues",
        r"queue's hard limit|RUNLIMIT": "`bqueues -l QUEUE` shows its limits",
        r"array index too large": "[executor] max_array sets a lower bound",
    }

    def learned(self, fact: str, done: Completed) -> Mapping[str, JSON]:
        """It says who it is on standard error."""
        text = done.stdout + done.stderr
        if fact == "variant":
            return {"variant": "openlava"} if "openlava" in text.lower() else {}
        most = re.search(r"MAX_JOB_ARRAY_SIZE\s*=\s*(\d+)", text)
        return {"max_array": int(most[1])} if most else {}

    def named(self, job: Job, name: str) -> Iterable[Words]:
        """Name and array are one argument."""
        if job.slots is None:
            return [("-J", name)]
        return [("-J", f"{name}[1-{job.slots}]{f'%{job.throttle}' if job.throttle else ''}")]

    def array(self, slots: int, throttle: int | None) -> Iterable[Words]:
        """See `named`."""
        return ()

    def fixed(self, job: Job) -> Iterable[Words]:
        """Whether it may be run again, and mail."""
        if given(job, "requeue"):
            yield ("-r",)
        mail = given(job, "mail_type")
        if mail:
            if job.slots is not None:
                raise UsageError("'mail_type' on an array would send a mail for each of its elements")
            letters = self.occasions(mail)
            if letters is None:
                raise UsageError(f"mail_type={mail!r}: on {self.title} it is one or more of {', '.join(self.letters)}")
            yield from ((f"-{letter}",) for letter in letters)

    def resources(self, job: Job) -> Iterable[Words]:
        """Slots in all, and one requirement for where they are and what they have."""
        nodes, tasks, cpus = layout(job)
        asked, slots = job.resources, max(tasks, nodes) * cpus
        wish = self.features(job)
        needs = [f"select[{wish}]"] if wish else []
        if asked.mem:
            limit, reserved = self._units()
            needs.append(f"rusage[mem={ceiling(asked.mem, reserved)}]")
            yield "-M", str(ceiling(asked.mem, limit))
        if slots > 1:
            each = ceiling(max(tasks, nodes), nodes)
            if each * (nodes - 1) >= max(tasks, nodes) > 1:
                raise UsageError(
                    f"LSF fills its hosts one by one: with {each} of tasks={tasks} on each there are less than"
                    f" nodes={nodes}",
                    hint=f"let tasks be a multiple of nodes, such as {each * nodes}",
                )
            needs.append("span[hosts=1]" if nodes == 1 else f"span[ptile={each * cpus}]")
        if slots > 1 or asked.cpus or asked.tasks:
            yield "-n", str(slots)
        if needs:
            yield "-R", " ".join(needs)
        if asked.gpus:
            yield "-gpu", f"num={asked.gpus}"
        if asked.time:
            yield "-W", str(ceiling(asked.time, 60))

    def _units(self) -> tuple[int, int]:
        """Bytes in the units of limits, and of reservations: LSF_UNIT_FOR_LIMITS is for both, KB and MB without it."""
        unit = _UNITS.get(str(self.settings.get("unit", "")).upper())
        return (unit, unit) if unit else (2**10, 2**20)

    def submit(self, job: Job, script: str, words: Sequence[str]) -> Call:
        """It reads the script; as an argument its lines for LSF would not count."""
        return Call(argv=(self.program("bsub"), *words), stdin=script, cwd=job.cwd)

    def live(self, ids: Sequence[str], site: Site) -> Call:
        """Jobs that have ended are kept for a while."""
        return Call(argv=(self.program("bjobs"), "-a", "-w", *ids))

    def read_live(self, done: Completed) -> Iterable[Row]:
        """Fields from the left; the index at the end of a name that may hold anything."""
        who = r"(\d+)(?:\[(\d+)\])? +\S+ +([A-Z]+) +\S+ +\S+ +(\S+) +"
        line = who + r"(.*?)(?:\[(\d+)\])? +[A-Z]\w\w +\d+ +\d\d:\d\d *"
        for text in done.stdout[: done.stdout.rfind("\n") + 1].splitlines():
            match = re.fullmatch(line, text)
            if match is None:
                continue
            id, early, state, host, name, late = match.groups()
            index = int(early or late or 0)
            status = _STATES.get(state, unknown(state))
            if state == "EXIT" and host == "-":
                status = cancelled(state, "cancelled before it ran")
            yield Row(id=id, index=index or None, name=name, status=status)

    def follow_up(self, rows: Sequence[Row], missing: Sequence[str], site: Site) -> Call | None:
        """The long form: exit codes of all that has failed, and what some of those that wait are waiting for."""
        ended = [row for row in rows if row.status.state is JobState.FAILED]
        waiting = [row for row in rows if row.status.native == "PEND"][:500]
        asked: dict[str, list[int]] = {}
        for row in (*ended, *waiting):
            asked.setdefault(row.id, []).extend([] if row.index is None else [row.index])
        if not asked:
            return None
        spans = {id: f"[{to_ranges(indices)}]" if indices else "" for id, indices in asked.items()}
        ids = [f"{id}{span}" if len(span) <= _LONGEST else id for id, span in spans.items()]
        return Call(argv=(self.program("bjobs"), "-l", *(ids if sum(map(len, ids)) < _ROOM else ["-a"])))

    def read_follow_up(self, done: Completed, rows: Sequence[Row]) -> Iterable[Row]:
        """Lines are broken at 80 characters, wherever that is."""
        text = re.sub(r"\n {21}", "", done.stdout)
        parts = re.split(r"(?m)^Job <(\d+)(?:\[(\d+)\])?>", text)[1:]
        for id, index, record in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            if "\n SCHEDULING PARAMETERS" in record:  # else it is cut short
                yield Row(id=id, index=int(index) if index else None, status=_in_full(record))

    def search(self, site: Site) -> Sequence[Call]:
        """All jobs of the user that are not forgotten."""
        return [Call(argv=(self.program("bjobs"), "-a", "-w"))]


class OpenLava(LSF):
    """OpenLava 2.2; what it does not know it misreads, so nothing else is let through."""

    title = "OpenLava"
    cells: ClassVar[Mapping[str, Cell]] = {
        **LSF.cells,
        "qos": refused("OpenLava has none; queues take its place"),
        "gpus": refused("OpenLava knows no GPUs; constraint='NAME' asks for hosts with a resource of that name"),
        "reservation": refused("OpenLava has none"),
    }
    native = names("a c D E f F H i is k L m S t Zs")

    def resources(self, job: Job) -> Iterable[Words]:
        """GPUs can't be asked for."""
        if job.resources.gpus:
            raise UsageError(f"OpenLava has no 'gpus': {self.cells['gpus'].text}")
        return super().resources(job)

    def _units(self) -> tuple[int, int]:
        return 2**10, 2**20


class LSFExecutor(CommandExecutor):
    """Submits to LSF or OpenLava.

    Parameters
    ----------
    bsub, bjobs, bkill, bparams : str, optional
        Paths of the programs; found on PATH where not given.
    unit : {"KB", "MB", "GB", "TB", "PB", "EB"}, optional
        The site's LSF_UNIT_FOR_LIMITS; `create` reads it from ``lsf.conf``.
    """

    dialect: ClassVar[type[Dialect]] = LSF
    own_settings = ("unit",)

    @classmethod
    def choose(cls, settings: Mapping[str, JSON]) -> type[Dialect]:
        """OpenLava where it is found."""
        return OpenLava if settings.get("variant") == "openlava" else cls.dialect

    @classmethod
    def create(cls, settings: Mapping[str, JSON], context: Context) -> CommandExecutor:
        """As `CommandExecutor.create`; the unit of limits comes from the site's ``lsf.conf``, where not given."""
        chosen: dict[str, Any] = dict(settings)
        if chosen.get("unit") is None:
            folder = context.environ.get("LSF_ENVDIR") or _CONFIGURATION
            try:
                with open(f"{folder}/lsf.conf", encoding="utf-8", errors="replace") as stream:
                    unit = re.search(r"(?m)^\s*LSF_UNIT_FOR_LIMITS\s*=\s*\"?(\w+)", stream.read())
            except OSError:
                unit = None
            chosen["unit"] = unit[1].upper() if unit else None
        return super().create(chosen, context)


def _in_full(record: str) -> JobStatus:
    state = (re.search(r"Status <(\w+)>", record) or ["", ""])[1]
    if state == "PEND":
        why = re.search(r"PENDING REASONS:\s*((?: .*\n)+)", record)
        return pending(state, f"waiting: {' '.join(why[1].split()).rstrip(';')}" if why else "waiting")
    if state != "EXIT":
        return _STATES.get(state, unknown(state))
    term = re.search(r"TERM_[A-Z_]+", record)
    code = re.search(r"Exited with exit code (\d+)", record)
    signal = re.search(r"Exited by signal (\d+)", record)
    native = " ".join(match[0] for match in (term, code, signal) if match) or "EXIT"
    if term and term[0] in _TERMINATED:
        cls, why_ = _TERMINATED[term[0]]
        return failed(cls, native, why_, int(code[1]) if code else None)
    if term and re.match(r"TERM_(?:OWNER|ADMIN|FORCE_OWNER|FORCE_ADMIN|REQUEUE_\w+)", term[0]):
        return cancelled(native)
    if code and code[1] == "140":
        return failed(FailureClass.TIMEOUT, native, "walltime exceeded (SIGUSR2)", 140, 12)
    if signal or (code and code[1] == "130"):
        # The outer shell, which nothing but a signal to the whole job ends.
        return cancelled(native, "killed from outside, as by bkill")
    return (
        exited(int(code[1]), native, shell=True) if code else failed(FailureClass.EXIT, native, "ended, not known how")
    )
