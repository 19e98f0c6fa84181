"""Slurm, as its commands speak."""

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
    local_time,
    long_option,
    names,
    pending,
    places,
    running,
    signalled,
    succeeded,
    unknown,
)

#: lists of array elements are not to be cut short
_WHOLE = {"SLURM_BITSTR_LEN": "0"}

_WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD")
_RUNNING = ("RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT")
_FAILURES = {
    "TIMEOUT": (FailureClass.TIMEOUT, "walltime exceeded"),
    "DEADLINE": (FailureClass.TIMEOUT, "deadline reached"),
    "OUT_OF_MEMORY": (FailureClass.OOM, "out of memory"),
    "NODE_FAIL": (FailureClass.NODE_FAIL, "a node failed"),
    "BOOT_FAIL": (FailureClass.NODE_FAIL, "a node did not boot"),
    "PREEMPTED": (FailureClass.PREEMPTED, "preempted"),
}
_REASONS = {
    "None": "",
    "Priority": "waiting for jobs of higher priority",
    "Resources": "waiting for resources",
    "Dependency": "waiting for other jobs",
    "DependencyNeverSatisfied": "can never run: what it depends on did not end as it asks",
    "JobHeldUser": "held by its user",
    "JobHeldAdmin": "held by an administrator",
    "BeginTime": "waiting for its begin time",
    "JobArrayTaskLimit": "waiting: as many elements run as array_parallelism allows",
    "PartitionConfig": "can never run: it asks for more than the partition's nodes have",
    "PartitionNodeLimit": "waiting: it asks for more nodes than the partition has, or than are up now",
    "PartitionTimeLimit": "can never run: its walltime is over the partition's limit",
    "BadConstraints": "can never run: no node has what it asks for",
    "InvalidAccount": "can never run: its account is not valid",
    "InvalidQOS": "can never run: its quality of service is not valid",
    "PartitionDown": "waiting: the partition is down",
    "PartitionInactive": "waiting: the partition is not active",
    "Reservation": "waiting for its reservation",
    "Licenses": "waiting for licences",
}

#: reasons that nothing but another request, or an administrator, changes; nodes that are down give others
_NEVER = re.compile(
    r"PartitionConfig|PartitionTimeLimit|BadConstraints|InvalidAccount|InvalidQOS|DependencyNeverSatisfied"
    r"|(?:QOS|Assoc)Max\w+PerJob(?:Limit)?"
)


class Slurm(Dialect):
    """Slurm 20.11 and later."""

    name = "slurm"
    title = "Slurm"
    prefix = "#SBATCH"
    programs = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sacctmgr")
    limits = Limits(array_base=0, max_array=1001, max_after=500, visibility_lag=10.0, vanishes=True)
    index = "SLURM_ARRAY_TASK_ID"
    job_id = '"${SLURM_ARRAY_JOB_ID:-${SLURM_JOB_ID-}}"'
    # From 22.05 to 24.05 srun reads no SLURM_CPUS_PER_TASK: each of its tasks would have one core of those asked for.
    prelude = 'if [ -n "${SLURM_CPUS_PER_TASK-}" ]; then export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"; fi'
    forgets = True
    asks: ClassVar[Mapping[str, Words]] = {
        "config": ("scontrol", "show", "config"),
        "limits": (
            *("sacctmgr", "-nP", "show", "assoc", "user={user}"),
            "format=cluster,account,user,maxsubmit,maxjobs",
        ),
    }
    address = ("SLURM_CLUSTERS",)
    configured = ("SLURM_CONF", "SLURM_CONF_SERVER")
    inside = "SLURM_CLUSTER_NAME"
    identifies = "config"
    renames = rf"-J|{long_option('--job-name', 5)}"
    strays = rf"-M|{long_option('--clusters', 4)}"
    requeues = long_option("--requeue", 5)
    breaks = "|".join(
        (
            r"-[aWhVQu]",
            long_option("--array", 4),
            long_option("--wait", 6),
            long_option("--wrap", 4),
            long_option("--test-only", 4),
            long_option("--help", 4),
            long_option("--usage", 5),
            long_option("--version", 6),
            long_option("--quiet", 4),
        )
    )
    bare = "hHkOQsuvVW"
    # "Priority must be >= 0", and "must be < 4294967294"; TOP is the highest that the user's own jobs have.
    priorities = (0, 4294967293)
    urgencies = frozenset(("TOP",))
    submits = ("--parsable",)
    accepted = r"(?m)^(\d+)(?:;(?P<cluster>\S+))?\s*$"
    ends = "scancel"
    elements = "{id}_[{ranges}]"
    cells: ClassVar[Mapping[str, Cell]] = {
        "name": flag("--job-name={}"),
        "queue": flag("--partition={}"),
        "account": flag("--account={}"),
        "project": flag("--account={}"),
        "qos": flag("--qos={}"),
        "time": built("--time=D-HH:MM:SS"),
        "mem": built("--mem={}K"),
        "cpus": built("--cpus-per-task={}"),
        "nodes": built("--nodes={}"),
        "tasks": built("--ntasks={}"),
        "gpus": built("--gres=gpu:{}"),
        "exclusive": flag("--exclusive={}", "--exclusive"),
        "constraint": flag("--constraint={}"),
        "reservation": flag("--reservation={}"),
        "priority": flag("--priority={}"),
        "nice": flag("--nice={}", "--nice"),
        "begin": built("--begin=now+{}"),
        "array": built("--array=0-{}"),
        "array_parallelism": built("--array=0-9%{}"),
        "after": built("--dependency=afterany:{}"),
        "env": SCRIPT,
        "cwd": built("--chdir={}"),
        "output": flag("--output={}"),
        "mail_user": flag("--mail-user={}"),
        "mail_type": flag("--mail-type={}"),
        "signal": WORKER,
        "requeue": built("--requeue, else --no-requeue"),
    }
    native = names(
        "acctg_freq batch bb bbf cluster_constraint comment container contiguous core_spec cores_per_socket cpu_freq"
        " cpus_per_gpu deadline delay_boot distribution exclude extra_node_info gpu_bind gpu_freq gpus_per_node"
        " gpus_per_socket gpus_per_task gres gres_flags hint hold licenses mcs_label mem_bind mem_per_cpu mem_per_gpu"
        " mincpus network no_kill nodefile nodelist ntasks_per_core ntasks_per_gpu ntasks_per_node ntasks_per_socket"
        " overcommit oversubscribe power prefer profile propagate reboot sockets_per_node spread_job switches"
        " thread_spec threads_per_core time_min tmp tres_bind tres_per_task use_min_nodes wckey"
    )
    own = names(
        "array chdir dependency error export export_file get_user_env help input job_name kill_on_invalid_dep"
        " no_requeue open_mode parsable quiet test_only usage verbose version wait wrap"
    )
    passing = (
        r"Unable to contact slurm controller|Connection refused|Socket timed out|Zero Bytes were"
        r"|temporarily un(?:able to accept|available)|Problem talking to the database|persistent connection"
        r"|Communication connection failure"
    )
    uncertain = r"Socket timed out|Zero Bytes were|Unexpected message"
    closed = r"Required partition not available"
    full = r"(?:Assoc|QOS)\w*Submit\w*Limit"
    large = r"Invalid job array specification"
    definite = (
        r"Requested node configuration is not available|Invalid (?:partition|feature|generic resource|account|qos)\b"
        r"|invalid partition specified|Invalid --\w+ specification"
    )
    gone = r"Invalid job id specified|already completing or completed|Job/step already"
    off = r"accounting storage is disabled"
    whole = r"(?m)^ARRAY_JOB_ID *\||Invalid job id specified"
    followed = r"(?m)^JobID\|"
    vanished = r"Job dependency problem"
    hints: ClassVar[Mapping[str, str]] = {
        full: "too many jobs are queued, or no account was given; [executor] max_submitted keeps a run below a limit",
        r"Invalid partition": "`sinfo -s` lists the partitions",
        r"node configuration is not available|CPU count|Memory specification": "no node has as much: see `sinfo -e -o"
        " '%P %c %m %G'` for what nodes have",
        r"Invalid account": "`sacctmgr show assoc user=$USER format=account,partition,qos` lists what you may use",
        r"Invalid qos": "`sacctmgr show assoc user=$USER format=account,partition,qos` lists what you may use",
        r"[Tt]ime limit": "`sinfo -o '%P %l'` shows the partitions' time limits",
    }

    def learned(self, fact: str, done: Completed) -> Mapping[str, JSON]:
        """An array's top index is one less than MaxArraySize; MaxJobCount can't be reached."""
        if fact == "limits":
            return self._associated(done.stdout)
        name = re.search(r"(?m)^ClusterName\s*=\s*(\S+)", done.stdout)
        told: dict[str, JSON] = {"instance": name[1]} if name else {}
        enforced = re.search(r"(?m)^AccountingStorageEnforce\s*=.*\blimits\b", done.stdout)
        told |= {"enforced": True} if enforced else {}
        found = dict(re.findall(r"(?m)^(MaxArraySize|MaxJobCount)\s*=\s*(\d+)", done.stdout))
        facts = {"MaxArraySize": ("max_array", 0), "MaxJobCount": ("max_submitted", 1)}
        return told | {facts[fact][0]: int(value) - facts[fact][1] for fact, value in found.items() if int(value) > 1}

    def learn(self) -> Mapping[str, Call]:
        """Limits of associations are asked for where they count."""
        return {fact: call for fact, call in super().learn().items() if fact != "limits" or self.facts.get("enforced")}

    def _associated(self, text: str) -> Mapping[str, JSON]:
        """Return the bound of the user's one account; of several the one that is charged is not known."""
        rows = [line.split("|") for line in text.splitlines() if line.count("|") == 4]
        mine = [row for row in rows if row[0] == self.facts.get("instance", row[0])]
        most = mine[0][3] if len(mine) == 1 else ""
        known = self.facts.get("max_submitted")
        if not most.isdecimal() or not int(most):
            return {}
        return {"max_submitted": int(most) if known is None else min(int(most), int(known))}

    def flags(self, job: Job, site: Site) -> list[Words]:
        """All are asked for together, by their numbers: so they are on one cluster."""
        meant = str((self.facts.get("environ") or {}).get("SLURM_CLUSTERS", ""))
        if "," in meant or meant == "all":
            raise UsageError(
                f"SLURM_CLUSTERS={meant}: all jobs of a run are on one cluster", hint="name one of them there"
            )
        return super().flags(job, site)

    def fixed(self, job: Job) -> Iterable[Words]:
        """Whether it may be run again, and where it runs."""
        return [("--requeue" if given(job, "requeue") else "--no-requeue",), (f"--chdir={job.cwd}",)]

    def resources(self, job: Job) -> Iterable[Words]:
        """Cores, memory (per node, in KiB), time, GPUs, nodes, tasks."""
        asked = job.resources
        if asked.nodes:
            yield (f"--nodes={asked.nodes}",)
        if asked.tasks:
            yield (f"--ntasks={asked.tasks}",)
        if asked.cpus:
            yield (f"--cpus-per-task={asked.cpus}",)
        if asked.mem:
            yield (f"--mem={ceiling(asked.mem, 1024)}K",)
        if asked.gpus:
            yield (f"--gres=gpu:{asked.gpus}",)
        if asked.time:
            days, rest = divmod(asked.time, 86400)
            yield (f"--time={days}-{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}",)

    def array(self, slots: int, throttle: int | None) -> Iterable[Words]:
        """Indices count from 0."""
        return [(f"--array=0-{slots - 1}{f'%{throttle}' if throttle else ''}",)]

    def output(self, path: str, asked: bool) -> Iterable[Words]:
        """What the node's daemon says of the job comes after what others have said."""
        if asked:
            return [(f"--output={path}",)]
        path = path.replace("%", "%%") if "\\" not in path else "/dev/null"
        return [(f"--output={path}",), ("--open-mode=append",)]

    def live(self, ids: Sequence[str], site: Site) -> Call:
        """Also tells of jobs that have ended less than MinJobAge ago."""
        fields = "ArrayJobID:|,ArrayTaskID:|,State:|,exit_code:|,Reason:|,Name:|"
        argv = (self.program("squeue"), "-r", "-t", "all", "-j", ",".join(ids), "-O", fields)
        return Call(argv=argv, env=_WHOLE)

    def read_live(self, done: Completed) -> Iterable[Row]:
        """Read a line for each job and element."""
        for line in done.stdout.splitlines():
            fields = line.split("|")
            if len(fields) < 5 or not fields[0].strip().isdecimal():
                continue
            id, index, state, ended, reason = (field.strip() for field in fields[:5])
            status = _status(state, *_exit(ended, reason), reason)
            name = fields[5].strip() if len(fields) > 6 else ""
            for slot in places(index):
                yield Row(id=id, index=slot, name=name, status=status)

    def follow_up(self, rows: Sequence[Row], missing: Sequence[str], site: Site) -> Call | None:
        """Accounting: what the controller has forgotten, and how much memory jobs that were killed had."""
        killed = [row.id for row in rows if row.status.state is JobState.FAILED and row.status.signal == 9]
        ids = list(dict.fromkeys([*missing, *killed]))
        if not ids:
            return None
        fields = "JobID,State,ExitCode,MaxRSS,ReqMem,JobName"
        return Call(argv=(self.program("sacct"), "-P", "-j", ",".join(ids), "-o", fields), env=_WHOLE)

    def read_follow_up(self, done: Completed, rows: Sequence[Row]) -> Iterable[Row]:
        """A job's line comes before those of its steps; the last of several lines for one job counts."""
        found: dict[str, list[list[str]]] = {}
        for line in done.stdout.splitlines():
            fields = line.split("|")
            if len(fields) >= 5 and (job := re.match(r"\d+(?:_(?:\d+|\[[^]]*\]?))?", fields[0])):
                steps = found.setdefault(job[0], [])
                if fields[0] == job[0]:
                    steps.clear()
                steps.append(fields)
        for job_id, ((_, state, code, _, asked, *called), *steps) in found.items():
            id, _, elements = job_id.partition("_")
            status = _status(state, *_exit(code), "")
            if status.state in (JobState.PENDING, JobState.RUNNING):
                # The controller, asked first, knows nothing of it: the end is still to be written, or never will be.
                status = unknown(state, f"ended: accounting still says {state}")
            elif status.signal == 9 and any(_bytes(step[3]) > _bytes(asked) > 0 for step in steps):
                status = failed(
                    FailureClass.OOM, state, f"killed: used more memory than the {asked} it asked for", signal=9
                )
            elif status.failure_class is FailureClass.EXIT and any(step[1] == "OUT_OF_MEMORY" for step in steps):
                status = failed(FailureClass.OOM, state, "a step ran out of memory", status.exit_code, status.signal)
            for slot in places(elements.strip("[]")):
                yield Row(id=id, index=slot, name="|".join(called), status=status)

    def search(self, site: Site) -> Sequence[Call]:
        """Names: first of what the controller knows, then of what accounting does."""
        since = local_time(site.since - 60, "%Y-%m-%dT%H:%M:%S")
        accounting = (self.program("sacct"), "-P", "-X", "-u", site.user, "-S", since, "-o", "JobID,JobName")
        queue = (self.program("squeue"), "-t", "all", "-u", site.user, "-O", "ArrayJobID:|,Name:|")
        return [Call(argv=queue, env=_WHOLE), Call(argv=accounting, env=_WHOLE)]

    def read_search(self, number: int, done: Completed, tags: Collection[str]) -> Mapping[str, str]:
        """An id, then a name that begins with the tag."""
        lines = re.findall(r"(?m)^(\d+)[^|\n]*\|([A-Za-z0-9]+)\b", done.stdout)
        return {tag: id for id, tag in lines if tag in tags}


class SlurmExecutor(CommandExecutor):
    """Submits to Slurm.

    Parameters
    ----------
    sbatch, squeue, sacct, scancel, scontrol, sacctmgr : str, optional
        Paths of the programs; found on PATH where not given.
    """

    dialect = Slurm


def _exit(text: str, reason: str = "") -> tuple[int, int]:
    """Return exit code and signal.

    Accounting, and the controller from 23.02 on, write ``3:0``; an older controller writes a wait status. What is
    neither says nothing; then the signal that the reason names counts.
    """
    if pair := re.fullmatch(r"(\d+):(\d+)", text):
        return int(pair[1]), int(pair[2])
    if text.isdecimal():
        return int(text) >> 8 & 0xFF, int(text) & 0x7F
    raised = re.match(r"RaisedSignal:(\d+)", reason)
    return 0, int(raised[1]) if raised else 0


def _status(state: str, code: int, signal: int, reason: str) -> JobStatus:
    word = state.partition(" ")[0].rstrip("+")
    if word in _WAITING:
        return pending(state, _because(reason), never=_NEVER.fullmatch(reason.partition(",")[0]) is not None)
    if word in _RUNNING:
        return running(state, "suspended" if word in ("SUSPENDED", "STOPPED") else "")
    if word == "COMPLETED":
        return succeeded(state)
    if word in ("CANCELLED", "REVOKED"):
        return cancelled(state, _because(reason) if reason == "DependencyNeverSatisfied" else "")
    if word in _FAILURES:
        cls, why = _FAILURES[word]
        return failed(cls, state, why, signal=signal or None)
    if word != "FAILED":
        return unknown(state)
    if reason == "BadConstraints":
        return failed(FailureClass.LAUNCH, state, _because(reason))
    if signal == 53:
        return failed(FailureClass.LAUNCH, state, "could not start: its log or its script could not be opened")
    if signal or code:
        return signalled(signal, state) if signal else exited(code, state)
    launch = reason.startswith("JobLaunchFailure")
    return (
        failed(FailureClass.LAUNCH, state, "could not start") if launch else failed(FailureClass.EXIT, state, "failed")
    )


def _because(reason: str) -> str:
    known = _REASONS.get(reason.partition(",")[0])
    if known is not None:
        return known
    if reason.startswith("ReqNodeNotAvail"):
        return f"waiting: nodes that it needs are not available{reason.partition(',')[1]}{reason.partition(',')[2]}"
    if _NEVER.fullmatch(reason):
        return f"can never run: it is over a limit of its account or quality of service ({reason})"
    return f"waiting ({reason})" if reason else ""


def _bytes(text: str) -> float:
    """What Slurm writes of memory: ``419228K``, ``50M``, ``50Mn``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGTP]?)[nc]?", text)
    return float(match[1]) * 1024.0 ** " KMGTP".index(match[2] or " ") if match else 0.0
