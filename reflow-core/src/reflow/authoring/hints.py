"""What a function's annotations mean: every name resolved, aliases opened, markers taken off."""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from ..model.schema import Shared
from .flow import unwrap

if TYPE_CHECKING:
    import inspect


class EMPTY:
    """Stands where there is no annotation, or no default."""


class Hint(msgspec.Struct, frozen=True):
    """One annotation.

    Attributes
    ----------
    type : object
        The bare type, `EMPTY` where there is no annotation.
    metadata : tuple
        What ``Annotated`` carried, outermost alias first.
    problem : str
        Why it could not be resolved, and what to do; empty where it could.
    """

    type: Any = EMPTY
    metadata: tuple[Any, ...] = ()
    problem: str = ""


def resolve(function: Callable[..., Any], names: Mapping[str, Any]) -> dict[str, Hint]:
    """Resolve each annotation of a function by itself, so that all that fail are told.

    Parameters
    ----------
    function : callable
        A function written with ``def``, perhaps wrapped by `functools.wraps`.
    names : mapping
        Names that its module does not have: those of the function around it.

    Returns
    -------
    dict
        Parameter name (and ``"return"``) -> Hint.
    """
    inner = unwrap(function)
    scope = {**inner.__globals__}
    for name, cell in zip(inner.__code__.co_freevars, inner.__closure__ or (), strict=True):
        with suppress(ValueError):  # not assigned yet
            scope[name] = cell.cell_contents
    scope.update(names)
    return {name: _hint(inner, annotation, scope) for name, annotation in written(inner).items()}


def written(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Return a function's annotations as they were written; what has no value yet is a forward reference.

    Python 3.14 evaluates all annotations of a function together when it is asked for them, and raises where one
    of them cannot be evaluated.
    """
    try:
        return function.__annotations__
    except Exception:
        if sys.version_info >= (3, 14):
            import annotationlib

            return annotationlib.get_annotations(function, format=annotationlib.Format.FORWARDREF)
        raise


def strip(tp: Any) -> tuple[Any, tuple[Any, ...]]:
    """Take ``Annotated`` and type aliases off a type's outside; gives the type and the metadata."""
    metadata: list[Any] = []
    while True:
        origin = getattr(tp, "__origin__", None)
        if typing.get_origin(tp) is typing.Annotated:
            metadata.extend(tp.__metadata__)
            tp = origin
        elif _is_alias(tp):
            tp = tp.__value__
        elif _is_alias(origin):
            tp = _substitute(origin, tp.__args__)
        else:
            return tp, tuple(metadata)


def inside(tp: Any) -> list[Any]:
    """Metadata of every ``Annotated`` below a type's outside, where no marker belongs."""
    found: list[Any] = []
    for arg in typing.get_args(tp):
        bare, metadata = strip(arg)
        found += [*metadata, *inside(bare)]
    return found


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return a function's parameters, whether or not its annotations can be evaluated."""
    import inspect

    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return list(inspect.signature(function, annotation_format=Format.FORWARDREF).parameters.values())
    return list(inspect.signature(function).parameters.values())


class _Holder:
    """Carries one annotation to `typing.get_type_hints`, which accepts whatever has ``__annotations__``."""

    def __init__(self, annotation: object) -> None:
        self.__annotations__ = {"it": annotation}


def _hint(function: Callable[..., Any], annotation: Any, scope: dict[str, Any]) -> Hint:
    try:
        tp = typing.get_type_hints(_Holder(annotation), scope, None, include_extras=True)["it"]
        bare, metadata = strip(tp)
        if any(item is Shared or isinstance(item, Shared) for item in metadata):
            bare = typing.Annotated[bare, Shared()]  # a part of the type's meaning, unlike markers
        return Hint(bare, metadata)
    except NameError as error:
        return Hint(problem=_unknown(error, function, scope))
    except Exception as error:  # whatever an annotation does when it is evaluated
        text = annotation if isinstance(annotation, str) else repr(annotation)
        return Hint(problem=f"annotation {text!r} cannot be resolved: {type(error).__name__}: {error}")


def _unknown(error: NameError, function: Callable[..., Any], scope: Mapping[str, Any]) -> str:
    import builtins
    import linecache
    import re

    from reflow.model.names import did_you_mean

    name = error.name or re.sub(r"^name '(.*?)'.*", r"\1", str(error))
    source = "".join(linecache.getlines(function.__code__.co_filename, getattr(function, "__globals__", None)))
    if "TYPE_CHECKING" in source and re.search(rf"^\s+(from|import)\s.*\b{re.escape(name)}\b", source, re.MULTILINE):
        return (
            f"annotation names {name!r}, which is imported for type checkers alone; "
            "import it outside of `if TYPE_CHECKING:`, since values are read by their annotations"
        )
    types = [word for word, value in vars(builtins).items() if isinstance(value, type)]
    close = did_you_mean(name, [*scope, *types, *typing.__all__])
    return f"annotation names {name!r}, which is not defined{close or '; define or import it before the task'}"


def _is_alias(tp: Any) -> bool:
    """Whether it is a ``type X = ...`` alias, of `typing` or of `typing_extensions`."""
    return type(tp).__name__ == "TypeAliasType"


def _substitute(alias: Any, args: tuple[Any, ...]) -> Any:
    """``Pair[int]`` of ``type Pair[T] = tuple[T, T]``: the alias's value with its parameters replaced."""
    given = dict(zip(alias.__type_params__, args, strict=True))
    value = alias.__value__
    if isinstance(value, typing.TypeVar):
        return given[value]
    return value[tuple(given[parameter] for parameter in value.__parameters__)]
