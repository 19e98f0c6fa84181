"""Torque 6.1.3, as recorded."""

from __future__ import annotations

import getopt
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

from engine import (
    DELETED,
    DEPENDENCY,
    ENDED,
    LIMIT,
    NONE,
    RUNNING,
    WAITING,
    Element,
    Refused,
    Submission,
    Unrecorded,
    ranges,
    recorded,
)
from pbs import Family, when

_USAGE = recorded("torque-qsub-usage")


class Torque(Family):
    """Torque: one server called ``vm``; what is complete is kept for ``keeps`` seconds."""

    server = "vm"
    queue = "batch"
    options = "a:A:b:c:C:d:D:e:hIj:J:k:K:l:m:M:N:o:p:P:q:r:S:t:T:u:w:W:v:VxXz"
    usage = _USAGE
    # TERM, the kill delay, KILL
    kills = ((0.0, signal.SIGTERM), (3.0, signal.SIGKILL))
    # TERM twice, then KILL; found out 10 to 45 s late
    expiry = ((2.0, signal.SIGTERM), (4.0, signal.SIGTERM), (6.0, signal.SIGKILL))

    def wrong(self, what: str) -> Refused:
        return Refused(f"[{what}]\n{_USAGE}", 2)

    def unknown_option(self, letter: str) -> Refused:
        raise Unrecorded(f"qsub -{letter}")

    def command_line(self, rest: list[str]) -> Exception:
        said = f"qsub: script file '{rest[-1]}' cannot be loaded - No such file or directory"
        return Refused(said, 1)

    def refuse(self, what: str, code: int) -> Refused:
        return Refused(f"qsub: submit error ({what})", code)

    def read(self, path: str) -> str:
        try:
            return Path(path).read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            raise Refused(f"qsub: script file '{path}' cannot be loaded - No such file or directory", 1) from None

    # -- qsub -----------------------------------------------------------------

    def qsub(self, argv: list[str]) -> int:
        options, script = self.parse(argv)
        if "J" in options and "P" not in options:
            raise self.wrong("The -J option can only be used in conjunction with -P")
        spec = self.base(options)
        for letter in options:
            if letter not in "AdehjlmMNopqrtW":
                raise Unrecorded(f"qsub -{letter}")
        if re.search(r"\s", spec["name"]) or not spec["name"]:
            raise self.wrong("qsub: illegal -N value")
        if not re.fullmatch(r"[!-~]*", spec["out"]):
            raise Unrecorded(f"qsub -o {spec['out']}")
        if "d" in options:
            spec["home"] = options["d"][-1]
        number = self.book.number()
        if options.get("q", [self.queue])[-1] != self.queue:
            raise self.refuse("Unknown queue MSG=requested queue not found", 172)
        indices, throttle = None, None
        if "t" in options:
            text, percent, most = options["t"][-1].partition("%")
            try:
                indices, throttle = ranges(text), int(most) if percent else None
            except ValueError:
                raise self.refuse("Bad Job Array Request", 235) from None
            limit = self.site.get("max_array")
            if limit is not None and len(indices) > limit:
                said = f"Bad Job Array Request MSG=Requested array size too large, limit is {limit}"
                raise self.refuse(said, 235)
        for text in options.get("W", []):
            if not text.startswith("depend="):
                raise Unrecorded(f"qsub -W {text}")
            spec["after"] = self.depend(text[7:])
        spec |= self.resources([part for text in options.get("l", []) for part in re.split(r",(?=[a-z_]+=)", text)])
        self.write(number, script)
        spec["arguments"] = " ".join(argv)
        self.book.submit(number, indices=indices, throttle=throttle, **spec)
        print(f"{number}{'' if indices is None else '[]'}.{self.server}")
        return 0

    def depend(self, text: str) -> list[list[object]]:
        """Jobs and arrays have words of their own; what is not known is refused."""
        found: list[list[object]] = []
        for part in text.split(","):
            kind, _, ids = part.partition(":")
            if kind not in ("afterok", "afterany", "afterokarray", "afteranyarray"):
                raise Unrecorded(f"depend={part}")
            for id in ids.split(":"):
                known = self.known(id)
                if known is None:
                    raise self.refuse("Invalid Job Dependency", 208)
                found.append([kind, self.full(id)])
        return found

    def resources(self, words: list[str]) -> dict[str, Any]:
        spec: dict[str, Any] = {"cores": 1, "limit": None}
        for word in words:
            name, _, value = word.partition("=")
            if name == "walltime":
                spec["limit"] = self.seconds(value)
            elif name == "nodes":
                spec["cores"] = 0
                for chunk in value.split("+"):
                    match = re.fullmatch(r"(\d+):ppn=(\d+)", chunk)
                    if match is None:
                        raise Unrecorded(f"qsub -l nodes={value}")
                    # One node there is, with so many processors.
                    if int(match[1]) > 1 or int(match[2]) > self.cores:
                        raise self.refuse(
                            "Job exceeds queue resource limits MSG=cannot locate feasible nodes (nodes file is empty,"
                            " all systems are busy, or no nodes have the requested feature)",
                            190,
                        )
                    spec["cores"] += int(match[1]) * int(match[2])
            elif name == "mem":
                if not re.fullmatch(r"\d+[kmg]b", value):
                    raise Unrecorded(f"qsub -l mem={value}")
            elif name != "select":  # taken, and ignored
                raise Unrecorded(f"qsub -l {word}")
        return spec

    # -- dependencies, ends ---------------------------------------------------

    def ready(self, submission: Submission) -> bool | str:
        """An array under a word for jobs is waited for for ever."""
        for kind, id in submission.spec["after"]:
            known = self.known(id)
            if known is None:
                continue  # forgotten since: it had ended
            upstream = known[0]
            if upstream.array and not kind.endswith("array"):
                return False
            if not upstream.over:
                return False
            if kind.startswith("afterok") and any(self.status(element) != 0 for element in upstream.elements):
                return f"{DEPENDENCY} {id}"
        return True

    def status(self, element: Element) -> int | None:
        """What is told of an element's end; of one that was deleted while it waited, nothing."""
        if element.state != ENDED:
            return None
        if element.why == LIMIT:
            return -11
        if element.why.startswith(DEPENDENCY):
            return 271
        if not element.ran:
            return None
        return element.code if element.signal is None else 256 + element.signal

    # -- qstat ----------------------------------------------------------------

    def state(self, submission: Submission, element: Element | None) -> str:
        if element is None and submission.array:
            return "C" if submission.over else "R" if submission.begun else self.waits(submission)
        one = element or submission.elements[0]
        if one.state == WAITING:
            return self.waits(submission, one)
        return "R" if one.state == RUNNING else "C"

    def waits(self, submission: Submission, element: Element | None = None) -> str:
        if submission.spec["held"] or (submission.spec["after"] and self.ready(submission) is not True):
            return "H"
        throttle = submission.spec.get("throttle")
        if element is not None and throttle is not None:
            left = [one for one in submission.elements if one.state != ENDED]
            return "Q" if element in left[:throttle] else "H"
        return "Q"

    def qstat(self, argv: list[str]) -> int:
        if argv == ["-B", "-f"]:
            return self.named()
        try:
            given, ids = getopt.gnu_getopt(argv, "tf")
        except getopt.GetoptError as error:
            raise Unrecorded(f"qstat -{error.opt}") from None
        options = dict(given)
        each, code = "-t" in options, 0
        found: list[tuple[Submission, Element | None]] = []
        for id in ids:
            if not re.fullmatch(r"\d+(\[[\d,-]*\])?(\..*)?", id):
                raise Unrecorded(f"qstat {id}")
            known = self.known(id)
            if known is None:
                print(f"qstat: Unknown Job Id Error {self.full(id)}", file=sys.stderr)
                code = 153
            else:
                found += self.shown(*known, each)
        if not ids:
            for submission in self.book.submissions().values():
                found += self.shown(submission, None, each)
        if "-f" in options:
            self.blocks((self.id(one, None if at is None else at.idx), self.attributes(one, at)) for one, at in found)
        elif found:
            print("Job ID                    Name             User            Time Use S Queue")
            print("------------------------- ---------------- --------------- -------- - -----")
            for one, at in found:
                name = self.name(one, at)
                name = name if len(name) <= 16 else f"...{name[-13:]}"
                id, state = self.id(one, None if at is None else at.idx), self.state(one, at)
                used = "00:00:00" if state == "C" else "0"
                print(f"{id:<26} {name:<16} {one.spec['user'][:15]:<15} {used:>10} {state} {self.queue:<15}")
        return code

    def shown(
        self, submission: Submission, chosen: list[int] | None, each: bool
    ) -> list[tuple[Submission, Element | None]]:
        """``-t`` prints the elements in place of their array, as far as they have been made: some 300 a second."""
        if not submission.array:
            return [(submission, None)]
        if chosen is not None:
            return [(submission, submission.element(idx)) for idx in chosen]
        made = 1 + int(300 * (time.time() - submission.at))
        return [(submission, element) for element in submission.elements[:made]] if each else [(submission, None)]

    def name(self, submission: Submission, element: Element | None) -> str:
        return str(submission.spec["name"]) + ("" if element is None or element.idx == NONE else f"-{element.idx}")

    def attributes(self, submission: Submission, element: Element | None) -> dict[str, object]:
        spec = submission.spec
        one = element or submission.elements[0]
        whole = submission.array and element is None
        state = self.state(submission, element)
        comment = f"Job started on {when(one.began, short=True)}" if one.ran else None
        if one.why.startswith(DEPENDENCY):
            comment = f"Job deleted as result of dependency on job {one.why.partition(' ')[2]}"
        elif one.why == DELETED and not one.ran:
            comment = "Not Running: Not enough of the right type of nodes are available"
        return {
            "Job_Name": self.name(submission, element),
            "Job_Owner": f"{spec['user']}@{self.server}",
            "job_state": state,
            "queue": self.queue,
            "server": self.server,
            "ctime": when(submission.at),
            "depend": ",".join(f"{kind}:{id}" for kind, id in spec["after"])
            if spec["after"] and (state == "H" or one.why.startswith(DEPENDENCY))
            else None,
            "Output_Path": spec["out"] if ":" in spec["out"] else f"{self.server}:{spec['out']}",
            "comment": None if whole else comment,
            "exit_status": None if whole else self.status(one),
            "submit_args": spec["arguments"],
        }

    # -- qdel -----------------------------------------------------------------

    def qdel(self, argv: list[str]) -> int:
        try:
            given, ids = getopt.gnu_getopt(argv, "t:")
        except getopt.GetoptError as error:
            raise Unrecorded(f"qdel -{error.opt}") from None
        chosen = ranges(given[-1][1]) if given else None
        code = 0
        for id in ids:
            known = self.known(id)
            if known is None:
                print(f"qdel: nonexistent job id: {id}", file=sys.stderr)
                code = 153
            elif known[0].over:
                said = "Request invalid for state of job MSG=invalid state for job - COMPLETE"
                print(f"qdel: {said} {self.full(id)}", file=sys.stderr)
                code = 170
            else:
                self.book.kill(known[0].number, chosen if known[1] is None else known[1])
        return code

    # -- running --------------------------------------------------------------

    def variables(self, submission: Submission, element: Element) -> dict[str, str]:
        env = super().variables(submission, element)
        if element.idx != NONE:
            env |= {"PBS_ARRAYID": str(element.idx), "PBS_JOBNAME": self.name(submission, element)}
        return env

    def target(self, submission: Submission, element: Element) -> str:
        out = os.path.join(submission.spec["workdir"], str(submission.spec["out"]).removeprefix("localhost:"))
        suffix = "" if element.idx == NONE else f"-{element.idx}"
        name = f"{submission.spec['name']}.o{submission.number}{suffix}"
        return os.path.join(out, name) if out.endswith("/") else f"{out}{suffix}"

    def qmgr(self, argv: list[str]) -> int:
        raise Unrecorded("qmgr")
