"""OpenLava 2.2, as recorded; of IBM's LSF no output was."""

from __future__ import annotations

import getopt
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine import ENDED, NONE, RUNNING, Element, Refused, Start, Submission, System, Unrecorded, ranges, recorded

_BSUB = recorded("openlava-bsub-usage")
_BJOBS = recorded("openlava-bjobs-usage")
_SCHEDULING = recorded("openlava-bjobs-scheduling")
#: options that take a value, as the real program's getopt clusters them
_OPTIONS = "hVxHrNBIKL:c:F:W:k:P:q:R:m:n:J:b:t:u:i:o:e:M:D:S:f:w:E:Z:s:a:"


class OpenLava(System):
    """One host called ``vm``, queues ``normal`` and ``short``; what has ended is kept for ``keeps`` seconds."""

    programs = ("bsub", "bjobs", "bkill", "bparams")
    host = "vm"
    # INT, and JOB_TERMINATE_INTERVAL (10 s) later TERM, and again later KILL
    kills = ((0.0, signal.SIGINT), (2.0, signal.SIGTERM), (2.0, signal.SIGCONT), (4.0, signal.SIGKILL))
    # USR2 at once; who ignores it is interrupted ten minutes later
    expiry = ((1.0, signal.SIGUSR2), (600.0, signal.SIGINT), (610.0, signal.SIGTERM), (620.0, signal.SIGKILL))
    sweeps = False

    def command(self, program: str, argv: list[str]) -> int:
        verb = getattr(self, program, None)
        if verb is None:
            raise Unrecorded(program)
        code: int = verb(argv)
        return code

    def down(self, program: str) -> int | None:
        """All commands block, and go on when the daemons are back."""
        while (self.book.root / "down").exists():
            print("batch system daemon not responding ... still trying", file=sys.stderr, flush=True)
            time.sleep(1)
        return None

    # -- bsub -----------------------------------------------------------------

    def options(self, words: list[str]) -> tuple[dict[str, str], list[str]]:
        words = [f"-s{word[3:]}" if word.startswith("-sp") else word for word in words]
        try:
            given, rest = getopt.getopt(words, _OPTIONS)
        except getopt.GetoptError as error:
            raise Refused(f"bsub: illegal option -- {error.opt}\n{_BSUB}", 255) from None
        twice = [name for name, _ in given if [other for other, _ in given].count(name) > 1]
        if "-R" in twice:
            raise self.refused("Invalid syntax; the -R option was used more than once.\n.")
        return {name[1:]: value for name, value in given}, rest

    def refused(self, what: str) -> Refused:
        """What is rejected has used up a number all the same."""
        self.book.number()
        return Refused(f"{what} Job not submitted.", 255)

    def bsub(self, argv: list[str]) -> int:
        if argv == ["-V"]:
            print("openlava project 2.2, Nov 23 2026", file=sys.stderr)
            return 0
        if argv == ["-h"]:
            print(_BSUB, end="", file=sys.stderr)
            return 0
        options, rest = self.options(argv)
        if rest:
            raise Unrecorded("bsub with a command is not simulated")
        script = sys.stdin.read()
        if not script.strip():
            raise self.refused("No command is specified.")
        for line in script.splitlines():
            if line.startswith("#BSUB "):
                found, left = self.options(shlex.split(line[6:]))
                if left:
                    raise Unrecorded(f"directive {line!r}")
                options = {**found, **options}  # the command line wins
        for letter in options:
            if letter not in "HrNBJWnRMPqowsx":
                raise Unrecorded(f"bsub -{letter}")
        spec: dict[str, Any] = {
            "cores": 1,
            "limit": None,
            "never": "",
            "held": "H" in options,
            "out": options.get("o", ""),
            "wait": options.get("w", ""),
            "cwd": os.getcwd(),
            "env": dict(os.environ),
            "umask": _umask(),
            "user": os.environ.get("USER") or "alice",
            "home": os.environ.get("HOME", "/"),
            "queue": options.get("q", "normal"),
            "project": options.get("P", "default"),
        }
        name, indices, throttle = self.named(options.get("J", script.strip()), "J" in options)
        if spec["queue"] not in ("normal", "short"):
            raise self.refused(f"{spec['queue']}: No such queue.")
        if "W" in options:
            spec["limit"] = self.minutes(options["W"], spec["queue"]) * 60 or None
        if "n" in options:
            if not options["n"].isdigit() or not int(options["n"]):
                raise self.refused("The number of processors must be a positive integer.")
            spec["cores"] = int(options["n"])
            if spec["cores"] > self.cores:
                spec["never"] = "Not enough processors to meet the job's spanning requirement: 1 host;"
        if "M" in options and not options["M"].isdigit():
            raise self.refused(f"{options['M']}: MEMLIMT value should be a positive integer.")
        if "R" in options:
            self.requirement(options["R"], spec)
        if spec["wait"]:
            self.condition(spec["wait"], None)
        number = self.book.number()
        self.write(number, script)
        self.book.submit(number, indices=indices, throttle=throttle, name=name, **spec)
        queue = f"queue <{spec['queue']}>" if "q" in options else "default queue <normal>"
        print(f"Job <{number}> is submitted to {queue}.")
        return 0

    def named(self, text: str, given: bool) -> tuple[str, list[int] | None, int | None]:
        """``name[1-10]%3``; at most 254 characters, and no index 0."""
        if not given or not re.search(r"[][]", text):
            if given and len(text) > 254:
                raise self.refused("Bad job name.")
            return " ".join(text.split("\n")), None, None
        match = re.fullmatch(r"(.*)\[([^][]+)\](?:%(\d+))?", text)
        if match is None or len(text) > 254:
            raise self.refused("Bad job name.")
        try:
            indices = ranges(match[2], step=True)
        except ValueError:
            raise self.refused("Bad job name.") from None
        if 0 in indices:
            raise self.refused("Bad job name.")
        if len(indices) > int(self.site.get("max_array", 1000)):
            raise self.refused("Job array index too large.")
        return match[1], indices, None if match[3] is None else int(match[3])

    def minutes(self, text: str, queue: str) -> int:
        match = re.fullmatch(r"(?:(\d+):)?(\d+)", text)
        if match is None:
            raise self.refused(f"{text}: Bad RUNLIMIT specification.")
        asked = int(match[1] or 0) * 60 + int(match[2])
        if queue == "short" and asked > 2:
            raise self.refused("RUNLIMIT: Cannot exceed queue's hard limit(s).")
        return asked

    def requirement(self, text: str, spec: dict[str, Any]) -> None:
        parts = re.findall(r"(select|rusage|span)\[([^][]*)\]", text)
        if " ".join(f"{name}[{value}]" for name, value in parts) != text.strip():
            raise self.refused("Bad resource requirement syntax.")
        for name, value in parts:
            if name == "rusage" and int(value.partition("=")[2]) > int(self.site.get("mem_mb", 16000)):
                spec["never"] = "Job requirements for reserving resource (mem) not satisfied: 1 host;"
            if name == "select" and not re.fullmatch(r"mem>\d+", value):
                raise Unrecorded(f"-R select[{value}]")

    def write(self, number: int, script: str) -> None:
        folder = self.book.root / "lsbatch"
        folder.mkdir(exist_ok=True)
        path = folder / f"{number}.shell"
        path.write_text(script, encoding="utf-8", errors="surrogateescape")
        path.chmod(0o700)

    # -- dependencies ---------------------------------------------------------

    def condition(self, text: str, asking: Element | None) -> bool:
        """Whether a condition holds; `asking` None: it is only looked at, at submission."""
        holds = True
        for term in re.split(r"\s*&&\s*", text.strip()):
            match = re.fullmatch(r"(done|ended|exit)\((\d+)(?:\[([\d,-]+)\])?\)", term)
            if match is None:
                if re.match(r"(done|ended|exit|started)\(.*\)$", term) or term.isdigit() or "||" in term:
                    raise Unrecorded(f"bsub -w {term}")
                raise self.refused(f"{term}: Dependency condition syntax error.")
            word, number, part = match.groups()
            upstream = self.book.submission(int(number))
            chosen = [] if upstream is None else upstream.elements
            name = number
            if upstream is not None:
                wanted = ranges(part) if part else upstream.spec["indices"] or [NONE]
                chosen = [element for element in chosen if element.idx in wanted]
                missing = sorted(set(wanted) - {element.idx for element in chosen})
                if missing:  # cleaned already, or never there
                    name = f"{number}[{missing[0]}]" if upstream.array or part else number
                    chosen = []
            if not chosen:
                if asking is None:
                    raise self.refused(f"{name}: No matching job found.")
                continue  # forgotten since: it has ended
            codes = [self.status(element) for element in chosen]
            if word == "ended":
                holds &= all(code is not None for code in codes)
            else:
                holds &= all(code is not None and (code == 0) is (word == "done") for code in codes)
        return holds

    def ready(self, submission: Submission) -> bool | str:
        spec = submission.spec
        if spec["never"] or spec.get("throttle") == 0:
            return False
        return not spec["wait"] or self.condition(spec["wait"], submission.elements[0])

    def status(self, element: Element) -> int | None:
        """Exit code, None while it has none; 255 for what was killed before it ran."""
        if element.state != ENDED:
            return None
        return 255 if not element.ran else element.code

    def code(self, returncode: int) -> tuple[int | None, int | None]:
        """A first shell that a signal ends is taken to have ended well."""
        return max(returncode, 0), None

    # -- running --------------------------------------------------------------

    def start(self, submission: Submission, element: Element) -> Start:
        """The submission's environment and directory; the script by its own interpreter, below a shell that waits."""
        spec = submission.spec
        script = str(self.book.root / "lsbatch" / f"{submission.number}.shell")
        env: Mapping[str, str] = {
            **spec["env"],
            "LSB_JOBID": str(submission.number),
            "LSB_JOBINDEX": str(max(element.idx, 0)),
            "LSB_JOBNAME": self.name(submission, element),
            "LSB_QUEUE": spec["queue"],
            "LSB_HOSTS": " ".join([self.host] * spec["cores"]),
            "LSB_MCPU_HOSTS": f"{self.host} {spec['cores']}",
            "LS_SUBCWD": spec["cwd"],
            "LSB_OUTPUTFILE": spec["out"],
            "LSB_JOBFILENAME": script,
        }
        outer = f"trap : 1 2 10 12 15; {shlex.quote(script)}; ExitStat=$?; trap - 1 2 10 12 15; wait; exit $ExitStat"
        cwd = spec["cwd"] if os.path.isdir(spec["cwd"]) else "/tmp"
        return Start(["/bin/sh", "-c", outer], env, cwd, spec["umask"], self.spool(element, "out"))

    def over(self, submission: Submission, element: Element) -> None:
        """A report, and the output, are appended at the end; where that can't be they are mailed."""
        spec, out = submission.spec, submission.spec["out"]
        if out == "/dev/null":
            return
        name, word = self.name(submission, element), "Done" if element.code == 0 else "Exited"
        ends = "Successfully completed." if element.code == 0 else f"Exited with exit code {element.code}."
        report = (
            f"Sender: LSF System <{spec['user']}@{self.host}>\nSubject: Job {self.id(element)}: <{name}> {word}\n\n"
            f"Job <{name}> was submitted from host <{self.host}> by user <{spec['user']}>.\n\n{ends}\n\n"
            "The output (if any) follows:\n\n"
        )
        target = os.path.join(
            spec["cwd"], out.replace("%J", str(element.number)).replace("%I", str(max(element.idx, 0)))
        )
        if not out or not os.path.isdir(os.path.dirname(target)):
            target = str(self.book.root / f"mail.{spec['user']}")
        elif os.path.isdir(target):
            target = os.path.join(target, f"{element.number}.out")
        with open(target, "ab") as stream:
            stream.write(report.encode() + Path(self.spool(element, "out")).read_bytes())

    def id(self, element: Element) -> str:
        return f"{element.number}" if element.idx == NONE else f"{element.number}[{element.idx}]"

    def name(self, submission: Submission, element: Element) -> str:
        return str(submission.spec["name"]) + ("" if element.idx == NONE else f"[{element.idx}]")

    # -- bjobs ----------------------------------------------------------------

    def state(self, submission: Submission, element: Element) -> str:
        if element.state == RUNNING:
            return "RUN"
        if element.state == ENDED:
            return "DONE" if self.status(element) == 0 else "EXIT"
        return "PSUSP" if submission.spec["held"] else "PEND"

    def chosen(self, program: str, ids: list[str]) -> tuple[list[tuple[str, list[Element]]], bool]:
        """Elements by the ids of the command line; whether any id is unknown."""
        found: list[tuple[str, list[Element]]] = []
        lost = False
        for id in ids:
            match = re.fullmatch(r"(\d+)(?:\[([^][]+)\])?", id)
            if match is None:
                raise Refused(f"{id}: Illegal job ID.", 255)
            submission = self.book.submission(int(match[1]))
            elements = [] if submission is None else submission.elements
            if match[2] and submission is not None:
                elements = [element for element in elements if element.idx in ranges(match[2])]
            found.append((id, elements))
            lost = lost or not elements
        return found, lost

    def bjobs(self, argv: list[str]) -> int:
        try:
            given, ids = getopt.gnu_getopt(argv, "hVwladpsrAm:q:u:P:N:J:")
        except getopt.GetoptError as error:
            raise Refused(f"bjobs: invalid option -- '{error.opt[:1]}'\n{_BJOBS}", 255) from None
        options = {name[1:] for name, _ in given}
        if options - set("wla"):
            raise Unrecorded(f"bjobs -{''.join(sorted(options))}")
        if not options & {"w", "l"}:
            raise Unrecorded("bjobs without -w is not simulated")
        found, lost = self.chosen("bjobs", ids)
        for id, elements in found:
            if not elements:
                print(f"Job <{id}> is not found", file=sys.stderr)
        jobs = self.book.submissions({element.number for _, part in found for element in part} if ids else None)
        if ids:
            rows = [(jobs[element.number], element) for _, part in found for element in part]
        else:
            rows = [(job, element) for job in jobs.values() for element in job.elements]
            if "a" not in options:
                rows = [(job, element) for job, element in rows if element.state != ENDED]
            if not rows:
                print("No job found" if "a" in options else "No unfinished job found", file=sys.stderr)
                return 255 if "a" in options else 0
        order = {"RUN": 0, "PSUSP": 1, "PEND": 2}
        if not ids:  # not by index
            rows.sort(key=lambda row: order.get(self.state(*row), 3))
        if "l" in options:
            for job, element in rows:
                self.long(job, element)
        elif rows:
            print("JOBID   USER    STAT  QUEUE      FROM_HOST   EXEC_HOST   JOB_NAME   SUBMIT_TIME")
            for job, element in rows:
                hosts = ":".join([self.host] * job.spec["cores"]) if element.ran else "-"
                host = f"{hosts:<11}" if element.ran else f"   {hosts:<8}"
                at = time.strftime("%b %d %H:%M", time.localtime(job.at))
                user, state, queue = job.spec["user"], self.state(job, element), job.spec["queue"]
                whose = f"{job.number:<7} {user:<7}   {state:<5} {queue:<10} {self.host:<11}"
                print(f"{whose} {host} {self.name(job, element):<10} {at}")
        return 255 if lost else 0

    def long(self, job: Submission, element: Element) -> None:
        """Records of one line each, broken at 80 characters wherever that is."""
        spec, state = job.spec, self.state(job, element)
        array = f"{spec['name']}[{_spans(spec['indices'])}]" if job.array else spec["name"]
        lines = [
            f"Job <{self.id(element)}>, Job Name <{array}>, User <{spec['user']}>, Project <{spec['project']}>,"
            f" Status <{state}>, Queue <{spec['queue']}>, Command <#!/bin/bash>",
        ]
        wait = f", Dependency Condition <{spec['wait']}>" if spec["wait"] else ""
        out = f", Output File <{spec['out']}>" if spec["out"] else ""
        lines.append(f"{_at(job.at)}: Submitted from host <{self.host}>, CWD <{spec['cwd']}>{out}{wait};")
        text = [_folded(line) for line in lines]
        if state == "PEND":
            text.append(f" PENDING REASONS:\n {self.reason(job)}")
        if element.ran:
            begun = f"{_at(element.began)}: Started on <{self.host}>, Execution Home <{spec['home']}>, Execution CWD"
            text.append(_folded(f"{begun} <{spec['cwd']}>;"))
        if state == "DONE":
            text.append(_folded(f"{_at(element.ended)}: Done successfully. The CPU time used is 0.0 seconds."))
        elif state == "EXIT":
            how = f"Exited with exit code {element.code}" if element.ran else "Exited"
            text.append(_folded(f"{_at(element.ended)}: {how}. The CPU time used is 0.0 seconds."))
        print("\n" + "\n".join(text) + "\n\n" + _SCHEDULING, end="")

    def reason(self, job: Submission) -> str:
        if job.spec["never"]:
            return str(job.spec["never"])
        if job.spec["wait"] and not self.condition(job.spec["wait"], job.elements[0]):
            return "Dependency condition invalid or never satisfied: 1 host;"
        return "Job dispatch pending: 1 host;"

    # -- bkill ----------------------------------------------------------------

    def bkill(self, argv: list[str]) -> int:
        if not argv:
            raise Refused("Job ID or one of '-m', '-u' '-q' and '-J' must be specified.", 255)
        if argv[0].startswith("-"):
            raise Unrecorded(f"bkill {argv[0]}")
        found, _ = self.chosen("bkill", argv)
        code = 0
        later = []
        for id, elements in found:
            whole = bool(elements) and elements[0].idx != NONE and "[" not in id
            live = [element for element in elements if element.state != ENDED]
            if not elements:
                later.append(f"Job <{id}>: No matching job found")
                code = 255
            elif not live:
                later.append(f"Job <{id}>: Job has already finished")
                code = 255
            elif whole:
                # It says so, returns 255, and does it.
                print(f"Job <{id}>: Operation is in progress", file=sys.stderr)
                code = 255
                self.book.kill(elements[0].number)
            else:
                for element in elements:
                    if element.state == ENDED:
                        later.append(f"Job <{self.id(element)}>: Job has already finished")
                        code = 255
                    else:
                        later.append(f"Job <{self.id(element)}> is being terminated")
                self.book.kill(elements[0].number, [element.idx for element in elements])
        for line in later:
            print(line, file=sys.stderr if ": " in line else sys.stdout)
        return code

    def bparams(self, argv: list[str]) -> int:
        if argv == ["-l"]:
            most = self.site.get("max_array", 1000)
            print(f"The maximum number of jobs in a job array.\n    MAX_JOB_ARRAY_SIZE = {most}")
            return 0
        raise Unrecorded("bparams")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _at(seconds: float | None) -> str:
    return time.strftime("%a %b %d %H:%M:%S", time.localtime(seconds))


def _spans(indices: list[int]) -> str:
    dense = indices == list(range(indices[0], indices[-1] + 1))
    return f"{indices[0]}-{indices[-1]}" if dense and len(indices) > 1 else ",".join(map(str, indices))


def _folded(line: str) -> str:
    """A first line of 80 characters, further ones below it, 59 each."""
    parts = [line[:80]]
    rest = line[80:]
    while rest:
        parts.append(rest[:59])
        rest = rest[59:]
    return ("\n" + " " * 21).join(parts)
