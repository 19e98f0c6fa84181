"""From a workflow in memory to a run's frozen definition."""

from __future__ import annotations

import copy
import dataclasses
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from ...authoring.code.own import Own
from ...authoring.code.packages import listed, versions
from ...authoring.code.reach import Analysis, Code, analyse
from ...authoring.code.sources import memory_of
from ...authoring.flow import Flow
from ...errors import CodecError, UsageError
from ...model.codec import codec_of, files
from ...model.codec_wire import names_paths
from ...model.definition import Entry
from ...model.names import Fingerprint, Source, did_you_mean
from ...model.retry import Retry
from ...model.signals import parse_signal
from ...model.task import JSON, Input, JobConfig, Task, TaskSpec
from ...planning.identity import digest
from ...worker.files import require_few
from ...worker.load import module_name

if TYPE_CHECKING:
    from ...authoring.compile import Compiled, Parameter
    from ...config import Config
    from ...config.overrides import Override


def analyse_tasks(compiled: Compiled, entry: Entry) -> Analysis:
    """Find the user's own code that each task reaches; what sources say is remembered from run to run."""
    from platformdirs import user_cache_dir

    top = entry.path[0] if entry.path else os.getcwd()
    functions = {spec.name: spec.function for spec in compiled.tasks}
    return analyse(functions, Own(entry), memory_of(user_cache_dir("reflow"), top))


def freeze_tasks(
    compiled: Compiled, config: Config, overrides: Sequence[Override], analysis: Analysis
) -> tuple[Task, ...]:
    """Merge each task with the configuration, and with what its code is.

    Raises
    ------
    ConfigError
        An override or an option cannot be read.
    """
    found = versions(name for code in analysis.codes.values() for name in code.packages)
    counted = versions(config.get("cache.packages") or ())
    frozen = []
    for spec in compiled.tasks:
        code = analysis.codes[spec.name]
        task = _freeze(spec, config, overrides, code)
        packages = listed({name: found[name] for name in code.packages})
        frozen.append(msgspec.structs.replace(task, packages=packages, counted=counted))
    return tuple(frozen)


def environments(tasks: Iterable[Task]) -> dict[str, Mapping[str, str]]:
    """Environment variables of the tasks that have some: not for everybody's eyes, and so not in ``run.json``."""
    return {task.name: task.env for task in tasks if task.env}


def _max_failures(given: JobConfig, config: Config) -> int | float | None:
    """How many elements, or what share of them, may fail: the task's word, else the configuration's for arrays."""
    asked = config.get("run.max_failures")
    if given.max_failures is not None or not given.array or asked is None:
        return given.max_failures
    return float(asked) if 0 < asked < 1 else int(asked)


def _freeze(spec: TaskSpec, config: Config, overrides: Sequence[Override], code: Code) -> Task:
    given = spec.config
    resolved = config.task(given, name=spec.name, overrides=overrides)
    verify = given.verify if given.verify is not None else bool(config.get("cache.verify"))
    # What configuration sets says where the task runs; what its author sets may say what it does.
    around = (given.env, given.modules, given.setup)
    options = _warned(spec, resolved.options, resolved.resources.time)
    return Task(
        name=spec.name,
        array=given.array,
        inputs=tuple(_named(wired, given.fingerprint) for wired in spec.inputs),
        returns=spec.returns,
        after=spec.after,
        code=code.digest,
        code_problem=code.problem,
        env_digest=digest(msgspec.json.encode(around, order="sorted")).hex() if any(around) else "",
        values=code.values,
        version=given.version,
        cache=given.cache,
        verify=verify,
        fresh=given.fresh,
        fingerprint=given.fingerprint or Fingerprint(str(config.get("cache.fingerprint"))),
        retry=given.retry or Retry(),
        on_error=given.on_error or str(config.get("run.on_error")),
        max_failures=_max_failures(given, config),
        resources=resolved.resources,
        array_parallelism=resolved.array_parallelism,
        options=options,
        native=resolved.native,
        env=resolved.env,
        modules=resolved.modules,
        setup=resolved.setup,
        where=spec.where,
    )


def _warned(spec: TaskSpec, options: Mapping[str, JSON], walltime: int | None) -> Mapping[str, JSON]:
    """Options with the warning before the walltime as it is written down; refused where it would never come.

    Raises
    ------
    UsageError
        It cannot be read, or there is no walltime that it could come before.
    """
    asked = options.get("signal")
    if asked is None or asked is False:
        return options
    name, ahead = parse_signal(asked)
    about = f"task {spec.name!r} ({spec.where})" if spec.where.file else f"task {spec.name!r}"
    if walltime is None:
        raise UsageError(
            f"{about}: signal={asked!r} counts from the walltime, and none is asked for",
            hint="give the task a time, or signal=False",
        )
    if ahead >= walltime:
        raise UsageError(
            f"{about}: signal={asked!r} would come before the task begins, whose walltime is {walltime} s",
            hint="warn later, or ask for more time",
        )
    return {**options, "signal": f"{name}@{ahead}"}


def _named(wired: Input, policy: Fingerprint | None) -> Input:
    """A policy that the task names holds for each of its inputs that names none."""
    if policy is None or wired.fingerprint is not None:
        return wired
    return msgspec.structs.replace(wired, fingerprint=policy)


def encode_parameters(
    parameters: Mapping[str, Parameter], given: Mapping[str, Any], cwd: str
) -> dict[str, msgspec.Raw]:
    """Encode all parameters of a run; relative paths become absolute.

    Raises
    ------
    UsageError
        One is missing, unknown, or not of its type.
    """
    for key in given:
        if key not in parameters:
            raise UsageError(
                f"there is no parameter {key!r}{did_you_mean(key, parameters)}",
                hint=f"parameters: {', '.join(parameters) or 'none'}",
            )
    missing = [key for key, one in parameters.items() if key not in given and one.default is None]
    if missing:
        flags = ", ".join(f"{key} ({parameters[key].flag})" for key in missing)
        raise UsageError(f"{'a value is' if len(missing) == 1 else 'values are'} missing for {flags}")
    encoded: dict[str, msgspec.Raw] = {}
    for key, one in parameters.items():
        codec = codec_of(one.type)
        if key in given:
            value = given[key]
        else:
            assert one.default is not None
            value = codec.decode(one.default.encode("utf-8", "surrogatepass"))
        try:
            encoded[key] = msgspec.Raw(codec.encode(_absolute(value, cwd)))
        except CodecError as error:
            raise UsageError(f"parameter {key}: {error.message}", hint=error.hint) from None
    return encoded


def check_directories(tasks: Iterable[Task], parameters: Mapping[str, msgspec.Raw]) -> None:
    """Refuse parameters that name a large directory, of which nobody has said what of it counts.

    Raises
    ------
    UsageError
        One does.
    """
    seen: set[str] = set()
    for wired in (one for task in tasks for one in task.inputs):
        if wired.source is not Source.PARAM or wired.fingerprint is not None or wired.key not in parameters:
            continue
        if not names_paths(wired.schema):
            continue
        for path, declared in files(bytes(parameters[wired.key]), wired.schema):
            if declared and path not in seen and os.path.isdir(path):
                seen.add(path)
                try:
                    require_few(path)
                except UsageError as error:
                    raise UsageError(f"parameter {wired.key}: {error.message}", hint=error.hint) from None


def _absolute(value: Any, cwd: str) -> Any:
    """The value with its relative paths made absolute; other values as they are."""
    kind = type(value)
    if kind in (str, int, float, bool, type(None)):
        return value
    if kind in (list, set, frozenset):
        return kind(_absolute(item, cwd) for item in value)
    if kind is tuple:
        return tuple(_absolute(item, cwd) for item in value)
    if kind is dict:
        return {_absolute(key, cwd): _absolute(item, cwd) for key, item in value.items()}
    from pathlib import Path, PurePath

    if isinstance(value, PurePath):
        path = Path(value)
        with suppress(RuntimeError):  # of a user that this host does not know
            path = path.expanduser()
        return Path(cwd) / path
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return type(value)._make(_absolute(item, cwd) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        changed = {name: new for name, old in fields.items() if (new := _absolute(old, cwd)) is not old}
        if changed:
            value = copy.copy(value)
            for name, new in changed.items():
                object.__setattr__(value, name, new)  # frozen ones, too
    return value


def entry_of(flow: Flow, config: Config, *, importable: bool) -> Entry:
    """How workers import a workflow.

    Parameters
    ----------
    flow : Flow
        The root workflow.
    config : Config
        Which modules are the user's own.
    importable : bool
        Whether it must be importable: workers are other processes.

    Raises
    ------
    UsageError
        It is not, and must be; says why.
    """
    module = sys.modules.get(flow.module)
    names = vars(module) if module is not None else {}
    variable = next((name for name, value in names.items() if value is flow), "")
    file = os.path.abspath(flow.file) if flow.file else ""
    if importable and not (file and os.path.isfile(file)):
        raise UsageError(
            f"workflow {flow.name!r} is defined in a notebook or an interactive session, which workers cannot import",
            hint="run it with executor='inline', or move it into a script",
        )
    if importable and not variable:
        raise UsageError(
            f"workflow {flow.name!r} is not a variable of its module, {flow.module} ({file}): workers cannot import it",
            hint="make it at the module's top level, as in `wf = Workflow(...)`, or run it with executor='inline'",
        )
    name = flow.module
    if name == "__main__" or name.startswith("__reflow"):
        spec = getattr(module, "__spec__", None)
        name = spec.name if spec is not None else module_name(file) if file else "__main__"
    levels = name.count(".")
    if levels and os.path.basename(file) == "__init__.py":
        levels += 1
    top = os.path.dirname(file)
    for _ in range(levels):
        top = os.path.dirname(top)
    paths: tuple[str, ...] = (top,) if top else ()
    if top and "" in sys.path:  # this process imports from the working directory
        paths = tuple(dict.fromkeys((top, os.getcwd())))
    own, foreign = (tuple(config.get(f"cache.{which}") or ()) for which in ("own", "foreign"))
    return Entry(file=file, module=name, variable=variable, path=paths, own=own, foreign=foreign)
