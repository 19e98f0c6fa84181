"""IBM Spectrum LSF and OpenLava, as their commands speak."""

from __future__ import annotations

import json
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

#: what `bjobs -o` is asked for, where it can answer in JSON: its columns are cut, and users' text may look like one
_FIELDS = "jobid jobindex stat job_name exec_host exit_code exit_reason pend_reason"

#: the longest list of elements that is asked for, else all of the array; characters of ids, else all of the user's jobs
_LONGEST, _ROOM = 250, 100_000

#: what stands before what happened to a job, in the long form
_STAMP = r"[A-Z][a-z]{2} [A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d(?: \d{4})?:"

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


def _family(cls: FailureClass, **reasons: str) -> dict[str, tuple[FailureClass, str]]:
    return {f"TERM_{name}": (cls, why) for name, why in reasons.items()}


#: IBM's table of termination reasons; TERM_UNKNOWN, the one left out, says nothing
_TERMINATED = {
    **_family(
        FailureClass.TIMEOUT,
        RUNLIMIT="walltime exceeded",
        DEADLINE="deadline reached",
        CPULIMIT="CPU time exceeded",
    ),
    **_family(
        FailureClass.OOM,
        MEMLIMIT="more memory than it asked for",
        SWAP="more memory than it asked for",
    ),
    **_family(
        FailureClass.PREEMPTED,
        PREEMPT="preempted",
        WINDOW="its queue's run window closed",
        LOAD="its host's load exceeded a threshold",
        OTHER="ended by LSF, to be run again",
        RC="its host was reclaimed by the cloud",
        RC_RECLAIM="its host was reclaimed by the cloud",
        REQUEUE_RC="its host was reclaimed by the cloud",
        MC_RECALL="recalled by the cluster that it came from",
        KUBE="ended by LSF for Kubernetes",
    ),
    **_family(
        FailureClass.NODE_FAIL,
        ZOMBIE="its host was lost",
        RMS="a system error of RMS",
        SLURM="a node failed",
        CSM_ALLOC="its allocation failed",
        REMOVE_HUNG_JOB="its host did not answer, and LSF removed the job",
        CTRL_PID="the process that watched it ended",
    ),
    **_family(
        FailureClass.LAUNCH,
        CWD_NOTEXIST="its working directory does not exist on the host",
        PRE_EXEC_FAIL="its pre-execution command failed too often",
        DATA="its data could not be staged",
    ),
    **_family(
        FailureClass.CANCELLED,
        OWNER="killed by its owner",
        ADMIN="killed by an administrator",
        FORCE_OWNER="killed by its owner",
        FORCE_ADMIN="killed by an administrator",
        BUCKET_KILL="killed by bkill -b",
        REQUEUE_OWNER="killed and requeued by its owner",
        REQUEUE_ADMIN="killed and requeued by an administrator",
        CHKPNT="killed after its checkpoint",
        ORPHAN_SYSTEM="killed by LSF: what it waits for can not be satisfied",
    ),
    **_family(
        FailureClass.EXIT,
        PROCESSLIMIT="too many processes",
        THREADLIMIT="too many threads",
        EXTERNAL_SIGNAL="killed by a signal that LSF did not send",
    ),
}


class LSF(Dialect):
    """IBM Spectrum LSF 10.1."""

    name = "lsf"
    title = "LSF"
    prefix = "#BSUB"
    programs = ("bsub", "bjobs", "bkill", "bparams", "lsid")
    limits = Limits(array_base=1, max_array=1000, max_after=400, visibility_lag=5.0)
    index = "LSB_JOBINDEX"
    job_id = '"${LSB_JOBID-}"'
    # A job whose topmost shell is killed counts as done on OpenLava, and so does one that survives being killed.
    outlive = outliving()
    asks: ClassVar[Mapping[str, Words]] = {
        "variant": ("bsub", "-V"),
        "parameters": ("bparams", "-a"),
        "json": ("bjobs", "-o", _FIELDS, "-json"),
        "instance": ("lsid",),
    }
    configured = ("LSF_ENVDIR", "LSF_CONFDIR", "EGO_CONFDIR")
    identifies = "instance"
    renames = r"-J(?!d)"
    strays = r"-clusters |-m [^ ]*@"
    requeues = r"-r |-Q"
    # A positive integer, as the manual has it; what a site allows, bsub tells.
    priorities = (1, 2147483647)
    # A file of `-pack`, `-json` and the like has requests of its own; `-K` and `-I` wait for the job's end.
    breaks = r"-(?:K|I\w*|h|V|pack|jsdl|jsdl_strict|json|yaml) "
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
        "a alloc_flags app c C core_isolation csm D data datachk E Ep eptl ext F f freq G g H hl hostfile i is"
        " jm jobaff jsm k l_smt L m mig network nnodes ns ptl rcacct S s sla smt ss stage step_cgroup swap t T"
        " ti ul v wa wt XF Zs"
    )
    own = names("B clusters cwd e eo env I Ip Is K M N n o oo outdir pack Q r R rn tty W w")
    large = r"Job array index too large"
    definite = (
        r"Too many processors requested|No such queue|Cannot exceed queue's hard limit|Bad resource requirement syntax"
    )
    passing = (
        r"LSF is down\. Please wait|Cannot connect to LSF\. Please wait|not responding|Communication time out"
        r"|LIM is down|LIM configuration is not ready yet"
    )
    full = r"[Pp]ending job threshold reached"
    elsewhere = rf"{Dialect.elsewhere}|non-LSF host"
    gone = (
        r"is not found|No matching job found|has already finished|Operation is in progress|is being (?:term|sig)"
        r"|No (?:unfinished |running |pending |suspended |DONE/EXIT )?job found"
    )
    whole = r"(?m)^JOBID +USER +STAT\b|No (?:\w+ |DONE/EXIT )?job found"
    absent = r"Job <(\d+)(?:\[\d+\])?> is not found"
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
        if fact == "instance":
            name = re.search(r"(?m)^ *My cluster name is (\S+)", text)
            return {"instance": name[1]} if name else {}
        if fact == "json":
            return {"json": True} if _records(done.stdout) is not None else {}
        most = re.search(r"MAX_JOB_ARRAY_SIZE\s*=\s*(\d+)", text)
        each = re.search(r"(?i)RESOURCE_RESERVE_PER_(?:TASK|SLOT)\s*=\s*(?:Y|yes|true)\b", text)
        found: dict[str, JSON] = {"max_array": int(most[1])} if most else {}
        return found | ({"mem_per": "task"} if each else {})

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
            limit, reserved = self._memory(asked.mem, nodes, max(tasks, nodes), cpus)
            needs.append(f"rusage[mem={reserved}]")
            yield "-M", limit
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

    def _memory(self, mem: int, nodes: int, tasks: int, cpus: int) -> tuple[str, str]:
        """Return a node's memory as the site counts limits and reservations: none is less than was asked for."""
        limit, reserved = self._units()
        fewest = tasks - ceiling(tasks, nodes) * (nodes - 1)
        per = self.settings.get("mem_per", self.facts.get("mem_per"))
        share = ceiling(mem, fewest * cpus) if per == "task" else mem
        whole = ceiling(mem, fewest) if self.settings.get("limit_per") == "process" else mem
        return str(ceiling(whole, limit)), f"{ceiling(share, reserved)}{'/host' if per == 'host' else ''}"

    def _units(self) -> tuple[int, int]:
        """Bytes in the units of limits, and of reservations: LSF_UNIT_FOR_LIMITS is for both, KB and MB without it."""
        unit = _UNITS.get(str(self.settings.get("unit", "")).upper())
        return (unit, unit) if unit else (2**10, 2**20)

    def submit(self, job: Job, script: str, words: Sequence[str]) -> Call:
        """It reads the script; as an argument its lines for LSF would not count."""
        return Call(argv=(self.program("bsub"), *words), stdin=script, cwd=job.cwd)

    def live(self, ids: Sequence[str], site: Site) -> Call:
        """Jobs that have ended are kept for a while."""
        form = ("-o", _FIELDS, "-json") if self.facts.get("json") else ("-w",)
        return Call(argv=(self.program("bjobs"), "-a", *form, *ids))

    def read_live(self, done: Completed) -> Iterable[Row]:
        """Read records; else fields from the left, with the index at the end of a name that may hold anything."""
        if self.facts.get("json"):
            for record in _records(done.stdout) or ():
                if record.get("JOBID", "").isdecimal() and record.get("STAT"):
                    number = record.get("JOBINDEX", "")
                    place = int(number) if number.isdecimal() and int(number) else None
                    name = record.get("JOB_NAME", "")
                    yield Row(id=record["JOBID"], index=place, name=name, status=_in_fields(record))
            return
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
        if self.facts.get("json"):
            return None
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
        return [self.live((), site)]


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
    asks: ClassVar[Mapping[str, Words]] = {"variant": LSF.asks["variant"], "parameters": ("bparams", "-l")}
    strays = r"(?!)"
    requeues = r"-[rQ]"
    breaks = r"-[KIhV]"
    bare = "BHKNrx"
    # It has the command that names a cluster; what that prints was not recorded.
    identifies = ""

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
    bsub, bjobs, bkill, bparams, lsid : str, optional
        Paths of the programs; found on PATH where not given.
    unit : {"KB", "MB", "GB", "TB", "PB", "EB"}, optional
        The site's LSF_UNIT_FOR_LIMITS; `create` reads it from ``lsf.conf``.
    mem_per : {"task", "host"}, optional
        What the site reserves memory for: ``"task"`` where RESOURCE_RESERVE_PER_TASK
        is set, as `bparams` shows; ``"host"`` writes ``/host`` behind the amount,
        where LSF knows that.
    limit_per : {"process"}, optional
        Whether ``-M`` limits each process: a task's share of the memory is asked for then.
    """

    dialect: ClassVar[type[Dialect]] = LSF
    own_settings = ("unit", "mem_per", "limit_per")

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
    # What LSF says stands at the head of a line, behind its time; the rest may be the user's own text.
    said = re.findall(rf"(?m)^(?:{_STAMP})? *(?:Completed <exit>[;.] *)?(\S.*)$", record.partition("\n")[2])
    term = next((match[0] for line in said if (match := re.match(r"TERM_[A-Z_]+(?=[:;.])", line))), "")
    code = next((match[1] for line in said if (match := re.match(r"Exited with exit code (\d+)", line))), "")
    signal = next((match[1] for line in said if (match := re.match(r"Exited by signal (\d+)", line))), "")
    return _exited(term, int(code) if code else None, int(signal) if signal else None)


def _records(text: str) -> list[dict[str, str]] | None:
    """Return the records of an answer in JSON; None where it is none."""
    try:
        told = json.loads(text[text.index("{") :])
    except ValueError:
        return None
    records = told.get("RECORDS") if isinstance(told, dict) else None
    if not isinstance(records, list):
        return None
    return [{str(name): str(value) for name, value in one.items()} for one in records if isinstance(one, dict)]


def _in_fields(record: Mapping[str, str]) -> JobStatus:
    state, host = record["STAT"], record.get("EXEC_HOST", "")
    if state == "PEND":
        why = " ".join(record.get("PEND_REASON", "").split()).rstrip(";")
        return pending(state, f"waiting: {why}" if why.strip("-") else "waiting")
    if state != "EXIT":
        return _STATES.get(state, unknown(state))
    term = re.match(r"TERM_[A-Z_]+", record.get("EXIT_REASON", "").strip())
    if host in ("", "-") and (term is None or term[0] not in _TERMINATED):
        return cancelled(state, "cancelled before it ran")
    code = record.get("EXIT_CODE", "").strip()
    return _exited(term[0] if term else "", int(code) if code.isdecimal() else None, None)


def _exited(term: str, code: int | None, signal: int | None) -> JobStatus:
    """Return the end of a job whose state is EXIT: its termination reason decides where LSF gives a known one."""
    parts = (term, "" if code is None else f"exit code {code}", "" if signal is None else f"signal {signal}")
    native = " ".join(part for part in ("EXIT", *parts) if part)
    if term in _TERMINATED:
        cls, why = _TERMINATED[term]
        if cls is FailureClass.CANCELLED:
            return cancelled(native, why)
        return failed(cls, native, why, code, signal)
    if term not in ("", "TERM_UNKNOWN"):
        why = f"ended for a reason that reflow does not know: {term}"
        return failed(FailureClass.EXIT, native, why, code, signal)
    if code == 140:
        return failed(FailureClass.TIMEOUT, native, "walltime exceeded (SIGUSR2)", 140, 12)
    if signal is not None or code == 130:
        # The outer shell, which nothing but a signal to the whole job ends.
        return cancelled(native, "killed from outside, as by bkill")
    if code is None:
        return failed(FailureClass.EXIT, native, "ended, not known how")
    return exited(code, native, shell=True)
