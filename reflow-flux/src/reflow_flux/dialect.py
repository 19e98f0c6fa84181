"""Flux, as its commands speak."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
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
    JobRef,
    JobStatus,
    Limits,
    Row,
    Runner,
    Site,
    Submission,
    UsageError,
    Words,
    built,
    cancelled,
    ceiling,
    emulated,
    exited,
    failed,
    flag,
    layout,
    long_option,
    names,
    outliving,
    pending,
    refused,
    running,
    succeeded,
    unknown,
)

_WAITING = {
    "NEW": "waiting",
    "DEPEND": "waiting for other jobs",
    "PRIORITY": "waiting for its priority",
    "SCHED": "waiting for resources",
}


class Flux(Dialect):
    """Flux 0.50 and later."""

    name = "flux"
    title = "Flux"
    programs = ("flux",)
    # 300 jobs in one dependency are known to work, and each slot is a job.
    limits = Limits(array_base=0, max_array=250, max_after=300, throttle=False, visibility_lag=2.0)
    index = "FLUX_JOB_CC"
    # Ids are kept in ASCII: the letter ƒ at their head is written f. They are those of one instance, and what `flux
    # batch` starts has one of its own: from there the run's own has to be named.
    job_id = (
        '"$(printf %s "${FLUX_JOB_ID:-${FLUX_ENCLOSING_ID-}}" | LC_ALL=C sed "s/^$(printf \'\\306\\222\')/f/")"'
        ' REFLOW_FLUX_URI="$(if [ -n "${FLUX_ENCLOSING_ID-}" ] && [ -z "${FLUX_JOB_ID-}" ]; then'
        ' flux getattr parent-uri 2>/dev/null; else printf %s "${FLUX_URI-}"; fi)"'
    )
    # What a job leaves running keeps it in RUN, and survives its cancelling.
    outlive = outliving()
    elements = "{id}"
    cells: ClassVar[Mapping[str, Cell]] = {
        "name": flag("--job-name={}"),
        "queue": flag("--queue={}"),
        "account": flag("--bank={}"),
        "project": flag("--bank={}"),
        "qos": refused("Flux has none; queues and banks take its place"),
        "time": built("-t {}s"),
        "mem": emulated("Flux takes no request for memory; said once, and left out"),
        "cpus": built("-c {}"),
        "nodes": built("flux batch -N {}"),
        "tasks": built("flux batch -n {}; in an array, all cores of one node"),
        "gpus": built("-g {}"),
        "exclusive": built("-N 1 --exclusive"),
        "constraint": flag("--requires={}"),
        "reservation": refused("Flux has none"),
        "priority": flag("--urgency={}"),
        "nice": refused("Flux has urgencies only: priority=8, of 0 to 31"),
        "begin": built("--begin-time=+{}s"),
        "array": built("--cc=0-{}"),
        "array_parallelism": emulated("by submitting in waves"),
        "after": built("--dependency=afterany:{}, one for each"),
        "env": SCRIPT,
        "cwd": SCRIPT,
        "output": flag("--output={}"),
        "mail_user": refused("Flux sends no mail; [notifications] does"),
        "mail_type": refused("Flux sends no mail; [notifications] does"),
        "signal": WORKER,
        "requeue": emulated("never by Flux: what is lost is submitted again"),
    }
    native = names(
        "add_file conf debug env env_file env_remove error flags gpus_per_node input label_io log log_stderr rlimit"
        " setattr setopt taskmap tasks_per_core tasks_per_node unbuffered verbose"
    )
    own = names(
        "bcc cc cores_per_task cwd dependency dry_run jps job_name nnodes nslots ntasks quiet time_limit wait watch"
    )
    renames = long_option("--job-name", 3)
    # While an instance starts or stops its services come and go, and what it has just taken may be lost.
    passing = r"Unable to connect to Flux|flux_open|No service matching|EPIPE"
    uncertain = r"EPIPE"
    closed = r"job submission to \S+ is disabled"
    definite = r"Invalid queue|exceeds policy limit|invalid jobspec|urgency range is"
    breaks = "|".join(
        (
            r"-h",
            long_option("--cc", 4),
            long_option("--bcc", 3),
            long_option("--wait", 6),
            long_option("--wait-event", 7),
            long_option("--watch", 5),
            long_option("--quiet", 5),
            long_option("--dry-run", 3),
            long_option("--jps", 4),
            long_option("--help", 3),
        )
    )
    priorities = (0, 31)
    urgencies = frozenset(("default", "expedite", "hold"))
    gone = r"unknown job id|JobID \S+ unknown|job is inactive|No such job|Matched 0 jobs"
    whole = r"\}\s*\Z"
    absent = r"JobID (\S+) unknown"
    vanished = r"dependency: \w+: id \S+: job not found"
    hints: ClassVar[Mapping[str, str]] = {
        r"Invalid queue": "`flux queue list` shows the queues",
        r"policy limit": "`flux queue list` shows their limits; a job without a time asks for an unlimited one",
        r"Unable to connect|flux_open": "ids are those of the instance that the run was submitted to;"
        " REFLOW_FLUX_URI names another way to it",
    }

    def call(self, *words: str, cwd: str | None = None, **variables: str) -> Call:
        """A command to the run's own instance."""
        uri = self.settings.get("uri")
        env = variables | ({"FLUX_URI": str(uri)} if uri else {})
        return Call(argv=(self.program("flux"), *words), env=env, cwd=cwd)

    def named(self, job: Job, name: str) -> Iterable[Words]:
        """Each job of an array has its slot behind its name: they are told apart by it."""
        return [(f"--job-name={name}{'' if job.slots is None else '+{cc}'}",)]

    def resources(self, job: Job) -> Iterable[Words]:
        """A script runs once for each task of `flux submit`: so there is one, with the cores of all."""
        nodes, tasks, cpus = layout(job)
        asked, alone = job.resources, self.alone(job)
        if _spread(job):
            yield "-N", str(nodes)
            yield "-n", str(max(tasks, nodes))
            cores = cpus
        else:
            if nodes > 1:
                raise UsageError(
                    "an array whose elements take several nodes each can't be had on Flux",
                    hint="submit single jobs: include the task several times, or let one task use one node",
                )
            if alone:
                yield "-N", "1"
            yield "-n", "1"
            cores = cpus * tasks
        if asked.cpus or cores > 1:
            yield "-c", str(cores)
        if alone:
            yield ("--exclusive",)
        if asked.gpus:
            yield "-g", str(ceiling(asked.gpus * nodes, max(tasks, nodes)) if _spread(job) else asked.gpus)
        if asked.time:
            yield "-t", f"{asked.time}s"

    def notes(self, job: Job) -> Iterable[str]:
        """Memory."""
        return ["Flux takes no request for memory: mem is left out"] if job.resources.mem else []

    def array(self, slots: int, throttle: int | None) -> Iterable[Words]:
        """As many jobs of their own."""
        return [(f"--cc={'0' if slots == 1 else f'0-{slots - 1}'}",)]

    def after(self, ids: Sequence[str]) -> Iterable[Words]:
        """One option for each job."""
        return [(f"--dependency=afterany:{id}",) for id in ids]

    def submit(self, job: Job, script: str, words: Sequence[str]) -> Call:
        """A command is submitted, and braces in it would be replaced: such a path is passed in a variable."""
        if _spread(job):
            return self.call("batch", *words, job.script, cwd=job.cwd)
        if not set("{}") & set(job.script):
            return self.call("submit", *words, job.script, cwd=job.cwd)
        command = ("/bin/sh", "-c", 'exec "$REFLOW_SCRIPT"')
        return self.call("submit", *words, *command, cwd=job.cwd, REFLOW_SCRIPT=job.script)

    def submitted(self, job: Job, done: Completed) -> Submission | None:
        """One id a line, in any order."""
        ids = [self.key(id) for id in re.findall(r"(?m)^([fƒ][1-9A-HJ-NP-Za-km-z]+)\s*$", done.stdout)]
        if not ids:
            return None
        return Submission(ref=JobRef(ids[-1] if job.slots is None else _joined(ids)))

    def order(self, submission: Submission) -> Call | None:
        """Names tell the slots; one job alone needs none."""
        ids = submission.ref.id.split(",") if submission.ref is not None else []
        return self.call("jobs", "-n", "-o", _LISTED, *ids) if len(ids) > 1 and ids[1] else None

    def ordered(self, submission: Submission, done: Completed) -> Submission | None:
        """Every job has to be named."""
        found = re.findall(r"(?m)^(\S+) \S*\+(\d+)\s*$", done.stdout)
        slots = {int(slot): self.key(id) for id, slot in found}
        told = submission.ref is not None and set(slots.values()) == set(submission.ref.id.split(","))
        return Submission(ref=JobRef(_joined([slots[slot] for slot in sorted(slots)]))) if told else None

    def key(self, id: str) -> str:
        """In ASCII."""
        return id.replace("ƒ", "f")

    def live(self, ids: Sequence[str], site: Site) -> Call:
        """Jobs that have ended too, until they are purged."""
        return self.call("jobs", "--json", *ids)

    def read_live(self, done: Completed) -> Iterable[Row]:
        """One job alone comes without the list around it."""
        try:
            told = json.loads(done.stdout)
        except ValueError:
            return
        jobs = told.get("jobs", [told]) if isinstance(told, dict) else []
        for job in jobs if isinstance(jobs, list) else []:
            if isinstance(job, dict) and isinstance(job.get("jobid"), str) and isinstance(job.get("status"), str):
                yield Row(id=self.key(job["jobid"]), name=str(job.get("name", "")), status=_status(job))

    def search(self, site: Site) -> Sequence[Call]:
        """All jobs of the user."""
        return [self.call("jobs", "-a", "-c0", "-o", _LISTED)]

    def listed(self, answers: Sequence[tuple[int, str]]) -> bool:
        """The list has a header."""
        return all(re.search(r"(?m)^JOBID NAME *$", said) for _, said in answers)

    def read_search(self, number: int, done: Completed, tags: Collection[str]) -> Mapping[str, str]:
        """The jobs of an array are one reference, in the order of its slots; a slot that is missing is empty."""
        single: dict[str, str] = {}
        arrays: dict[str, dict[int, str]] = {}
        for id, tag, slot in re.findall(r"(?m)^(\S+) ([A-Za-z0-9]+)\b[^\s+]*(?:\+(\d+))?\s*$", done.stdout):
            if tag not in tags:
                continue
            if slot:
                arrays.setdefault(tag, {})[int(slot)] = self.key(id)
            else:
                single[tag] = self.key(id)
        joined = {tag: [slots.get(slot, "") for slot in range(max(slots) + 1)] for tag, slots in arrays.items()}
        return single | {tag: _joined(ids) for tag, ids in joined.items()}

    def cancel(self, ids: Sequence[str]) -> Sequence[Call]:
        """Any number."""
        return [self.call("cancel", *ids)]


class FluxExecutor(CommandExecutor):
    """Submits to one Flux instance.

    Parameters
    ----------
    flux : str, optional
        Path of the program; found on PATH where not given.
    uri : str, optional
        FLUX_URI of the instance. `create` and `bind` take the environment's
        where not given; it is kept with the run, whose ids mean nothing to any
        other instance. In a job of the run, and where REFLOW_FLUX_URI is set,
        that is the way to it.
    """

    dialect = Flux
    own_settings = ("uri",)
    #: from where we are
    _way: str | None = None

    @classmethod
    def create(cls, settings: Mapping[str, JSON], context: Context) -> FluxExecutor:
        """As `CommandExecutor.create`."""
        uri = settings.get("uri") or context.environ.get("FLUX_URI")
        made = super().create({**settings, "uri": uri}, context)
        assert isinstance(made, FluxExecutor)
        made._way = context.environ.get("REFLOW_FLUX_URI")
        made._speak(made.dialect)
        return made

    def bind(self, runner: Runner) -> CommandExecutor:
        """As `CommandExecutor.bind`."""
        bound: dict[str, Any] = {"uri": os.environ.get("FLUX_URI"), **self.settings}
        return type(self)(runner=runner, **bound)

    def _speak(self, kind: type[Dialect]) -> None:
        super()._speak(kind)
        if self._way:
            self.speaks.settings["uri"] = self._way


_LISTED = "{id.f58plain} {name}"


def _joined(ids: Sequence[str]) -> str:
    """The jobs of an array under one reference, in the order of its slots; a comma tells it from a single job."""
    return ",".join(ids) + ("," if len(ids) == 1 else "")


def _spread(job: Job) -> bool:
    """Whether it is an MPI job, with an instance of its own: `flux batch` knows no arrays."""
    nodes, tasks, _ = layout(job)
    return job.slots is None and (nodes > 1 or tasks > 1)


def _status(job: Mapping[str, JSON]) -> JobStatus:
    status = job["status"]
    exception = job.get("exception")
    error: Mapping[str, JSON] = exception if isinstance(exception, dict) else {}
    kind, note = str(error.get("type", "")), str(error.get("note", ""))
    native = " ".join(word for word in (status, kind) if word)
    if status in _WAITING:
        named = job.get("dependencies")
        begins = isinstance(named, list) and any(str(one).startswith("begin") for one in named)
        held = "held" if job.get("urgency") == 0 else _WAITING[status]
        return pending(native, "waiting for its begin time" if begins else held)
    if status in ("RUN", "CLEANUP"):
        return running(native)
    if status == "COMPLETED":
        return succeeded(native)
    if status == "CANCELED":
        return cancelled(native, note)
    if status == "TIMEOUT":
        return failed(FailureClass.TIMEOUT, native, note or "walltime exceeded")
    if status != "FAILED":
        return unknown(native)
    if kind == "alloc":
        return failed(FailureClass.LAUNCH, native, f"can never run: {note}")
    if kind == "exec" and "node failure" in note:
        return failed(FailureClass.NODE_FAIL, native, note)
    if kind in ("exec", "dependency"):
        return failed(FailureClass.LAUNCH, native, note or kind)
    code = job.get("returncode")
    if isinstance(code, int) and code > 0:
        return exited(code, native, shell=True)
    return failed(FailureClass.EXIT, native, note or "failed")
