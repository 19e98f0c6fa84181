"""What ``job(...)`` was given, read into a JobConfig."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from reflow.errors import UsageError
from reflow.model.options import ALIASES, MEANT, PORTABLE, canonical
from reflow.model.resources import Resources, parse_resource
from reflow.model.retry import Retry
from reflow.model.signals import parse_signal
from reflow.model.task import JSON, JobConfig

from .validate import Mistake, fingerprint_of, sentence, told

RESOURCES = Resources.__struct_fields__

#: what ``job(...)`` understands by itself; anything else is a scheduler's option
KEYWORDS = (
    *RESOURCES,
    "array",
    "array_parallelism",
    "after",
    "cache",
    "version",
    "verify",
    "fresh",
    "retries",
    "on_error",
    "max_failures",
    "submit_options",
    "native",
    "env",
    "modules",
    "setup",
    "fingerprint",
)

# Where a scheduler option is this close to one of our own keywords it is a slip of the pen: on an executor that
# has no options nobody would ever say so.
_NAMES = (*KEYWORDS, *PORTABLE, *ALIASES, *MEANT)


def job_config(given: Mapping[str, Any], tell: Callable[[str], None]) -> JobConfig:
    """Read the keywords of one ``job(...)``.

    Parameters
    ----------
    given : mapping
        Keywords as written.
    tell : callable
        Takes each mistake, a sentence.

    Returns
    -------
    JobConfig
        With what could be read.
    """
    fields: dict[str, Any] = {}
    for name, reader in _READERS.items():
        if given.get(name) is not None:  # None: not given
            with told(tell):
                fields[name] = reader(name, given[name])
    if "array_parallelism" in fields and not given.get("array"):
        tell("array_parallelism= is for array tasks; write array=True, or leave it out")
    if "max_failures" in fields and not given.get("array"):
        tell("max_failures= is for array tasks; write array=True, or leave it out")
    retry = fields.pop("retries", None)
    resources, options = _options(given, tell)
    return JobConfig(resources=resources, options=options, retry=retry, **fields)


def _options(given: Mapping[str, Any], tell: Callable[[str], None]) -> tuple[Resources, dict[str, JSON]]:
    """Resources, and scheduler options under their canonical names, from keywords and ``submit_options``."""
    resources: dict[str, int] = {}
    options: dict[str, JSON] = {}
    spelled: dict[str, tuple[str, object]] = {}
    extra = given.get("submit_options") or {}
    if not isinstance(extra, Mapping):
        tell(f"submit_options={extra!r} is not a mapping; write submit_options={{'name': value}}")
        extra = {}
    pairs = [(name, value) for name, value in given.items() if name in RESOURCES or name not in KEYWORDS]
    for name, value in [*pairs, *extra.items()]:
        key = canonical(name) if isinstance(name, str) else ""
        if not key:
            tell(f"submit_options: {name!r} is no option's name")
            continue
        if key in KEYWORDS and key not in RESOURCES:
            tell(f"submit_options: {name!r} is a keyword of job() itself; write {key}={value!r} there")
            continue
        if key in spelled and spelled[key][1] != value:
            tell(f"{name}={value!r} and {spelled[key][0]}={spelled[key][1]!r} are the same option; give it once")
            continue
        spelled[key] = (name, value)
        if key in RESOURCES:
            if value is None or value is False:
                options[key] = value  # whoever writes it takes back what configuration sets
                continue
            try:
                resources[key] = parse_resource(key, value)
            except UsageError as error:
                tell(sentence(error))
            continue
        meant = slip(key)
        if meant:
            tell(f"unknown keyword {name!r}{meant}")
        elif key == "signal" and value not in (None, False):
            try:
                options[key] = "{}@{}".format(*parse_signal(value))
            except UsageError as error:
                tell(sentence(error))
        elif not _plain(value):
            tell(f"option {name}={value!r} is not text, a number, True, False, None, or a list of these")
        else:
            options[key] = list(value) if isinstance(value, tuple) else value
    return Resources(**resources), options


def slip(key: str) -> str:
    """``"; did you mean 'mem'?"`` where a canonical name is so close to one of ours that no scheduler's is meant."""
    from difflib import SequenceMatcher

    if key in PORTABLE or key in KEYWORDS:
        return ""
    # Few mistype the first letter; Slurm's ntasks is meant as it stands.
    likeness = {name: SequenceMatcher(None, key, name).ratio() for name in _NAMES if key[:1] == name[0]}
    near = max(likeness, key=likeness.__getitem__, default="")
    return f"; did you mean {MEANT.get(near, near)!r}?" if near and likeness[near] > 0.85 else ""


def _plain(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(isinstance(item, (str, int, float)) for item in value)
    return value is None or isinstance(value, (str, int, float))


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise Mistake(f"{name}={value!r} is neither True nor False")
    return value


def _count(name: str, value: Any, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise Mistake(f"{name}={value!r} is not a whole number of at least {least}")
    return value


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        raise Mistake(f"{name}={value!r} is one text; write {name}=[{value!r}]")
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise Mistake(f"{name}={value!r} is not a list of texts")
    return tuple(value)


def _after(name: str, value: Any) -> tuple[str, ...]:
    for item in [value] if callable(value) else value if isinstance(value, (list, tuple)) else ():
        if callable(item):
            raise Mistake(f"{name}= takes the names of tasks; write {name}=[{getattr(item, '__name__', 'name')!r}]")
    return _texts(name, value)


def _cache(name: str, value: Any) -> bool | str:
    if value is not True and value is not False and value != "portable":
        raise Mistake(f"{name}={value!r}; write True, False or 'portable'")
    return value  # type: ignore[no-any-return]  # one of the three


def _version(name: str, value: Any) -> str:
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise Mistake(f"{name}={value!r} is neither text nor a whole number")
    return str(value)


def _retries(name: str, value: Any) -> Retry:
    if isinstance(value, Retry):
        problems = value.problems()
        if problems:
            raise Mistake(f"{name}: {'; '.join(problems)}")
        return value
    return Retry(max=_count(name, value, 0))


def _on_error(name: str, value: Any) -> str:
    if value not in ("continue", "stop"):
        raise Mistake(f"{name}={value!r}; write 'continue' or 'stop'")
    return str(value)


def _failures(name: str, value: Any) -> int | float:
    if isinstance(value, float) and 0 < value < 1:
        return value
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Mistake(f"{name}={value!r} is neither a whole number of at least 0 nor a share between 0 and 1")
    return value


def _env(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise Mistake(f"{name}={value!r} is not a mapping; write {name}={{'VARIABLE': 'value'}}")
    read = {}
    for key, item in value.items():
        if not isinstance(key, str) or not key or "=" in key or "\0" in key:
            raise Mistake(f"{name}: {key!r} is no variable's name")
        text = os.fspath(item) if isinstance(item, os.PathLike) else item
        if isinstance(text, (int, float)) and not isinstance(text, bool):
            text = str(text)
        if not isinstance(text, str) or "\0" in text:
            raise Mistake(f"{name}[{key!r}]={item!r} is not text")
        read[key] = text
    return read


def _setup(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise Mistake(f"{name}={value!r} is not text; join lines with '\\n'")
    return value


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "array": _flag,
    "array_parallelism": lambda name, value: _count(name, value, 1),
    "after": _after,
    "cache": _cache,
    "version": _version,
    "verify": _flag,
    "fresh": _flag,
    "retries": _retries,
    "on_error": _on_error,
    "max_failures": _failures,
    "native": _texts,
    "env": _env,
    "modules": _texts,
    "setup": _setup,
    "fingerprint": lambda _, value: fingerprint_of(value),
}
