"""The executor of every scheduler that is driven by commands."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from ..errors import ExecutorError, UsageError
from ..model.job import Job, JobRef, JobState, JobStatus, Limits, Submission
from ..model.task import JSON
from .dialect import Call, Dialect, Row, Site
from .ends import cancelled, running, unknown
from .instance import addressed, recorded, trusted
from .preview import Preview, complete, compose
from .programs import find_program
from .runner import Completed, Runner

#: seconds before a command that met a passing outage is run again, and how they grow
_PAUSE, _GROWTH = 1.0, 3.0

#: keys of ``[executor]`` that are arguments of an executor
_GENERAL = {
    "max_submitted": "max_submitted",
    "max_array": "max_array",
    "command_timeout": "timeout",
    "submit_timeout": "submit_timeout",
    "command_attempts": "attempts",
}

#: characters of ids in one command: an argument may hold 128 KiB
_ROOM = 100_000

#: a name such as reflow gives: a tag at its head
_TAGGED = re.compile(r"[a-z][a-z0-9]{9}(?![A-Za-z0-9])")

#: signals that schedulers end jobs with
_KILLS = (2, 9, 15)


class CommandExecutor:
    """Submits, asks and cancels by running a scheduler's commands: implements `reflow.model.job.Executor`.

    A subclass names its `dialect`. Each program's path is a keyword argument
    with the program's own name.

    Parameters
    ----------
    runner : Runner, optional
        What runs commands; see `bind`.
    max_submitted : int, optional
        Most elements queued and running at once, where that is less than the
        scheduler's own limit.
    max_array : int, optional
        Most elements in one array, likewise.
    timeout, submit_timeout : float
        Seconds for one command, and for the one that submits.
    attempts : int
        How often a command is run while an outage lasts that passes.
    facts : mapping, optional
        What an earlier executor of the same site found out.
    settings
        Paths of programs, and the scheduler's own settings, by name.
    """

    dialect: ClassVar[type[Dialect]]
    #: names of the dialect's own settings
    own_settings: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        *,
        runner: Runner | None = None,
        max_submitted: int | None = None,
        max_array: int | None = None,
        timeout: float = 60.0,
        submit_timeout: float = 120.0,
        attempts: int = 4,
        facts: Mapping[str, JSON] | None = None,
        **settings: JSON,
    ) -> None:
        kind = self.choose({**settings, **(facts or {})})
        wrong = [name for name in settings if name not in (*kind.programs, *self.own_settings)]
        if wrong:
            raise TypeError(f"{type(self).__name__}() has no argument {wrong[0]!r}")
        self._settings = {name: value for name, value in settings.items() if value is not None}
        self._runner = runner
        self._max_submitted = max_submitted
        self._max_array = max_array
        self._timeout, self._submit_timeout = timeout, submit_timeout
        self._attempts = attempts
        #: what was cancelled by this very executor: schedulers forget jobs that are cancelled while they wait
        self._ended_here: set[tuple[str, int | None]] = set()
        self._facts: dict[str, JSON] = {"since": time.time(), **(facts or {})}
        #: the tag at the head of each job's name, by its id
        self._tags: dict[str, str] = {}
        #: variables by which commands reach the run's instance; None: not to be set
        self._variables: dict[str, str | None] = {}
        #: whether it is known that the run's own instance answers
        self._verified = False
        self._speak(kind)

    @classmethod
    def choose(cls, settings: Mapping[str, JSON]) -> type[Dialect]:
        """The dialect that these settings, and facts, ask for."""
        return cls.dialect

    @classmethod
    def create(cls, settings: Mapping[str, JSON], context: Any) -> CommandExecutor:
        """Rebuild from `settings`, or build from a configuration's table of the same keys.

        Parameters
        ----------
        settings : mapping
            Values that are None are left at their defaults.
        context : reflow.plugin.Context
            Its runner is bound; time-outs and limits of ``[executor]`` in its
            configuration hold where `settings` has none.
        """
        general = context.config.get("executor", {})
        chosen: dict[str, Any] = {name: general.get(key) for key, name in _GENERAL.items()} | dict(settings)
        made = cls(runner=context.runner, **{name: value for name, value in chosen.items() if value is not None})
        made._aim(context.environ, new="facts" not in chosen)
        return made

    def bind(self, runner: Runner) -> CommandExecutor:
        """The same executor, with something to run its commands."""
        bound: dict[str, Any] = dict(self.settings)
        made = type(self)(runner=runner, **bound)
        made._aim(os.environ, new=True)
        return made

    def _aim(self, environ: Mapping[str, str], *, new: bool) -> None:
        """Let commands reach the instance that was recorded, or record the one that `environ` means."""
        if new:
            self._facts.setdefault("environ", recorded(self.speaks, environ))
        record = self._facts.get("environ")
        if record is not None:
            self._variables = addressed(self.speaks, record, environ)
        self._verified = trusted(self.speaks, self.instance, environ)

    @property
    def instance(self) -> str:
        """The name that the run's instance gives itself; "" where it is not known."""
        return str(self._facts.get("instance", ""))

    def verify(self) -> None:
        """Make sure, once, that the instance which answers is the run's own.

        Raises
        ------
        UsageError
            It is another one, to which the run's ids are those of other jobs.
        ExecutorError
            Nobody answers.
        """
        fact, mine = self.speaks.identifies, self.instance
        if self._verified or not mine or self._runner is None:
            return
        other = self.speaks.learned(fact, self._ask(self.speaks.learn()[fact])).get("instance", mine)
        if other != mine:
            names = ", ".join((*self.speaks.address, *self.speaks.configured))
            raise UsageError(
                f"the jobs of this run are on {self.speaks.title} {mine!r}, and {other!r} answers",
                hint=f"ask where {mine!r} answers; what says so here is in {names}, or in the host's configuration",
            )
        self._verified = True

    # -- the contract ---------------------------------------------------------

    @property
    def name(self) -> str:
        """The name it is chosen by."""
        return self.dialect.name

    @property
    def settings(self) -> Mapping[str, JSON]:
        """Plain data that `create` rebuilds it from; what has been found out about the site is part of it."""
        settings: dict[str, JSON] = {
            **self._settings,
            "timeout": self._timeout,
            "submit_timeout": self._submit_timeout,
            "attempts": self._attempts,
            "facts": dict(self._facts),
        }
        bounds = {"max_submitted": self._max_submitted, "max_array": self._max_array}
        return settings | {name: value for name, value in bounds.items() if value is not None}

    @property
    def limits(self) -> Limits:
        """What the scheduler can take; asked once."""
        self._learn()
        limits = self.speaks.limits
        for name, configured in (("max_array", self._max_array), ("max_submitted", self._max_submitted)):
            found = self._facts.get(name, getattr(limits, name))
            bounds = [bound for bound in (found, configured) if bound is not None]
            if bounds:
                limits = msgspec.structs.replace(limits, **{name: min(bounds)})
        return limits

    def rebound(self, bounds: Mapping[str, int]) -> None:
        """Replace the configured bounds of the same names, as a retry does; 0: there is none any more.

        Parameters
        ----------
        bounds : mapping of str to int
            ``max_array`` and ``max_submitted``, as far as they change.
        """
        self._max_array = bounds.get("max_array", self._max_array) or None
        self._max_submitted = bounds.get("max_submitted", self._max_submitted) or None

    def submit(self, job: Job) -> Submission:
        """Start a job, or an array, by one command.

        Its script is completed in place: at its head come the directives and
        what makes the job's slot known.

        Raises
        ------
        UsageError
            For what the scheduler cannot do.
        ExecutorError
            Where it refuses or fails; ``maybe_done`` tells whether it may have
            accepted the job all the same.
        """
        try:
            self.verify()
        except UsageError as error:
            raise ExecutorError(error.message, hint=error.hint, transient=True) from error
        preview = self.preview(job)
        complete(job.script, preview.script)
        if job.log != "/dev/null":
            os.makedirs(os.path.dirname(job.log), 0o755, exist_ok=True)
        done = self._run(preview.call, self._submit_timeout, safe=lambda done: not self._landed(job, done))
        submission = self.speaks.submitted(job, done)
        if submission is not None:
            taken = [submission.ref] if submission.ref is not None else submission.slots.values()
            self.expect({ref.id: job.tag for ref in taken})
        if done.returncode == 0 and submission is not None:
            return self._ordered(submission)
        whole = submission is not None and submission.ref is not None and "," not in submission.ref.id
        if submission is not None and whole and done.returncode is None:
            return submission  # it was killed after it had said the id
        # Where part of what was asked is there, its tag tells later which part.
        # A submission that waits for room, and says so, is not there yet.
        waits = re.search(self.speaks.full, _said(done)) is not None
        doubtful = submission is not None or (self._uncertain(done) and not waits)
        refusal = self._error(done, "did not take the job", maybe_done=doubtful)
        known = refusal.transient or refusal.elsewhere or refusal.full or refusal.large or refusal.definite
        refusal.obscure = not (known or refusal.hint)
        raise refusal

    def query(self, jobs: Sequence[JobRef]) -> Mapping[JobRef, JobStatus]:
        """Ask for jobs by one command, or two.

        An array's reference is answered with one status for each slot that the
        scheduler knows. A reference that is missing from the answer could not
        be asked for: its accounting does not answer, or an answer is not proved
        whole. Where that holds for some elements of an array only, the array is
        answered as a whole as well, as RUNNING. What was asked for and is not
        known is UNKNOWN.

        Raises
        ------
        ExecutorError
            Where the scheduler does not answer, or says nothing that can be relied on.
        """
        ids = list(dict.fromkeys(part for ref in jobs for part in ref.id.split(",") if part))
        if not ids:
            return {}
        self.verify()
        site, speaks = self._site(), self.speaks
        rows: list[Row] = []
        proven: set[str] = set()
        answers: list[Completed] = []
        wanted = {speaks.key(id) for id in ids}
        for batch in _batches(ids):
            done = self._ask(speaks.live(batch, site))
            answers.append(done)
            told = [row for row in speaks.read_live(done) if speaks.key(row.id) in wanted]
            proven |= speaks.proven(_said(done), batch, {speaks.key(row.id) for row in told})
            rows += filter(self._ours, told)
        if not rows and not proven:
            raise self._partial(answers[-1])
        found: dict[tuple[str, int | None], JobStatus] = {(speaks.key(row.id), row.index): row.status for row in rows}
        remembered = False
        for batch in _batches(self._missing(jobs, found)) or [[]]:
            call = speaks.follow_up(rows, batch, site)
            if call is None:
                continue
            try:
                done = self._ask(call)
            except ExecutorError as error:
                if not re.search(speaks.off, error.stderr):
                    proven.difference_update(batch)
                continue
            later = list(speaks.read_follow_up(done, rows))
            if speaks.followed:
                known = speaks.proven(_said(done), batch, {speaks.key(row.id) for row in later}, later=True)
                proven.difference_update(set(batch) - known)
            remembered = speaks.remembers and bool(batch)
            for row in filter(self._ours, later):
                place = (speaks.key(row.id), row.index)
                old = found.get(place)
                if old is None or old.state is row.status.state or (old.state.ended and row.status.state.ended):
                    found[place] = row.status
        nothing = unknown("", f"not known to {speaks.title}", never_ran=remembered)
        return dict(self._answers(jobs, found, set(ids) - proven, nothing))

    def find(self, tags: Collection[str]) -> Mapping[str, JobRef]:
        """Look for jobs whose name begins with one of the tags, live or ended.

        Raises
        ------
        ExecutorError
            Where the scheduler does not answer, or a tag is missing from an answer that is not proved whole.
        """
        self.verify()
        found: dict[str, JobRef] = {}
        answers: list[tuple[int, Completed]] = []
        for number, call in enumerate(self.speaks.search(self._site())):
            left = [tag for tag in tags if tag not in found]
            if not left:
                break
            try:
                done = self._ask(call)
            except ExecutorError as error:
                if re.search(self.speaks.off, error.stderr):
                    continue
                raise
            answers.append((number, done))
            found.update((tag, JobRef(id)) for tag, id in self.speaks.read_search(number, done, left).items())
        told = [(number, _said(done)) for number, done in answers]
        if any(tag not in found for tag in tags) and not self.speaks.listed(told):
            canary = self.speaks.canary()
            if canary is None or not re.search(self.speaks.lives, _said(self._ask(canary))):
                raise self._partial(answers[-1][1])
        self.expect({ref.id: tag for tag, ref in found.items()})
        return found

    def expect(self, tags: Mapping[str, str]) -> None:
        """Learn what jobs are called: an id that has another name by now is another job's.

        Parameters
        ----------
        tags : mapping of str to str
            The id of a job -> the tag at the head of its name.
        """
        self._tags.update((self.speaks.key(part), tag) for id, tag in tags.items() for part in id.split(",") if part)

    def _ours(self, row: Row) -> bool:
        """Whether a job is called what it was submitted as; where no name is shown, nothing is known against it."""
        tag = self._tags.get(self.speaks.key(row.id))
        return not row.name or tag is None or re.match(rf"{re.escape(tag)}(?![A-Za-z0-9])", row.name) is not None

    def cancel(self, jobs: Sequence[JobRef]) -> None:
        """End jobs, by one command for any number of them.

        What they are called is asked first: a job that has not the name of the
        run's own is another one, which has been given the same number.

        Raises
        ------
        ExecutorError
            Where the scheduler refuses or does not answer; ids that it does not
            know, or that have ended, are no error.
        """
        self.verify()
        slots = self._chosen(jobs)
        if slots:
            alive, others = self._alive(list(slots))
            slots = {
                id: chosen
                for id, chosen in slots.items()
                if (key := self.speaks.key(id)) not in others and (key in alive or not self.speaks.known)
            }
        self._end(slots)

    def _chosen(self, jobs: Sequence[JobRef]) -> dict[str, list[int] | None]:
        """Return what to end by the scheduler's ids: the indices of elements, or None for all of a job."""
        slots: dict[str, list[int] | None] = {}
        for ref in jobs:
            parts = ref.id.split(",")
            if len(parts) > 1 and ref.slot is not None:
                parts = parts[ref.slot : ref.slot + 1]
            for part in filter(None, parts):
                if ref.slot is None or len(ref.id) != len(part):
                    slots[part] = None
                elif (chosen := slots.setdefault(part, [])) is not None:
                    chosen.append(ref.slot + self.speaks.limits.array_base)
        return slots

    def _end(self, slots: Mapping[str, list[int] | None]) -> None:
        speaks = self.speaks
        names: list[str] = []
        for id, chosen in slots.items():
            self._ended_here.update((speaks.key(id), index) for index in chosen or (None,))
            names += [id] if chosen is None else speaks.element(id, sorted(set(chosen)))
        for batch in _batches(names):
            for call in speaks.cancel(batch):
                self._ask(call, "could not cancel")

    def _alive(self, ids: Sequence[str]) -> tuple[set[str], set[str]]:
        """Find which of the ids are jobs that have not ended, and which are jobs of another name."""
        speaks, site = self.speaks, self._site()
        alive: set[str] = set()
        others: set[str] = set()
        for batch in _batches(ids):
            done = self._ask(speaks.alive(batch, site))
            rows = list(speaks.read_live(done))
            if set(batch) - speaks.proven(_said(done), batch, {speaks.key(row.id) for row in rows}):
                raise self._partial(done)
            alive.update(speaks.key(row.id) for row in rows if not row.status.state.ended)
            others.update(speaks.key(row.id) for row in rows if row.name and not self._cancellable(row))
        return alive, others

    def _cancellable(self, row: Row) -> bool:
        """Whether a job has the name that was given it, or one such as reflow gives."""
        if self.speaks.key(row.id) in self._tags:
            return self._ours(row)
        return _TAGGED.match(row.name) is not None

    def vanished(self, error: ExecutorError) -> bool:
        """Whether a submit was refused because jobs that it waits for are no longer known: they have ended."""
        return re.search(self.speaks.vanished, error.stderr) is not None

    # -- before anything is sent ----------------------------------------------

    def ready(self, path: str) -> None:
        """Make sure that the program which submits is there.

        Parameters
        ----------
        path : str
            Where programs are looked for: ``PATH``.

        Raises
        ------
        UsageError
            It is not.
        """
        name = self.speaks.programs[0]
        program = self.speaks.program(name)
        if find_program(program, path) is None:
            raise UsageError(
                f"there is no program {program!r} on this machine, by which jobs are submitted to {self.speaks.title}",
                hint=f"load what provides it, or configure its path: [executor.{self.name}] {name}",
            )

    def check(self, job: Job) -> None:
        """Find out whether the scheduler can be asked for such a job at all.

        Raises
        ------
        UsageError
            With the reason, and what to write instead.
        """
        self._learn()
        self.speaks.flags(job, self._site())

    def notes(self, job: Job) -> list[str]:
        """What a job asks for that this scheduler leaves out: to be said once, and no error."""
        return list(self.speaks.notes(job))

    def preview(self, job: Job, body: str | None = None) -> Preview:
        """The script and the command of a job; nothing is written or run.

        Parameters
        ----------
        job : Job
            The job.
        body : str, optional
            Text of the script as yet without the scheduler's part; read from
            ``job.script`` where None.
        """
        self._learn()
        return compose(self.speaks, job, self._site(), body)

    # -- inside ---------------------------------------------------------------

    def _speak(self, kind: type[Dialect]) -> None:
        programs = {name: str(self._settings[name]) for name in kind.programs if name in self._settings}
        own = {name: self._settings.get(name) for name in self.own_settings}
        self.speaks = kind(programs, self._facts, own)

    def _learn(self) -> None:
        """Ask the site, once; what it does not tell stays at the dialect's default."""
        if self._runner is None or self._facts.get("asked"):
            return
        self._facts["asked"] = True
        known: set[str] = set()
        # What the first answer tells may be that another dialect has other questions.
        while left := {fact: call for fact, call in self.speaks.learn().items() if fact not in known}:
            fact, call = next(iter(left.items()))
            known.add(fact)
            try:
                argv = tuple(word.replace("{user}", self._site().user) for word in call.argv)
                done = self._ask(msgspec.structs.replace(call, argv=argv))
            except ExecutorError:
                continue
            self._facts.update(self.speaks.learned(fact, done))
            self._speak(self.choose({**self._settings, **self._facts}))
        self._verified = bool(self.instance)

    def _site(self) -> Site:
        import pwd

        try:
            user = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            user = os.environ.get("USER", str(os.getuid()))
        return Site(user=user, now=time.time(), since=float(self._facts["since"]))

    def _missing(self, jobs: Sequence[JobRef], found: Mapping[tuple[str, int | None], JobStatus]) -> list[str]:
        speaks = self.speaks
        arrays = {id for id, index in found if index is not None}
        missing: dict[str, None] = {}
        for ref in jobs:
            for part in filter(None, ref.id.split(",")):
                id = speaks.key(part)
                if ref.slot is None or "," in ref.id:
                    there = (id, None) in found or (id in arrays and not speaks.forgets)
                else:
                    there = (id, ref.slot + speaks.limits.array_base) in found
                if not there:
                    missing[part] = None
        return list(missing)

    def _answers(
        self,
        jobs: Sequence[JobRef],
        found: Mapping[tuple[str, int | None], JobStatus],
        unheard: Collection[str],
        nothing: JobStatus,
    ) -> Iterable[tuple[JobRef, JobStatus]]:
        speaks, base = self.speaks, self.speaks.limits.array_base
        elements: dict[str, list[int]] = {}
        for id, index in found:
            if index is not None:
                elements.setdefault(id, []).append(index)

        def final(status: JobStatus, id: str, slot: int | None) -> JobStatus:
            index = None if slot is None else slot + base
            # Some forget what was cancelled while it waited, or tell the signal alone that ended what ran.
            vague = status.state is JobState.UNKNOWN or status.signal in _KILLS
            if vague and {(id, None), (id, index)} & self._ended_here:
                return cancelled(status.native, "cancelled")
            return status

        for ref in jobs:
            parts = ref.id.split(",")
            if len(parts) > 1:  # separate jobs of one array, in the order of its slots
                for slot, part in enumerate(parts if parts[-1] else parts[:-1]):
                    if not part and ref.slot in (None, slot):
                        yield JobRef(ref.id, slot, ref.cluster), unknown("", "was not submitted")
                    elif ref.slot in (None, slot):
                        id = speaks.key(part)
                        word = found.get((id, None), None if part in unheard else nothing)
                        if word is not None:
                            yield JobRef(ref.id, slot, ref.cluster), final(word, id, None)
                continue
            id = speaks.key(ref.id)
            status = found.get((id, None if ref.slot is None else ref.slot + base))
            if ref.slot is None and id in elements:
                # Whatever is said of the array as a whole, or was said before its elements were written down.
                for index in sorted(elements[id]):
                    slot = index - base
                    yield JobRef(ref.id, slot, ref.cluster), final(found[id, index], id, slot)
                if ref.id in unheard:
                    # Of the elements that are not told of nothing can be said, least of all that they are gone.
                    yield ref, running("", f"{speaks.title} did not tell of all its elements")
            elif status is not None:
                yield ref, final(status, id, ref.slot)
            elif ref.id not in unheard:
                yield ref, final(nothing, id, ref.slot)

    def _ask(self, call: Call, what: str = "did not answer") -> Completed:
        """Run a command that may be run again; ids that are gone are no error."""
        done = self._run(call, self._timeout, safe=lambda done: True)
        if done.returncode == 0 or (done.returncode is not None and re.search(self.speaks.gone, _said(done))):
            return done
        raise self._error(done, what)

    def _run(self, call: Call, timeout: float, *, safe: Callable[[Completed], bool]) -> Completed:
        if self._runner is None:
            raise ExecutorError(
                f"this {type(self).__name__} has nothing to run its commands with",
                hint="give it to Workflow.submit(executor=...), or bind() a runner",
            )
        pause, left = _PAUSE, self._attempts
        while True:
            left -= 1
            try:
                env = {**self._variables, **call.env}
                done = self._runner.run(call.argv, stdin=call.stdin, timeout=timeout, env=env, cwd=call.cwd)
            except ExecutorError as error:
                if error.hint is not None:
                    error.hint = f"{error.hint}: [executor.{self.name}] {_program(self.speaks, call)}"
                raise
            passing = done.returncode not in (0, None) and re.search(self.speaks.passing, _said(done))
            if left <= 0 or not passing or not safe(done):
                return done
            self._runner.sleep(pause)
            pause *= _GROWTH

    def _landed(self, job: Job, done: Completed) -> bool:
        """Whether a submission that failed may have made a job all the same, or some of an array's."""
        return self._uncertain(done) or self.speaks.submitted(job, done) is not None

    def _uncertain(self, done: Completed) -> bool:
        return done.returncode is None or re.search(self.speaks.uncertain, _said(done)) is not None

    def _error(self, done: Completed, what: str, *, maybe_done: bool = False) -> ExecutorError:
        said = _said(done)
        lines = [line.strip() for line in re.split(r"(?im)^\s*usage:", said)[0].splitlines() if line.strip()]
        if done.returncode is None:
            why = f"{done.argv[0]} did not end in time"
            lines = [why, *lines]
        elif not lines:
            lines = [f"{done.argv[0]} ended with code {done.returncode} and said nothing"]
        speaks = self.speaks
        hint = next((text for pattern, text in speaks.hints.items() if re.search(pattern, said)), None)
        passing = done.returncode is None or re.search(f"{speaks.passing}|{speaks.closed}", said) is not None
        elsewhere, full, large = (
            re.search(pattern, said) is not None for pattern in (speaks.elsewhere, speaks.full, speaks.large)
        )
        return ExecutorError(
            f"{self.speaks.title} {what}: {'; '.join(lines[:4])}",
            argv=done.argv,
            returncode=done.returncode,
            stderr=done.stderr or done.stdout,
            transient=passing,
            maybe_done=maybe_done,
            elsewhere=elsewhere,
            full=full,
            large=large,
            definite=re.search(speaks.definite, said) is not None,
            hint=hint,
        )

    def _partial(self, done: Completed) -> ExecutorError:
        """Refuse an answer that is not whole: it may leave out anything."""
        said = "; ".join(line.strip() for line in _said(done).splitlines() if line.strip())[:400]
        return ExecutorError(
            f"{self.speaks.title} gave an answer that is not whole: {said or 'it is empty'}",
            argv=done.argv,
            returncode=done.returncode,
            stderr=done.stderr or done.stdout,
            transient=True,
        )

    def _ordered(self, submission: Submission) -> Submission:
        """Ids by slot. Where they cannot be told, they are there all the same: `find` can tell later."""
        call = self.speaks.order(submission)
        if call is None:
            return submission
        try:
            done = self._ask(call, "did not tell its jobs apart")
            found = self.speaks.ordered(submission, done)
        except ExecutorError as error:
            error.maybe_done = True
            raise
        if found is None:
            raise self._error(done, "did not tell its jobs apart", maybe_done=True)
        return found


def _program(speaks: Dialect, call: Call) -> str:
    return next((name for name in speaks.programs if speaks.program(name) == call.argv[0]), call.argv[0])


def _said(done: Completed) -> str:
    return f"{done.stderr}\n{done.stdout}" if done.stderr else done.stdout


def _batches(ids: Sequence[str]) -> list[list[str]]:
    """Ids in as few commands as their arguments allow."""
    batches: list[list[str]] = []
    room = 0
    for id in ids:
        if len(id) + 1 > room:
            batches.append([])
            room = _ROOM
        batches[-1].append(id)
        room -= len(id) + 1
    return batches
