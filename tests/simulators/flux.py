"""Flux 0.88, as recorded: one instance, whose FLUX_URI is the cluster's directory."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from engine import (
    DELETED,
    DEPENDENCY,
    ENDED,
    LIMIT,
    RUNNING,
    Element,
    Refused,
    Start,
    Submission,
    System,
    Unrecorded,
    ranges,
)

_B58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
#: ids are numbers that begin far from 1, so that they look like those of an instance of some age
_OFFSET = 886_323_544_064


def f58(number: int) -> str:
    """A job's id, without its first letter."""
    number = _OFFSET + number * 7919
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = _B58[digit] + text
    return text


def unf58(text: str) -> int | None:
    """The number of an id as it may be given: ``ƒ…``, ``f…`` or decimal; None: it is none of this instance."""
    if re.fullmatch(rf"[fƒ][{_B58}]+", text):
        number = 0
        for letter in text[1:]:
            number = number * 58 + _B58.index(letter)
    elif text.isdigit():
        number = int(text)
    else:
        raise ValueError(text)
    whole, rest = divmod(number - _OFFSET, 7919)
    return None if rest or whole < 0 else whole


#: the first line of a list, by its format
HEADINGS = {"{id.f58plain} {name}": "JOBID NAME"}


class _Parser(argparse.ArgumentParser):
    def __init__(self, program: str, usage: str) -> None:
        super().__init__(prog=f"flux {program}", add_help=False, usage=usage, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise Refused(f"usage: {self.usage}\n{self.prog}: error: {message}", 2)


class Flux(System):
    """Flux: queues ``batch`` (the default) and ``debug`` (of at most 30 minutes), one node ``n0``."""

    programs = ("flux",)
    kills = ((0.0, signal.SIGTERM), (5.0, signal.SIGKILL))
    # SIGALRM, never TERM
    expiry = ((0.0, signal.SIGALRM), (5.0, signal.SIGKILL))
    sweeps = False

    @property
    def uri(self) -> str:
        return f"local://{self.book.root}/local-0"

    @property
    def below(self) -> str:
        """FLUX_URI of the instances that batch jobs have of their own."""
        return f"local://{self.book.root}/flux-below/local-0"

    def command(self, program: str, argv: list[str]) -> int:
        verb = argv[0] if argv else ""
        if verb == "version":
            return self.version()
        uri = os.environ.get("FLUX_URI")
        if argv == ["getattr", "parent-uri"] and uri == self.below:
            print(self.uri)
            return 0
        if verb not in ("submit", "batch", "jobs", "cancel"):
            raise Unrecorded(f"flux {verb}")
        if uri == self.below:
            raise Unrecorded(f"flux {verb} in the instance of a batch job")
        if uri is None:
            raise Refused(
                f"flux-{verb}: ERROR: Unable to connect to Flux: broker socket /run/flux/local was not found", 1
            )
        if uri != self.uri:
            path = uri.partition("://")[2]
            raise Refused(f"flux-{verb}: ERROR: Unable to connect to Flux: broker socket {path} was not found", 1)
        code: int = getattr(self, verb)(argv[1:])
        return code

    def down(self, program: str) -> int:
        raise Refused(f"flux-{sys.argv[4]}: ERROR: Unable to connect to Flux: Connection refused", 1)

    def version(self) -> int:
        print("commands:    \t\t0.88.0-59-g4a5e79f56\nlibflux-core:\t\t0.88.0-59-g4a5e79f56")
        if "FLUX_URI" in os.environ:
            print(f"broker:  \t\t0.88.0-59-g4a5e79f56\nFLUX_URI:\t\t{os.environ['FLUX_URI']}")
        print("build-options:\t\t+systemd+hwloc.api==2.8.0+zmq==4.3.4")
        return 0

    def id(self, number: int) -> str:
        plain = os.environ.get("FLUX_F58_FORCE_ASCII") or os.environ.get("LC_ALL") == "C"
        return ("f" if plain else "ƒ") + f58(number)

    # -- submit, batch --------------------------------------------------------

    def parser(self, verb: str) -> argparse.ArgumentParser:
        usage = {
            "submit": "flux submit [OPTIONS...] COMMAND [ARGS...]",
            "batch": "flux batch [OPTIONS...] [SCRIPT] [ARGS...]",
        }
        parser = _Parser(verb, usage[verb])
        for short, name, kind in (
            ("-N", "--nnodes", int),
            ("-n", "--ntasks" if verb == "submit" else "--nslots", int),
            ("-c", "--cores-per-task" if verb == "submit" else "--cores-per-slot", int),
            ("-g", "--gpus-per-task" if verb == "submit" else "--gpus-per-slot", int),
            ("-t", "--time-limit", str),
            ("-q", "--queue", str),
        ):
            parser.add_argument(short, name, type=kind, dest=name[2:].partition("-")[0])
        for name in ("--job-name", "--bank", "--urgency", "--output", "--error", "--requires", "--begin-time", "--cwd"):
            parser.add_argument(name)
        parser.add_argument("--dependency", action="append", default=[])
        parser.add_argument("--setattr", action="append", default=[])
        if verb == "submit":
            parser.add_argument("--cc")
        parser.add_argument("--exclusive", "-x", action="store_true")
        parser.add_argument("command", nargs=argparse.REMAINDER)
        return parser

    def submit(self, argv: list[str]) -> int:
        given = self.parser("submit").parse_args(argv)
        command = given.command[1:] if given.command[:1] == ["--"] else given.command
        if command and command[0].startswith("-"):
            raise Refused(
                "usage: flux submit [OPTIONS...] COMMAND [ARGS...]\n"
                f"flux submit: error: unrecognized arguments: {command[0]}",
                2,
            )
        if not command:
            raise Refused("flux-submit: ERROR: job command and arguments are missing", 1)
        members: list[int | None] = [None]
        if given.cc is not None:
            try:
                listed = ranges(given.cc)
            except ValueError:
                raise Refused(f"flux-submit: ERROR: IDset(): Invalid argument: {given.cc}", 1) from None
            if [int(part.split("-")[0]) for part in given.cc.split(",")] != sorted(
                int(part.split("-")[0]) for part in given.cc.split(",")
            ):
                raise Refused(f"flux-submit: ERROR: IDset(): Invalid argument: {given.cc}", 1)
            members = list(listed)
            for word in command:
                if re.search(r"\{(?!cc\})[^{}]*\}", word):
                    raise Refused(f"flux: ERROR: Invalid replacement string in command: '{' '.join(command)}'", 1)
        specs, errors = [], []
        for member in members:
            try:
                specs.append(self.job(given, command, member))
            except Refused as refusal:
                errors.append(refusal.text if member is None else f"cc={member}: {refusal.text}")
        numbers = [self.enter(spec) for spec in specs]
        # Four processes take them in at once: the order of lines is not that of the members.
        shuffled = [number for lane in range(4) for number in numbers[lane::4]] if len(numbers) > 4 else numbers
        for number in shuffled:
            print(self.id(number))
        for error in errors:
            print(error, file=sys.stderr)
        return 1 if errors else 0

    def batch(self, argv: list[str]) -> int:
        given = self.parser("batch").parse_args(argv)
        unknown = [word for word in given.command if word.startswith("-")]
        if unknown:
            said = f"flux batch: error: unrecognized arguments: {unknown[0]}"
            raise Refused(f"usage: flux batch [OPTIONS...] [SCRIPT] [ARGS...]\n{said}", 2)
        if given.nslots is None and given.nnodes is None:
            raise Refused("flux-batch: ERROR: Number of slots to allocate must be specified", 1)
        if not given.command:
            raise Unrecorded("flux batch: a script on standard input is not simulated")
        script = given.command[0]
        try:
            with open(script, encoding="utf-8", errors="surrogateescape") as stream:
                text = stream.read()
        except OSError:
            raise Refused(f"flux-batch: ERROR: No such file or directory: '{script}'", 1) from None
        if not text.startswith("#!"):
            raise Refused(f"flux-batch: ERROR: {script} does not appear to start with '#!'", 1)
        given.ntasks, given.cores = given.nslots, given.cores
        spec = self.job(given, [], None)
        spec["name"] = given.job_name or os.path.basename(script)
        spec["batch"] = text
        number = self.enter(spec)
        print(self.id(number))
        return 0

    def enter(self, spec: dict[str, Any]) -> int:
        number = self.book.number()
        self.book.submit(number, indices=None, **spec)
        if "batch" in spec:
            folder = self.book.root / "batch"
            folder.mkdir(exist_ok=True)
            path = folder / str(number)
            path.write_text(spec["batch"], encoding="utf-8", errors="surrogateescape")
            path.chmod(0o700)
        return number

    def job(self, given: argparse.Namespace, command: list[str], member: int | None) -> dict[str, Any]:
        def filled(text: str | None) -> str | None:
            return text if text is None or member is None else text.replace("{cc}", str(member))

        limit = self.duration(given.time) if given.time is not None else 0.0
        if given.queue not in (None, "batch", "debug"):
            raise Refused(f"[Errno 1] Invalid queue '{given.queue}' specified", 1)
        if given.queue == "debug" and (not limit or limit > 1800):
            asked = given.time if limit else "unlimited"
            raise Refused(f"[Errno 22] requested duration ({asked}) exceeds policy limit of 30m for queue debug", 1)
        if given.urgency is not None and given.urgency != "hold" and not 0 <= int(given.urgency) <= 31:
            raise Refused("[Errno 22] urgency range is [0:31]", 1)
        if given.requires is not None:
            if not given.requires.startswith("host:"):
                raise Unrecorded(f"--requires={given.requires}")
            for host in given.requires[5:].split(","):
                if host != "n0":
                    said = f"host constraint contains invalid hosts: host '{host}' not found"
                    raise Refused(f"[Errno 1] invalid jobspec: {said}", 1)
        after = [self.depends(text) for text in given.dependency]
        begin = None
        if given.begin_time is not None:
            if not given.begin_time.startswith("+"):
                raise Unrecorded(f"--begin-time={given.begin_time}")
            begin = time.time() + self.duration(given.begin_time[1:])
        tasks, cores = given.ntasks or 1, max(given.cores or 1, 1)
        alloc = ""
        if (given.gpus or 0) > 0:
            alloc = f"need {tasks} slot(s) with {given.gpus} GPU(s) each, only 0 available (total GPUs: 0)"
        elif given.nnodes is not None and given.nnodes > 1:
            alloc = f"need {given.nnodes} node(s) with {cores} cores each, only 1 eligible"
        elif tasks * cores > self.cores:
            only = self.cores // cores
            alloc = (
                f"need {tasks} slot(s) of {cores} core(s), only {only} such slot(s) available"
                f" (total cores: {self.cores})"
            )
        words = [filled(word) or "" for word in command]
        return {
            "name": filled(given.job_name) or (os.path.basename(words[0]) if words else ""),
            "command": words,
            "cores": min(self.cores if given.exclusive else tasks * cores, self.cores),
            "tasks": tasks,
            "limit": limit or None,
            "after": after,
            "begin": begin,
            "held": given.urgency in ("0", "hold"),
            "urgency": 0 if given.urgency == "hold" else int(given.urgency or 16),
            "alloc": f"unsatisfiable request: {alloc}" if alloc else "",
            "out": filled(given.output) or "",
            "err": filled(given.error) or "",
            "cwd": given.cwd or os.getcwd(),
            "env": dict(os.environ) | ({} if member is None else {"FLUX_JOB_CC": str(member)}),
            "umask": _umask(),
            "user": os.environ.get("USER") or "alice",
            "queue": given.queue or "batch",
        }

    def duration(self, text: str) -> float:
        """Minutes, or a number with s, m, h or d."""
        match = re.fullmatch(r"(-?\d+(?:\.\d+)?)([smhd]?)", text)
        if match is None:
            raise Refused("flux-submit: ERROR: invalid Flux standard duration", 1)
        value = float(match[1]) * {"": 60, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
        if value < 0:
            raise Refused("flux-submit: ERROR: duration must not be negative", 1)
        return value

    def depends(self, text: str) -> list[object]:
        """One upstream; one that is not known, or can't succeed any more, is refused."""
        kind, _, id = text.partition(":")
        if kind not in ("afterany", "afterok", "afternotok"):
            raise Refused(f'[Errno 22] dependency scheme "{kind}" not supported', 1)
        try:
            number = unf58(id)
        except ValueError:
            raise Refused(f'[Errno 22] dependency: {kind}: "{id}" is not a valid jobid', 1) from None
        upstream = None if number is None else self.book.submission(number)
        if upstream is None or number is None:
            raise Refused(f"[Errno 22] dependency: {kind}: id {id}: job not found", 1)
        if kind == "afterok" and upstream.over and self.status(upstream) != "COMPLETED":
            raise Refused(f"[Errno 22] dependency: afterok: job {self.id(number)} failed or was canceled", 1)
        return [kind, number]

    # -- running --------------------------------------------------------------

    def ready(self, submission: Submission) -> bool | str:
        for kind, number in submission.spec["after"]:
            upstream = self.book.submission(number)
            if upstream is None:
                continue  # purged: it had ended
            if not upstream.over:
                return False
            good = self.status(upstream) == "COMPLETED"
            if (kind == "afterok" and not good) or (kind == "afternotok" and good):
                word = {"afterok": "after-success", "afternotok": "after-failure"}[kind]
                ran = upstream.elements[0].ran
                return f"{DEPENDENCY} {word}={self.id(number)} " + (
                    "can never be satisfied" if ran else "job never started"
                )
        return f"alloc {submission.spec['alloc']}" if submission.spec["alloc"] else True

    def start(self, submission: Submission, element: Element) -> Start | str:
        """A directory that is missing is replaced by /tmp, without a word to anybody but its own error stream."""
        spec, id = submission.spec, self.id(submission.number)
        env = dict(spec["env"]) | {
            "FLUX_JOB_ID": id,
            "FLUX_URI": self.uri,
            "FLUX_JOB_NNODES": "1",
            "FLUX_JOB_SIZE": str(spec["tasks"]),
            "FLUX_TASK_RANK": "0",
            "FLUX_TASK_LOCAL_ID": "0",
        }
        cwd = spec["cwd"] if os.path.isdir(spec["cwd"]) else "/tmp"
        env["PWD"] = cwd
        command = [word.replace("{{id}}", id) for word in spec["command"]]
        if "batch" in spec:
            command = [str(self.book.root / "batch" / str(submission.number))]
            del env["FLUX_JOB_ID"]
            env |= {"FLUX_ENCLOSING_ID": id, "FLUX_URI": self.below}
        out = os.path.join(cwd, spec["out"].replace("{{id}}", id).replace("{{name}}", spec["name"]))
        out = out if spec["out"] else self.spool(element, "out")
        err = os.path.join(cwd, spec["err"].replace("{{id}}", id)) if spec["err"] else None
        for path in (out, err):
            if path and not os.path.isdir(os.path.dirname(path)):
                return "exec shell_init: No such file or directory"
            if path and os.path.isfile(path):
                os.truncate(path, 0)
        program = os.path.join(cwd, command[0]) if "/" in command[0] else _found(command[0], env)
        if not os.path.exists(program):
            return f"exec127 task 0 (host vm): start failed: {command[0]}: No such file or directory"
        if not os.access(program, os.X_OK) or os.path.isdir(program):
            return f"exec126 task 0 (host vm): start failed: {command[0]}: Permission denied"
        return Start([program, *command[1:]], env, cwd, spec["umask"], out, err)

    # -- jobs -----------------------------------------------------------------

    def lingers(self, number: int) -> bool:
        """Background children keep the job in RUN, wherever their output goes."""
        mine = f"FLUX_JOB_ID={self.id(number)}".encode()
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if mine in environ.read_bytes().split(b"\0"):
                    return True
        return False

    def exception(self, submission: Submission) -> tuple[str, str] | None:
        """Type and note of what ended a job, where it did not end by itself."""
        why = submission.elements[0].why
        if why == DELETED:
            return "cancel", ""
        if why == LIMIT:
            return "timeout", "resource allocation expired"
        kind, _, note = why.partition(" ")
        if kind == DEPENDENCY:
            return "dependency", f"dependency {note}"
        return (kind.rstrip("0123456789"), note) if kind else None

    def status(self, submission: Submission) -> str:
        element = submission.elements[0]
        if element.state == RUNNING:
            return "CLEANUP" if element.asked is not None else "RUN"
        if element.state != ENDED:
            waits = submission.spec["after"] and self.ready(submission) is False
            return "DEPEND" if waits or (submission.spec["begin"] or 0) > time.time() else "SCHED"
        if element.why == DELETED:
            return "CANCELED"
        if element.why == LIMIT:
            return "TIMEOUT"
        return "COMPLETED" if not element.why and element.code == 0 and element.signal is None else "FAILED"

    def returncode(self, submission: Submission) -> int | None:
        element = submission.elements[0]
        if element.state != ENDED:
            return None
        if element.signal is not None:
            return 128 + element.signal
        if element.code is not None:
            return element.code
        if element.why == DELETED:
            return -128
        found = re.match(r"exec(\d+)", element.why)
        return int(found[1]) if found else 1

    def fields(self, submission: Submission) -> dict[str, Any]:
        element, spec = submission.elements[0], submission.spec
        exception = self.exception(submission)
        told: dict[str, Any] = {
            "duration": spec["limit"] or 0.0,
            "name": spec["name"],
            "cwd": spec["cwd"],
            "queue": spec["queue"],
            "ntasks": spec["tasks"],
            "ncores": spec["cores"],
            "nnodes": 1,
            "id": _OFFSET + submission.number * 7919,
            "t_submit": submission.at,
            "state": "INACTIVE" if element.state == ENDED else self.status(submission),
            "username": spec["user"],
            "urgency": spec["urgency"],
            "status": self.status(submission),
            "dependencies": [
                {"afterany": "after-finish", "afterok": "after-success", "afternotok": "after-failure"}[kind]
                + f"={self.id(number)}"
                for kind, number in spec["after"]
            ]
            if element.state != ENDED and not element.ran
            else [],
            "jobid": self.id(submission.number),
            "annotations": {},
            "exception": {"occurred": False}
            if exception is None
            else {"occurred": True, "severity": 0, "type": exception[0], "note": exception[1]},
        }
        if element.state == ENDED:
            code = self.returncode(submission)
            told |= {"returncode": code, "result": told["status"], "success": told["status"] == "COMPLETED"}
        return told

    def jobs(self, argv: list[str]) -> int:
        parser = _Parser("jobs", "flux jobs [OPTIONS] [JOBID ...]")
        for flag in ("-a", "-n", "--json"):
            parser.add_argument(flag, action="store_true")
        parser.add_argument("-c", type=int, default=1000)
        parser.add_argument("-o")
        parser.add_argument("ids", nargs="*")
        given = parser.parse_args(argv)
        found, lost = [], 0
        wanted: list[int] = []
        for id in given.ids:
            try:
                number = unf58(id)
            except ValueError:
                raise Unrecorded(f"flux jobs {id}") from None
            wanted.append(-1 if number is None else number)
        known = self.book.submissions(wanted if given.ids else None)
        if given.ids:
            if given.a:
                print("flux-jobs: WARNING: Filtering options ignored with jobid list", file=sys.stderr)
            for id, number in zip(given.ids, wanted, strict=True):
                if number in known:
                    found.append(known[number])
                else:
                    print(f"JobID {id} unknown", file=sys.stderr)
                    lost += 1
        else:
            found = [job for job in reversed(known.values()) if given.a or not job.over]
            found = found[: given.c or None]
        if given.json:
            told = [self.fields(job) for job in found]
            if len(given.ids) == 1 and told:
                print(json.dumps(told[0]))
            elif told or not given.ids:
                print(json.dumps({"jobs": told}))
        elif given.o is not None:
            if not given.n:
                if (headings := HEADINGS.get(given.o)) is None:
                    raise Unrecorded("flux jobs -o without -n")
                print(headings)
            for job in found:
                print(self.line(given.o, job))
        else:
            raise Unrecorded("flux jobs without --json or -o")
        return 1 if lost and not found else 0

    def line(self, form: str, job: Submission) -> str:
        fields = self.fields(job)
        plain = {
            "id": fields["jobid"],
            "id.f58": fields["jobid"],
            "id.f58plain": "f" + f58(job.number),
            "name": fields["name"],
            "status": fields["status"],
            "state": fields["state"],
        }

        def filled(match: re.Match[str]) -> str:
            if match[1] not in plain:
                raise Unrecorded(f"flux jobs -o {form}")
            return str(plain[match[1]])

        return re.sub(r"\{([\w.]+)\}", filled, form)

    # -- cancel ---------------------------------------------------------------

    def cancel(self, argv: list[str]) -> int:
        if not argv or argv[0].startswith("-"):
            raise Unrecorded(f"flux cancel {argv}")
        code = 0
        for id in argv:
            try:
                number = unf58(id)
            except ValueError:
                raise Unrecorded(f"flux cancel {id}") from None
            job = None if number is None else self.book.submission(number)
            if job is None or job.over:
                shown = id if id.isdigit() else "ƒ" + id[1:]
                what = "unknown job id" if job is None else "job is inactive"
                print(f"flux-cancel: ERROR: {shown}: {what}", file=sys.stderr)
                code = 1
            else:
                self.book.kill(job.number)
        return code


def _found(name: str, env: dict[str, str]) -> str:
    for folder in env.get("PATH", "/usr/bin:/bin").split(":"):
        if os.access(os.path.join(folder, name), os.X_OK):
            return os.path.join(folder, name)
    return f"/nonexistent/{name}"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
