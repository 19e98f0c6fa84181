"""`Run`: a run as Python sees it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from ...authoring.flow import Flow
from ...errors import CodecError, NotReady, ReflowError, RunNotFound, Stalled, Untrusted, UsageError
from ...model import layout
from ...model.codec import Codec, codec_of
from ...model.definition import Definition
from ...model.job import Executor
from ...model.lifecycle.states import CACHED, FAILED, RETRY_PENDING, SUCCESS
from ...model.names import RunState, did_you_mean
from ...model.ranges import to_ranges
from ...model.record import Command
from ...model.state import State
from ...model.task import Task
from ...planning.graph import dag, describe_tasks
from ...store.paths import store_path as find_store
from ...store.registry import Registry, Unread
from ...worker.frozen import Frozen
from ...worker.isolated import Isolated, loaded
from ...worker.opener import WHOLE, read_regular
from ...worker.trust import trust, user_name
from ..definition.load import load_definition
from ..definition.open import config_of, executor_of
from ..definition.trust import acting, believing, policy, require_own
from ..drive.advance import IN_PLACE, advance, ask
from ..drive.foreground import foreground
from ..drive.pool import Progress, attend, drive
from ..engine.engine import is_pool
from ..jobs.submissions import AGAIN
from ..journal.lease import Watch
from ..journal.log import Results
from ..journal.report_reader import frozen_trust, post
from ..views.events import story
from ..views.status import REPORTED, awaits, explain, log_of, look, plain_results, quiet, standing, status
from ..views.words import fate_of
from .refresh import bounds_of_today, refresh, require_python

#: looks at a run that find nobody driving it, before `Run.wait` gives up
_STALLED_LOOKS = 5

_MAILED = "mailed to the run; whoever advances it next obeys"


class Run:
    """A run. Made by `Workflow.submit`, `Workflow.run_local` and `Run.open`.

    Attributes
    ----------
    root : str
        The run's own directory, ``RUN_DIR/.reflow/RUN_ID``.
    definition : Definition
        What was frozen at submit.
    """

    def __init__(self, root: str, definition: Definition) -> None:
        self.root = root
        self.definition = definition
        #: the workflow with which this process has made the run
        self._memory: Flow | None = None
        #: code generation -> its frozen script, where this process's own classes are not those of its results
        self._frozen: dict[int, Isolated] = {}

    @classmethod
    def open(cls, ref: str | os.PathLike[str], *, store_path: str | os.PathLike[str] | None = None) -> Run:
        """Find a run.

        Parameters
        ----------
        ref : str or path
            A run id, a unique beginning of one, ``"latest"``, or a run directory.
        store_path : path, optional
            The user's store.

        Raises
        ------
        RunNotFound
            None answers to it, or several do.
        """
        if not isinstance(ref, (str, os.PathLike)):
            raise UsageError(f"{ref!r} is neither a run id nor a path", hint='such as "latest", or a run directory')
        text = os.fspath(ref)
        if not text:
            raise UsageError("the run's name is empty", hint='name a run id, "latest", or a run directory')
        if os.sep in text or text.startswith("~") or os.path.isdir(os.path.join(text, ".reflow")):
            return cls._in_directory(text)
        record = Registry(find_store(override=store_path), policy).find(text)
        root = layout.root(record.run_dir, record.run_id)
        if record.gone:
            raise RunNotFound(
                f"run {record.run_id} is gone: there is no {root}",
                hint="its run directory was moved or deleted; where it was moved, `reflow repair --registry NEW_DIR`"
                " enters it again",
            )
        return cls._at(root)

    @classmethod
    def _at(cls, root: str) -> Run:
        try:
            return cls(root, believing(root, lambda trusted: load_definition(root, trusted=trusted)))
        except FileNotFoundError:
            hint = f"`reflow repair {root}` writes it again" if os.path.isdir(f"{root}/code") else None
            raise RunNotFound(f"{root} holds no run: run.json is missing", hint=hint) from None

    @classmethod
    def _in_directory(cls, text: str) -> Run:
        path = os.path.abspath(os.path.expanduser(text))
        own = os.path.basename(os.path.dirname(path)) == ".reflow" and os.path.isdir(path)
        if own or os.path.isfile(os.path.join(path, "run.json")):
            return cls._at(path)
        home = os.path.join(path, ".reflow")
        try:
            inside = os.listdir(home)
        except OSError:
            inside = []
        names = [name for name in inside if os.path.isfile(os.path.join(home, name, "run.json"))]
        # One that has lost its definition: `_at` says how it is mended.
        names = names or [name for name in inside if os.path.isdir(os.path.join(home, name, "code"))]
        if not names:
            raise RunNotFound(f"there is no run in {path}", hint="`reflow runs` lists the known ones")
        found = [cls._at(os.path.join(home, name)) for name in names]
        return max(found, key=lambda run: (run.definition.created, run.run_id))

    def _definition(self, generation: int) -> Definition:
        """The definition of a code generation."""
        frozen = frozen_trust(State(self.definition))
        return believing(self.root, lambda trusted: load_definition(self.root, generation, trusted), frozen)

    # --- looking -------------------------------------------------------------

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.definition.run_id

    @property
    def run_dir(self) -> Path:
        """The run directory, where it lies now."""
        return Path(layout.run_dir(self.root))

    @property
    def workflow(self) -> str:
        """The workflow's name."""
        return self.definition.workflow

    @property
    def state(self) -> RunState:
        """Where the run stands, by its records."""
        return look(self.root, self.definition).run

    @property
    def chained(self) -> bool:
        """Whether a wake-up is queued that will go on with the run."""
        return awaits(look(self.root, self.definition))

    def status(self, elements: bool = False, refresh: bool = False) -> dict[str, Any]:
        """Where everything stands, as plain data.

        Parameters
        ----------
        elements : bool
            Whether every element is listed.
        refresh : bool
            Whether the run is advanced, and its scheduler asked, first; a local
            run's records are complete without. When jobs are in flight and no
            report has arrived for ``[run] quiet``, the scheduler is asked anyway.

        Returns
        -------
        dict
            ``run`` (with ``status``), ``summary`` (task -> state -> count,
            ``total``, None where it is not known yet, ``cached``), ``tasks``, ``failures``, all of them,
            and ``elements`` where asked for. ``duration`` counts the seconds in which
            elements ran, ``idle`` those in which none did.
        """
        state = look(self.root, self.definition)
        asked = False
        if not refresh:
            asked = self._listen(state)
        elif not state.run.ended:
            executor = executor_of(self.definition, self.root)
            asked = not is_pool(executor)
            if asked:
                advance(self.root, executor, watch=Watch())
        if asked:
            state = look(self.root, self.definition)
        return status(self.root, self.definition, state, elements=elements)

    def _listen(self, state: State) -> bool:
        """Ask the scheduler where nothing was heard of the run's jobs for long; says whether it was asked."""
        if state.run.ended:
            return False
        try:
            if not quiet(self.root, state, float(config_of(self.definition, self.root).get("run.quiet"))):
                return False
            executor = executor_of(self.definition, self.root)
            if is_pool(executor):
                return False
            ask(self.root, executor)
        except (ReflowError, OSError):
            return False  # somebody else's run, or a host without the scheduler: the records are what there is
        return True

    def wait(self, timeout: float | None = None, interval: float = 0.5) -> RunState:
        """Wait until the run has ended.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most.
        interval : float
            Seconds between two looks, at first; they grow to 5 s.

        Returns
        -------
        RunState
            Where it stands then.

        Raises
        ------
        Stalled
            Nobody drives the run, and nothing will wake it.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        stalled = 0
        while True:
            state = look(self.root, self.definition)
            if state.run.ended or (deadline is not None and time.monotonic() >= deadline):
                return state.run
            if self._listen(state):
                state = look(self.root, self.definition)
            word = standing(self.root, self.definition, state)
            # Who takes over from whom leaves a moment in which nobody seems to be there.
            stalled = stalled + 1 if word["status"] == "STALLED" else 0
            if stalled >= _STALLED_LOOKS:
                raise Stalled(f"run {self.run_id} will not end by itself: {word['reason']}")
            time.sleep(interval)
            interval = min(interval * 1.2, max(interval, 5.0))

    def result(self, task: str) -> Any:
        """What a single task returned, of its annotated type.

        Raises
        ------
        NotReady
            The task has not succeeded.
        UsageError
            There is no such task, or it is an array.
        """
        found = self._task(task)
        if found.array:
            raise UsageError(f"{task} is an array task", hint=f"its results: run.results({task!r})")
        return self._results(found)[0]

    def results(self, task: str, *, failed: str | None = None) -> list[Any]:
        """What the elements of an array task returned, in index order.

        Parameters
        ----------
        task : str
            The array task.
        failed : {"skip", "mark"}, optional
            Of elements that failed, were skipped or cancelled: leave them out, or put
            a `reflow.Failed` in the place of each. Where not given, there must be none.

        Raises
        ------
        NotReady
            Some elements have not succeeded; with `failed`: not ended.
        UsageError
            There is no such task, or it is single.
        """
        if failed not in (None, "skip", "mark"):
            raise UsageError(f"failed={failed!r} is neither 'skip' nor 'mark'")
        found = self._task(task)
        if not found.array:
            raise UsageError(f"{task} is a single task", hint=f"its result: run.result({task!r})")
        return self._results(found, failed)

    def plain_results(self, task: str, index: int | None = None) -> list[dict[str, Any]]:
        """What a task returned, as plain data from the records: nothing of the pipeline is imported for it.

        Parameters
        ----------
        task : str
            The task.
        index : int, optional
            Of an array task: this element only.

        Returns
        -------
        list of dict
            Of each element ``task``, ``index`` (None for a single task), ``state``,
            ``reason``, and ``result`` where it has one.

        Raises
        ------
        UsageError
            There is no such task or element.
        """
        found = self._task(task)
        state = look(self.root, self.definition)
        _require_element(found, index, state.tasks[task].size)
        return plain_results(self.root, state, found, index)

    def _results(self, task: Task, failed: str | None = None) -> list[Any]:
        state = look(self.root, self.definition)
        progress = state.tasks[task.name]
        known = progress.open and progress.ended if failed else progress.succeeded
        if not known:
            what = f"{task.name} {progress.state.value}"
            if progress.size and task.array:
                what = f"{progress.done} of {progress.size} elements of {task.name} succeeded"
            yet = "" if progress.ended else " yet"
            raise NotReady(f"there is no result{yet}: {what}", hint=f"see `reflow status {self.run_id}`")
        if any(code == SUCCESS and file <= 0 for code, file in zip(progress.status, progress.file, strict=True)):
            raise NotReady(f"there is no result of {task.name} yet: {REPORTED}", hint="run.wait() waits for the run")
        results = Results(self.root)
        try:
            found = results.outputs(progress)
        finally:
            results.close()
        cancelled = progress.cancel_reasons()
        with self._codec(task.name, state.generation) as codec:
            return [
                fate_of(progress, index, cancelled) if raw is None else codec.decode(raw)
                for index, raw in enumerate(found)
                if raw is not None or failed == "mark"
            ]

    @contextmanager
    def _codec(self, task: str, generation: int) -> Iterator[Codec]:
        """What reads a task's results: of this process's own classes, where results are still of their form."""
        if not self.definition.entry.importable:
            with self._explained(task):
                codec = _codec_of(self._session(), task)
            yield codec
            return
        definition = self._definition(generation)
        for flow in (self._memory, loaded(definition)):
            if flow is None or task not in flow.tasks:
                continue
            with suppress(CodecError):
                codec = _codec_of(flow, task)
                if codec.schema == definition.task(task).returns:
                    break
        else:
            require_own(self.root)  # its code is about to be run
            code = Frozen(self.root, definition, acting(self.root, trust()))
            frozen = self._frozen.setdefault(generation, Isolated(definition.entry, code))
            with ExitStack() as held:
                with self._explained(task):
                    codec = _codec_of(held.enter_context(frozen), task)
                yield codec
            return
        yield codec

    @contextmanager
    def _explained(self, task: str) -> Iterator[None]:
        """Where what is imported for a task's results is gone, say what, and how they are read without."""
        plain = f"`reflow results {self.run_id} {task}` prints its results without"
        try:
            yield
        except ImportError as error:
            missing = f"module {error.name!r}" if error.name else f"{error}"
            raise ReflowError(
                f"what {task} returns needs {missing}, which cannot be imported any more: {error}", hint=plain
            ) from error
        except ReflowError as error:
            error.hint = f"{error.hint}; {plain}" if error.hint else plain
            raise
        except Exception as error:
            raise ReflowError(
                f"{self.definition.entry.file}, whose types the results of {task} have, cannot be imported:"
                f" {type(error).__name__}: {error}",
                hint=plain,
            ) from error

    def _session(self, *, today: bool = False) -> Flow:
        """The workflow of a notebook or a function; with `today`, the new one where a cell has made it anew."""
        found = (loaded(self.definition) if today else None) or self._memory or loaded(self.definition)
        if found is None:
            raise ReflowError(
                f"the workflow of run {self.run_id} was defined in a notebook or inside a function",
                hint="its results can be read, and it can go on, where it was submitted, as long as that session lives",
            )
        return found

    def _require_python(self) -> None:
        require_python(self._definition(look(self.root, self.definition).generation))

    def _executor(self) -> Executor:
        """What runs the run's jobs, as it was submitted."""
        executor = executor_of(self.definition, self.root)
        if not self.definition.entry.importable:
            executor.flow = self._session(today=True)  # type: ignore[attr-defined]
        return executor

    def _task(self, name: str) -> Task:
        for task in self.definition.tasks:
            if task.name == name:
                return task
        names = [task.name for task in self.definition.tasks]
        raise UsageError(
            f"run {self.run_id} has no task {name!r}{did_you_mean(name, names)}", hint=f"tasks: {', '.join(names)}"
        )

    def log_path(self, task: str, index: int | None = None) -> Path:
        """Where the log of an element is.

        Raises
        ------
        UsageError
            There is no such task, or it is an array and no index was given.
        """
        found = self._task(task)
        if found.array and index is None:
            raise UsageError(f"{task} is an array task: whose log?", hint=f"name an element: {task}[0]")
        if not found.array and index not in (None, 0):
            raise UsageError(f"{task} is a single task, it has no element {index}")
        path = layout.log(self.root, task, found.array, index or 0)
        if not os.path.exists(path):
            failure = look(self.root, self.definition).tasks[task].failures.get(index or 0)
            path = log_of(self.root, found, index or 0, failure)
        return Path(path)

    def logs(self, task: str, index: int | None = None) -> str:
        """What an element printed, in all its attempts.

        Raises
        ------
        NotReady
            It has not run.
        """
        path = self.log_path(task, index)
        try:
            return read_regular(str(path), most=WHOLE).decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            element = task if index is None else f"{task}[{index}]"
            state = look(self.root, self.definition).tasks[task]
            position = index or 0
            if position < len(state.status) and state.status[position] == CACHED:
                why = "its result was taken from the cache"
            elif state.size is not None and position >= state.size:
                why = f"{task} has {state.size} element{'' if state.size == 1 else 's'}"
            elif position < len(state.status) and state.status[position] in (SUCCESS, FAILED, RETRY_PENDING):
                return ""  # the inline executor keeps no output
            else:
                why = "it has not run"
            raise NotReady(f"there is no log of {element}: {why}") from None

    def script(self, task: str, index: int | None = None) -> dict[str, Any]:
        """The script by which a task was submitted last.

        Parameters
        ----------
        task : str
            The task.
        index : int, optional
            Of an array task: the submission that held this element last.

        Returns
        -------
        dict
            ``task``, ``tag`` and ``attempt`` of the submission, its ``elements``,
            ``job``, the scheduler's id for it, or for that element of it (None
            where the scheduler has not answered), ``path`` and ``script``, the text.

        Raises
        ------
        NotReady
            Nothing of it was submitted, or what runs it needs no scripts.
        UsageError
            There is no such task or element.
        """
        found = self._task(task)
        state = look(self.root, self.definition)
        size = state.tasks[task].size
        _require_element(found, index, size)
        flight = next(
            (one for one in reversed(state.flights) if one.task == task and (index is None or index in one.elements)),
            None,
        )
        element = task if index is None else f"{task}[{index}]"
        if flight is None:
            cached = size is not None and CACHED in state.tasks[task].status
            why = "results were taken from the cache" if cached else "it has not been submitted"
            raise NotReady(
                f"there is no script of {element}: {why}", hint="`submit --dry-run` shows what would be submitted"
            )
        path = layout.script(self.root, task, flight.tag)
        try:
            text = read_regular(path).decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            raise NotReady(
                f"there is no script of {element}: the executor {self.definition.executor!r} runs tasks without",
                hint="`submit --dry-run --executor NAME` shows a scheduler's",
            ) from None
        return {
            "task": task,
            "tag": flight.tag,
            "attempt": flight.attempt,
            "elements": to_ranges(flight.elements) if found.array else None,
            "job": (flight.id if index is None else flight.own_ids().get(index, flight.id)) or None,
            "path": path,
            "script": text,
        }

    def explain(self, task: str | None = None) -> list[dict[str, Any]]:
        """Why each element was computed, or taken from the cache.

        Returns
        -------
        list of dict
            ``task``, ``index`` (None for a single task), ``decision`` (hit, miss or none), ``reason``.
        """
        if task is not None:
            self._task(task)
        return explain(self.root, self.definition, task)

    def events(
        self, task: str | None = None, elements: Iterable[int] | None = None, *, follow: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Yield what the run's journal records, oldest first, read a piece at a time.

        Parameters
        ----------
        task, elements : str, iterable of int
            Only events that are about these.
        follow : bool
            Whether to go on, as events are recorded, until the run has ended.

        Yields
        ------
        dict
            ``at`` (seconds since the epoch; an event without a time has that of the one before it), ``epoch``,
            ``event`` (its kind), ``task`` and ``elements`` (what it is about; None where that is the run, or all of
            the task) and ``text``, a sentence.

        Raises
        ------
        UsageError
            There is no such task or element.
        DataError
            The journal is damaged.
        Stalled
            The run is followed, and will not end by itself.
        """
        chosen = None if elements is None else sorted(set(elements))
        if task is not None:
            for index in chosen or ():
                _require_element(self._task(task), index, None)
            self._task(task)
        return story(self.root, self.definition, task, chosen, follow=follow)

    def dag(self) -> dict[str, Any]:
        """The graph of tasks, as plain data."""
        return dag(self.workflow, self.definition.tasks)

    def describe(self) -> dict[str, Any]:
        """What was frozen at submit, as plain data, secrets left out."""
        definition = self.definition
        return {
            "run_id": definition.run_id,
            "workflow": definition.workflow,
            "created": definition.created,
            "run_dir": layout.run_dir(self.root),
            "directory": self.root,
            "cwd": definition.cwd,
            "script": definition.entry.file,
            "executor": {"name": definition.executor, "settings": dict(definition.settings)},
            "parameters": {key: msgspec.json.decode(raw) for key, raw in definition.parameters.items()},
            "force": definition.force or list(definition.force_tasks),
            "verify": definition.verify,
            "python": definition.python,
            "user": definition.user,
            "host": definition.host,
            "version": definition.version,
            "tasks": describe_tasks(definition.tasks),
        }

    # --- acting --------------------------------------------------------------

    def cancel(
        self,
        task: str | None = None,
        elements: Iterable[int] | None = None,
        *,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> dict[str, Any]:
        """End the run, one task, or some elements of it.

        Parameters
        ----------
        task, elements : str, iterable of int
            Only these, and what depends on them.
        on_progress : callable, optional
            Told what is waited for.

        Returns
        -------
        dict
            ``run_id`` and ``said``, what was done.
        """
        return self._command("cancel", task, elements, on_progress)

    def retry(
        self,
        task: str | None = None,
        elements: Iterable[int] | None = None,
        *,
        overrides: Mapping[str, Any] | Sequence[str] = (),
        on_progress: Callable[[Progress], None] | None = None,
    ) -> dict[str, Any]:
        """Run again what failed, was cancelled or was skipped, with today's code.

        With a local executor the run goes on in the foreground, to its end.

        Parameters
        ----------
        task, elements : str, iterable of int
            Only these, and what was skipped for their sake.
        overrides : mapping or sequence of str
            ``{"compute.mem": "64G"}`` or ``["compute.mem=64G"]``, on top of those given before.
        on_progress : callable, optional
            Told how it goes on.

        Returns
        -------
        dict
            ``run_id`` and ``said``, what was done.

        Raises
        ------
        UsageError
            Today's workflow differs in its shape or its parameters.
        """
        return self._command("retry", task, elements, on_progress, overrides)

    def drive(self, *, once: bool = False, on_progress: Callable[[Progress], None] | None = None) -> RunState:
        """Advance the run from this process: where compute nodes may not submit, or after its wake-up was lost.

        Parameters
        ----------
        once : bool
            Advance it once, rather than until it has ended.
        on_progress : callable, optional
            Told how it goes on.

        Returns
        -------
        RunState
            Where it stands then.

        Raises
        ------
        UsageError
            A local run cannot be driven by steps.
        """
        executor = self._executor()
        self._require_python()
        if not is_pool(executor):
            if once:
                advance(self.root, executor, chain=False, on_progress=on_progress)
            else:
                foreground(self.root, executor, chain=False, ask=True, on_progress=on_progress)
        elif once:
            raise UsageError("a local run cannot be driven by steps", hint="leave --once out")
        elif drive(self.root, executor, on_progress) is None and on_progress is not None:
            on_progress(Progress(message=f"run {self.run_id} is driven by another process"))
        return self.state

    def _command(
        self,
        verb: str,
        task: str | None,
        elements: Iterable[int] | None,
        on_progress: Callable[[Progress], None] | None = None,
        overrides: Mapping[str, Any] | Sequence[str] = (),
    ) -> dict[str, Any]:
        state = look(self.root, self.definition)
        tasks: dict[str, str | None] = {}
        if task is not None:
            chosen = None if elements is None else sorted(set(elements))
            for index in (chosen[0], chosen[-1]) if chosen else ():
                _require_element(self._task(task), index, state.tasks[task].size)
            if not self._task(task).array:
                chosen = None  # its only one is all of it, known already or not
            tasks[task] = None if chosen is None else to_ranges(chosen)
        if verb == "cancel" and state.run.ended:
            return {"run_id": self.run_id, "said": f"nothing to cancel: the run is {state.run.value}"}
        if verb == "cancel" and task is not None and tasks[task] is not None and state.tasks[task].size is None:
            raise UsageError(
                f"it is not known yet which elements {task} has", hint="without elements, all of it is cancelled"
            )
        notes: list[str] = []
        generation, bounds = 0, {}
        if verb == "retry":
            require_own(self.root)  # it runs the script, and the run's code
            current = self._definition(state.generation)
            generation = refresh(current, self.root, lambda: self._session(today=True), overrides, notes)
            bounds = bounds_of_today(current)
        command = Command(
            id=f"{verb}-{os.uname().nodename}-{os.getpid()}-{time.time_ns()}",
            verb=verb,
            tasks=tasks,
            generation=generation,
            by=f"{os.uname().nodename}:{os.getpid()}",
            at=time.time(),
            bounds=bounds,
        )
        try:
            post(self.root, command)
        except PermissionError:
            name = user_name(os.stat(self.root).st_uid)
            raise UsageError(
                f"run {self.run_id} belongs to {name}, and takes no mail from others",
                hint=f"ask {name}; you may look at it",
            ) from None
        if on_progress is not None:
            for note in notes:
                on_progress(Progress(message=note))
        try:
            require_own(self.root)
        except Untrusted:  # a word to it does nobody any harm; advancing it would run its code as this user
            return {"run_id": self.run_id, "said": _MAILED}
        part = verb == "cancel" and bool(tasks)
        executor = self._executor()
        said = self._answer(command.id, executor, on_progress, part=part)
        if not is_pool(executor):
            self._see_through(executor, on_progress)
        return {"run_id": self.run_id, "said": said, **({"notes": notes} if notes else {})}

    def _answer(
        self,
        id: str,
        executor: Executor,
        on_progress: Callable[[Progress], None] | None,
        *,
        part: bool,
        patience: float = 15.0,
    ) -> str:
        """What was said to a command, by this process or by the one that holds the run; a dead one is waited out.

        Who cancels a `part` of a run does not ask for the rest of it to be run.
        """
        deadline = time.monotonic() + patience
        watch = Watch()
        nap = 0.1
        while True:
            if is_pool(executor) and part:
                attend(self.root, executor, on_progress, watch=watch)
            elif is_pool(executor):
                drive(self.root, executor, on_progress, watch=watch)
            else:
                advance(self.root, executor, watch=watch, on_progress=on_progress)
            state = look(self.root, self.definition)
            answer = state.obeyed.get(id)
            if answer is not None:
                return answer
            # This process has advanced the run: the answer waits for what the scheduler has yet to end.
            if (state.kills and not watch.held) or (time.monotonic() >= deadline and watch.alive):
                return _MAILED
            time.sleep(nap)
            nap = min(nap * 1.3, 1.0)

    def _see_through(self, executor: Executor, on_progress: Callable[[Progress], None] | None) -> None:
        """Repeat orders to cancel that the scheduler has not taken, for a while; who advances the run next goes on."""
        left, pause = IN_PLACE, AGAIN
        while pause <= left and look(self.root, self.definition).kills:
            time.sleep(pause)
            left -= pause
            pause = advance(self.root, executor, watch=Watch(), on_progress=on_progress) or IN_PLACE

    # --- showing -------------------------------------------------------------

    def __repr__(self) -> str:
        return f"<Run {self.run_id} {self.state.value}>"

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        from html import escape

        told = self.status()
        names = ("PENDING", "QUEUED", "RUNNING", "SUCCESS", "FAILED", "CANCELLED", "SKIPPED")
        head = "".join(f"<th>{name}</th>" for name in ("task", "state", "total", *names))
        rows = "".join(
            f"<tr><td>{escape(task['name'])}</td><td>{task['state']}</td>"
            + "".join(f"<td>{_cell(told['summary'][task['name']].get(key, ''))}</td>" for key in ("total", *names))
            + "</tr>"
            for task in told["tasks"]
        )
        title = f"{escape(self.run_id)}: {told['run']['status']}"
        return f"<table><caption>{title}</caption><tr>{head}</tr>{rows}</table>"


def _codec_of(flow: Flow, task: str) -> Codec:
    from ...authoring.hints import resolve

    step = flow.tasks[task]
    hint = resolve(step.function, step.names).get("return")
    return codec_of(hint.type if hint is not None else None)


def _require_element(task: Task, index: int | None, size: int | None) -> None:
    """Make sure that a task has an element of this index, as far as is known."""
    if index is None:
        return
    if not task.array and index != 0:
        raise UsageError(f"{task.name} is a single task, it has no element {index}")
    if index < 0 or (size is not None and index >= size):
        has = "" if size is None else f"{task.name} has {size} element{'' if size == 1 else 's'}, so "
        raise UsageError(f"{has}there is no element {index}")


def _cell(count: object) -> object:
    """A count as a table shows it: `?` where it is not known."""
    return "?" if count is None else count


def runs(
    store_path: str | os.PathLike[str] | None = None, *, workflow: str | None = None, limit: int | None = None
) -> list[dict[str, Any]]:
    """Runs that the registry knows, newest first.

    Parameters
    ----------
    store_path : path, optional
        The user's store.
    workflow : str, optional
        Runs of this workflow only.
    limit : int, optional
        So many at most; only theirs are looked at.

    Returns
    -------
    list of dict
        ``run_id``, ``workflow``, ``status`` (as of `Run.status`; ``gone`` where
        the run's directory is), ``created``, ``run_dir``, ``user``, ``host``, ``script``,
        and ``problem``: why it is ``unreadable``, else empty.
    """
    found: list[dict[str, Any]] = []
    records = Registry(find_store(override=store_path), policy).listing(workflow)
    for record in sorted(records, key=lambda one: (one.created, one.run_id), reverse=True)[:limit]:
        problem = ""
        if isinstance(record, Unread):
            state, problem = "unreadable", f"the registry's entry is {record.why}"
        elif record.gone:
            state = "gone"
        else:
            try:
                found_run = Run._at(layout.root(record.run_dir, record.run_id))
                now = look(found_run.root, found_run.definition)
                state = standing(found_run.root, found_run.definition, now)["status"]
            except (ReflowError, OSError, ValueError) as error:
                state, problem = "unreadable", str(error)
        found.append(
            {
                "run_id": record.run_id,
                "workflow": record.workflow,
                "status": state,
                "created": record.created,
                "run_dir": record.run_dir,
                "user": record.user,
                "host": record.host,
                "script": record.script,
                "problem": problem,
            }
        )
    return found
