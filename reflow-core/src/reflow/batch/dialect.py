"""What tells one command-line scheduler from another: text in, text out.

A dialect composes commands and reads what they print; it runs nothing and
opens no file. `reflow.batch.command.CommandExecutor` does the rest.
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from ..errors import UsageError
from ..model.job import Job, JobRef, JobState, JobStatus, Limits, Submission
from ..model.options import ALIASES, MEANT
from ..model.ranges import to_ranges
from ..model.task import JSON
from .options import BUILT, EMULATED, FLAG, REFUSED, Cell, faults
from .runner import Completed
from .verbatim import refuse

Words = tuple[str, ...]

#: what directives of every scheduler carry without quotes
_SAFE = re.compile(r"[A-Za-z0-9_./:=,+@%^~-]+")
#: the longest directive line that is written
_LONGEST = 160
#: attributes that have no default
_NEEDED = ("name", "title", "programs", "cells", "index", "job_id")


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A command to be run.

    Attributes
    ----------
    argv : tuple of str
        The program and its arguments.
    stdin : str, optional
        What it reads: the script, where the scheduler takes it from standard input. None: nothing.
    env : mapping
        Variables it needs beyond the small environment.
    cwd : str, optional
        Where it runs; ``/`` where None.
    """

    argv: Words
    stdin: str | None = None
    env: Mapping[str, str] = {}
    cwd: str | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What one line or record of a scheduler's answer says.

    Attributes
    ----------
    id : str
        The job, as in `reflow.model.job.JobRef`.
    index : int, optional
        Index of an element of an array, as the scheduler counts. None: the row
        tells of a single job, or of an array as a whole. A scheduler that gives
        single jobs an index, too, needs a mark that tells arrays from them.
    name : str
        The job's name; "": the answer shows none.
    status : JobStatus
        Its state.
    """

    id: str
    index: int | None = None
    name: str = ""
    status: JobStatus = JobStatus(state=JobState.UNKNOWN)


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, and when.

    Attributes
    ----------
    user : str
        The login name.
    now : float
        The time, in seconds since the epoch.
    since : float
        The time at which the run began, likewise: no job of it is older.
    """

    user: str
    now: float
    since: float


class Dialect(ABC):
    """Base of all dialects; a subclass sets the attributes and overrides what differs.

    Parameters
    ----------
    programs : mapping of str to str
        Program name -> the path by which it is called.
    facts : mapping
        What has been found out about the site, see `learn`; plain data.
    options : mapping
        Values of the scheduler's own settings, by name.

    Attributes
    ----------
    name, title : str
        What it is chosen by, and what people call it.
    prefix : str
        Head of a directive line; "": the scheduler reads none.
    programs : tuple of str
        The programs it may call, first the one that submits.
    cells : mapping
        The vocabulary: a cell for each row of `reflow.batch.options.VOCABULARY`.
    native : frozenset of str
        The scheduler's own option names, with ``_`` for ``-``, as they may be given to ``job(...)``.
    own : frozenset of str
        Those of them that reflow sets itself.
    limits : Limits
        What it can take where nothing was found out.
    index, job_id : str
        Shell: the variable with the array index, and an expression for the job's id.
        Where the scheduler sets no such variable, the dialect has it set for the job.
    outlive : str
        Shell lines, of `reflow.batch.script.outliving`, where the job's first
        shell may not become the command, but has to outlive it; "": it may.
    prelude : str
        Shell lines for what the scheduler's own programs need to find in a job.
    longest_name : int
        Characters a job's name can have.
    forgets : bool
        Whether `live` leaves out elements of an array that have ended.
    remembers : bool
        Whether `follow_up` tells of all that has ever run: what it does not
        know was cancelled while it waited.
    known : bool
        Whether only ids that the scheduler has just named may be cancelled.
    passing, closed, uncertain, full, large, definite, gone, off, vanished, elsewhere : str
        Regular expressions for messages: of an outage that passes in seconds; of
        a queue that takes nothing for a while; of a submit that may have worked
        all the same; of one that was refused because too many jobs are queued
        already; of an array with too many elements; of a request that can never
        be met; of ids that are not known, or have
        ended; of an accounting that is switched off; of a submit whose upstream
        jobs are forgotten, so that they have ended.
    whole, followed : str
        Regular expressions for what proves an answer of `live`, and one of
        `follow_up`, whole: a header, or a closing tag. Without it a job that the
        answer leaves out counts as not asked for. `followed` is "" where
        `follow_up` is not asked about jobs that `live` leaves out.
    absent : str
        Regular expression for the message that an id is not known, with the id
        as its first group; "" where the scheduler leaves such ids out silently.
        Where it is set, an id that is neither in the answer nor in such a
        message counts as not asked for.
    address, configured : tuple of str
        Environment variables that say which instance of the scheduler is meant:
        by its name, or by the place of its configuration.
    inside : str
        The variable in which a job finds the name of its instance; "": there is none.
    identifies : str
        The entry of `asks` whose answer has the instance's own name, as the fact
        ``instance``; "": it has none.
    renames, strays, requeues, breaks : str
        Regular expressions for native words, each with the word behind it, that
        would give the job another name, send it to another instance, have the
        scheduler run it again by itself, or change how it is submitted: as an
        array, not at all, or so that the command waits for its end.
    bare : str
        Letters of the short options without a value, behind which another may begin in the same word.
    priorities : tuple of int, optional
        The least and the highest ``priority`` that may be asked for, where there are such.
    urgencies : frozenset of str
        Words that may stand for a ``priority``.
    hints : mapping
        Regular expression for a refusal -> what to do.
    letters : mapping
        Occasions of mail, as Slurm spells them -> as this scheduler does.
    asks : mapping
        What is found out about the site: fact -> program and arguments; `learned` reads the answers.
    submits : tuple of str
        What the program that submits is always given.
    accepted : str
        Regular expression for what it prints of a job that it has taken: the
        id is the first group, the cluster one named so. The last match counts.
    lives : str
        Regular expression for an answer of `canary` by a scheduler that works.
    ends : str
        The program that ends jobs.
    elements : str
        How elements of an array are named to it: with ``{id}``, and either
        ``{ranges}`` of indices or, one by one, ``{index}``.
    dashes : str
        What native options begin with: ``--`` for ``--name=value``, or ``-`` for ``-name value``.
    joint : str
        What stands between the ids in the flag for upstream jobs.
    both : str
        What stands between features of nodes that are asked for together.
    moment, ahead : str, float
        Pattern of `time.strftime` for begin times, and how many seconds ahead
        one has to be at least; "": seconds from now are given.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    prefix: ClassVar[str] = ""
    programs: ClassVar[tuple[str, ...]]
    cells: ClassVar[Mapping[str, Cell]]
    native: ClassVar[frozenset[str]] = frozenset()
    own: ClassVar[frozenset[str]] = frozenset()
    limits: ClassVar[Limits] = Limits()
    index: ClassVar[str]
    job_id: ClassVar[str]
    outlive: ClassVar[str] = ""
    prelude: ClassVar[str] = ""
    longest_name: ClassVar[int] = 64
    forgets: ClassVar[bool] = False
    remembers: ClassVar[bool] = False
    known: ClassVar[bool] = False
    passing: ClassVar[str] = r"(?!)"
    uncertain: ClassVar[str] = r"(?!)"
    closed: ClassVar[str] = r"(?!)"
    full: ClassVar[str] = r"(?!)"
    large: ClassVar[str] = r"(?!)"
    definite: ClassVar[str] = r"(?!)"
    gone: ClassVar[str] = r"(?!)"
    off: ClassVar[str] = r"(?!)"
    whole: ClassVar[str] = r"\S"
    followed: ClassVar[str] = ""
    absent: ClassVar[str] = ""
    vanished: ClassVar[str] = r"(?!)"
    #: in any site's own words
    elsewhere: ClassVar[str] = r"(?i)submi\w+ (?:\w+ )*from (?:\w+ )*(?:host|node)s?\b"
    address: ClassVar[Words] = ()
    configured: ClassVar[Words] = ()
    inside: ClassVar[str] = ""
    identifies: ClassVar[str] = ""
    renames: ClassVar[str] = r"(?!)"
    strays: ClassVar[str] = r"(?!)"
    requeues: ClassVar[str] = r"(?!)"
    breaks: ClassVar[str] = r"(?!)"
    bare: ClassVar[str] = ""
    priorities: ClassVar[tuple[int, int] | None] = None
    urgencies: ClassVar[frozenset[str]] = frozenset()
    hints: ClassVar[Mapping[str, str]] = {}
    letters: ClassVar[Mapping[str, str]] = {}
    asks: ClassVar[Mapping[str, Words]] = {}
    submits: ClassVar[Words] = ()
    accepted: ClassVar[str] = r"(?m)^(\d+)\s*$"
    lives: ClassVar[str] = r"(?!)"
    ends: ClassVar[str] = ""
    elements: ClassVar[str] = "{id}[{ranges}]"
    dashes: ClassVar[str] = "--"
    joint: ClassVar[str] = ":"
    both: ClassVar[str] = "&"
    moment: ClassVar[str] = ""
    ahead: ClassVar[float] = 0.0

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse a dialect that is not complete, before anything is submitted by it.

        Raises
        ------
        TypeError
            It lacks an attribute that has no default, or a row of the vocabulary, or has a row of an unknown name.
        """
        super().__init_subclass__(**options)
        lacking = [name for name in _NEEDED if not hasattr(cls, name)]
        wrong = [f"it sets no {', '.join(lacking)}"] if lacking else []
        if hasattr(cls, "cells"):
            wrong += faults(cls.cells)
        if wrong:
            raise TypeError(f"dialect {cls.__name__}: {'; '.join(wrong)}")

    def __init__(
        self,
        programs: Mapping[str, str] | None = None,
        facts: Mapping[str, JSON] | None = None,
        settings: Mapping[str, JSON] | None = None,
    ) -> None:
        self.paths = dict(programs or {})
        self.facts = dict(facts or {})
        self.settings = {name: value for name, value in (settings or {}).items() if value is not None}

    # -- commands -------------------------------------------------------------

    def key(self, id: str) -> str:
        """What of an id tells jobs apart, where it may be written in several ways."""
        return id

    def program(self, name: str) -> str:
        """The path by which a program is called."""
        return self.paths.get(name, name)

    def learn(self) -> Mapping[str, Call]:
        """Commands that tell about the site, run once: fact -> command."""
        return {fact: Call(argv=(self.program(name), *words)) for fact, (name, *words) in self.asks.items()}

    def learned(self, fact: str, done: Completed) -> Mapping[str, JSON]:
        """Facts out of the answer to the command of that name."""
        return {}

    def submit(self, job: Job, script: str, words: Sequence[str]) -> Call:
        """The command that submits a job: where it is to run, with the script's path behind all options.

        Parameters
        ----------
        job : Job
            The job.
        script : str
            Text of the script, with its directives; it lies at ``job.script``.
        words : sequence of str
            Arguments that are no directives.
        """
        return Call(argv=(self.program(self.programs[0]), *self.submits, *words, job.script), cwd=job.cwd)

    def submitted(self, job: Job, done: Completed) -> Submission | None:
        """The ids out of what the command printed; None: there are none. A site's own words may come before them.

        Where the scheduler makes a job of each slot, their ids are one
        reference, joined by commas in the order of the slots.
        """
        found = list(re.finditer(self.accepted, done.stdout))
        return Submission(ref=JobRef(found[-1][1], cluster=found[-1].groupdict().get("cluster"))) if found else None

    def order(self, submission: Submission) -> Call | None:
        """A command that tells which slot of an array each of the ids is, where their order does not."""
        return None

    def ordered(self, submission: Submission, done: Completed) -> Submission | None:
        """The same ids by slot; None where some are not told of."""
        return submission

    @abstractmethod
    def live(self, ids: Sequence[str], site: Site) -> Call:
        """The command that asks for jobs that wait or run, and maybe others."""

    def alive(self, ids: Sequence[str], site: Site) -> Call:
        """The command that asks, where `known`, which jobs may be cancelled: `read_live` reads the answer."""
        return self.live(ids, site)

    @abstractmethod
    def read_live(self, done: Completed) -> Iterable[Row]:
        """Its answer."""

    def follow_up(self, rows: Sequence[Row], missing: Sequence[str], site: Site) -> Call | None:
        """The one further command that a query may need.

        Parameters
        ----------
        rows : sequence of Row
            What `live` told.
        missing : sequence of str
            Ids of which it told nothing, or not of all elements.
        """
        return None

    def read_follow_up(self, done: Completed, rows: Sequence[Row]) -> Iterable[Row]:
        """Its answer; a row replaces one of `live` that says the same state, or an end as well."""
        return ()

    def proven(self, said: str, ids: Collection[str], told: Collection[str], *, later: bool = False) -> set[str]:
        """Find the ids for which an answer is whole: what it leaves out of them, the scheduler does not know.

        Parameters
        ----------
        said : str
            All that the command printed.
        ids : collection of str
            What it was asked for.
        told : collection of str
            The ids in its answer, as `key` writes them.
        later : bool
            Whether it is the command of `follow_up`.
        """
        named = {self.key(id) for id in re.findall(self.absent, said)} if self.absent else set()
        framed = re.search((later and self.followed) or self.whole, said) is not None
        return {id for id in ids if self.key(id) in named or (framed and (not self.absent or self.key(id) in told))}

    def listed(self, answers: Sequence[tuple[int, str]]) -> bool:
        """Whether the answers to `search` are whole: number of the command, and all that it printed."""
        patterns = (self.whole, self.followed or self.whole)
        return all(re.search(patterns[min(number, 1)], said) for number, said in answers)

    def forgets_ends(self) -> bool:
        """Whether how a job has ended is known to nobody after: then the job's first shell keeps the exit code."""
        return False

    def canary(self) -> Call | None:
        """The command that proves an empty list of `search` whole, where the list itself cannot: see `lives`."""
        return None

    @abstractmethod
    def search(self, site: Site) -> Sequence[Call]:
        """Commands that list the user's jobs with their names, one after the other until all are found."""

    def read_search(self, number: int, done: Completed, tags: Collection[str]) -> Mapping[str, str]:
        """Tag -> id out of the answer to the command of that number; as `read_live` reads it, where it is one."""
        return {tag: row.id for row in self.read_live(done) if (tag := row.name.partition(".")[0]) in tags}

    def cancel(self, ids: Sequence[str]) -> Sequence[Call]:
        """The command that ends jobs, or the few that it takes; ids as `element` writes them."""
        return [Call(argv=(self.program(self.ends), *ids))]

    def element(self, id: str, indices: Sequence[int]) -> Sequence[str]:
        """How some elements of an array are named when they are cancelled."""
        if "{index}" in self.elements:
            return [self.elements.format(id=id, index=index) for index in indices]
        return [self.elements.format(id=id, ranges=to_ranges(indices))]

    # -- a job's flags --------------------------------------------------------

    @abstractmethod
    def resources(self, job: Job) -> Iterable[Words]:
        """Flags for cores, memory, time, nodes, and what else belongs to them."""

    @abstractmethod
    def array(self, slots: int, throttle: int | None) -> Iterable[Words]:
        """Flags for an array."""

    def after(self, ids: Sequence[str]) -> Iterable[Words]:
        """Flags for waiting until jobs have ended, in whatever way."""
        return [self.cell("after", self.joint.join(ids))]

    def begin(self, seconds: float, site: Site) -> Iterable[Words]:
        """Flags for not starting earlier than in so many seconds: a time is rounded up to what the pattern can say."""
        if not self.moment:
            return [self.cell("begin", str(ceiling(int(seconds * 1000), 1000)))]
        at, step = site.now + max(seconds, self.ahead), 1 if "%S" in self.moment else 60
        return [self.cell("begin", local_time(at, self.moment, step))]

    def named(self, job: Job, name: str) -> Iterable[Words]:
        """Flags for the job's name."""
        return [self.cell("name", name)]

    def output(self, path: str, asked: bool) -> Iterable[Words]:
        """Flags for what the scheduler writes of the job: a file where the user names one, else the script has its log.

        Parameters
        ----------
        path : str
            The file that the user names, or else the job's log.
        asked : bool
            Whether the user names it.
        """
        return [self.cell("output", path if asked else "/dev/null")]

    def extra(self, name: str, value: str | None) -> Words:
        """A native option as the scheduler spells it; value None: the option alone."""
        if self.dashes == "--":
            return (f"--{name.replace('_', '-')}{'' if value is None else f'={value}'}",)
        return (f"-{name}",) if value is None else (f"-{name}", value)

    def cell(self, name: str, value: str) -> Words:
        """The flag of a row of the vocabulary."""
        return self.cells[name].words(value) or ()

    def features(self, job: Job) -> str:
        """What ``constraint`` asks for, where it is no flag of its own: an expression, or a list of features."""
        asked = given(job, "constraint")
        if asked is True:
            raise UsageError(f"constraint=True: {self.title} takes a value here")
        wishes = asked if isinstance(asked, list) else [] if asked is None else [asked]
        return self.both.join(_plain("constraint", wish) for wish in wishes)

    def alone(self, job: Job) -> bool:
        """Whether ``exclusive`` asks for whole nodes, where it is no flag of its own."""
        asked = given(job, "exclusive")
        if asked not in (None, True):
            raise UsageError(f"exclusive={asked!r}: {self.title} knows whole nodes only", hint="write exclusive=True")
        return asked is not None

    def fixed(self, job: Job) -> Iterable[Words]:
        """Flags that every job has."""
        return ()

    def notes(self, job: Job) -> Iterable[str]:
        """What is asked for, and the scheduler leaves out: to be said once."""
        return ()

    def flags(self, job: Job, site: Site) -> list[Words]:
        """All flags of a job but its native ones.

        Raises
        ------
        UsageError
            For what the scheduler cannot do, or does not know.
        """
        refuse(self, job.native, reruns=bool(given(job, "requeue")))
        groups = [*self.named(job, self.label(job)), *self.fixed(job), *self.resources(job)]
        if job.slots is not None:
            groups += self.array(job.slots, job.throttle)
        if job.after:
            groups += self.after([part for ref in job.after for part in ref.id.split(",") if part])
        wait = max(job.begin or 0.0, self._begin(job, site))
        if wait > 0:
            groups += self.begin(wait, site)
        asked = given(job, "output")
        groups += self.output(job.log if asked is None else str(asked), asked is not None)
        said: dict[str, tuple[str, JSON]] = {}
        for name, value in job.options.items():
            if value is None or value is False or name == "requeue":
                continue
            cell = self.cells.get(name)
            if name in _ELSEWHERE and (cell is None or cell.kind != REFUSED):
                continue
            if cell is not None and cell.kind == FLAG:
                other, before = said.setdefault(cell.text, (name, value))
                if before != value:
                    raise UsageError(f"{other}={before!r} and {name}={value!r} are one and the same to {self.title}")
                if other != name:
                    continue
            groups += self._option(job, name, value)
        return [group for group in groups if group]

    def label(self, job: Job) -> str:
        """The job's name: the tag, then as much of the rest as the scheduler takes."""
        asked = given(job, "name")
        tail = job.name[len(job.tag) :].lstrip(".") if asked is None else str(asked)
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", tail)
        return f"{job.tag}.{safe}"[: self.longest_name].rstrip(".")

    def split(self, groups: Iterable[Words]) -> tuple[list[str], list[str]]:
        """Directive lines, and the words that have to be given to the command because no directive carries them."""
        lines: list[str] = []
        words: list[str] = []
        for group in groups:
            text = " ".join(group)
            if self.prefix and len(text) <= _LONGEST and all(_SAFE.fullmatch(word) for word in group):
                lines.append(f"{self.prefix} {text}")
            else:
                words += group
        return lines, words

    def _option(self, job: Job, name: str, value: JSON) -> Iterable[Words]:
        if name in self.own:
            raise UsageError(f"{name!r} is set by reflow itself", hint="leave it out")
        if name in _ARGUMENTS:
            raise UsageError(f"{name!r} is an argument of its own of job(...), no scheduler option")
        cell = self.cells.get(name)
        if cell is None:
            return self._native(name, value)
        if cell.kind in (EMULATED, BUILT):
            return ()
        if cell.kind == REFUSED:
            raise UsageError(f"{self.title} has no {name!r}: {cell.text}")
        if name in ("mail_user", "mail_type") and job.slots is not None:
            raise UsageError(
                f"{name!r} on an array would send a mail for each of its elements",
                hint="[notifications] in the configuration mails once for a run",
            )
        if name == "priority":
            self._ranked(value)
        if isinstance(value, list):
            value = (self.both if name == "constraint" else ",").join(map(str, value))
        if name == "mail_type" and self.letters:
            occasions = self.occasions(value)
            value = value if occasions is None else occasions
        words = cell.words(None if value is True else _plain(name, value))
        if words is None:
            raise UsageError(
                f"{name}={value!r}: {self.title} takes {'a value' if '{}' in cell.text else 'no value'} here"
            )
        return (words,)

    def _ranked(self, asked: JSON) -> None:
        """Refuse a priority that the scheduler does not take."""
        if self.priorities is None or str(asked) in self.urgencies:
            return
        least, most = self.priorities
        if not (re.fullmatch(r"[+-]?\d+", str(asked)) and least <= int(str(asked)) <= most):
            words = "".join(f", or {word!r}" for word in sorted(self.urgencies))
            raise UsageError(f"priority={asked!r}: {self.title} takes {least} to {most}{words}")

    def occasions(self, asked: JSON) -> str | None:
        """Occasions of mail in this scheduler's letters; None: not all are of those that it has a letter for."""
        text = ",".join(map(str, asked)) if isinstance(asked, list) else str(asked)
        words = [word.strip() for word in text.upper().split(",")]
        if not all(word in self.letters for word in words):
            return None
        return "".join(dict.fromkeys("".join(self.letters[word] for word in words)))

    def _native(self, name: str, value: JSON) -> Iterable[Words]:
        if name not in self.native:
            raise UsageError(f"{self.title} has no option {name!r}", hint=self._meant(name))
        values = value if isinstance(value, list) else [value]
        groups = [self.extra(name, None if one is True else _plain(name, one)) for one in values]
        for group in groups:
            refuse(self, group, reruns=False, shown=f"{name}={value!r}, for {{}}")
        return groups

    def _meant(self, name: str) -> str:
        from difflib import get_close_matches

        close = get_close_matches(name, [*self.cells, *self.native, *ALIASES, *MEANT], n=1)
        what = f"did you mean {MEANT.get(close[0], close[0])!r}? " if close else ""
        return f"{what}what it does not know either can be given verbatim: native=[...]"

    def _begin(self, job: Job, site: Site) -> float:
        asked = given(job, "begin")
        return 0.0 if asked is None else seconds_until(asked, site.now)


#: options that `flags` makes flags of before the others
_ELSEWHERE = frozenset(("name", "begin", "output"))
#: rows of the vocabulary that are no options
_ARGUMENTS = frozenset(
    ("time", "mem", "cpus", "nodes", "tasks", "gpus", "array", "array_parallelism", "after", "env", "cwd")
)


def given(job: Job, name: str) -> JSON:
    """Return an option's value; None where it was not given, or was taken back."""
    value = job.options.get(name)
    return None if value is False else value


def ceiling(amount: int, unit: int) -> int:
    """Return the number of units that are at least the amount: ``ceiling(1025, 1024)`` is 2."""
    return -(-amount // unit)


def clock(seconds: int) -> str:
    """Return a duration as H:MM:SS, with as many hours as it takes."""
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def seconds_until(value: JSON, now: float) -> float:
    """Seconds from now to a begin time: a number of seconds, a duration ('2h'), or a local time in ISO form.

    Raises
    ------
    UsageError
        Where it is none of them.
    """
    from datetime import datetime

    from ..model.units import parse_time

    if isinstance(value, str):
        try:
            return max(0.0, datetime.fromisoformat(value).timestamp() - now)
        except ValueError:
            pass
    try:
        return float(parse_time(value))
    except UsageError:
        raise UsageError(
            f"begin={value!r} is no begin time",
            hint="write seconds from now, a duration such as '2h', or a local time such as '2025-03-01T08:00'",
        ) from None


def local_time(seconds: float, pattern: str, step: int = 1) -> str:
    """Return a moment as local time, rounded up to whole steps of so many seconds."""
    return time.strftime(pattern, time.localtime(ceiling(int(seconds + 0.999999), step) * step))


def layout(job: Job) -> tuple[int, int, int]:
    """Return nodes, MPI tasks in all, and cores for each task; 1 where not given."""
    asked = job.resources
    return asked.nodes or 1, asked.tasks or 1, asked.cpus or 1


def per_node(nodes: int, tasks: int) -> list[tuple[int, int]]:
    """Return how tasks spread over nodes: pairs of a number of nodes, and the tasks on each of them."""
    most, extra = divmod(tasks, nodes)
    return [(count, share) for count, share in ((extra, most + 1), (nodes - extra, most)) if count and share]


def indices(text: str) -> list[int]:
    """Read a set of indices as schedulers write it: ``0-9:3,12,15-17%2``; what cannot be read is left out."""
    found: list[int] = []
    for part in text.partition("%")[0].split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+)(?::(\d+))?)?\s*", part)
        if match is not None:
            first, last, step = match.groups()
            found += range(int(first), int(last or first) + 1, int(step or 1) or 1)
    return found


def places(text: str) -> list[int | None]:
    """Read the same for `Row.index`: None alone stands for a job that is no array."""
    return [*indices(text)] or [None]


def _plain(name: str, value: JSON) -> str:
    if isinstance(value, (dict, list)) or value is None:
        raise UsageError(f"{name}={value!r}: the value of an option is text, a number, True, or a list of them")
    text = str(value)
    if any(character in text for character in "\n\r\0"):
        raise UsageError(f"{name}={value!r}: an option's value is one line")
    return text
