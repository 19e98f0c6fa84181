"""Grid Engine, as its commands speak: SGE, Son of Grid Engine, Univa and Altair Grid Engine."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import ClassVar

from reflow.plugin import (
    JSON,
    SCRIPT,
    WORKER,
    Call,
    Cell,
    CommandExecutor,
    Completed,
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
    held,
    layout,
    local_time,
    names,
    outliving,
    pending,
    places,
    refused,
    running,
)

#: why a job could not be started: "failed" of its accounting record -> what it means
_LAUNCH = {"26": "log directory missing", "27": "shell missing", "28": "working directory missing"}
_HELD = {
    "can't open output file": _LAUNCH["26"],
    "can't chdir": _LAUNCH["28"],
    "changing into working directory": _LAUNCH["28"],
    "unable to find shell": _LAUNCH["27"],
}
#: parallel environments that by common use keep all slots on one host
_ONE_HOST = ("smp", "threads", "thread", "openmp", "shm", "mt", "multicore", "serial")


class GridEngine(Dialect):
    """Grid Engine 8.1 and later."""

    name = "sge"
    title = "Grid Engine"
    prefix = "#$"
    programs = ("qsub", "qstat", "qacct", "qdel", "qconf")
    limits = Limits(array_base=1, max_array=75000, max_after=200, visibility_lag=20.0, vanishes=True)
    index = "SGE_TASK_ID"
    job_id = '"${JOB_ID-}"'
    # The exit codes 99 and 100 would run the job again for ever, or block it.
    outlive = outliving("case $code in 99) code=98 ;; 100) code=101 ;; esac")
    forgets = True
    remembers = True
    asks: ClassVar[Mapping[str, Words]] = {
        "limits": ("qconf", "-sconf"),
        "pes": ("qconf", "-spl"),
        "complexes": ("qconf", "-sc"),
    }
    # No command tells the name of a cell: it is reached, and known, by these.
    address = ("SGE_ROOT", "SGE_CELL", "SGE_CLUSTER_NAME", "SGE_QMASTER_PORT", "SGE_EXECD_PORT")
    renames = r"-N "
    requeues = r"-r y"
    # `-clear` takes back what was asked for so far, `-@` reads options from a file, `-w v` and its like submit nothing.
    breaks = r"-(?:clear|@|C|b|t|sync|verify|help|inherit) |-w [vp]"
    submits = ("-terse",)
    accepted = r"(?m)^(\d+)(?:\.\d+-\d+:\d+)?\s*$"
    ends = "qdel"
    elements = "{id}.{index}"
    dashes = "-"
    joint = both = ","
    moment = "%Y%m%d%H%M.%S"
    cells: ClassVar[Mapping[str, Cell]] = {
        "name": flag("-N {}"),
        "queue": flag("-q {}"),
        "account": flag("-A {}"),
        "project": flag("-P {}"),
        "qos": refused("Grid Engine has none; queues and projects take its place"),
        "time": built("-l h_rt={}"),
        "mem": built("-l h_vmem={}K for each slot, or what [executor.sge] mem_resource names"),
        "cpus": built("-pe NAME {}"),
        "nodes": built("-pe NAME {}, with a parallel environment that spreads as is wanted"),
        "tasks": built("-pe NAME {}"),
        "gpus": built("-l gpu={} for each slot, or what [executor.sge] gpu_resource names"),
        "exclusive": flag("-l exclusive={}", "-l exclusive=true"),
        "constraint": flag("-l {}"),
        "reservation": flag("-ar {}"),
        "priority": flag("-p {}"),
        "nice": refused("Grid Engine has priorities only: users may lower theirs with priority=-100"),
        "begin": built("-a {}"),
        "array": built("-t 1-{}"),
        "array_parallelism": built("-tc {}"),
        "after": built("-hold_jid {}"),
        "env": SCRIPT,
        "cwd": SCRIPT,
        "output": flag("-o {}"),
        "mail_user": flag("-M {}"),
        "mail_type": flag("-m {}"),
        "signal": WORKER,
        "requeue": built("-r y, else -r n"),
    }
    letters: ClassVar[Mapping[str, str]] = {"BEGIN": "b", "END": "e", "FAIL": "a", "ALL": "bea", "NONE": "n"}
    native = names(
        "ac binding c ckpt dc dl h hard i js jsv l masterl masterq mods notify now par pe R rdi rou soft umask w xd"
    )
    own = names("C N S V a b clear cwd e hold_jid hold_jid_ad inherit j o r shell sync t tc terse v verify wd")
    passing = (
        r"unable to (?:contact|send message to) qmaster|commlib error|can't connect|[Cc]onnection refused"
        r"|failed receiving gdi request"
    )
    uncertain = r"failed receiving gdi request|got (?:read|write) error|timeout"
    full = r"[Oo]nly \d+ jobs are allowed per"
    large = r"tried to submit a job with more than \d+ tasks"
    definite = r"unknown queue|unknown resource"
    priorities = (-1023, 1024)
    elsewhere = rf"{Dialect.elsewhere}|is (?:no|not a) submit host"
    gone = r"does not exist|do not exist|not found"
    whole = r"</job_info>"
    followed = r"(?m)^jobnumber +\d|not found"
    off = r"accounting: No such file or directory|no jobs running since startup"
    hints: ClassVar[Mapping[str, str]] = {
        full: "[executor] max_submitted keeps a run below the limit",
        r"unknown queue": "`qconf -sql` lists the queues",
        r"parallel environment": "`qconf -spl` lists the parallel environments; [executor.sge] pe names one",
        r"unknown resource": "`qconf -sc` lists what can be asked for",
    }

    def learned(self, fact: str, done: Completed) -> Mapping[str, JSON]:
        """A consumable of type MEMORY is what memory is counted by, where there is one only; some count for a job."""
        if fact == "limits":
            most = re.search(r"(?m)^max_aj_tasks\s+(\d+)", done.stdout)
            return {"max_array": int(most[1])} if most and int(most[1]) else {}
        if fact == "pes":
            return {"pes": re.findall(r"(?m)^(\S+)\s*$", done.stdout)}
        counted = re.findall(r"(?m)^(\S+)\s+\S+\s+(\S+)\s+\S+\s+(?:YES|FORCED)\s+(YES|JOB)\s", done.stdout)
        return {
            "mem_resources": [name for name, kind, _ in counted if kind == "MEMORY"],
            "per_job": [name for name, _, how in counted if how == "JOB"],
        }

    def fixed(self, job: Job) -> Iterable[Words]:
        """The first line of a script counts for nothing."""
        return [("-S", "/bin/bash"), ("-j", "y"), ("-r", "y" if given(job, "requeue") else "n")]

    def resources(self, job: Job) -> Iterable[Words]:
        """All but time is asked for each slot: so much that a node with the fewest slots has enough."""
        nodes, tasks, cpus = layout(job)
        tasks = max(tasks, nodes)
        asked, slots, pe = job.resources, tasks * cpus, given(job, "pe")
        if pe is not None and not isinstance(pe, str):
            raise UsageError(f"pe={pe!r} is no name", hint="pe='mpi' names a parallel environment")
        verbatim = pe is not None and " " in pe
        if (slots > 1 or pe) and not verbatim:
            yield "-pe", self._environment(pe, nodes, tasks), str(slots)
        if asked.time:
            yield "-l", f"h_rt={asked.time}"

        def each(resource: str, amount: int) -> int:
            whole = resource in self.facts.get("per_job", [])
            return amount * nodes if whole else ceiling(amount, tasks // nodes * cpus)

        if asked.mem:
            resource = self._memory()
            yield "-l", f"{resource}={each(resource, ceiling(asked.mem, 1024))}K"
        if asked.gpus:
            resource = str(self.settings.get("gpu_resource", "gpu"))
            yield "-l", f"{resource}={each(resource, asked.gpus)}"

    def _environment(self, asked: str | None, nodes: int, tasks: int) -> str:
        chosen = asked or self.settings.get("pe")
        if chosen:
            return str(chosen)
        known = self.facts.get("pes", ["smp"])
        usual = [name for name in known if name in _ONE_HOST]
        if nodes > 1:
            raise UsageError(
                f"nodes={nodes} on Grid Engine needs a parallel environment that spreads over hosts",
                hint=f"name it: job(pe=...), or [executor.sge] pe; there are: {', '.join(known)}",
            )
        if len(known) == 1 or len(usual) == 1:
            return str((usual or known)[0])
        raise UsageError(
            f"{tasks} tasks or several cpus on Grid Engine need a parallel environment, and which one is not clear",
            hint=f"name it: job(pe=...), or [executor.sge] pe; there are: {', '.join(known) or 'none'}",
        )

    def _memory(self) -> str:
        counted: Sequence[str] = self.facts.get("mem_resources", [])
        chosen = self.settings.get("mem_resource")
        if chosen is None and len(counted) > 1 and "h_vmem" not in counted:
            raise UsageError(
                f"memory is counted in several ways here: {', '.join(counted)}",
                hint="[executor.sge] mem_resource names the one to ask for",
            )
        return str(chosen or ("h_vmem" if "h_vmem" in counted or not counted else counted[0]))

    def array(self, slots: int, throttle: int | None) -> Iterable[Words]:
        """Indices count from 1, in one range."""
        yield "-t", f"1-{slots}"
        if throttle:
            yield "-tc", str(throttle)

    def output(self, path: str, asked: bool) -> Iterable[Words]:
        """Its own words belong in the log; but a path with a colon, a comma or a dollar would mean something else."""
        return super().output(path, asked or not set(path) & set(":,$"))

    def extra(self, name: str, value: str | None) -> Words:
        """Some take several words; the name alone of a parallel environment is used by `resources`."""
        if value is None or name not in ("pe", "binding", "soft", "hard"):
            return super().extra(name, value)
        return () if name == "pe" and " " not in value else (f"-{name}", *value.split())

    def live(self, ids: Sequence[str], site: Site) -> Call:
        """All jobs of the user, for it takes no ids, below the queues in which they run."""
        return Call(argv=(self.program("qstat"), "-u", site.user, "-f", "-ne", "-xml"))

    def read_live(self, done: Completed) -> Iterable[Row]:
        """Elements that wait are written as one, ``4-10:1``. On a host that is lost, jobs are said to run for ever."""
        for part in done.stdout.split("<Queue-List>"):
            lost = re.search(r"<state>\w*u\w*</state>", part.partition("<job_list")[0]) is not None
            for block in re.findall(r"(?s)<job_list\b.*?</job_list>", part):
                fields = dict(re.findall(r"<(JB_job_number|JB_name|state|tasks)>([^<]*)</", block))
                id, state = fields.get("JB_job_number", ""), fields.get("state", "")
                if id.isdecimal() and state:
                    for place in places(fields.get("tasks", "")):
                        yield Row(id=id, index=place, name=fields.get("JB_name", ""), status=_live(state, lost))

    def follow_up(self, rows: Sequence[Row], missing: Sequence[str], site: Site) -> Call | None:
        """Accounting for what has left; else the reasons of what is held or waits."""
        mine = [id for id in missing if id.isdecimal()]
        if len(mine) == 1:
            return Call(argv=(self.program("qacct"), "-j", mine[0]))
        if mine:
            since = local_time(site.since - 60, "%Y%m%d%H%M")
            return Call(argv=(self.program("qacct"), "-b", since, "-o", site.user, "-j", "*"))
        waiting = [row.id for row in rows if row.status.state is JobState.PENDING and "h" not in row.status.native]
        ids = list(dict.fromkeys(waiting))[:50]
        return Call(argv=(self.program("qstat"), "-j", ",".join(ids))) if ids else None

    def read_follow_up(self, done: Completed, rows: Sequence[Row]) -> Iterable[Row]:
        """Of several records for one element the last counts; those of a reschedule are no end."""
        if "job_number:" in done.stdout:
            yield from _reasons(done.stdout, rows)
            return
        blocked = {(row.id, row.index) for row in rows if row.status.failure_class is FailureClass.LAUNCH}
        for record in re.split(r"(?m)^={20,}\n", done.stdout):
            fields = dict(re.findall(r"(?m)^(\w+) +(.*?) *\n", record))
            id, number = fields.get("jobnumber", ""), fields.get("failed", "").split(" ")[0]
            if not id.isdecimal() or not number.isdecimal() or "exit_status" not in fields:
                continue
            task = fields.get("taskid", "")
            place = int(task) if task.isdecimal() else None
            if (id, place) in blocked and number in _LAUNCH:
                yield Row(id=id, index=place, status=held(_LAUNCH[number], "Eqw"))
            elif number not in ("24", "25"):
                yield Row(id=id, index=place, status=_ended(number, fields))

    def search(self, site: Site) -> Sequence[Call]:
        """Names of what is live, then of what has left."""
        since = local_time(site.since - 60, "%Y%m%d%H%M")
        return [self.live((), site), Call(argv=(self.program("qacct"), "-b", since, "-o", site.user, "-j", "*"))]

    def read_search(self, number: int, done: Completed, tags: Collection[str]) -> Mapping[str, str]:
        """Names begin with the tag."""
        if number == 0:
            named = [(row.name, row.id) for row in self.read_live(done)]
        else:
            named = re.findall(r"(?m)^jobname +(\S+) *\njobnumber +(\d+)", done.stdout)
        return {name.partition(".")[0]: id for name, id in named if name.partition(".")[0] in tags}


class SGEExecutor(CommandExecutor):
    """Submits to Grid Engine.

    Parameters
    ----------
    qsub, qstat, qacct, qdel, qconf : str, optional
        Paths of the programs; found on PATH where not given.
    pe : str, optional
        Parallel environment for jobs of several slots.
    mem_resource, gpu_resource : str, optional
        What memory and GPUs are asked by.
    """

    dialect = GridEngine
    own_settings = ("pe", "mem_resource", "gpu_resource")


def _live(state: str, lost: bool) -> JobStatus:
    if "E" in state:
        return held("error state; `qstat -j` tells why", state)
    if lost and re.search("[rtsST]", state):
        return running(state, "its host does not answer")
    if re.search("[rtsST]", state):
        return running(state, "suspended" if re.search("[sST]", state) else "being deleted" if "d" in state else "")
    if "q" in state or "w" in state:
        return pending(state, "waiting for other jobs, or held" if "h" in state else "waiting for resources")
    return JobStatus(state=JobState.UNKNOWN, native=state)


def _ended(number: str, fields: Mapping[str, str]) -> JobStatus:
    native = f"failed {fields['failed']}, exit_status {fields['exit_status']}"
    code = int(re.match(r"\d*", fields["exit_status"])[0] or -1)  # type: ignore[index]
    if number in _LAUNCH:
        return failed(FailureClass.LAUNCH, native, _LAUNCH[number])
    if number == "37":
        return failed(FailureClass.TIMEOUT, native, "walltime (or another limit) exceeded", code, code - 128)
    if number == "100" and code == 137:
        # The outer shell, killed with all it ran: by qdel, or by whoever may.
        return cancelled(native, "killed from outside, as by qdel")
    if number in ("0", "30", "100"):
        return exited(code, native, shell=True) if code >= 0 else JobStatus(state=JobState.UNKNOWN, native=native)
    return failed(FailureClass.LAUNCH, native, fields["failed"].partition(":")[2].strip() or "did not start")


def _reasons(text: str, rows: Sequence[Row]) -> Iterable[Row]:
    for record in re.split(r"(?m)^={20,}\n", text):
        number = re.search(r"(?m)^job_number: +(\d+)$", record)
        errors = dict(re.findall(r"(?m)^error reason +(\d+): +(.*)$", record))
        info = re.search(r"(?m)^scheduling info: +(.*)$", record)
        for row in rows:
            if number is None or row.id != number[1] or row.status.state is not JobState.PENDING:
                continue
            error = errors.get(str(row.index or 1))
            if error is not None:
                known = (why for words, why in _HELD.items() if words in error)
                status = held(next(known, error.partition("error: ")[2] or error), row.status.native)
            elif info is not None and row.status.failure_class is None and "h" not in row.status.native:
                status = pending(row.status.native, f"waiting: {info[1].strip()}")
            else:
                continue
            yield Row(id=row.id, index=row.index, name=row.name, status=status)
