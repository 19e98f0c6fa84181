"""Submitting a workflow: everything is checked before anything is written."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from ... import __version__
from ...authoring.flow import Flow
from ...batch.script import INHERITED, inherited
from ...errors import UsageError
from ...model import layout
from ...model.definition import Definition
from ...model.job import Executor
from ...model.names import did_you_mean
from ...plugin import Context
from ...plugins import Registry as Plugins
from ...plugins import registry as plugin_registry
from ...process.runner import Runner
from ...store.paths import named
from ...store.paths import store_path as find_store
from ...store.registry import Registry
from ...store.trust import require
from ...worker.durable import share
from ...worker.load import refuse_in_import, require_guard
from ..definition.create import create, new_run_id, prepare
from ..definition.freeze import (
    analyse_tasks,
    check_directories,
    encode_parameters,
    entry_of,
    environments,
    freeze_tasks,
)
from ..definition.imported_modules import own_modules
from ..definition.load import Secrets
from ..definition.open import cache_places
from ..definition.trust import trust_of
from ..drive.advance import IN_PLACE, advance
from ..drive.foreground import foreground
from ..drive.pool import Progress, drive, once
from ..engine.engine import is_pool
from ..engine.publish import catch_up_all
from ..jobs.factory import Jobs
from ..views.status import awaits, look

if TYPE_CHECKING:
    from ...config import Config
    from .api import Run

__all__ = ["Prepared", "Progress", "begin", "check"]

#: seconds for which a submission waits for a scheduler that does not answer, where a wake-up goes on with the run
_BRIEF = 10.0


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A run that could be made: everything was checked, and nothing written.

    Attributes
    ----------
    flow : Flow
        The workflow.
    notes : sequence of str
        What is odd in the configuration, and what tasks ask for and the executor leaves out.
    dry : bool
        Whether it is only to be shown: the mode is ``dry-run``.
    """

    flow: Flow
    definition: Definition
    secrets: Secrets
    executor: Executor
    config: Config
    notes: Sequence[str] = ()
    dry: bool = False

    def rehearse(self) -> list[dict[str, Any]]:
        """What the run would do, in order; see `reflow.run.service.dry_run.rehearse`."""
        from .dry_run import rehearse

        return rehearse(self.definition, self.executor, self.config, self.secrets.inherited)


def check(
    flow: Flow,
    run_dir: str | os.PathLike[str] | None,
    params: Mapping[str, Any],
    *,
    executor: str | Executor | None = None,
    fallback: str | None = None,
    dry: bool = False,
    force: bool = False,
    force_tasks: Sequence[str] = (),
    verify: bool = True,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    store_path: str | os.PathLike[str] | None = None,
) -> Prepared:
    """Check all that a run is made from, and merge it with the configuration; writes nothing.

    Parameters
    ----------
    flow : Flow
        The root workflow.
    run_dir : path, optional
        Where the run keeps everything; ``[defaults] run_dir`` where None.
    params : mapping
        Values of the workflow's parameters, by key.
    executor : str or Executor, optional
        A name, an executor, or None: configured, else the single scheduler found, else `fallback`.
        ``dry-run``: None, and the run is only to be shown.
    fallback : str, optional
        The executor where none is named, configured or found.
    dry : bool
        Whether the run is only to be shown, whatever the configuration says.
    force, force_tasks : bool, sequence of str
        Compute everything, or these tasks, whatever the cache holds.
    verify : bool
        Whether output files of cached results are checked.
    overrides : mapping or sequence of str
        ``TASK.KEY=VALUE``.
    settings : mapping, optional
        Settings of the executor that win over configured ones.
    store_path : path, optional
        The user's store.

    Raises
    ------
    ReflowError
        Whatever is wrong.
    """
    from ...config import load_config
    from ...config.overrides import hidden, parse_overrides
    from ...config.schema import DRY_RUN

    if not dry:
        refuse_in_import("starts a run")
    compiled = flow.compile()
    cwd = os.getcwd()
    project = os.path.dirname(os.path.abspath(flow.file)) if flow.file else cwd
    config = load_config(project, tables=lambda disabled: plugin_registry(disabled).settings())
    plugins = plugin_registry(tuple(config.get("plugins.disabled") or ()))
    names = [task.name for task in compiled.tasks]
    for name in force_tasks:
        if name not in names:
            raise UsageError(f"there is no task {name!r} to force{did_you_mean(name, names)}")
    analysis = analyse_tasks(compiled, entry_of(flow, config, importable=False))
    tasks = freeze_tasks(compiled, config, parse_overrides(overrides, tasks=names), analysis)
    parameters = encode_parameters(compiled.parameters, params, cwd)
    if str(config.get("cache.fingerprint")) != "name":
        check_directories(tasks, parameters)
    now = time.time()
    run_id = new_run_id(compiled.workflow, now)
    where = (
        run_dir
        if run_dir is not None
        else config.run_dir(workflow=compiled.workflow, run_id=run_id, environ=os.environ)
    )
    if where is None:
        raise UsageError(
            "no run directory was given", hint="name one with --run-dir, or set [defaults] run_dir in the configuration"
        )
    directory = named("the run directory", where)
    store = find_store(override=store_path)
    sections = _sections(config)
    mode = executor == DRY_RUN or bool(config.get("executor.dry_run"))
    executor = None if executor == DRY_RUN else executor
    dry = dry or mode
    if dry:  # whatever can be found out of the site is welcome, and nothing is waited for
        fallback = "slurm" if mode or fallback is None else fallback
        sections["executor"] = {**sections["executor"], "command_timeout": 10, "command_attempts": 1}
    context = Context(
        environ=os.environ,
        runner=Runner(keep=tuple(config.get("executor.submit_env") or ())),
        store=store,
        cwd=cwd,
        config=sections,
        run_id=run_id,
    )
    chosen = choose(plugins, config, executor, fallback, settings or {}, context, flow)
    if config.get("cache.enabled"):
        plugins.cache_backend(str(config.get("cache.backend")))
    inline = chosen.name == "inline"
    entry = entry_of(flow, config, importable=not inline)
    if not (inline or dry):
        require_guard(entry.file)
    for path, what in (
        (directory, "the run directory"),
        (cwd, "the working directory"),
        (entry.file, "the script"),
        (store, "the store"),
        (str(config.get("cache.path") or ""), "the cache"),
    ):
        if not _is_utf8(path):  # records are JSON, which cannot hold it
            raise UsageError(
                f"{what} {path!r} has a name that is not UTF-8", hint="use another directory, or rename it"
            )
    given = inherited(os.environ, tuple(config.get("executor.inherit_env") or ()))
    shown, secret = hidden(overrides)
    code = own_modules(entry, analysis)
    definition = Definition(
        version=__version__,
        run_id=run_id,
        workflow=compiled.workflow,
        created=now,
        run_dir=directory,
        cwd=cwd,
        entry=msgspec.structs.replace(entry, digest=code.script),
        tasks=tuple(msgspec.structs.replace(task, env={}) for task in tasks),
        parameters=parameters,
        executor=chosen.name,
        settings=chosen.settings,
        config=config.to_json(),
        store=store,
        python=str(config.get("executor.python") or sys.executable),
        environment={name: value for name, value in given.items() if name in INHERITED},
        user=_user(),
        host=os.uname().nodename,
        overrides=(shown,) if shown else (),
        force=force,
        force_tasks=tuple(force_tasks),
        verify=verify,
        modules=code.modules,
        own=code.own,
        written=code.written,
    )
    secrets = Secrets(
        env=environments(tasks),
        overrides=(secret,) if secret else (),
        config=dict(config.secrets()),
        inherited={name: value for name, value in given.items() if name not in INHERITED},
    )
    jobs = Jobs(layout.root(directory, run_id), definition, config, secrets.inherited)
    notes = [*(f"warning: {text}" for text in config.warnings), *jobs.examine(chosen, definition.tasks)]
    return Prepared(
        flow=flow, definition=definition, secrets=secrets, executor=chosen, config=config, notes=notes, dry=dry
    )


def begin(
    made: Prepared,
    *,
    wait: bool = False,
    on_created: Callable[[Run], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Start a run that was checked; print what it would do where it is only to be shown.

    Parameters
    ----------
    made : Prepared
        From `check`.
    wait : bool
        Whether to return only when the run has ended.
    on_created : callable, optional
        Told of the run as soon as it is there.
    on_progress : callable, optional
        Told how a run that is driven from here goes on.

    Raises
    ------
    ReflowError
        Whatever is wrong; nothing was written where it is a UsageError.
    """
    from .api import Run

    if made.dry:
        from .dry_run import Rehearsal, show

        steps = made.rehearse()
        show(steps)
        return Rehearsal(layout.root(made.definition.run_dir, made.definition.run_id), made.definition, steps)
    definition, chosen = made.definition, made.executor
    if not is_pool(chosen):
        from ...batch.command import CommandExecutor

        if isinstance(chosen, CommandExecutor):
            chosen.ready(os.environ.get("PATH", os.defpath))
        _ = chosen.limits  # what is found out of the site becomes part of the settings: no wake-up asks again
        definition = msgspec.structs.replace(definition, settings=chosen.settings)
    trusted = trust_of(made.config)
    share(trusted.groups)
    require(cache_places(definition, made.config), "the cache", trusted)
    registry = Registry(definition.store, lambda: trusted)
    require((registry.store, registry.directory), "the registry", trusted)
    prepare(definition.run_dir, trusted)
    entry = definition.entry
    source = entry.file if entry.digest or os.path.isfile(entry.file) else ""
    catch_up_all(registry, definition.workflow)
    unsaid: list[str] = []
    definition, root = create(definition, made.secrets, source, registry, unsaid.append)
    run = Run(root, definition)
    run._memory = made.flow
    if on_created is not None:
        on_created(run)
    for message in unsaid:
        _warn(message, on_progress)
    if on_progress is not None:
        for note in made.notes:
            on_progress(Progress(message=note))
    if is_pool(chosen):
        drive(root, chosen, on_progress)
        return run
    chained = bool(made.config.get("dispatch.chain"))
    on_progress = once(on_progress)
    left, pause = IN_PLACE, advance(root, chosen, ask=False, waits=IN_PLACE, on_progress=on_progress)
    if pause is not None and awaits(look(root, definition)):
        left = _BRIEF  # a wake-up goes on, whatever the scheduler does not answer now
    while pause is not None and left > 0:  # the scheduler does not answer, or shows a job later
        time.sleep(min(pause, left))
        left -= pause
        pause = advance(root, chosen, waits=left if wait or left > 0 else None, on_progress=on_progress)
    if wait:
        foreground(root, chosen, chain=chained, on_progress=on_progress)
    return run


def choose(
    plugins: Plugins,
    config: Config,
    executor: str | Executor | None,
    fallback: str | None,
    settings: Mapping[str, Any],
    context: Context,
    flow: Flow | None,
) -> Executor:
    """Find the executor that was asked for, configured or found on this machine.

    Raises
    ------
    UsageError
        None was named, and none or several were found.
    """
    if executor is not None and not isinstance(executor, str):
        if isinstance(executor, type):
            raise UsageError(
                f"executor={executor.__name__} is a class", hint=f"make one: executor={executor.__name__}()"
            )
        if not callable(getattr(executor, "submit", None)):
            raise UsageError(f"executor={executor!r} is neither an executor nor the name of one")
        bind = getattr(executor, "bind", None)
        return cast("Executor", bind(context.runner)) if callable(bind) else executor
    name = executor or config.get("executor.name")
    if name is None:
        found = plugins.detect(context.environ)
        if len(found) > 1 and fallback is None:
            raise UsageError(
                f"several schedulers are here: {', '.join(entry.name for entry in found)}",
                hint="name one with --executor, or set [executor] name in the configuration",
            )
        name = found[0].name if len(found) == 1 else fallback
    if name is None:
        raise UsageError(
            "no scheduler was found on this machine",
            hint="use --executor local to run here, or name the scheduler with --executor",
        )
    entry = plugins.executor_entry(str(name))
    merged = {key: value for key, value in config.section(f"executor.{entry.name}").items() if value is not None}
    if entry.name == "local":
        workers = config.get("executor.max_workers")
        merged |= {} if workers is None else {"max_workers": workers}
    merged |= settings
    found_executor = plugins.create_executor(entry.name, merged, context)
    if entry.name == "inline" and flow is not None:
        found_executor.flow = flow  # type: ignore[attr-defined]
    return found_executor


def _sections(config: Config) -> dict[str, Any]:
    names = dict.fromkeys(row.key.partition(".")[0] for row in config.rows())
    return {name: config.section(name) for name in names}


def _warn(message: str, on_progress: Callable[[Progress], None] | None) -> None:
    """Tell who watches; by `logging` where nobody does."""
    if on_progress is not None:
        on_progress(Progress(message=f"warning: {message}"))
        return
    import logging

    logging.getLogger("reflow").warning("%s", message)


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
