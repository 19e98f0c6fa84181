"""The jobs that a run submits: elements of tasks, and wake-ups, as scripts."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from ... import __version__
from ...batch.script import Body, environment, render
from ...config import Config
from ...errors import UsageError
from ...model import layout
from ...model.definition import Definition
from ...model.digest import sha256
from ...model.job import Examiner, Executor, Job, JobRef
from ...model.python import ADVANCE, WORKER, program
from ...model.ranges import to_ranges
from ...model.record import Awaited, JobSpec
from ...model.resources import THREADS
from ...model.state import WakeUp
from ...model.task import Task
from ...planning.plan import Submit
from ...planning.tags import job_name, new_tag
from ...worker.durable import DIRECTORY, make_directories, write_new
from ...worker.relay import count
from ...worker.trust import Trust
from ..definition.trust import handed_on

#: in place of a task's name, where a job only goes on with the run, or stands for others
WAKE_UP, JOIN = "wake-up", "join"


class Jobs:
    """Makes a run's jobs.

    Parameters
    ----------
    root : str
        The run's root directory.
    definition : Definition
        The run, of the code generation that counts now; an attribute, too.
    config : Config
        Its configuration: what wake-ups ask for.
    inherited : mapping
        Variables of the submission that no job may show.
    trusted : Trust, optional
        Whom its workers and wake-ups believe; only this user and root where not given.
    """

    def __init__(
        self,
        root: str,
        definition: Definition,
        config: Config,
        inherited: Mapping[str, str],
        trusted: Trust | None = None,
    ) -> None:
        self._trusted = {} if trusted is None else handed_on(trusted)
        self._inherited = inherited
        self._root = root
        self.definition = definition
        self._config = config

    def spec(
        self, action: Submit, tag: str, task: Task, env: Mapping[str, str], generation: int, *, relay: bool = False
    ) -> JobSpec:
        """What workers need to know of a submission."""
        return JobSpec(
            version=__version__,
            tag=tag,
            run_id=self.definition.run_id,
            task=task.name,
            array=task.array,
            elements=to_ranges(action.elements),
            attempt=action.attempt,
            inputs=layout.inputs(self._root, task.name, action.part),
            generation=generation,
            resources=action.resources,
            env={**env, **self._trusted},
            modules=task.modules,
            setup=task.setup,
            fingerprint=task.fingerprint.value,
            signal=str(task.options.get("signal") or ""),
            relay=relay,
            fresh=task.fresh,
        )

    def job(self, task: Task, spec: JobSpec, slots: int, throttle: int | None = None) -> Job:
        """The job of a specification; no scheduler runs it again by itself."""
        return Job(
            tag=spec.tag,
            name=job_name(spec.tag, task.name),
            script=layout.script(self._root, task.name, spec.tag),
            slots=slots if task.array else None,
            throttle=throttle,
            resources=spec.resources,
            options={name: value for name, value in task.options.items() if name != "requeue"},
            native=task.native,
            log=layout.job_log(self._root, spec.tag),
            cwd=self.definition.cwd,
            spec=spec,
        )

    def draft(self, task: Task) -> tuple[Job, JobSpec]:
        """The job that a task's first element would be, under a tag that nobody has."""
        tag = new_tag(sha256(task.name.encode()).digest())
        spec = self.spec(Submit(task.name, [0], 1, 0, task.resources), tag, task, {}, self.definition.generation)
        return self.job(task, spec, 1, task.array_parallelism), spec

    def examine(self, executor: Executor, tasks: Sequence[Task]) -> list[str]:
        """Find out whether an executor can be asked for the jobs of these tasks, and to wake the run.

        Returns
        -------
        list of str
            What it leaves out of what they ask for.

        Raises
        ------
        UsageError
            With all that it cannot do.
        """
        if not isinstance(executor, Examiner):
            return _unclaimed(executor, tasks)
        drafts = [(f"{task.where}: task {task.name!r}", self.draft(task)[0]) for task in tasks]
        if self._config.get("dispatch.chain"):
            wake = self.wake(new_tag(bytes(8)), (), None)
            drafts.append(("wake-ups, by [dispatch] and [executor.submit_options]", wake))
        wrong: list[tuple[str, UsageError]] = [
            (
                f"{task.where}: task {task.name!r}",
                UsageError("'requeue' is not for tasks: no scheduler runs one again", hint="retries= says how often"),
            )
            for task in tasks
            if task.options.get("requeue")
        ]
        notes: dict[str, None] = {}
        for where, job in drafts:
            try:
                executor.check(job)
                notes |= dict.fromkeys(executor.notes(job))
            except UsageError as error:
                wrong.append((where, error))
        if len(wrong) == 1:
            where, only = wrong[0]
            raise UsageError(f"{where}: {only.message}", hint=only.hint)
        if wrong:
            lines = [f"{where}: {one.line}" for where, one in wrong]
            raise UsageError("\n  ".join([f"{len(lines)} requests cannot be submitted:", *lines]))
        return list(notes)

    def body(self, task: Task, spec: JobSpec) -> Body:
        """What the script of a specification does."""
        return self._body(
            spec.tag,
            program(self.definition.python, WORKER, self._root, spec.tag),
            title=f"reflow run {spec.run_id}, task {task.name}, attempt {spec.attempt}",
            modules=task.modules,
            setup=task.setup,
        )

    def write(self, task: Task, spec: JobSpec, elements: Sequence[int], *, warm: bool) -> None:
        """Write what workers need to know, and the script, unless warm workers make it needless."""
        path = layout.job(self._root, spec.tag)
        make_directories(os.path.dirname(path))
        write_new(path, msgspec.json.encode(spec), 0o600, durable=not warm)
        for directory in layout.log_dirs(self._root, task.name, task.array, list(elements)):
            make_directories(directory)
        if not warm:
            variables = self.variables(spec, self._inherited)
            self._write(layout.script(self._root, task.name, spec.tag), self.body(task, spec), variables)

    @staticmethod
    def variables(spec: JobSpec, inherited: Collection[str]) -> dict[str, str]:
        """What a job's script sets, where variables of these names are handed on from the submission."""
        threads = [name for name in THREADS if name not in inherited]
        return {**dict.fromkeys(threads, str(spec.resources.cpus or 1)), **spec.env}

    def awaited(self, tags: Sequence[str], wakes: Iterable[WakeUp]) -> None:
        """Tell the workers of jobs which wake-ups wait for them."""
        open_wakes = list(wakes)
        for tag in tags:
            told = [
                Awaited(wake=wake.tag, position=wake.waits.index(tag), count=len(wake.waits))
                for wake in open_wakes
                if tag in wake.waits
            ]
            # Who does not find it leaves the run to the wake-up.
            write_new(layout.wakes(self._root, tag), msgspec.json.encode(told), durable=False)
            count(self._root, tag, told)

    def wake(self, tag: str, after: Sequence[JobRef], begin: float | None) -> Job:
        """The job of a wake-up."""
        return self._small(tag, WAKE_UP, after, begin)

    def join(self, tag: str, after: Sequence[JobRef]) -> Job:
        """The job that stands for others in a dependency, and does nothing."""
        return self._small(tag, JOIN, after, None)

    def _small(self, tag: str, what: str, after: Sequence[JobRef], begin: float | None) -> Job:
        """A job of the run's own, which may be run again by the scheduler as often as it likes."""
        asked = self._config.dispatch()
        return Job(
            tag=tag,
            name=job_name(tag, what),
            script=layout.script(self._root, what, tag),
            after=tuple(after),
            begin=begin,
            resources=asked.resources,
            options={"requeue": True, **asked.options},
            native=asked.native,
            log=layout.job_log(self._root, tag),
            cwd=self.definition.cwd,
        )

    def wake_body(self, tag: str) -> Body:
        """What the script of a wake-up does."""
        asked = self._config.dispatch()
        return self._body(
            tag,
            program(self.definition.python, ADVANCE, self._root, tag),
            title=f"reflow run {self.definition.run_id}: goes on with the run",
            modules=asked.modules,
            setup=asked.setup,
        )

    def write_wake(self, job: Job) -> None:
        """Write the script of a wake-up."""
        self._write(job.script, self.wake_body(job.tag), {**self._config.dispatch().env, **self._trusted})

    def write_join(self, job: Job) -> None:
        """Write the script of a job that joins others."""
        title = f"reflow run {self.definition.run_id}: stands for the jobs that it waits for"
        body = Body(command=("true",), title=(title,), log=job.log)
        self._file(job.script, body)

    def _body(self, tag: str, command: tuple[str, ...], *, title: str, modules: Sequence[str], setup: str) -> Body:
        return Body(
            command=command,
            cwd=self.definition.cwd,
            title=(title,),
            log=layout.job_log(self._root, tag),
            inherited=self.definition.environment,
            inherited_file=f"{self._root}/scripts/inherited.env" if self._inherited else "",
            modules=tuple(modules),
            env_file=f"{self._root}/scripts/{tag}.env",
            setup=setup,
        )

    def _write(self, path: str, body: Body, env: Mapping[str, str]) -> None:
        """Write a script, and the variables that it sources, which only the owner may read."""
        make_directories(os.path.dirname(path))
        if body.inherited_file and not os.path.exists(body.inherited_file):
            text = environment(self._inherited)
            write_new(body.inherited_file, text.encode("utf-8", "surrogateescape"), 0o600)
        write_new(body.env_file, environment(env).encode("utf-8", "surrogateescape"), 0o600)
        self._file(path, body)

    @staticmethod
    def _file(path: str, body: Body) -> None:
        for one in (path, body.log):
            make_directories(os.path.dirname(one))
        write_new(path, render(body).encode("utf-8", "surrogateescape"), DIRECTORY)


def _unclaimed(executor: Executor, tasks: Sequence[Task]) -> list[str]:
    """What tasks ask for that is no claim on this machine's own executors."""
    names = [task.name for task in tasks if task.resources.gpus]
    if not names or executor.name not in ("local", "inline"):
        return []
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return [
        f"warning: gpus of {shown} is no claim on the {executor.name} executor: elements that run at once share them"
    ]
