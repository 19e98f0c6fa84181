"""What a task takes and gives: its function's signature, read once."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import msgspec

from reflow.errors import CodecError
from reflow.model.codec import codec_of, schema_of
from reflow.model.names import Fingerprint, Source
from reflow.model.schema import Schema, describe

from .hints import EMPTY, Hint, inside, parameters, resolve
from .markers import Param, Result, RunDir
from .validate import Mistake, fingerprint_of, sentence, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from .flow import Step

MARKERS = (Param, Result, RunDir)
NOTHING = Schema("none")


class Argument(msgspec.Struct, frozen=True):
    """One parameter of a task's function.

    Attributes
    ----------
    name : str
        As the function spells it.
    source : Source
        Where its value comes from, as far as its marker says.
    type : object
        The resolved Python type.
    schema : Schema
        Its wire form.
    marker : Param, Result or None
        What ``Annotated`` carried.
    default : str or None
        Encoded default of a Param or of a plain parameter; None: there is none.
    """

    name: str
    source: Source
    type: Any
    schema: Schema
    marker: Param | Result | None = None
    default: str | None = None
    fingerprint: Fingerprint | None = None


class Signature(msgspec.Struct):
    """What `read` found.

    Attributes
    ----------
    arguments : dict
        Parameter name -> Argument; a parameter with a mistake is missing.
    returns : Schema or None
        None where the annotation is a mistake.
    annotated : bool
        Whether there is a return annotation.
    problems : list of str
        Mistakes, a sentence each.
    """

    arguments: dict[str, Argument]
    returns: Schema | None = NOTHING
    return_type: Any = type(None)
    annotated: bool = True
    problems: list[str] = []


def read(step: Step) -> Signature:
    """Read a task's signature, with every mistake in it."""
    signature = Signature({}, problems=_unusable(step.function))
    if signature.problems:
        signature.returns = None
        return signature
    hints = resolve(step.function, step.names)
    for parameter in parameters(step.function):
        with told(signature.problems.append, f"parameter {parameter.name!r}: "):
            signature.arguments[parameter.name] = _argument(parameter, hints.get(parameter.name, Hint()))
    hint = hints.get("return", Hint())
    signature.annotated = hint.problem != "" or hint.type is not EMPTY
    if signature.annotated:
        signature.returns = None
        with told(signature.problems.append, "return: "):
            signature.returns, signature.return_type = _schema(hint), _none(hint.type)
    return signature


def _unusable(function: Callable[..., Any]) -> list[str]:
    """Why this cannot be a task at all."""
    if isinstance(function, (staticmethod, classmethod)) or _is_method(function):
        return ["is a method; a task is a function at the top level of a module"]
    if not inspect.isfunction(inspect.unwrap(function)):
        return [f"is a {type(function).__name__}; a task is a function written with def"]
    inner = inspect.unwrap(function)
    if inner.__name__ == "<lambda>":
        return ["is a lambda, which has no annotations; write it with def"]
    if inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner):
        return ["is async; write it with a plain def (inside, asyncio.run() can be used)"]
    if inspect.isgeneratorfunction(inner):
        return ["is a generator; return a list instead of using yield"]
    return []


def _is_method(function: Callable[..., Any]) -> bool:
    owner, _, _ = getattr(function, "__qualname__", "").rpartition(".")
    return inspect.ismethod(function) or (
        inspect.isfunction(function) and owner != "" and not owner.endswith("<locals>")
    )


def _argument(parameter: inspect.Parameter, hint: Hint) -> Argument:
    name = parameter.name
    default = EMPTY if parameter.default is parameter.empty else parameter.default
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
        raise Mistake(
            f"a task takes no {stars}{name}; name each parameter (a decorator's wrapper needs functools.wraps)"
        )
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise Mistake("is positional-only, but tasks are called by keyword; remove the `/`")
    if hint.problem:
        raise Mistake(hint.problem)
    marker = _marker(name, hint, default)
    if isinstance(marker, RunDir) or (marker is None and name == "run_dir"):
        return _run_dir(name, hint)
    if hint.type is EMPTY and default is EMPTY:
        raise Mistake(
            "has neither annotation nor default; write Annotated[TYPE, Param()] or Annotated[TYPE, Result(step=...)]"
        )
    if marker is None and default is EMPTY:
        shown = describe(_schema(hint))
        raise Mistake(
            f"nothing gives it a value; write Annotated[{shown}, Param()], "
            f"Annotated[{shown}, Result(step=...)], or a default"
        )
    if hint.type is EMPTY:
        hint = Hint(type(default))
    schema, tp = _schema(hint), _none(hint.type)
    if isinstance(marker, Result):
        return Argument(name, Source.RESULT, tp, schema, marker, None, fingerprint_of(marker.fingerprint))
    encoded = None if default is EMPTY else _default(tp, schema, default)
    if marker is None:
        return Argument(name, Source.PLAIN, tp, schema, None, encoded)
    if marker.namespace not in ("global", "local"):
        raise Mistake(f"namespace={marker.namespace!r}; write 'global' or 'local'")
    return Argument(name, Source.PARAM, tp, schema, marker, encoded, fingerprint_of(marker.fingerprint))


def _marker(name: str, hint: Hint, default: Any) -> Param | Result | RunDir | None:
    """The one marker of a parameter; ``Param`` written without brackets counts."""
    found = [item() if item in MARKERS else item for item in hint.metadata if _is_marker(item)]
    if hint.type is RunDir or isinstance(default, RunDir) or default is RunDir:
        found.append(RunDir())
    if len({type(marker) for marker in found}) > 1 or (found and len(found) > 1 and not isinstance(found[0], RunDir)):
        raise Mistake("has more than one of Param, Result and RunDir")
    if _is_marker(hint.type) and hint.type is not RunDir:
        raise Mistake(f"a marker is no type; write Annotated[TYPE, {_spelled(hint.type)}]")
    if _is_marker(default) and not (isinstance(default, RunDir) or default is RunDir):
        raise Mistake(f"a marker is no default; write {name}: Annotated[TYPE, {_spelled(default)}]")
    if any(_is_marker(item) for item in inside(hint.type)):
        raise Mistake("its marker is inside the type; put Annotated outermost: Annotated[int | None, Param()]")
    return found[0] if found else None


def _is_marker(item: Any) -> bool:
    return isinstance(item, MARKERS) or (isinstance(item, type) and item in MARKERS)


def _spelled(marker: Any) -> str:
    return f"{marker.__name__ if isinstance(marker, type) else type(marker).__name__}(...)"


def _run_dir(name: str, hint: Hint) -> Argument:
    from pathlib import Path

    if hint.type not in (EMPTY, RunDir, Any, object) and _schema(hint) not in (schema_of(Path), schema_of(Path | None)):
        raise Mistake(f"is the run directory, a pathlib.Path; write {name}: RunDir")
    return Argument(name, Source.RUN_DIR, Path, schema_of(Path))


def _schema(hint: Hint) -> Schema:
    if hint.problem:
        raise Mistake(hint.problem)
    try:
        return schema_of(hint.type)
    except CodecError as error:
        raise Mistake(sentence(error)) from None


def _default(tp: Any, schema: Schema, default: Any) -> str:
    try:
        return codec_of(tp).encode(default).decode()
    except CodecError as error:
        wanted = f"; write {describe(schema)} | None" if default is None else ""
        raise Mistake(f"default {default!r} is no {describe(schema)}: {sentence(error)}{wanted}") from None


def _none(tp: Any) -> Any:
    return type(None) if tp is None else tp
