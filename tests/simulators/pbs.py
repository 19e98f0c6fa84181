"""OpenPBS 23.06.06, as recorded; what it shares with Torque is `Family`."""

from __future__ import annotations

import getopt
import json
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

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
    Start,
    Submission,
    System,
    Unrecorded,
    ranges,
    recorded,
)

_USAGE = recorded("pbs-qsub-usage")

#: what a job that its own script ended with an error, and one that was killed, are to be told from
_LOGIN = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"


def when(seconds: float | None, *, short: bool = False) -> str:
    """A moment, as comments (short) and attributes have it."""
    return time.strftime("%a %b %d at %H:%M" if short else "%a %b %d %H:%M:%S %Y", time.localtime(seconds))


class Family(System):
    """What OpenPBS and Torque have in common."""

    programs = ("qsub", "qstat", "qdel", "qmgr")
    server: ClassVar[str]
    queue: ClassVar[str]
    options: ClassVar[str]
    usage: ClassVar[str]
    sweeps = True

    def command(self, program: str, argv: list[str]) -> int:
        verb = getattr(self, program, None)
        if verb is None:
            raise Unrecorded(program)
        code: int = verb(argv)
        return code

    # -- ids ------------------------------------------------------------------

    def id(self, submission: Submission, idx: int | None = None) -> str:
        """``12.pbs1``, ``13[].pbs1``, ``13[2].pbs1``."""
        index = "" if not submission.array else "[]" if idx is None else f"[{idx}]"
        return f"{submission.number}{index}.{self.server}"

    def full(self, id: str) -> str:
        """An id with the server's name, as it is printed back."""
        return id if "." in id else f"{id}.{self.server}"

    def known(self, id: str) -> tuple[Submission, list[int] | None] | None:
        """The job of an id, and the elements it names; None: the server does not know it."""
        match = re.fullmatch(rf"(\d+)(\[([\d,-]*)\])?(?:\.{self.server})?", id)
        submission = None if match is None else self.book.submission(int(match[1]))
        if match is None or submission is None or submission.array != bool(match[2]):
            return None
        if not match[3]:
            return submission, None
        chosen = [idx for idx in ranges(match[3]) if submission.element(idx) is not None]
        return (submission, chosen) if chosen else None

    # -- qsub -----------------------------------------------------------------

    def wrong(self, what: str) -> Refused:
        """Bad usage."""
        raise NotImplementedError

    def parse(self, argv: list[str]) -> tuple[dict[str, list[str]], str]:
        """Options of the command and of the script's directives, and the script."""
        try:
            given, rest = getopt.getopt(argv, self.options)
        except getopt.GetoptError as error:
            raise self.unknown_option(error.opt) from None
        if "--" in argv and argv[len(argv) - len(rest) - 1] == "--":
            raise self.command_line(rest)
        if len(rest) > 1:
            raise Refused(self.usage, 2)
        if not rest:
            raise Unrecorded("qsub: a script on standard input is not simulated")
        script = self.read(rest[0])
        options: dict[str, list[str]] = {}
        told = {name for name, _ in given}
        for line in script.splitlines():
            if line.startswith("#PBS "):
                words = shlex.split(line[5:])
                try:
                    found, left = getopt.getopt(words, self.options)
                except getopt.GetoptError as error:
                    raise self.unknown_option(error.opt) from None
                if left:
                    raise Unrecorded(f"directive {line!r}")
                for name, value in found:
                    if name not in told or name in ("-l", "-W"):
                        options.setdefault(name[1:], []).append(value)
            elif line.strip() and not line.startswith("#"):
                break
        for name, value in given:
            options.setdefault(name[1:], []).append(value)
        options.setdefault("N", [os.path.basename(rest[0])])
        return options, script

    def unknown_option(self, letter: str) -> Refused:
        raise NotImplementedError

    def command_line(self, rest: list[str]) -> Exception:
        raise Unrecorded("qsub -- COMMAND is not simulated")

    def read(self, path: str) -> str:
        raise NotImplementedError

    def seconds(self, text: str) -> int:
        """A walltime: seconds, or up to three fields.

        Raises
        ------
        ValueError
            For anything else.
        """
        if not re.fullmatch(r"(?:\d+:){0,2}\d+", text):
            raise ValueError(text)
        total = 0
        for part in text.split(":"):
            total = total * 60 + int(part)
        return total

    def write(self, number: int, script: str) -> str:
        """The server's copy of the script."""
        folder = self.book.root / "jobs"
        folder.mkdir(exist_ok=True)
        path = folder / f"{number}.{self.server}.SC"
        path.write_text(script, encoding="utf-8", errors="surrogateescape")
        path.chmod(0o700)
        return str(path)

    def base(self, options: dict[str, list[str]]) -> dict[str, Any]:
        """What every submission records."""
        name = options["N"][-1]
        home = os.environ.get("HOME", "/")
        return {
            "name": name,
            "home": home,
            "user": os.environ.get("USER") or "alice",
            "path": os.environ.get("PATH", ""),
            "workdir": os.getcwd(),
            "out": options.get("o", [""])[-1],
            "join": options.get("j", [""])[-1],
            "held": "h" in options,
            "rerun": options.get("r", ["y"])[-1] == "y",
            "umask": 0o77,
            "after": [],
        }

    # -- running --------------------------------------------------------------

    def variables(self, submission: Submission, element: Element) -> dict[str, str]:
        """A job's environment: nothing of the submitter's but what is told of it."""
        spec = submission.spec
        return {
            "PATH": _LOGIN,
            "HOME": spec["home"],
            "LOGNAME": spec["user"],
            "USER": spec["user"],
            "SHELL": "/bin/bash",
            "PBS_O_HOME": spec["home"],
            "PBS_O_LOGNAME": spec["user"],
            "PBS_O_PATH": spec["path"],
            "PBS_O_WORKDIR": spec["workdir"],
            "PBS_O_QUEUE": self.queue,
            "PBS_O_HOST": self.server,
            "PBS_QUEUE": self.queue,
            "PBS_ENVIRONMENT": "PBS_BATCH",
            "PBS_JOBID": self.id(submission, element.idx),
            "PBS_JOBNAME": spec["name"],
            "NCPUS": str(spec["cores"]),
            "OMP_NUM_THREADS": str(spec["cores"]),
            "ENVIRONMENT": "BATCH",
        }

    def start(self, submission: Submission, element: Element) -> Start:
        """The server's copy of the script, run by a login shell in the home directory."""
        spec = submission.spec
        copy = str(self.book.root / "jobs" / f"{submission.number}.{self.server}.SC")
        # The login shell reads the script's path: what kills both of them, kills it first.
        return Start(
            ["/bin/bash", "-c", f"{shlex.quote(copy)}\nexit $?"],
            self.variables(submission, element),
            spec["home"],
            spec["umask"],
            self.spool(element, "OU"),
            None if spec["join"] == "oe" else self.spool(element, "ER"),
        )

    def over(self, submission: Submission, element: Element) -> None:
        """Output is delivered at the end; where that can't be, the job has ended well all the same."""
        out = submission.spec["out"]
        spooled = Path(self.spool(element, "OU"))
        if not out or out == "/dev/null" or not spooled.exists():
            return
        target = self.target(submission, element)
        if os.path.isdir(os.path.dirname(target) or "/") and not target.startswith("/dev/"):
            with open(
                os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666 & ~submission.spec["umask"]), "wb"
            ) as to:
                to.write(spooled.read_bytes())
        else:
            folder = self.book.root / "undelivered"
            folder.mkdir(exist_ok=True)
            spooled.rename(folder / spooled.name)

    def target(self, submission: Submission, element: Element) -> str:
        raise NotImplementedError

    # -- what is printed ------------------------------------------------------

    def table(self, rows: Sequence[tuple[str, str, str, str, str]]) -> None:
        """The short list."""
        raise NotImplementedError

    def wrap(self, line: str) -> str:
        """Attributes are broken at commas, else at 79 characters."""
        lines = []
        while len(line.expandtabs(8) if line.startswith("\t") else line) > 79:
            width = 79 if not line.startswith("\t") else 72
            cut = line.rfind(",", 0, width)
            cut = cut + 1 if cut > line.find(" = ") + 3 else width
            lines.append(line[:cut])
            line = "\t" + line[cut:]
        return "\n".join([*lines, line])

    def blocks(self, shown: Iterable[tuple[str, dict[str, object]]]) -> None:
        """The full form."""
        for id, attributes in shown:
            print(f"Job Id: {id}")
            for name, value in attributes.items():
                if value is not None:
                    print(self.wrap(f"    {name} = {value}"))
            print()


class OpenPBS(Family):
    """OpenPBS: one server called ``pbs1``, with history unless the site says otherwise."""

    server = "pbs1"
    queue = "workq"
    options = "a:A:c:C:e:fhIj:J:k:l:m:M:N:o:p:P:q:r:R:S:u:v:VW:Xz"
    usage = _USAGE
    # TERM, and KILL after the queue's kill_delay: recorded 8 to 33 s later
    kills = ((0.0, signal.SIGTERM), (4.0, signal.SIGKILL))
    # found out late, by up to 20 s
    expiry = ((2.0, signal.SIGTERM), (6.0, signal.SIGKILL))

    def down(self, program: str) -> int:
        print("Connection refused", file=sys.stderr)
        if program == "qdel":
            print(f"Couldn't connect to cluster: {self.server}", file=sys.stderr)
        else:
            print(f"{program}: cannot connect to server {self.server} (errno=15010)", file=sys.stderr)
        return 255 if program == "qstat" else 162

    def wrong(self, what: str) -> Refused:
        return Refused(f"qsub: {what}\n{_USAGE}", 2)

    def unknown_option(self, letter: str) -> Refused:
        return self.wrong(f"invalid option -- '{letter}'")

    def read(self, path: str) -> str:
        try:
            text = Path(path).read_bytes().decode("utf-8", "surrogateescape")
        except OSError:
            raise Refused("qsub: script file:: No such file or directory", 1) from None
        if "\r\n" in text:
            raise Refused("qsub: script contains cr, lf", 1)
        return text

    # -- qsub -----------------------------------------------------------------

    def qsub(self, argv: list[str]) -> int:
        if argv == ["--version"]:
            return self.version()
        options, script = self.parse(argv)
        spec = self.base(options)
        for letter in options:
            if letter not in "AehjJlmMNopPqrW":
                raise Unrecorded(f"qsub -{letter}")
        if not re.fullmatch(r"[A-Za-z0-9_.+-]+", spec["name"]):
            raise self.wrong("illegal -N value")
        if len(spec["name"]) > 230:
            raise Refused("qsub: Job name is too long ", 2)
        if not spec["out"].isascii():
            raise self.wrong("illegal -o value")
        indices, throttle = None, None
        if "J" in options:
            match = re.fullmatch(r"(\d+)-(\d+)(?::(\d+))?(?:%(\d+))?", options["J"][-1])
            if match is None or int(match[2]) <= int(match[1]):
                raise self.wrong("illegal -J value")
            indices = list(range(int(match[1]), int(match[2]) + 1, int(match[3] or 1)))
            throttle = int(match[4]) if match[4] else None
            if not spec["rerun"]:
                raise self.wrong(" cannot submit non-rerunable Array Job")
        mail = options.get("m", ["a"])[-1]
        if "j" in mail and indices is None:
            raise Refused("qsub: mail option 'j' can not be used without array job", 2)
        if not re.fullmatch(r"n|[abej]+", mail):
            raise self.wrong("illegal -m value")
        if not re.fullmatch(r"-?\d{1,4}", options.get("p", ["0"])[-1]) or abs(int(options.get("p", ["0"])[-1])) > 1024:
            raise self.wrong("illegal -p value")
        for text in options.get("W", []):
            if text.startswith("depend="):
                spec["after"] = self.depend(text[7:])
            elif re.fullmatch(r"umask=0?\d{1,3}", text):
                spec["umask"] = int(text[6:], 8)
            else:
                raise Unrecorded(f"qsub -W {text}")
        spec |= self.resources([part for text in options.get("l", []) for part in self.listed(text)])
        number = self.book.number()
        if options.get("q", [self.queue])[-1] != self.queue:
            raise Refused("qsub: Unknown queue", 170)
        if indices is not None and len(indices) > int(self.site.get("max_array", 10000)):
            raise Refused("qsub: Array job exceeds server or queue size limit", 1)
        self.write(number, script)
        spec["arguments"] = " ".join(argv)
        self.book.submit(number, indices=indices, throttle=throttle, **spec)
        print(f"{number}{'' if indices is None else '[]'}.{self.server}")
        return 0

    def listed(self, text: str) -> list[str]:
        """Resources of one ``-l``: commas part them, but not those inside a value."""
        return re.split(r",(?=[a-z_]+=)", text)

    def depend(self, text: str) -> list[list[object]]:
        """A list of dependencies; ids may be unknown: the job is removed later, without a word."""
        found: list[list[object]] = []
        for part in text.split(","):
            kind, colon, ids = part.partition(":")
            if kind not in ("after", "afterok", "afternotok", "afterany") or not colon or not ids:
                raise self.wrong("illegal -W value")
            for id in ids.split(":"):
                if not re.fullmatch(rf"\d+(\[\])?(\.{self.server})?", id):
                    raise self.wrong("illegal -W value")
                found.append([kind, self.full(id)])
        return found

    def resources(self, words: Sequence[str]) -> dict[str, Any]:
        spec: dict[str, Any] = {"cores": 1, "limit": None, "select": "1:ncpus=1", "never": ""}
        chunks = next((word[7:] for word in words if word.startswith("select=")), None)
        for word in words:
            name, _, value = word.partition("=")
            if name == "walltime":
                try:
                    spec["limit"] = self.seconds(value)
                except ValueError:
                    raise Refused("qsub: Illegal attribute or resource value Resource_List.walltime", 166) from None
            elif name in ("select", "place"):
                continue
            elif name in ("ncpus", "mem"):
                if chunks is not None:
                    said = f'qsub: "-lresource=" cannot be used with "select" or "place", resource is: {name}'
                    raise Refused(said, 5)
                raise Unrecorded("qsub -l ncpus= is not simulated")
            else:
                raise Unrecorded(f"qsub -l {word}")
        if chunks is not None:
            spec["select"] = chunks
            spec["cores"] = 0
            for chunk in chunks.split("+"):
                spec["cores"] += self.chunk(chunk, spec)
        return spec

    def chunk(self, text: str, spec: dict[str, Any]) -> int:
        """One chunk of a selection; its cores in all."""
        count, *parts = text.split(":")
        cores = 1
        for part in parts:
            name, _, value = part.partition("=")
            if name == "walltime":
                raise Refused('qsub: Resource invalid in "select" specification: walltime', 4)
            if name not in ("ncpus", "mem", "mpiprocs", "ompthreads", "host"):
                raise Refused(f"qsub: Unknown resource: {name}", 187)
            good = r"\d+(?:[kmg]b?)?" if name == "mem" else r".+" if name == "host" else r"\d+"
            if not re.fullmatch(good, value):
                raise Refused(f"qsub: Illegal attribute or resource value select.{name}", 166)
            if name == "ncpus":
                cores = int(value)
            if name == "host" and value != self.server:
                spec["never"] = f"Insufficient amount of resource: host ({value} != {self.server})"
        if cores > self.cores:
            total = self.cores
            spec["never"] = f"Insufficient amount of resource: ncpus (R: {cores} A: {total} T: {total})"
        return int(count) * cores

    # -- dependencies ---------------------------------------------------------

    def ready(self, submission: Submission) -> bool | str:
        """A failed one deletes the job, and so does one that was deleted for that; what never ran is waited for."""
        after = submission.spec["after"]
        if len({tuple(one) for one in after}) < len(after):
            return False  # afterok:A:A stays held
        for kind, id in after:
            known = self.known(id)
            if known is None:
                return DEPENDENCY
            upstream = known[0]
            if kind == "after":
                if not upstream.begun:
                    return False
                continue
            if not upstream.over:
                return False
            if any(element.why == DEPENDENCY for element in upstream.elements):
                return DEPENDENCY
            if not any(element.ran for element in upstream.elements):
                return False  # deleted before it ran: held for ever
            status = self.status(upstream, None)
            if (kind == "afterok" and status != 0) or (kind == "afternotok" and status == 0):
                return DEPENDENCY
        return not submission.spec["never"]

    def status(self, submission: Submission, element: Element | None) -> int | None:
        """Exit_status; that of an array is what its last element to end says."""
        if element is None and not submission.array:
            element = submission.elements[0]
        if element is None:
            ran = [one for one in submission.elements if one.state == ENDED and (one.ran or submission.begun)]
            if not ran:
                return None
            last = max(ran, key=lambda one: one.ended or 0)
            return 0 if self.status(submission, last) == 0 else 1
        if element.state != ENDED or not element.ran:
            return None
        if element.why == LIMIT:
            return -29
        if element.signal is not None:
            return 256 + element.signal
        return element.code

    # -- qstat ----------------------------------------------------------------

    def version(self) -> int:
        print("pbs_version = 23.06.06")
        return 0

    def state(self, submission: Submission, element: Element | None) -> str:
        if element is None and submission.array:
            if submission.over:
                return "F"
            return "B" if submission.begun else self.waits(submission)
        one = element or submission.elements[0]
        if one.state == RUNNING:
            return "R"
        if one.state == WAITING:
            return "Q" if submission.array and submission.begun else self.waits(submission)
        return "X" if submission.array and not submission.over else "F"

    def waits(self, submission: Submission) -> str:
        spec = submission.spec
        if spec["held"]:
            return "H"
        return "H" if spec["after"] and not spec["never"] and self.ready(submission) is not True else "Q"

    def shown(self, submission: Submission, chosen: list[int] | None, each: bool) -> list[Element | None]:
        """What of a job is printed: itself, and its elements where they are asked for."""
        if not submission.array:
            return [None]
        if chosen is not None:
            return [submission.element(idx) for idx in chosen]
        return [None, *submission.elements] if each else [None]

    def named(self) -> int:
        """Tell of the server itself: as Torque was recorded, and OpenPBS documents it."""
        print(f"Server: {self.server}\n    server_state = Active\n    scheduling = True\n")
        return 0

    def qstat(self, argv: list[str]) -> int:
        if argv == ["--version"]:
            return self.version()
        if argv == ["-B", "-f"]:
            return self.named()
        try:
            given, ids = getopt.gnu_getopt(argv, "xtfwF:D:")
        except getopt.GetoptError as error:
            raise Unrecorded(f"qstat -{error.opt}") from None
        options = dict(given)
        old, each, form = "-x" in options, "-t" in options, options.get("-F", "")
        if form not in ("", "json") or (form and "-f" not in options):
            raise Unrecorded(f"qstat -F {form}")
        history = bool(self.site.get("history", True))
        code = 0
        found: list[tuple[Submission, Element | None]] = []
        if old and not history:
            for id in ids:
                print(f"qstat: PBS is not configured to maintain job history {self.full(id)}", file=sys.stderr)
            if not ids:
                raise Unrecorded("qstat -x without history and without ids")
            return 0
        for id in ids:
            if not re.fullmatch(r"\d+(\[[\d,-]*\])?(\..*)?", id):
                print(f"qstat: Unknown queue destination {id}", file=sys.stderr)
                code = 170
                continue
            known = self.known(id)
            if known is None or (known[0].over and not history):
                print(f"qstat: Unknown Job Id {self.full(id)}", file=sys.stderr)
                code = 153
            elif known[0].over and not old:
                tail = "Job has finished, use -x or -H to obtain historical job information"
                print(f"qstat: {self.full(id)} {tail}", file=sys.stderr)
                code = 35
            else:
                found += [(known[0], element) for element in self.shown(known[0], known[1], each)]
        if not ids:
            for submission in self.book.submissions().values():
                if old or not submission.over:
                    found += [(submission, element) for element in self.shown(submission, None, each)]
        if form:
            self.json(found, bool(ids))
        elif "-f" in options:
            self.blocks((self.id(one, None if at is None else at.idx), self.attributes(one, at)) for one, at in found)
        elif found:
            print("Job id            Name             User              Time Use S Queue")
            print("----------------  ---------------- ----------------  -------- - -----")
            for one, at in found:
                id = self.id(one, None if at is None else at.idx)[:17]
                ran = (at or one.elements[0]).ran and not (one.array and at is None)
                used = "00:00:00" if ran else "0"
                state = self.state(one, at)
                whose = f"{id:<17} {one.spec['name'][:15]:<16} {one.spec['user'][:15]:<16}"
                print(f"{whose}  {used:>8} {state} {self.queue:<16}")
        return code

    def json(self, found: list[tuple[Submission, Element | None]], named: bool) -> None:
        """A bug of this version: of several ids only the first is printed."""
        jobs = {}
        for one, at in found:
            if named and one is not found[0][0]:
                break
            attributes = {name: value for name, value in self.attributes(one, at).items() if value is not None}
            jobs[self.id(one, None if at is None else at.idx)] = attributes
        head = {"timestamp": int(time.time()), "pbs_version": "23.06.06", "pbs_server": self.server}
        print(json.dumps(head | ({"Jobs": jobs} if jobs else {}), indent="\t", separators=(",", ":\t")))

    def attributes(self, submission: Submission, element: Element | None) -> dict[str, object]:
        spec, state = submission.spec, self.state(submission, element)
        whole = submission.array and element is None
        one = element or submission.elements[0]
        # An array that was deleted keeps nothing of the elements that had ended, or never ran, when that happened.
        wiped = element is not None and submission.array and state in "FX" and self.wiped(submission, element)
        status = self.status(submission, None if whole or wiped else one)
        if element is not None and submission.array and one.state == WAITING and submission.begun:
            status = self.status(submission, None)  # elements of a begun array show what is said of the array
        began = min((part.began for part in submission.elements if part.began), default=None) if whole else one.began
        limit = spec["limit"]
        return {
            "Job_Name": spec["name"],
            "Job_Owner": f"{spec['user']}@{self.server}",
            "resources_used.walltime": "00:00:00" if began and not whole else None,
            "job_state": state,
            "queue": self.queue,
            "server": self.server,
            "depend": ",".join(f"{kind}:{id}@{self.server}" for kind, id in spec["after"])
            if spec["after"] and (state == "H" or one.why == DEPENDENCY)
            else None,
            "ctime": when(submission.at),
            "exec_host": f"{self.server}/0" if one.ran and not whole else None,
            "Hold_Types": "u" if spec["held"] else "s" if state == "H" or one.why == DEPENDENCY else "n",
            "Join_Path": spec["join"] or "n",
            "Output_Path": f"{self.server}:{spec['out']}",
            "Rerunable": spec["rerun"],
            "Resource_List.select": spec["select"],
            "Resource_List.walltime": None
            if limit is None
            else f"{limit // 3600:02}:{limit // 60 % 60:02}:{limit % 60:02}",
            "stime": when(began) if began else None,
            "substate": self.substate(submission, element, state, status),
            "Variable_List": f"PBS_O_HOME={spec['home']},PBS_O_LOGNAME={spec['user']},PBS_O_WORKDIR={spec['workdir']}",
            "comment": self.comment(submission, element, state, wiped, status),
            "etime": when(submission.at),
            "run_count": 1 if one.ran and not whole and not wiped else None,
            "Exit_status": status,
            "Submit_arguments": spec["arguments"],
            "array": True if whole else None,
            "array_state_count": self.counts(submission) if whole else None,
            "array_indices_submitted": self.span(submission) if whole else None,
            "array_index": one.idx if element is not None and submission.array else None,
            "max_run_subjobs": spec.get("throttle") if whole else None,
            "project": "_pbs_project_default",
        }

    def wiped(self, submission: Submission, element: Element) -> bool:
        if not element.ran:
            return True
        killed = submission.spec.get("killed")
        return killed is not None and element.ended is not None and element.ended < killed

    def counts(self, submission: Submission) -> str:
        states = [self.state(submission, element) for element in submission.elements]
        parts = (("Queued", "Q"), ("Running", "R"), ("Exiting", "E"), ("Expired", "X"))
        return " ".join(f"{name}:{states.count(letter)}" for name, letter in parts)

    def span(self, submission: Submission) -> str:
        indices = submission.spec["indices"]
        step = indices[1] - indices[0] if len(indices) > 1 else 1
        return f"{indices[0]}-{indices[-1]}{f':{step}' if step > 1 else ''}"

    def substate(self, submission: Submission, element: Element | None, state: str, status: int | None) -> int:
        one = element or submission.elements[0]
        if state in "FX":
            deleted = one.why == DELETED or (submission.array and "killed" in submission.spec)
            return 91 if deleted else 92 if status in (0, None) else 93
        return {"B": 70, "R": 42, "Q": 10, "H": 20 if submission.spec["held"] else 22}[state]

    def comment(
        self, submission: Submission, element: Element | None, state: str, wiped: bool, status: int | None
    ) -> str | None:
        one = element or submission.elements[0]
        if submission.array and element is None:
            if not submission.begun:
                return None
            first = min((part.began for part in submission.elements if part.began), default=submission.at)
            begun = f"Job Array Began at {when(first, short=True)}"
            if state != "F":
                return begun
            return f"{begun} and {'terminated' if 'killed' in submission.spec else 'failed' if status else 'finished'}"
        if wiped:
            return "Subjob finished"
        if one.state == WAITING:
            if submission.array and submission.begun:
                return self.comment(submission, None, "B", False, None)
            never = submission.spec["never"]
            return f"Can Never Run: {never}" if never else None
        if not one.ran:
            return None
        begun = f"Job run at {when(one.began, short=True)} on ({self.server}:ncpus={submission.spec['cores']})"
        if one.asked is not None:
            return f"{begun} and terminated by {submission.spec['user']}@{self.server}"
        if one.state == RUNNING:
            return begun
        ends = "exceeded resource walltime" if one.why == LIMIT else "failed" if status else "finished"
        return f"{begun} and {ends}"

    # -- qdel, qmgr -----------------------------------------------------------

    def qdel(self, argv: list[str]) -> int:
        if not argv:
            raise Refused("usage:\n\tqdel [-W force|suppress_email=X] [-x] job_identifier...\n\tqdel --version", 2)
        if argv[0].startswith("-"):
            raise Unrecorded(f"qdel {argv[0]}")
        for id in argv:
            if not re.fullmatch(rf"\d+(\[[\d,-]*\])?(\.{self.server})?", id):
                raise Refused(f"qdel: illegally formed job identifier: {id}", 2)
        history = bool(self.site.get("history", True))
        known = [self.known(id) for id in argv]
        lost = [one is None or (one[0].over and not history) for one in known]
        if any(lost) and len(argv) > 1:
            # This crashed the server: nothing is said, and nobody answers from now on.
            (self.book.root / "down").touch()
            return 0
        code = 0
        for id, one in zip(argv, known, strict=True):
            if one is None or lost[0]:
                print(f"qdel: Unknown Job Id {self.full(id)}", file=sys.stderr)
                code = 153
                continue
            submission, chosen = one
            parts = submission.elements if chosen is None else [submission.element(idx) for idx in chosen]
            if submission.over:
                print(f"qdel: Job has finished {self.full(id)}", file=sys.stderr)
                code = 35
                continue
            if all(part is not None and part.state == ENDED for part in parts):
                print(f"qdel: Request invalid for state of job {self.full(id)}", file=sys.stderr)
                code = 168
                continue
            if submission.array and chosen is None:
                self.book.amend(submission.number, killed=time.time())
            self.book.kill(submission.number, chosen)
        return code

    def qmgr(self, argv: list[str]) -> int:
        if argv != ["-c", "print server"]:
            raise Unrecorded(f"qmgr {argv}")
        history = "set server job_history_enable = True\n" if self.site.get("history", True) else ""
        print(_SERVER.format(history=history, array=self.site.get("max_array", 10000)), end="")
        return 0

    # -- running --------------------------------------------------------------

    def variables(self, submission: Submission, element: Element) -> dict[str, str]:
        env = super().variables(submission, element)
        if element.idx != NONE:
            env |= {"PBS_ARRAY_INDEX": str(element.idx), "PBS_ARRAY_ID": self.id(submission)}
        return env

    def target(self, submission: Submission, element: Element) -> str:
        """Only ``^array_index^`` is replaced, in arrays alone; a directory will do."""
        out = str(submission.spec["out"])
        out = os.path.join(submission.spec["workdir"], out)
        if element.idx != NONE:
            out = out.replace("^array_index^", str(element.idx))
        return os.path.join(out, f"{self.id(submission, element.idx)}.OU") if os.path.isdir(out) else out


_SERVER = recorded("pbs-qmgr-server")
