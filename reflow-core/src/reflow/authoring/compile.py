"""From a Flow to a checked graph, in which every parameter knows where its value comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from reflow.model.failed import takes_failed
from reflow.model.names import Fingerprint, Mode, Source, did_you_mean
from reflow.model.schema import Schema, describe, item_of
from reflow.model.task import Input, JobConfig, TaskSpec

from .flow import Flow, Include, Step
from .graph import circles, topological
from .markers import Param, Result
from .reserved import RESERVED, RESERVED_SHORT
from .settings import job_config
from .signature import Argument, Signature, read
from .validate import Mistake, Problems, told
from .wiring import Shape, connect

LONGEST = 100


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """A value that a run is given.

    Attributes
    ----------
    key : str
        Keyword of ``submit``: ``year``, or ``pre_ingest_chunk`` where it is
        local to the task ``pre.ingest``.
    flag : str
        Long option of the command line, ``--pre-ingest-chunk``.
    short : str or None
        Short option, with its dash.
    type : object
        The Python type.
    schema : Schema
        Its wire form.
    default : str or None
        Encoded; None where a value must be given.
    help : str
        The author's words.
    tasks : tuple of str
        Tasks that take it.
    fingerprint : Fingerprint or None
        What of a file counts, as far as said.
    """

    key: str
    flag: str
    short: str | None
    type: Any
    schema: Schema
    default: str | None
    help: str
    tasks: tuple[str, ...]
    fingerprint: Fingerprint | None = None


class Compiled(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow without mistakes.

    Attributes
    ----------
    workflow : str
        Its name.
    tasks : tuple of TaskSpec
        Each after the tasks that it waits for; otherwise in the order of definition.
    parameters : mapping of str to Parameter
        By key, in the order of definition.
    """

    workflow: str
    tasks: tuple[TaskSpec, ...]
    parameters: Mapping[str, Parameter]

    def task(self, name: str) -> TaskSpec:
        """One task by its full name; KeyError where there is none."""
        for spec in self.tasks:
            if spec.name == name:
                return spec
        raise KeyError(name)


class _Scope:
    """One inclusion of one flow: what its names mean there."""

    def __init__(self, flow: Flow, prefix: str, parent: _Scope | None, include: Include | None) -> None:
        self.flow = flow
        self.prefix = prefix
        self.parent = parent
        self.include = include
        #: name inside this flow -> full name
        self.names: dict[str, str] = {}
        #: keys of the include's ``inputs`` that bound something
        self.used: set[str] = set()
        #: names under which something was left open, for did-you-mean
        self.open: dict[str, None] = {}

    def bound(self, key: str) -> tuple[str, ...] | None:
        """What the include's ``inputs`` say of an open name, as names of the scope around; None: nothing."""
        self.open.setdefault(key)
        given = self.include.inputs.get(key) if self.include else None
        if given is None:
            return None
        self.used.add(key)
        return (given,) if isinstance(given, str) else tuple(given)


class _Node(msgspec.Struct, frozen=True, eq=False):
    """One task of the whole: a step, and the scope it stands in."""

    name: str
    step: Step
    scope: _Scope

    @property
    def about(self) -> str:
        return f"task {self.name!r}"


class _Read(msgspec.Struct, frozen=True):
    """What was read of a step, once, however often its flow is included."""

    signature: Signature
    config: JobConfig


def compile_flow(flow: Flow) -> Compiled:
    """Check a flow and wire its tasks.

    Raises
    ------
    WorkflowError
        With every mistake found.
    """
    return _Compiler(flow).run()


class _Compiler:
    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.problems = Problems()
        self.scopes: list[_Scope] = []
        self.nodes: dict[str, _Node] = {}
        self.reads: dict[Step, _Read] = {}
        self.parameters: dict[str, Parameter] = {}
        #: who brought each key, for messages
        self.first: dict[str, _Node] = {}
        #: keys that belong to one task alone
        self.local: set[str] = set()

    def run(self) -> Compiled:
        name: object = self.flow.name
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            self.problems.add(self.flow.where, "workflow", f"{name!r} is no name; write one line of text")
        self._unfold(self.flow, "", None, None)
        if not self.nodes and not self.problems:
            self.problems.add(
                self.flow.where, f"workflow {self.flow.name!r}", "has no tasks; write @wf.job() above one"
            )
        for node in self.nodes.values():
            if node.step not in self.reads:
                self.reads[node.step] = self._read(node)
        specs = [self._spec(node) for node in self.nodes.values()]
        self._collisions()
        for scope in self.scopes:
            self._unused(scope)
        waits = {spec.name: _upstream(spec) for spec in specs}
        for circle in circles(waits):
            node = self.nodes[circle[0]]
            path = " -> ".join([*circle, circle[0]])
            self.problems.add(node.step.where, node.about, f"waits for itself: {path}; break the circle")
        self.problems.raise_for(self.flow.name)
        by_name = {spec.name: spec for spec in specs}
        return Compiled(
            workflow=self.flow.name,
            tasks=tuple(by_name[name] for name in topological(waits)),
            parameters=self.parameters,
        )

    # Names

    def _unfold(self, flow: Flow, prefix: str, parent: _Scope | None, include: Include | None) -> _Scope:
        """Lay out a flow's tasks, and those of the flows in it, under their full names."""
        scope = _Scope(flow, prefix, parent, include)
        self.scopes.append(scope)
        prefixes: dict[str, Include] = {}
        for item in flow.items:
            if isinstance(item, Step):
                self._place(item, scope)
            elif self._includable(item, scope, prefixes):
                inner = f"{prefix}{item.prefix}." if item.prefix else prefix
                child = self._unfold(item.flow, inner, scope, item)
                for name, full in child.names.items():
                    scope.names.setdefault(f"{item.prefix}.{name}" if item.prefix else name, full)
        return scope

    def _place(self, step: Step, scope: _Scope) -> None:
        about = f"task {step.name!r}"
        if not _is_name(step.name):
            text = "is no name for a task; write job('name') with letters, digits, _ and -, a letter first"
            self.problems.add(step.where, about, text)
        full = f"{scope.prefix}{step.name}"
        if len(full.encode(errors="replace")) > 2 * LONGEST:
            self.problems.add(step.where, about, f"is called {full!r} here, which is too long; shorten the prefixes")
        if full in self.nodes:
            other = self.nodes[full].step.where
            text = f"there is a task of this name at {other}; rename one, or include its flow under another prefix"
            self.problems.add(step.where, f"task {full!r}", text)
            return
        scope.names[step.name] = full
        self.nodes[full] = _Node(full, step, scope)

    def _includable(self, include: Include, scope: _Scope, prefixes: dict[str, Include]) -> bool:
        """Whether an included flow can be laid out; what is wrong with the include is told."""
        flow: object = include.flow
        if not isinstance(flow, Flow):
            self.problems.add(include.where, "include()", f"takes a Flow, not {type(flow).__name__}")
            return False
        about = f"include({include.flow.name!r}, prefix={include.prefix!r})"
        around: _Scope | None = scope
        while around is not None:
            if around.flow is include.flow:
                self.problems.add(include.where, about, "a flow cannot include itself")
                return False
            around = around.parent
        if include.prefix is not None:
            if not _is_name(include.prefix):
                self.problems.add(include.where, about, "a prefix is letters, digits, _ and -, a letter first")
                return False
            if include.prefix in prefixes:
                other = prefixes[include.prefix].where
                self.problems.add(include.where, about, f"this prefix is taken at {other}; write another one")
                return False
            prefixes[include.prefix] = include
        inputs: object = include.inputs
        if not isinstance(inputs, Mapping):
            self.problems.add(
                include.where, about, f"inputs={inputs!r} is not a mapping; write inputs={{'name': 'task'}}"
            )
            return False
        for key, given in inputs.items():
            names = [given] if isinstance(given, str) else given
            if (
                not isinstance(names, (list, tuple))
                or not names
                or not all(isinstance(name, str) for name in [key, *names])
            ):
                text = f"inputs[{key!r}]={given!r} names no task; write the name of one, or a list of names"
                self.problems.add(include.where, about, text)
                return False
        return True

    def _find(self, scope: _Scope, name: str) -> tuple[str, ...] | None:
        """Full names of what `name` means in a scope; None where it means nothing."""
        if name in scope.names:
            return (scope.names[name],)
        visible = True  # without a prefix, a flow's tasks stand among those of the flow around
        while scope.parent is not None and scope.include is not None:
            bound = scope.bound(name)
            if bound is not None:
                return self._outer(scope, bound)
            visible = visible and not scope.include.prefix
            scope = scope.parent
            if visible and name in scope.names:
                return (scope.names[name],)
        return None

    def _outer(self, scope: _Scope, names: Sequence[str]) -> tuple[str, ...]:
        """Full names of what an include was bound to, in the scope around it."""
        assert scope.parent is not None
        assert scope.include is not None
        found: list[str] = []
        for name in names:
            steps = self._find(scope.parent, name)
            if steps is None:
                about = f"include({scope.include.flow.name!r}, prefix={scope.include.prefix!r})"
                text = f"inputs names {name!r}, which is no task here{did_you_mean(name, scope.parent.names)}"
                self.problems.add(scope.include.where, about, text)
            else:
                found += steps
        return tuple(found)

    def _bound(self, node: _Node, argument: str) -> tuple[str, ...] | None:
        """What an include around a task binds one of its parameters to; None where none does."""
        scope: _Scope | None = node.scope
        while scope is not None and scope.include is not None:
            local = node.name[len(scope.prefix) :]
            for key in (f"{local}.{argument}", argument):
                names = scope.bound(key)
                if names is not None:
                    return self._outer(scope, names)
            scope = scope.parent
        return None

    def _unused(self, scope: _Scope) -> None:
        if scope.include is None:
            return
        about = f"include({scope.include.flow.name!r}, prefix={scope.include.prefix!r})"
        for key in scope.include.inputs:
            if key not in scope.used:
                left = ", ".join(repr(name) for name in scope.open if "." not in name) or "nothing"
                text = f"inputs binds {key!r}, which the flow does not leave open"
                close = did_you_mean(key, scope.open)
                self.problems.add(scope.include.where, about, text + (close or f"; open are: {left}"))

    # Tasks

    def _teller(self, node: _Node) -> Callable[[str], None]:
        """What takes the mistakes of one task."""
        return lambda text: self.problems.add(node.step.where, node.about, text)

    def _read(self, node: _Node) -> _Read:
        signature = read(node.step)
        for text in signature.problems:
            self._teller(node)(text)
        config = job_config(node.step.options, self._teller(node))
        return _Read(signature, config)

    def _spec(self, node: _Node) -> TaskSpec:
        signature, config = self.reads[node.step].signature, self.reads[node.step].config
        inputs = []
        for argument in signature.arguments.values():
            with told(self._teller(node), f"parameter {argument.name!r}: "):
                inputs.append(self._input(node, argument))
        spread = any(wired.mode is not None and wired.mode.spreads for wired in inputs)
        # A Result without a mode is a mistake already told, here or upstream: it may well be what gives elements.
        whole = len(inputs) == len(signature.arguments) and all(
            wired.mode is not None for wired in inputs if wired.source is Source.RESULT
        )
        if config.array and not spread and whole and not signature.problems:
            self._teller(node)(
                "is an array, but no Result gives it elements; "
                "write Annotated[TYPE, Result(step=...)], of a task that returns list[TYPE] or is an array"
            )
        return TaskSpec(
            name=node.name,
            function=node.step.function,
            config=config,
            inputs=tuple(inputs),
            returns=signature.returns or Schema("none"),
            types={name: argument.type for name, argument in signature.arguments.items()},
            return_type=signature.return_type,
            after=self._after(node, config.after),
            where=node.step.where,
        )

    def _after(self, node: _Node, names: Sequence[str]) -> tuple[str, ...]:
        found: list[str] = []
        for name in names:
            with told(self._teller(node), "after: "):
                found += self._steps(node, name)
        return tuple(dict.fromkeys(found))

    def _steps(self, node: _Node, name: str) -> tuple[str, ...]:
        """Full names of the tasks that a task's reference means."""
        steps = self._find(node.scope, name)
        if steps is None:
            scope = node.scope
            close = did_you_mean(name, [known for known in scope.names if scope.names[known] != node.name])
            if scope.include is None:
                raise Mistake(f"there is no task {name!r}{close or '; there are: ' + ', '.join(scope.names)}")
            raise Mistake(
                f"flow {scope.flow.name!r} has no task {name!r}"
                f"{close or f'; bind it where the flow is included: inputs={{{name!r}: TASK}}'}"
            )
        if node.name in steps:
            raise Mistake(f"{name!r} is the task itself; name the task whose result is meant")
        return steps

    # Inputs

    def _input(self, node: _Node, argument: Argument) -> Input:
        if isinstance(argument.marker, Result):
            return self._result(node, argument, argument.marker)
        if isinstance(argument.marker, Param):
            steps = self._bound(node, argument.name)
            if steps is not None:
                return self._wired(node, argument, Result(), steps)
            return self._parameter(node, argument, argument.marker)
        return Input(name=argument.name, source=argument.source, schema=argument.schema, default=argument.default)

    def _result(self, node: _Node, argument: Argument, marker: Result) -> Input:
        steps: object = marker.steps
        if not isinstance(steps, (list, tuple)):
            raise Mistake(
                f"Result(steps={steps!r}) is no list; write steps=[{steps if isinstance(steps, str) else 'NAME'!r}]"
            )
        names: list[object] = [*marker.steps] if marker.step is None else [marker.step, *marker.steps]
        if marker.step is not None and marker.steps:
            raise Mistake("Result has both step and steps; write steps=[...] with all of them")
        texts = [name for name in names if isinstance(name, str)]
        for name in names:
            if isinstance(name, (list, tuple)):
                raise Mistake(f"Result(step={name!r}) is no text; write steps={list(name)!r}")
            if not isinstance(name, str):
                written = getattr(name, "__name__", "NAME")
                raise Mistake(f"Result names {name!r}, which is no text; write Result(step={written!r})")
        if not texts or (len(texts) == 1 and self._find(node.scope, texts[0]) is None):
            bound = self._bound(node, argument.name)
            if bound is not None:
                return self._wired(node, argument, marker, bound)
        if not names:
            where = (
                "" if node.scope.include is None else f"bind it: include(..., inputs={{{argument.name!r}: TASK}}), or "
            )
            raise Mistake(f"Result() names no task; {where}write Result(step=...)")
        found: list[str] = []
        for text in texts:
            found += self._steps(node, text)
        return self._wired(node, argument, marker, tuple(found))

    def _wired(self, node: _Node, argument: Argument, marker: Result, steps: tuple[str, ...]) -> Input:
        if node.name in steps:
            raise Mistake("is bound to the task itself; name the task whose result is meant")
        shapes = []
        for name in steps:
            up = self.reads[self.nodes[name].step]
            if not up.signature.annotated:
                self._unannotated(self.nodes[name], node, argument)
            elif up.signature.returns is not None:
                shapes.append(Shape(self.nodes[name].step.array, up.signature.returns))
        mode = None
        if len(shapes) == len(steps) and steps:
            try:
                mode = connect(shapes, Shape(node.step.array, argument.schema), broadcast=marker.broadcast)
            except Mistake as mistake:
                raise Mistake(f"result of {', '.join(map(repr, steps))}: {mistake}") from None
        if marker.allow_failed and mode not in (None, Mode.GATHER, Mode.FLATTEN):
            raise Mistake("allow_failed=True is for a single task that gathers an array's elements; leave it out")
        if not marker.allow_failed and mode in (Mode.GATHER, Mode.FLATTEN) and takes_failed(item_of(argument.schema)):
            raise Mistake("it has room for reflow.Failed, but gets none; write Result(..., allow_failed=True)")
        return Input(
            name=argument.name,
            source=Source.RESULT,
            schema=argument.schema,
            steps=steps,
            mode=mode,
            fingerprint=argument.fingerprint,
            allow_failed=marker.allow_failed,
        )

    def _unannotated(self, up: _Node, node: _Node, argument: Argument) -> None:
        shown = describe(argument.schema)
        text = (
            f"has no return annotation, but {node.name!r} takes its result as {shown}; "
            f"write what it returns: def {up.step.function.__name__}(...) -> {shown}:"
        )
        self.problems.add(up.step.where, up.about, text)

    def _parameter(self, node: _Node, argument: Argument, marker: Param) -> Input:
        key = argument.name
        if marker.namespace == "local":
            key = f"{node.name.replace('.', '_').replace('-', '_')}_{argument.name}"
        if key in RESERVED:
            raise Mistake(f"the name {key!r} is taken by reflow's own option --{key.replace('_', '-')}; rename it")
        parameter = Parameter(
            key=key,
            flag=f"--{key.replace('_', '-')}",
            short=_short(marker.short),
            type=argument.type,
            schema=argument.schema,
            default=argument.default,
            help=marker.help,
            tasks=(node.name,),
            fingerprint=argument.fingerprint,
        )
        known = self.parameters.get(key)
        if known is None:
            self.parameters[key] = parameter
            self.first[key] = node
            if marker.namespace == "local":
                self.local.add(key)
        else:
            self.parameters[key] = self._shared(known, parameter, marker)
        return Input(
            name=argument.name,
            source=Source.PARAM,
            schema=argument.schema,
            key=key,
            default=argument.default,
            fingerprint=argument.fingerprint,
            help=marker.help,
            short=parameter.short,
        )

    def _shared(self, known: Parameter, new: Parameter, marker: Param) -> Parameter:
        """One parameter of two tasks; they must agree."""
        first, name = self.first[known.key], known.key
        there = f"{first.name!r} ({first.step.where})"
        if marker.namespace == "local" or name in self.local:
            raise Mistake(f"{name!r} is the key of another parameter too, in {there}, and one is local; rename one")
        if known.schema != new.schema:
            raise Mistake(
                f"{name!r} is {describe(new.schema)} here and {describe(known.schema)} in {there}; "
                "give both one type, rename one, or write Param(namespace='local')"
            )
        if known.default != new.default:
            here, elsewhere = (f"default {p.default}" if p.default is not None else "required" for p in (new, known))
            raise Mistake(
                f"{name!r} is {here} here and {elsewhere} in {there}; "
                "make them the same, rename one, or write Param(namespace='local')"
            )
        if known.short and new.short and known.short != new.short:
            raise Mistake(f"{name!r} is {new.short} here and {known.short} in {there}; write one of them")
        return msgspec.structs.replace(
            known,
            short=known.short or new.short,
            help=known.help or new.help,
            tasks=(*known.tasks, *new.tasks),
            fingerprint=known.fingerprint or new.fingerprint,
        )

    def _collisions(self) -> None:
        """Options of the command line that two parameters would share."""
        owners: dict[str, str] = {}
        for key, flag in self._flags():
            other = owners.setdefault(flag, key)
            if other != key:
                node = self.first[key]
                text = f"parameter {key!r}: its option {flag} is also that of {other!r}; rename one"
                self.problems.add(node.step.where, node.about, text)

    def _flags(self) -> Iterator[tuple[str, str]]:
        for key, parameter in self.parameters.items():
            yield key, parameter.flag
            if parameter.schema.kind == "bool":
                yield key, f"--no-{parameter.flag[2:]}"
            if parameter.short:
                yield key, parameter.short


def _upstream(spec: TaskSpec) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*(step for wired in spec.inputs for step in wired.steps), *spec.after]))


def _is_name(name: object) -> bool:
    """Letters, digits, ``_`` and ``-``, a letter or ``_`` first."""
    return (
        isinstance(name, str)
        and len(name.encode(errors="replace")) <= LONGEST
        and name.replace("-", "_").isidentifier()
        and not name.startswith("-")
    )


def _short(given: object) -> str | None:
    if given is None:
        return None
    letter = given.removeprefix("-") if isinstance(given, str) else ""
    if len(letter) != 1 or not letter.isalpha() or not letter.isascii():
        raise Mistake(f"short={given!r}; write one letter, such as short='n'")
    if f"-{letter}" in RESERVED_SHORT:
        raise Mistake(f"short={given!r} is taken by reflow's own option; write another letter")
    return f"-{letter}"
