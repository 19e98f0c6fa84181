"""HTCondor, as its commands speak."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar
from xml.etree.ElementTree import Element, ParseError, fromstring

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
    JobStatus,
    Limits,
    Row,
    Site,
    UsageError,
    Words,
    built,
    cancelled,
    ceiling,
    emulated,
    exited,
    failed,
    flag,
    given,
    held,
    layout,
    names,
    pending,
    refused,
    running,
    signalled,
    unknown,
)

#: what is read of a job, in the queue and in the history
_ATTRIBUTES = (
    "ClusterId,ProcId,JobBatchName,JobStatus,ReflowArray,NumShadowStarts,ExitBySignal,ExitCode,ExitSignal,"
    "HoldReasonCode,HoldReason,LastHoldReasonCode,LastHoldReason,RemoveReason"
)

#: codes of holds that are ends: what became of the job
_LIMITS = {34: FailureClass.OOM, 46: FailureClass.TIMEOUT, 47: FailureClass.TIMEOUT}

#: codes of holds that a person asked for, and of one that lasts while files are copied
_ASKED = (1, 15, 16)

#: where condor_submit replaces text by something else
_MACRO = re.compile(r"\$\w*[(\[]|\$\$")


class HTCondor(Dialect):
    """HTCondor 23 and later."""

    name = "htcondor"
    title = "HTCondor"
    programs = ("condor_submit", "condor_q", "condor_history", "condor_rm", "condor_config_val")
    limits = Limits(array_base=0, max_array=20_000, throttle=False, dependencies=False, visibility_lag=5.0)
    index = "REFLOW_PROC"
    job_id = '"${REFLOW_CLUSTER-}"'
    forgets = True
    cells: ClassVar[Mapping[str, Cell]] = {
        "name": flag("JobBatchName={}"),
        "queue": refused("HTCondor has no queues; constraint='...' says which machines"),
        "account": flag("accounting_group={}"),
        "project": flag("accounting_group={}"),
        "qos": refused("HTCondor has none; accounting groups take its place"),
        "time": built("allowed_job_duration={}"),
        "mem": built("request_memory={}"),
        "cpus": built("request_cpus={}"),
        "nodes": refused("a job runs on one machine"),
        "tasks": built("request_cpus={}"),
        "gpus": built("request_gpus={}"),
        "exclusive": refused("HTCondor leaves it to the machines: constraint='...' chooses one that is not shared"),
        "constraint": built("requirements=({})"),
        "reservation": refused("HTCondor has none"),
        "priority": flag("priority={}"),
        "nice": flag("nice_user=true"),
        "begin": built("My.ReflowBegin={}"),
        "array": built("-queue {}"),
        "array_parallelism": emulated("by submitting in waves"),
        "after": emulated("reflow looks every two minutes whether they have ended"),
        "env": SCRIPT,
        "cwd": SCRIPT,
        "output": flag("output={} error={}"),
        "mail_user": flag("notify_user={}"),
        "mail_type": refused("write notification='complete', 'error' or 'always'"),
        "signal": WORKER,
        "requeue": built("else a job that has started once is not started again"),
    }
    native = names(
        "accounting_group_user concurrency_limits container_image cuda_version description docker_image"
        " gpus_minimum_capability gpus_minimum_memory job_max_vacate_time kill_sig notification rank request_disk"
        " require_gpus stream_error stream_output"
    )
    own = names(
        "arguments batch_name environment error executable getenv hold initialdir input leave_in_queue"
        " max_materialize max_retries periodic_hold periodic_release periodic_remove requirements"
        " should_transfer_files transfer_input_files universe"
    )
    both = ") && ("
    renames = r"(?i)-batch-name|\+?(?:my\.)?(?:job)?batch_?name\s*="
    strays = r"-(?:addr|name|pool|remote|r|spool|s)(?: |$)"
    requeues = r"(?i)max_retries|on_exit_remove|retry_until|periodic_release"
    configured = ("CONDOR_CONFIG",)
    address = ("_CONDOR_SCHEDD_HOST",)
    asks: ClassVar[Mapping[str, Words]] = {
        "bounds": ("condor_config_val", "MAX_JOBS_PER_OWNER", "MAX_JOBS_PER_SUBMISSION"),
        "instance": ("condor_q", "-totals"),
    }
    identifies = "instance"
    accepted = r"(?m)^(\d+)\.\d+ - \d+\.\d+\s*$"
    ends, elements = "condor_rm", "{id}.{index}"
    whole, followed = r"</classads>\s*\Z", r"\]\s*\Z"
    gone = r"Couldn't find/remove all jobs|Job \d+\.\d+ not found|There are no jobs in the queue"
    passing = (
        r"Can't find address|Failed to fetch ads|Failed to connect|communication error|CEDAR:600\d|SECMAN:20\d\d"
        r"|Failed to end classad message"
    )
    uncertain = r"Failed to commit|Failed to end classad message"
    full = r"MAX_JOBS_PER_OWNER|MAX_JOBS_SUBMITTED"
    large = r"MAX_JOBS_PER_SUBMISSION"
    elsewhere = r"Can't find address of local schedd"
    definite = r"Invalid accounting_group|Parse error|invalid attribute name"
    hints: ClassVar[Mapping[str, str]] = {
        r"Can't find address": "jobs are submitted where a schedd runs; `condor_status -schedd` lists them",
        r"Invalid accounting_group": "the site says which groups there are",
    }

    def learned(self, fact: str, done: Completed) -> Mapping[str, JSON]:
        """Return the bounds of the pool, or the name of its schedd, whose ids these are."""
        if fact == "bounds":
            words = done.stdout.split()
            return dict(zip(("max_submitted", "max_array"), map(int, filter(str.isdecimal, words)), strict=False))
        found = re.search(r"(?m)^-- Schedd: (\S+) :", done.stdout)
        return {"instance": found[1]} if found else {}

    def flags(self, job: Job, site: Site) -> list[Words]:
        """Return the flags of a job, none of which condor_submit reads as anything but text."""
        groups = super().flags(job, site)
        for word in (word for group in groups for word in group):
            if _MACRO.search(word):
                raise UsageError(f"{word!r}: condor_submit would replace what follows the '$'")
        return groups

    def fixed(self, job: Job) -> Iterable[Words]:
        """Say where a job may start, that it starts once, and which holds are its end."""
        again = given(job, "requeue")
        wish = self.features(job)
        once = [] if again else ["(NumShadowStarts ?: 0) == 0"]
        needs = [f"({wish})"] if wish else []
        yield (f"requirements={' && '.join([*needs, *once, 'time() >= (ReflowBegin ?: 0)'])}",)
        over = f"JobStatus == 5 && member(HoldReasonCode, {{{', '.join(map(str, _LIMITS))}}})"
        lost = "" if again else " || JobStatus == 1 && NumShadowStarts > 0"
        yield (f"periodic_remove={over}{lost}",)
        yield ("should_transfer_files=NO",)
        yield ("getenv=HOME,LOGNAME,PATH,USER",)

    def resources(self, job: Job) -> Iterable[Words]:
        """Return what a machine has to have; its MPI tasks share it."""
        nodes, tasks, cpus = layout(job)
        asked = job.resources
        if nodes > 1:
            raise UsageError(f"nodes={nodes}: a job of HTCondor runs on one machine")
        if asked.cpus or asked.tasks:
            yield (f"request_cpus={tasks * cpus}",)
        if asked.mem:
            yield (f"request_memory={ceiling(asked.mem, 2**20)}",)
        if asked.gpus:
            yield (f"request_gpus={asked.gpus}",)
        if asked.time:
            yield (f"allowed_job_duration={asked.time}",)

    def array(self, slots: int, throttle: int | None) -> Iterable[Words]:
        """Mark an array: the one job of a cluster has a second number, 0, as well."""
        return [("My.ReflowArray=true",)]

    def begin(self, seconds: float, site: Site) -> Iterable[Words]:
        """Return the time before which no machine fits: a deferral_time would take a machine, and wait there."""
        return [(f"My.ReflowBegin={ceiling(int((site.now + seconds) * 1000), 1000)}",)]

    def output(self, path: str, asked: bool) -> Iterable[Words]:
        """Return one file for both streams, where one is named."""
        return [(f"output={path}", f"error={path}")] if asked else []

    def extra(self, name: str, value: str | None) -> Words:
        """Return a line of a submit description."""
        return (f"{name}={'true' if value is None else value}",)

    def submit(self, job: Job, script: str, words: Sequence[str]) -> Call:
        """Describe the job on the command line; each process receives its two numbers."""
        numbers = 'environment="REFLOW_CLUSTER=$(ClusterId) REFLOW_PROC=$(ProcId)"'
        path = job.script.replace("$", "$(DOLLAR)")
        program, count = self.program("condor_submit"), str(1 if job.slots is None else job.slots)
        return Call(argv=(program, "-terse", *words, numbers, f"executable={path}", "-queue", count), cwd=job.cwd)

    def live(self, ids: Sequence[str], site: Site) -> Call:
        """Ask in XML: of no jobs `-json` prints nothing, which any failure may print, too."""
        return Call(argv=(self.program("condor_q"), *ids, "-xml", "-attributes", _ATTRIBUTES))

    def read_live(self, done: Completed) -> Iterable[Row]:
        """Return the jobs that are in the queue."""
        return [_row(record, _queued(record)) for record in _records(done.stdout)]

    def follow_up(self, rows: Sequence[Row], missing: Sequence[str], site: Site) -> Call | None:
        """Ask the history for those that have left the queue."""
        if not missing:
            return None
        return Call(argv=(self.program("condor_history"), *missing, "-json", "-attributes", _ATTRIBUTES))

    def read_follow_up(self, done: Completed, rows: Sequence[Row]) -> Iterable[Row]:
        """Return the jobs that have ended."""
        return [_row(record, _left(record)) for record in _records(done.stdout)]

    def search(self, site: Site) -> Sequence[Call]:
        """List the user's jobs: those in the queue, and those in the history since the run began."""
        recent = f'Owner == "{site.user}" && QDate >= {int(site.since) - 3600}'
        return [
            Call(argv=(self.program("condor_q"), site.user, "-xml", "-attributes", _ATTRIBUTES)),
            Call(argv=(self.program("condor_history"), "-constraint", recent, "-json", "-attributes", _ATTRIBUTES)),
        ]


class HTCondorExecutor(CommandExecutor):
    """Submits to the HTCondor pool of this host's schedd.

    Parameters
    ----------
    condor_submit, condor_q, condor_history, condor_rm, condor_config_val : str, optional
        Paths of the programs; found on PATH where not given.
    """

    dialect = HTCondor


def _records(text: str) -> Iterator[Mapping[str, Any]]:
    """Read the jobs of a list in XML or JSON, each whole, even where the list is cut short."""
    for job in re.findall(r"(?ms)^<c>$.*?^</c>$|^\{$.*?^\}$", text):
        try:
            record: dict[str, Any] = json.loads(job) if job[0] == "{" else _fields(fromstring(job))
        except (ValueError, ParseError):
            continue
        if all(type(record.get(name)) is int for name in ("ClusterId", "ProcId")):
            yield record


def _fields(job: Element) -> dict[str, Any]:
    """Read ``<a n="ClusterId"><i>7</i></a>`` and ``<a n="ReflowArray"><b v="t"/></a>``."""
    found: dict[str, Any] = {}
    for attribute in job:
        for value in attribute:
            plain = int(value.text or "0") if value.tag == "i" else value.text
            found[attribute.get("n", "")] = value.get("v") == "t" if value.tag == "b" else plain
    return found


def _row(record: Mapping[str, Any], status: JobStatus) -> Row:
    index = record["ProcId"] if record.get("ReflowArray") is True else None
    return Row(id=str(record["ClusterId"]), index=index, name=str(record.get("JobBatchName") or ""), status=status)


def _queued(record: Mapping[str, Any]) -> JobStatus:
    """Return the status of a job that is in the queue: 1 idle, 2, 6 and 7 at work, 3 removed, 4 completed, 5 held."""
    state, started = record.get("JobStatus"), bool(record.get("NumShadowStarts"))
    native = f"JobStatus {state}"
    if state == 1:
        return pending(native, "back in the queue" if started else "waiting for a machine")
    if state in (2, 6, 7):
        return running(native, "suspended" if state == 7 else "")
    if state == 3:
        return running(native, "being removed") if started else cancelled(native)
    if state == 4:
        return _completed(record, native)
    if state == 5:
        return _held(record)
    return unknown(native)


def _held(record: Mapping[str, Any]) -> JobStatus:
    """Return the status of a held job: HTCondor keeps it for ever, whatever the reason."""
    code, why = record.get("HoldReasonCode"), str(record.get("HoldReason") or "held")
    native = f"JobStatus 5, HoldReasonCode {code}"
    if code in _LIMITS:
        return running(native, why, ending=True)
    return pending(native, f"held: {why}") if code in _ASKED else held(why, native)


def _left(record: Mapping[str, Any]) -> JobStatus:
    """Return the status of a job that has left the queue."""
    state, why = record.get("JobStatus"), str(record.get("RemoveReason") or "")
    native = f"JobStatus {state}{f', {why}' if why else ''}"
    if state == 4:
        return _completed(record, native)
    if state != 3:
        return unknown(native)
    if "PeriodicRemove expression" not in why:
        return cancelled(native, why)
    cls = _LIMITS.get(record.get("LastHoldReasonCode") or 0)
    if cls is not None:
        return failed(cls, native, str(record.get("LastHoldReason") or ""))
    return failed(FailureClass.PREEMPTED, native, "it lost its machine")


def _completed(record: Mapping[str, Any], native: str) -> JobStatus:
    number, code = record.get("ExitSignal"), record.get("ExitCode")
    if record.get("ExitBySignal") is True and type(number) is int:
        return signalled(number, native)
    return exited(code, native) if type(code) is int else unknown(native)
