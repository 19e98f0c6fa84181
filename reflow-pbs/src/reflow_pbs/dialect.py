"""OpenPBS, PBS Pro and Torque, as their commands speak."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from signal import SIGTERM
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
    JobStatus,
    Limits,
    Row,
    Site,
    UsageError,
    Words,
    built,
    cancelled,
    ceiling,
    clock,
    exited,
    failed,
    flag,
    given,
    held,
    layout,
    names,
    pending,
    per_node,
    refused,
    running,
    signalled,
    to_ranges,
    unknown,
)

_MEMORY = (FailureClass.OOM, "more memory than it asked for")
_WALLTIME = (FailureClass.TIMEOUT, "walltime exceeded")
#: elements of an array that Torque makes within the time in which a job may be unknown, and whose files of output,
#: one each, do not fill a directory
_CLONED = 900

#: paths that mean the same to everybody
_PLAIN = re.compile(r"[A-Za-z0-9_./:=,+@%^~-]+")

#: bounds on what is queued, of the server or a queue: OpenPBS's, for everybody or each user, then Torque's
_QUEUED = re.compile(r"\bmax_queued \+?= .*\[[ou]:PBS_(?:ALL|GENERIC)=(\d+)|\bmax_(?:user_)?queuable = (\d+)")

_CPUTIME = (FailureClass.TIMEOUT, "CPU time exceeded")
_CORES = (FailureClass.EXIT, "killed: used more cores than it asked for")
_RERUN = (FailureClass.PREEMPTED, "ended by the server, to be run again")
_NODE = (FailureClass.NODE_FAIL, "its node failed, or the daemon there was started again")
#: the daemon of the node was started while the job ran, in either family
_NODES: Mapping[int, tuple[FailureClass, str]] = dict.fromkeys((-4, -5, -6), _NODE)


def _created(text: str) -> list[str]:
    """Return the names of the queues that a server's settings create."""
    return re.findall(r"(?m)^create queue (\S+)", text)


def _queued(lines: Sequence[str]) -> list[int]:
    """Return the bounds on what is queued in lines of settings; each element of an array counts."""
    return [bound for line in lines for found in _QUEUED.finditer(line) if (bound := int(found[1] or found[2]))]


class PBS(Dialect):
    """OpenPBS 19 and later, PBS Professional."""

    name = "pbs"
    title = "PBS"
    prefix = "#PBS"
    programs = ("qsub", "qstat", "qdel", "qmgr")
    limits = Limits(array_base=0, max_array=10000, max_after=100, visibility_lag=5.0, holds=True)
    index = "PBS_ARRAY_INDEX"
    job_id = '"${PBS_ARRAY_ID:-${PBS_JOBID-}}"'
    # An id that the server does not know, beside one that it does, has crashed it.
    known = True
    asks: ClassVar[Mapping[str, Words]] = {
        "variant": ("qstat", "--version"),
        "server": ("qmgr", "-c", "print server"),
        "instance": ("qstat", "-B", "-f"),
    }
    address = ("PBS_SERVER", "PBS_DEFAULT", "PBS_PRIMARY", "PBS_SECONDARY", "PBS_BATCH_SERVICE_PORT")
    configured = ("PBS_CONF_FILE",)
    identifies = "instance"
    renames = r"-N"
    strays = r"-q ?\S*@"
    requeues = r"-r ?y"
    breaks = r"-[JIzC]|-W ?(?:\S*,)?block=|--"
    bare = "fhIVxXz"
    accepted = r"(?m)^(\d+(?:\[\])?(?:\.[\w.-]+)?)\s*$"
    ends = "qdel"
    dashes = "-"
    both = ":"
    moment, ahead = "%Y%m%d%H%M.%S", 10.0
    cells: ClassVar[Mapping[str, Cell]] = {
        "name": flag("-N {}"),
        "queue": flag("-q {}"),
        "account": flag("-A {}"),
        "project": flag("-P {}"),
        "qos": refused("PBS has none; queues take its place"),
        "time": built("-l walltime=H:MM:SS"),
        "mem": built("-l select=...:mem={}kb"),
        "cpus": built("-l select=...:ncpus={}"),
        "nodes": built("-l select={}:..., -l place=scatter"),
        "tasks": built("-l select=...:mpiprocs={}"),
        "gpus": built("-l select=...:ngpus={}"),
        "exclusive": built("-l place=excl"),
        "constraint": built("-l select=...:{}"),
        "reservation": flag("-q {}"),
        "priority": flag("-p {}"),
        "nice": refused("PBS has priorities only: priority=-100"),
        "begin": built("-a {}"),
        "array": built("-J 0-{}"),
        "array_parallelism": built("-J 0-9%{}"),
        "after": built("-W depend=afterany:{}"),
        "env": SCRIPT,
        "cwd": SCRIPT,
        "output": flag("-o {}"),
        "mail_user": flag("-M {}"),
        "mail_type": flag("-m {}"),
        "signal": WORKER,
        "requeue": built("-r y, else -r n; an array can always be run again"),
    }
    letters: ClassVar[Mapping[str, str]] = {"BEGIN": "b", "END": "e", "FAIL": "a", "ALL": "abe", "NONE": "n"}
    native = names("c h k l m R S u v V W")
    own = names("a C e f I j J N o t x X z")
    passing = r"cannot connect to server|Couldn't connect to cluster|Connection (?:refused|timed out|reset)|End of File"
    uncertain = r"Connection (?:timed out|reset)|End of File|Premature end|Protocol \("
    closed = r"Queue is not enabled"
    full = r"would exceed .*limit\b|Maximum number of jobs (?:.* )?already in queue"
    large = r"exceeds server or queue size limit|array size too large"
    definite = (
        r"Unknown queue|Unknown resource|Illegal attribute or resource value"
        r"|Job exceeds queue resource limits(?! MSG=cannot locate feasible nodes)"
        r"|user ACL rejected|Resource invalid in"
    )
    priorities = (-1024, 1023)
    gone = r"Unknown Job Id|Job has finished|nonexistent job id|invalid (?:for )?state|not configured to maintain"
    whole = followed = r"\n\n\Z"
    absent = r"(?m)(?:Unknown Job Id(?: Error)?|nonexistent job id:?|qstat:(?= \S+ Job has finished)) (\S+)"
    lives = r"(?m)^set server \w+ = "
    vanished = r"Invalid Job Dependency"
    elsewhere = rf"{Dialect.elsewhere}|bad uid for job execution"
    hints: ClassVar[Mapping[str, str]] = {
        full: "[executor] max_submitted keeps a run below the limit",
        r"[Uu]nknown queue": "`qstat -Q` lists the queues",
        r"[Uu]nknown resource": "`qmgr -c 'list resource'` shows what can be asked for",
        r"resource limits(?! MSG=cannot locate feasible nodes)|exceeds server": "`qstat -Qf` shows the queues' limits",
    }
    #: what negative exit statuses mean
    killed: ClassVar[Mapping[int, tuple[FailureClass, str]]] = {
        **_NODES,
        -11: _RERUN,
        -14: _NODE,
        -15: _RERUN,
        -20: _NODE,
        -24: _CORES,
        -25: _CORES,
        -26: _MEMORY,
        -27: _MEMORY,
        -28: _CPUTIME,
        -29: _WALLTIME,
    }
    done = "FX"
    #: whether what has run has a count of its runs
    counts = True

    def key(self, id: str) -> str:
        """Ids are told apart by their number; the server's name may be cut short."""
        return re.sub(r"\[\d+\]", "[]", id.partition(".")[0])

    def learned(self, fact: str, done: Completed) -> Mapping[str, JSON]:
        """Attributes of the server that are not printed are not set."""
        text = done.stdout + done.stderr
        if fact == "variant":
            return {"variant": "torque"} if re.search(r"(?im)^(?:version|commit):", text) else {}
        if fact == "instance":
            name = re.search(r"(?m)^Server: *(\S+)", text)
            return {"instance": name[1]} if name else {}
        found = dict(re.findall(r"(?m)^set server (\w+) = (\S+)", text))
        facts: dict[str, JSON] = {"history": found.get("job_history_enable") == "True"} if found else {}
        if found:
            facts["keeps"] = found.get("keep_completed", "0") != "0"  # Torque's
        most = str(found.get("max_array_size", ""))
        if str(found.get("max_job_array_size", "")).isdecimal():  # Torque's
            most = str(min(int(found["max_job_array_size"]), _CLONED))
        slots = str(found.get("max_slot_limit", ""))
        facts |= {"max_throttle": int(slots)} if slots.isdecimal() and int(slots) else {}
        arrays = [int(most)] if most.isdecimal() else []
        queued = _queued(re.findall(r"(?m)^set server .*$", text))
        # What every queue bounds holds for each job, whichever queue it is in.
        queues = [re.findall(rf"(?m)^set queue {re.escape(name)} .*$", text) for name in _created(text)]
        each = [min(_queued(lines), default=0) for lines in queues]
        sizes = [int((re.search(r"max_array_size = (\d+)", "\n".join(lines)) or ["", "0"])[1]) for lines in queues]
        queued += [sum(each)] if each and all(each) else []
        arrays += [max(sizes)] if sizes and all(sizes) else []
        facts |= {"max_submitted": min(queued)} if queued else {}
        return facts | ({"max_array": min(arrays)} if arrays else {})

    def fixed(self, job: Job) -> Iterable[Words]:
        """One file for both streams; an array must be able to run again."""
        yield "-j", "oe"
        if job.slots is None or given(job, "requeue"):
            yield "-r", "y" if given(job, "requeue") else "n"

    def resources(self, job: Job) -> Iterable[Words]:
        """Chunks: what one node gives."""
        nodes, tasks, cpus = layout(job)
        asked = job.resources
        wish, alone = self.features(job), self.alone(job)
        if asked.cpus or asked.mem or asked.gpus or asked.nodes or asked.tasks or wish:
            more = f":ompthreads={cpus}" if asked.cpus else ""
            more += f":mem={ceiling(asked.mem, 1024)}kb" if asked.mem else ""
            more += f":ngpus={asked.gpus}" if asked.gpus else ""
            for one in wish.replace("&", self.both).split(self.both):
                more += f":{one}{'' if '=' in one else '=True'}" if one else ""
            spread = per_node(nodes, max(tasks, nodes))
            chunks = (
                f"{count}:ncpus={share * cpus}{f':mpiprocs={share}' if asked.tasks else ''}{more}"
                for count, share in spread
            )
            yield "-l", f"select={'+'.join(chunks)}"
        place = [*(["scatter"] if nodes > 1 else []), *(["excl"] if alone else [])]
        if place:
            yield "-l", f"place={':'.join(place)}"
        if asked.time:
            yield "-l", f"walltime={clock(asked.time)}"

    def flags(self, job: Job, site: Site) -> list[Words]:
        """A queue is one of the run's own server: ids are told apart by their numbers."""
        for name in ("queue", "reservation"):
            if "@" in str(given(job, name) or ""):
                raise UsageError(
                    f"{name}={given(job, name)!r}: all jobs of a run are on one server",
                    hint="PBS_SERVER names it where the run is submitted",
                )
        return super().flags(job, site)

    def array(self, slots: int, throttle: int | None) -> Iterable[Words]:
        """There is no range of one: a step makes it so."""
        if slots == 1:
            return [("-J", "0-1:2")]
        return [("-J", f"0-{slots - 1}{f'%{throttle}' if throttle else ''}")]

    def submit(self, job: Job, script: str, words: Sequence[str]) -> Call:
        """It prints ``12.server``, or ``13[].server`` for an array; it sends where it runs in a list of variables."""
        plain = not set(job.cwd) & set('"\\\n')
        return Call(argv=(self.program("qsub"), *words, job.script), cwd=job.cwd if plain else None)

    def live(self, ids: Sequence[str], site: Site) -> Call:
        """Jobs that have ended too, where the server keeps them; elements of arrays one by one."""
        history = ("-x",) if self.facts.get("history", True) else ()
        return Call(argv=(self.program("qstat"), *history, "-t", "-f", *ids))

    def alive(self, ids: Sequence[str], site: Site) -> Call:
        """Without those that have ended: a server that keeps no history answers nothing when it is asked for it."""
        return Call(argv=(self.program("qstat"), "-t", "-f", *ids))

    def follow_up(self, rows: Sequence[Row], missing: Sequence[str], site: Site) -> Call | None:
        """A server that keeps no history answers nothing at all when it is asked for it."""
        if not missing or "history" in self.facts:
            return None
        return Call(argv=(self.program("qstat"), "-t", "-f", *missing))

    def read_follow_up(self, done: Completed, rows: Sequence[Row]) -> Iterable[Row]:
        """As `live`."""
        return self.read_live(done)

    def read_live(self, done: Completed) -> Iterable[Row]:
        """Blocks of ``name = value``; long lines go on after a tab. A last line without its end is not read."""
        text = re.sub(r"\r?\n\t", "", done.stdout[: done.stdout.rfind("\n") + 1])
        blocks = re.split(r"(?m)^Job Id: *", text)[1:]
        #: arrays that were told of as a whole, before their elements: what became of them
        arrays: dict[str, str] = {}
        for place, block in enumerate(blocks, 1):
            whole = place < len(blocks) or block.endswith("\n\n")
            head, _, rest = block.partition("\n")
            match = re.fullmatch(r"(\d+)(\[(\d*)\])?(\.\S*)?", head.strip())
            fields = dict(re.findall(r"(?m)^    ([\w.]+) = (.*)$", rest))
            if match is None or "job_state" not in fields or not rest.endswith("\n"):
                continue
            number, array, index, server = match.groups()
            if array == "[]":
                arrays[number] = "deleted before it ran" if "terminated" not in fields.get("comment", "") else ""
            lost = arrays.get(number) if index else None
            status = self._status(fields, array == "[]", lost, bool(index), whole)
            id = f"{number}{'[]' if array else ''}{server or ''}"
            yield Row(id=id, index=int(index) if index else None, name=fields.get("Job_Name", ""), status=status)

    def search(self, site: Site) -> Sequence[Call]:
        """The short list: a tag is never too long for it."""
        history = self.facts.get("history")
        calls = [("-x",)] if history else [()] if history is False else [("-x",), ()]
        return [Call(argv=(self.program("qstat"), *options)) for options in calls]

    def read_search(self, number: int, done: Completed, tags: Collection[str]) -> Mapping[str, str]:
        """An id as wide as its column may have been cut: its number will do."""
        found: dict[str, str] = {}
        for id, name in re.findall(r"(?m)^(\d+(?:\[\])?\.\S*) +(\S+) ", done.stdout):
            if (tag := name.partition(".")[0]) in tags:
                found[tag] = id if len(id) < 17 else id.partition(".")[0]
        return found

    def proven(self, said: str, ids: Collection[str], told: Collection[str], *, later: bool = False) -> set[str]:
        """What a server without history says of that, it says instead of an answer: `follow_up` asks once more."""
        if not later and "not configured to maintain" in said:
            return set(ids)
        return super().proven(said, ids, told, later=later)

    def listed(self, answers: Sequence[tuple[int, str]]) -> bool:
        """An empty list has no header; nor has the one that a server without history refuses."""
        return any(re.search(r"(?m)^Job id +Name", said, re.IGNORECASE) for _, said in answers)

    def forgets_ends(self) -> bool:
        """A server without history."""
        return self.facts.get("history") is False

    def canary(self) -> Call:
        """The server's settings."""
        return Call(argv=(self.program("qmgr"), "-c", "print server"))

    def cancel(self, ids: Sequence[str]) -> Sequence[Call]:
        """Jobs, and ranges of elements; one by one where a job is forgotten the moment it ends."""
        if self.facts.get("history") is False:
            return [Call(argv=(self.program("qdel"), id)) for id in ids]
        return [Call(argv=(self.program("qdel"), *ids))]

    def element(self, id: str, indices: Sequence[int]) -> Sequence[str]:
        """``13[2-4].server``, one for each range."""
        return [id.replace("[]", f"[{part}]") for part in to_ranges(indices).split(",")]

    def _status(
        self, fields: Mapping[str, str], parent: bool, lost: str | None, element: bool, whole: bool
    ) -> JobStatus:
        state, comment = fields["job_state"], fields.get("comment", "")
        code = fields.get("Exit_status", fields.get("exit_status", ""))
        if state in self.done and state:
            if parent:
                return unknown(state, "the array has ended")
            if element and self.counts and "run_count" not in fields:
                # Without a count of runs, the exit status is the array's, not the element's. Of an array that was
                # deleted, this is what is left of elements that had ended before, or never ran; of any other, only
                # of elements that were deleted while they waited.
                if lost is None or not whole:
                    return unknown(state, "ended; the server no longer tells how")
                return cancelled(state, lost or "its array was deleted")
            return self._ended(state, code, comment) if code or whole else unknown(state)
        if state in ("R", "B", "E", "S", "U"):
            return running(state, "suspended" if state in ("S", "U") else "", ending=state == "E")
        if state == "H" and "too many failed attempts" in comment:
            return held("it could not be started, its log directory may be missing", state)
        if state == "H":
            turn = "held, or waiting for its turn in its array" if element else "held"
            return pending(state, "waiting for other jobs" if fields.get("depend") else turn)
        if state == "W":
            return pending(state, "waiting for its begin time")
        if state in ("Q", "T"):
            never = re.match(r"Can Never Run: *(.*)", comment)
            return pending(state, f"can never run: {never[1]}" if never else "waiting for resources")
        return unknown(state)

    def _ended(self, state: str, code: str, comment: str) -> JobStatus:
        if "terminated by" in comment or "deleted" in comment:
            return cancelled(f"{state} {code}".strip(), comment if "depend" in comment else "")
        if not re.fullmatch(r"-?\d+", code):
            return cancelled(state, "deleted before it ran")
        number, native = int(code), f"{state} {code}"
        if number in self.killed:
            cls, why = self.killed[number]
            return failed(cls, native, why)
        if number < 0:
            return failed(FailureClass.LAUNCH, native, f"could not be started (exit status {number})")
        return signalled(number - 256, native) if number > 256 else exited(number, native, shell=True)


class Torque(PBS):
    """Torque 4 and later."""

    name = "torque"
    title = "Torque"
    # Elements come into being one after the other, some 300 a second: of a larger array some would seem to be gone.
    limits = Limits(array_base=0, max_array=_CLONED, max_after=100, visibility_lag=20.0)
    index = "PBS_ARRAYID"
    job_id = '"$(echo "${PBS_JOBID-}" | sed \'s/\\[[0-9]*\\]/[]/\')"'
    known = False
    longest_name = 15
    asks: ClassVar[Mapping[str, Words]] = {fact: PBS.asks[fact] for fact in ("server", "instance")}
    cells: ClassVar[Mapping[str, Cell]] = {
        **PBS.cells,
        "project": flag("-A {}"),
        "qos": refused("Torque leaves it to Moab or Maui: native=['-l', 'qos=NAME']"),
        "mem": built("-l mem={}kb, of all nodes"),
        "cpus": built("-l nodes=...:ppn={}"),
        "nodes": built("-l nodes={}"),
        "tasks": built("-l nodes=...:ppn={}"),
        "gpus": built("-l nodes=...:gpus={}"),
        "exclusive": refused("Torque leaves it to Moab or Maui: native=['-l', 'naccesspolicy=singlejob']"),
        "constraint": built("-l nodes=...:{}"),
        "reservation": refused("Torque leaves it to Moab or Maui: native=['-l', 'advres=NAME']"),
        "nice": refused("Torque has priorities only: priority=-100"),
        "array": built("-t 0-{}"),
        "array_parallelism": built("-t 0-9%{}"),
        "after": built("-W depend=afterany:{},afteranyarray:{}"),
    }
    native = names("b c d h k K l m S T u v V W")
    own = names("a C D e f F I j J N o P t w x X z")
    breaks = r"-[tIzC]|-W ?(?:\S*,)?block=|--"
    bare = "EfhInVxXz"
    killed: ClassVar[Mapping[int, tuple[FailureClass, str]]] = {
        **_NODES,
        -10: _MEMORY,
        -11: _WALLTIME,
        -12: _CPUTIME,
    }
    done = "C"
    counts = False

    def flags(self, job: Job, site: Site) -> list[Words]:
        """To an array's output file each element's index is added, and there is no ``/dev/null-0``."""
        groups = super().flags(job, site)
        if job.slots is None or job.log == "/dev/null":
            return groups
        folder, _, name = job.log.rpartition("/")
        # A path with a blank, or a letter beyond ASCII, is refused; variables in it are replaced on delivery.
        place = folder if _PLAIN.fullmatch(folder) else "localhost:/tmp"
        return [("-o", f"{place}/spool.{name}") if group == ("-o", "/dev/null") else group for group in groups]

    def resources(self, job: Job) -> Iterable[Words]:
        """Nodes with processors; memory is that of the whole job."""
        nodes, tasks, cpus = layout(job)
        asked = job.resources
        wish = self.features(job)
        if asked.cpus or asked.gpus or asked.nodes or asked.tasks or wish:
            more = f":gpus={asked.gpus}" if asked.gpus else ""
            more += f":{wish.replace('&', self.both)}" if wish else ""
            spread = per_node(nodes, max(tasks, nodes))
            yield "-l", f"nodes={'+'.join(f'{count}:ppn={share * cpus}{more}' for count, share in spread)}"
        if asked.mem:
            yield "-l", f"mem={ceiling(asked.mem * nodes, 1024)}kb"
        if asked.time:
            yield "-l", f"walltime={clock(asked.time)}"

    def array(self, slots: int, throttle: int | None) -> Iterable[Words]:
        """Indices may count from 0; the server may bound how many run at once, and takes no more."""
        throttle = min(throttle, int(self.facts.get("max_throttle", throttle))) if throttle else throttle
        return [("-t", "0" if slots == 1 else f"0-{slots - 1}{f'%{throttle}' if throttle else ''}")]

    def after(self, ids: Sequence[str]) -> Iterable[Words]:
        """Arrays and single jobs have words of their own; an array under the wrong one is waited for for ever."""
        parts = {"afteranyarray": [id for id in ids if "[]" in id], "afterany": [id for id in ids if "[]" not in id]}
        return [("-W", "depend=" + ",".join(f"{word}:{':'.join(those)}" for word, those in parts.items() if those))]

    def forgets_ends(self) -> bool:
        """A server that does not keep what is complete."""
        return self.facts.get("keeps") is False

    def live(self, ids: Sequence[str], site: Site) -> Call:
        """Jobs that have ended are kept for a while."""
        return Call(argv=(self.program("qstat"), "-t", "-f", *ids))

    def follow_up(self, rows: Sequence[Row], missing: Sequence[str], site: Site) -> Call | None:
        """There is nothing else to ask."""
        return None

    def search(self, site: Site) -> Sequence[Call]:
        """The short list."""
        return [Call(argv=(self.program("qstat"),))]

    def cancel(self, ids: Sequence[str]) -> Sequence[Call]:
        """Elements are named by an option, so each array that is not cancelled as a whole takes a call."""
        whole = [id for id in ids if " " not in id]
        parts = [id.split(" ") for id in ids if " " in id]
        calls = [Call(argv=(self.program("qdel"), *whole))] if whole else []
        return calls + [Call(argv=(self.program("qdel"), "-t", part, id)) for part, id in parts]

    def element(self, id: str, indices: Sequence[int]) -> Sequence[str]:
        """The range, then the array."""
        return [f"{to_ranges(indices)} {id}"]

    def _ended(self, state: str, code: str, comment: str) -> JobStatus:
        """Of what was deleted the signal is told, whether or not it ran, and nothing else."""
        if code == str(256 + SIGTERM) and "deleted" not in comment:
            return cancelled(f"{state} {code}", "ended by SIGTERM, as by qdel")
        return super()._ended(state, code, comment)


class PBSExecutor(CommandExecutor):
    """Submits to OpenPBS, PBS Professional or Torque.

    Parameters
    ----------
    qsub, qstat, qdel, qmgr : str, optional
        Paths of the programs; found on PATH where not given.
    array_flag : {"-J", "-t"}, optional
        The option for arrays: ``"-t"`` is Torque's. Where not given, the
        programs are asked which of the family they belong to.
    """

    dialect: ClassVar[type[Dialect]] = PBS
    own_settings = ("array_flag",)

    @classmethod
    def choose(cls, settings: Mapping[str, JSON]) -> type[Dialect]:
        """Torque where it is asked for, or found."""
        asked = settings.get("array_flag")
        if asked not in (None, "-J", "-t"):
            raise TypeError(f"array_flag is '-J' or '-t', not {asked!r}")
        torque = asked == "-t" or (asked is None and settings.get("variant") == "torque")
        return Torque if torque else cls.dialect


class TorqueExecutor(PBSExecutor):
    """Submits to Torque; its parameters are those of `PBSExecutor`."""

    dialect = Torque
