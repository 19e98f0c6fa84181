"""From what a file, a variable or an override says to a value of the key's type."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping

from ..errors import ConfigError, ReflowError, UsageError
from ..model.notice import occasions
from ..model.options import canonical
from ..model.signals import parse_signal
from ..model.task import JSON
from ..model.units import format_mem, format_time, parse_mem, parse_time
from .schema import RESOURCES, Key

_BOOLS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
_PLACEHOLDER = re.compile(r"\$(?:(\w+)|\{(\w+)\})|\{(\w*)\}", re.ASCII)
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
#: what each resource is, as a setting's type
RESOURCE_TYPES = {name: {"time": "time", "mem": "mem"}.get(name, "int") for name in RESOURCES}


class Wrong(ValueError):
    """A value that its key cannot take: what is wrong, as the end of a sentence, what would do, in which entry."""

    def __init__(self, message: str, hint: str | None = None, entry: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.entry = entry


class Place:
    """Where a value stands, as far as paths in it need to know.

    Parameters
    ----------
    base : str
        Directory that relative paths begin at.
    environ : mapping
        Variables for ``$NAME`` and ``~``.
    text : bool
        Whether values are text (a variable, an override) rather than TOML.
    """

    def __init__(self, base: str, environ: Mapping[str, str], *, text: bool) -> None:
        self.base = base
        self.environ = environ
        self.text = text


def suggest(name: str, known: Iterable[str]) -> str | None:
    """The name that was perhaps meant, as a hint."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), 1)
    return f"Did you mean {close[0]!r}?" if close else None


def expand(text: str, environ: Mapping[str, str], values: Mapping[str, str] | None = None) -> str:
    """Replace ``~`` at the head, ``$NAME`` anywhere, and ``{name}`` where `values` are given.

    Raises
    ------
    Wrong
        For a variable that is not set, or a name that has no value.
    """

    def fill(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name is None:
            if values is None:
                return match[0]
            if match[3] not in values:
                raise Wrong(f"holds {match[0]}; known are {', '.join(f'{{{known}}}' for known in values)}")
            return values[match[3]]
        if name in environ:
            return environ[name]
        if name == "USER":  # cron and some batch systems leave it out
            from getpass import getuser

            return getuser()
        raise Wrong(f"holds ${name}, which is not set")

    home = text == "~" or text.startswith("~/")
    filled = _PLACEHOLDER.sub(fill, text[1:] if home else text)
    if home:
        return (environ.get("HOME") or os.path.expanduser("~")) + filled
    return os.path.expanduser(filled) if text.startswith("~") else filled


def parse(key: Key, value: object, place: Place) -> JSON:
    """The value of a key.

    Parameters
    ----------
    key : Key
        What it is for. For a key that is a table the result holds one value an entry.
    value : object
        What TOML gave, or text.
    place : Place
        Where it stands.

    Raises
    ------
    Wrong
        Where it is of another type, out of range, or none of the choices.
    """
    if key.type not in _PARSERS:
        raise Wrong(f"is declared with the unknown type {key.type!r} by its plugin; use one of {', '.join(_PARSERS)}")
    result = _PARSERS[key.type](value, place)
    if key.choices:
        for one in result if isinstance(result, list) else [result]:
            if one not in key.choices:
                known = ", ".join(repr(choice) for choice in key.choices)
                raise Wrong(f"must be one of {known}, not {one!r}", suggest(str(one), key.choices))
    if key.minimum is not None and result < key.minimum:
        raise Wrong(f"must be at least {key.minimum}, not {result!r}")
    return result


def parse_entry(key: Key, entry: str, value: object) -> tuple[str, JSON]:
    """Name and value of one entry of a key that is a table."""
    return _option(entry, value) if key.type == "options" else _pair(entry, value)


def scalar(text: str) -> JSON:
    """A scheduler option given as text: true, false, none, a plain number, or the text itself."""
    word = text.strip().lower()
    if word in ("", "none", "null"):
        return None
    if word in ("true", "false"):
        return word == "true"
    # "007" is an account or a node name, not seven
    return int(word) if re.fullmatch(r"0|-?[1-9][0-9]{0,17}", word, re.ASCII) else text


def removes(value: object, *, text: bool = False) -> bool:
    """Whether a value takes away what a lower layer says: None, false, or one of these as text. 0 does not."""
    if text and isinstance(value, str):
        value = scalar(value)
    return value is None or value is False


def resource(name: str, value: object, *, text: bool = False) -> int | None:
    """A resource in bytes, seconds or pieces; None or False: not requested.

    Raises
    ------
    Wrong
        Where it cannot be read, or is not positive.
    """
    if removes(value, text=text):
        return None
    number: int = _PARSERS[RESOURCE_TYPES[name]](value, Place("/", {}, text=text))
    if number < (0 if name == "gpus" else 1):
        raise Wrong(f"must be at least {0 if name == 'gpus' else 1}, not {number}")
    return number


def show(kind: str, value: JSON) -> str:
    """A value as TOML would have it; "" for none."""
    if value is None:
        return ""
    if kind in ("mem", "time") and isinstance(value, int):
        value = format_mem(value) if kind == "mem" else format_time(value)
    return toml(value)


def toml(value: JSON) -> str:
    """A value as TOML text, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        from json import dumps

        # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
        return dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml_key(name)} = {toml(one)}" for name, one in value.items()) + "}"
    return "[" + ", ".join(toml(one) for one in value) + "]"


def toml_key(name: str) -> str:
    """A key as TOML text, quoted where it must be."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name, re.ASCII) else toml(name)


def words(text: str) -> list[str]:
    """The items of a list written as text: ``a, b``, or as JSON ``["a", "b"]``."""
    if text.lstrip().startswith("["):
        found = _json(text)
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise Wrong(f"must be a list of strings, not {text!r}")
        return found
    return [word.strip() for word in text.split(",") if word.strip()]


def _json(text: str) -> JSON:
    from json import loads

    try:
        return loads(text)
    except ValueError:
        raise Wrong(f"is no JSON: {text!r}") from None


def _refuse(what: str, value: object) -> Wrong:
    kinds = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "a table"}
    kind = kinds.get(type(value), type(value).__name__)
    return Wrong(f"must be {what}, not {kind}" + ("" if isinstance(value, (list, dict)) else f" ({value!r})"))


def _str(value: object, place: Place) -> str:
    if not isinstance(value, str):
        raise _refuse("a string", value)
    if "\0" in value:
        raise Wrong("must not hold a NUL character")
    # Bytes of a variable or an argument that are not UTF-8 arrive as lone surrogates; no file could hold them.
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise Wrong(f"is not UTF-8: {value!r}")
    return value


def _int(value: object, place: Place) -> int:
    if place.text and isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            raise _refuse("a whole number", value) from None
    if not isinstance(value, int) or isinstance(value, bool):
        raise _refuse("a whole number", value)
    return value


def _float(value: object, place: Place) -> float:
    if place.text and isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise _refuse("a number", value) from None
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _refuse("a number", value)
    number = float(value)
    if number - number != 0:
        raise Wrong(f"must be a finite number, not {number}")
    return number


def _bool(value: object, place: Place) -> bool:
    if place.text and isinstance(value, str) and value.strip().lower() in _BOOLS:
        return _BOOLS[value.strip().lower()]
    if not isinstance(value, bool):
        raise _refuse("true or false", value)
    return value


def _path(value: object, place: Place) -> str:
    """Expanded; a relative path begins where it is written, but a bare name stays: it is looked up on PATH."""
    path = expand(_str(value, place), place.environ)
    return os.path.normpath(os.path.join(place.base, path)) if "/" in path else path


def _directory(value: object, place: Place) -> str:
    path = expand(_str(value, place), place.environ)
    return os.path.normpath(os.path.join(place.base, path))


def _unit(parser: Callable[[str | int], int], what: str, value: object, place: Place) -> int:
    from datetime import time

    if isinstance(value, time):  # 02:00:00 without quotes is a time of day to TOML
        value = value.isoformat()
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise _refuse(what, value)
    try:
        return parser(value)
    except ReflowError as error:
        raise Wrong(error.message, error.hint) from None


def _mem(value: object, place: Place) -> int:
    return _unit(parse_mem, "an amount of memory such as '16G'", value, place)


def _time(value: object, place: Place) -> int:
    return _unit(parse_time, "a time such as '01:00:00' or '90s'", value, place)


def _strings(value: object, place: Place) -> list[str]:
    if isinstance(value, str):
        return words(value)
    if not isinstance(value, (list, tuple)):
        raise _refuse("a list of strings", value)
    return [_str(one, place) for one in value]


def _occasions(value: object, place: Place) -> list[str]:
    found = [word.upper() for word in _strings(value, place)]
    try:
        occasions(found)
    except ConfigError as error:
        raise Wrong(error.message, error.hint) from None
    return found


def _table(value: object, place: Place, entry: Callable[[str, object], tuple[str, JSON]]) -> dict[str, JSON]:
    if place.text and isinstance(value, str):
        if value.lstrip().startswith("{"):
            value = _json(value)
        else:
            value = dict(pair.partition("=")[::2] for pair in words(value))
            value = {name: scalar(text) if entry is _option else text for name, text in value.items()}
    if not isinstance(value, Mapping):
        raise _refuse("a table", value)
    found: dict[str, JSON] = {}
    for written, one in value.items():
        try:
            name, parsed = entry(written, one)
        except Wrong as wrong:
            raise Wrong(f"{written}: {wrong.message}", wrong.hint, written) from None
        if name in found:
            raise Wrong(f"sets {name} twice, by two of its names", f"Keep {name}.", written)
        found[name] = parsed
    return found


def _pair(name: str, value: object) -> tuple[str, JSON]:
    if not _ENV_NAME.fullmatch(name):
        raise Wrong(f"{name!r} is no name of an environment variable")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    return name, _str(value, _PLAIN)


def _option(name: str, value: object) -> tuple[str, JSON]:
    """An option under its canonical name; resources in bytes and seconds; False and None stay: they remove."""
    name = canonical(name)
    if not name:
        raise Wrong("holds an option without a name")
    if name in RESOURCES:
        return name, resource(name, value) if value is not False else False
    if isinstance(value, (list, tuple)):
        if not all(isinstance(one, (str, int, float)) for one in value):
            raise _refuse("a list of strings and numbers", value)
        return name, [_str(one, _PLAIN) if isinstance(one, str) else one for one in value]
    from datetime import time

    if isinstance(value, time):
        value = value.isoformat()
    if value is not None and not isinstance(value, (str, int, float)):
        raise _refuse("a string, a number, true, false or a list", value)
    if name == "signal" and value is not None and value is not False:
        try:
            return name, "{}@{}".format(*parse_signal(value))
        except UsageError as error:
            raise Wrong(f"{error.message}; {error.hint}") from None
    return name, _str(value, _PLAIN) if isinstance(value, str) else value


_PLAIN = Place("/", {}, text=False)
_PARSERS: Mapping[str, Callable[[object, Place], JSON]] = {
    "str": _str,
    "int": _int,
    "float": _float,
    "bool": _bool,
    "path": _path,
    "directory": _directory,
    "mem": _mem,
    "time": _time,
    "list[str]": _strings,
    "occasions": _occasions,
    "dict[str, str]": lambda value, place: _table(value, place, _pair),
    "options": lambda value, place: _table(value, place, _option),
}
TYPES: Collection[str] = _PARSERS.keys()
