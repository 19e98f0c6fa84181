"""The table of what an element can change of its process, and how each row of it is put back.

A row reads something as a value that compares by `==`, and puts such a value back. Rows of modules that are not
loaded read None; nothing is imported for them. A row that cannot be put back makes the worker retire.
"""

from __future__ import annotations

import _thread
import builtins
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter, eq
from typing import Any, NamedTuple

#: signals whose handlers a task may change, for itself alone
_SIGNALS = tuple(
    int(number) for number in sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}) if number < 32
)

# The functions of `signal` make members of an Enum of what they return, at many times the cost.
_signal: Any = sys.modules.get("_signal", signal)

_LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})

Merge = Callable[[Any, Any, Any], Any]


def _take(base: Any, before: Any, after: Any) -> Any:
    """Take what an import has left, as it is."""
    return after


def merge_items(base: Mapping[Any, Any], before: Mapping[Any, Any], after: Mapping[Any, Any]) -> dict[Any, Any]:
    """Apply to `base` the difference between two mappings."""
    merged = {key: value for key, value in base.items() if key in after or key not in before}
    merged.update({key: value for key, value in after.items() if key not in before or before[key] != value})
    return merged


def merge_order(base: Sequence[Any], before: Sequence[Any], after: Sequence[Any]) -> list[Any]:
    """Apply to `base` what was put in front of a sequence, or behind it."""
    base, before, after = list(base), list(before), list(after)
    if not before or base == before:
        return after
    for start in range(len(after) - len(before) + 1):
        if after[start : start + len(before)] == before:
            return after[:start] + base + after[start + len(before) :]
    return after


class Row(NamedTuple):
    """One thing that an element can change.

    Attributes
    ----------
    name : str
        What it is.
    read : callable
        Gives it as it is now; None where the module that keeps it is not loaded.
    put : callable
        Makes it what `read` gave; raises where that is not possible.
    early : bool
        Whether it is put back as soon as the task's function has ended: what follows may fail by it.
    matters : str
        Of which modules what they do on import may depend on it: "all", "own" (the user's) or "".
    merge : callable
        Gives a new base of the base, and of what was read before and after an import.
    keep : callable
        Makes of what was read something that does not change with it.
    same : callable
        Compares what is kept with what is read.
    """

    name: str
    read: Callable[[], Any]
    put: Callable[[Any], object]
    early: bool = False
    matters: str = ""
    merge: Merge = _take
    keep: Callable[[Any], Any] = lambda value: value
    same: Callable[[Any, Any], bool] = eq


# --- the operating system's -----------------------------------------------------------------------------------------


def _read_limits() -> list[tuple[int, int]]:
    return list(map(resource.getrlimit, _LIMITS))


def _put_limits(base: list[tuple[int, int]]) -> None:
    for which, pair in zip(_LIMITS, base, strict=True):
        if resource.getrlimit(which) != pair:
            resource.setrlimit(which, pair)


def _put_handlers(base: list[Any]) -> None:
    for number, handler in zip(_SIGNALS, base, strict=True):
        if handler is not None and _signal.getsignal(number) != handler:
            signal.signal(number, handler)


def _merge_handlers(base: list[Any], before: list[Any], after: list[Any]) -> list[Any]:
    return [old if was == now else now for old, was, now in zip(base, before, after, strict=True)]


def _read_umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _read_directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it is gone
        return None


def _put_directory(base: str | None) -> None:
    if base is not None:
        os.chdir(base)


def _put_environment(base: dict[bytes, bytes]) -> None:
    zone = os.environ._data.get(b"TZ")  # type: ignore[attr-defined]
    os.environ.clear()
    os.environ.update({os.fsdecode(name): os.fsdecode(value) for name, value in base.items()})
    if zone != base.get(b"TZ"):
        time.tzset()  # the C library may have read it, whatever Python shows


def _read_zone() -> object:
    return time.tzname, time.timezone, time.altzone, time.localtime(0)


def _read_locale() -> str | None:
    module = sys.modules.get("_locale")
    return None if module is None else str(module.setlocale(module.LC_ALL, None))


def _put_locale(base: str) -> None:
    module = sys.modules["_locale"]
    module.setlocale(module.LC_ALL, base)


# --- the interpreter's ----------------------------------------------------------------------------------------------


def _merge_lists(base: Sequence[Any], before: Sequence[Any], after: Sequence[Any]) -> list[Any]:
    return [merge_order(*each) for each in zip(base, before, after, strict=True)]


def _list_row(name: str, *, matters: str) -> Row:
    def put(base: list[Any]) -> None:
        now = getattr(sys, name)
        if type(now) is list:
            now[:] = base
        else:
            setattr(sys, name, list(base))

    return Row(
        f"sys.{name}",
        lambda: getattr(sys, name),
        put,
        matters=matters,
        merge=merge_order,
        keep=list,
    )


def _fields(*names: tuple[str, str]) -> tuple[Callable[[], list[Any]], Callable[[list[Any]], None]]:
    """Read and put attributes of modules; of those that are not loaded they are None."""

    def read() -> list[Any]:
        return [getattr(sys.modules.get(module), name, None) for module, name in names]

    def put(base: list[Any]) -> None:
        for (module, name), value in zip(names, base, strict=True):
            if module in sys.modules and getattr(sys.modules[module], name, None) is not value:
                setattr(sys.modules[module], name, value)

    return read, put


def _read_settings() -> list[Any]:
    digits = getattr(sys, "get_int_max_str_digits", None)
    return [
        sys.getrecursionlimit(),
        sys.getswitchinterval(),
        sys.getdlopenflags(),
        sys.dont_write_bytecode,
        digits() if digits is not None else None,
        _thread.stack_size(),
    ]


def _put_settings(base: list[Any]) -> None:
    recursion, interval, flags, bytecode, digits, stack = base
    sys.setrecursionlimit(recursion)
    sys.setswitchinterval(interval)
    sys.setdlopenflags(flags)
    sys.dont_write_bytecode = bytecode
    _thread.stack_size(stack)
    if digits is not None:
        getattr(sys, "set_int_max_str_digits")(digits)  # noqa: B009  # Python 3.10 lacks it in its first releases


def _read_traces() -> list[Any]:
    threading = sys.modules.get("threading")
    of_threads = [getattr(threading, name, None) for name in ("_trace_hook", "_profile_hook")]
    return [sys.gettrace(), sys.getprofile(), *of_threads]


def _put_traces(base: list[Any]) -> None:
    trace, profile, of_threads, profile_of_threads = base
    sys.settrace(trace)
    sys.setprofile(profile)
    threading = sys.modules.get("threading")
    if threading is not None:
        threading.settrace(of_threads)
        threading.setprofile(profile_of_threads)


def _read_garbage() -> list[Any]:
    return [gc.isenabled(), gc.get_threshold(), gc.get_debug()]


def _put_garbage(base: list[Any]) -> None:
    (gc.enable if base[0] else gc.disable)()
    gc.set_threshold(*base[1])
    gc.set_debug(base[2])


_STREAM = ("encoding", "errors", "line_buffering", "write_through")


def _read_streams() -> list[Any]:
    settings = [[getattr(stream, name, None) for name in _STREAM] for stream in (sys.stdout, sys.stderr)]
    return [sys.stdin, *settings]


def _put_streams(base: list[Any]) -> None:
    sys.stdin = base[0]
    for stream, settings in zip((sys.stdout, sys.stderr), base[1:], strict=True):
        if [getattr(stream, name, None) for name in _STREAM] != settings:
            stream.reconfigure(**dict(zip(_STREAM, settings, strict=True)))  # type: ignore[union-attr]


def _put_builtins(base: dict[str, Any]) -> None:
    now = vars(builtins)
    for name in [name for name in now if name not in base]:
        del now[name]
    now.update(base)


# --- of modules that may be loaded ----------------------------------------------------------------------------------

_FRESH_LOGGER: tuple[Any, ...] = (0, True, False, [], [])


class _Loggers:
    """All loggers; found anew only where there are others than before."""

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._found: list[Any] = []

    def __call__(self) -> list[Any]:
        logging = sys.modules["logging"]
        values = list(logging.root.manager.loggerDict.values())
        if not self._found or values != self._values:
            self._values = values
            self._found = [logging.root, *[one for one in values if type(one) is not logging.PlaceHolder]]
        return self._found


_loggers = _Loggers()


def _read_logging() -> list[Any] | None:
    """Read loggers by columns: with hundreds of them that is many times as fast as by rows."""
    if "logging" not in sys.modules:
        return None
    every = _loggers()
    return [
        sys.modules["logging"].root.manager.disable,
        every,
        [one.level for one in every],
        [one.propagate for one in every],
        [one.disabled for one in every],
        [one.handlers for one in every],
        [one.filters for one in every],
    ]


def _keep_logging(read: list[Any] | None) -> list[Any] | None:
    if read is None:
        return None
    *fields, handlers, filters = read
    return [*fields, [one[:] for one in handlers], [one[:] for one in filters]]


def _by_logger(read: list[Any]) -> dict[int, tuple[Any, ...]]:
    return dict(zip(map(id, read[1]), zip(*read[2:], strict=True), strict=True))


def _put_logging(base: list[Any]) -> None:
    logging = sys.modules["logging"]
    if logging.root.manager.disable != base[0]:
        logging.disable(base[0])
    known = _by_logger(base)
    for logger in _loggers():
        level, propagate, disabled, handlers, filters = known.get(id(logger), _FRESH_LOGGER)
        if logger.level != level:
            logger.setLevel(level)  # it empties caches, too
        logger.propagate, logger.disabled = propagate, disabled
        if logger.handlers != handlers:
            for handler in [one for one in logger.handlers if one not in handlers]:
                _close_handler(handler)
            logger.handlers[:] = handlers
        logger.filters[:] = filters


def _read_levels() -> dict[int, str] | None:
    logging: Any = sys.modules.get("logging")
    return None if logging is None else logging._levelToName


def _put_levels(base: dict[int, str]) -> None:
    logging: Any = sys.modules["logging"]
    for name in [name for name, level in logging._nameToLevel.items() if level not in base]:
        del logging._nameToLevel[name]
    logging._levelToName.clear()
    logging._levelToName.update(base)


def _merge_levels(base: Any, before: Any, after: Any) -> Any:
    return after if base is None or before is None else merge_items(base, before, after)


def _close_handler(handler: Any) -> None:
    """Close the file of a handler that goes; a stream that it was given is its owner's."""
    if hasattr(handler, "baseFilename"):
        try:
            handler.close()
        except Exception:  # it goes, whatever is wrong with it
            pass


def _merge_logging(base: list[Any] | None, before: list[Any] | None, after: list[Any]) -> list[Any]:
    if base is None or before is None:
        return after
    loggers = {id(one): one for one in (*base[1], *after[1])}
    merged = merge_items(*map(_by_logger, (base, before, after)))
    columns = map(list, zip(*merged.values(), strict=True))
    return [base[0] if before[0] == after[0] else after[0], [loggers[key] for key in merged], *columns]


def _same_logging(kept: list[Any] | None, read: list[Any] | None) -> bool:
    if kept == read:
        return True
    if kept is None or read is None or kept[0] != read[0]:
        return False
    known = _by_logger(kept)  # a logger that was made and not changed is as good as none
    if not all(known.get(key, _FRESH_LOGGER) == fields for key, fields in _by_logger(read).items()):
        return False
    kept[:] = _keep_logging(read) or kept  # so that the next comparison is the quick one
    return True


def _read_warnings() -> list[Any] | None:
    module: Any = sys.modules.get("warnings")
    if module is None:
        return None
    return [module.filters, module.showwarning, module.formatwarning]


def _put_warnings(base: list[Any]) -> None:
    module: Any = sys.modules["warnings"]
    module.resetwarnings()  # so that what is remembered of the filters is forgotten
    module.filters[:] = base[0]
    module.showwarning, module.formatwarning = base[1:]


def _merge_warnings(base: list[Any] | None, before: list[Any] | None, after: list[Any]) -> list[Any]:
    if base is None or before is None:
        return after
    functions = [old if was is now else now for old, was, now in zip(base[1:], before[1:], after[1:], strict=True)]
    return [merge_order(base[0], before[0], after[0]), *functions]


def _read_decimal() -> Any:
    module = sys.modules.get("decimal")
    return None if module is None else getattr(module, "getcontext", lambda: None)()


def _same_decimal(kept: Any, now: Any) -> bool:
    if kept is None or now is None:
        return kept is now
    return all(map(eq, _of_decimal(kept), _of_decimal(now)))


_of_decimal = attrgetter("prec", "rounding", "Emin", "Emax", "capitals", "clamp", "flags", "traps")


def _call(module: str, name: str) -> Any:
    """Call a function of a module, where that is loaded and has it."""
    function = getattr(sys.modules.get(module), name, None)
    return None if function is None else function()


def _put_numpy(base: list[Any]) -> None:
    numpy = sys.modules["numpy"]
    errors, printing = base
    numpy.seterr(**errors)
    numpy.set_printoptions(**{name: value for name, value in printing.items() if name != "override_repr"})


def _read_numpy() -> list[Any] | None:
    numpy = sys.modules.get("numpy")
    if getattr(numpy, "geterr", None) is None or getattr(numpy, "get_printoptions", None) is None:
        return None
    assert numpy is not None
    return [numpy.geterr(), numpy.get_printoptions()]


_hooks, _put_hooks = _fields(
    ("sys", "excepthook"),
    ("sys", "displayhook"),
    ("sys", "unraisablehook"),
    ("sys", "breakpointhook"),
    ("sys", "tracebacklimit"),
    ("threading", "excepthook"),
)
_classes, _put_classes = _fields(
    ("logging", "_loggerClass"),
    ("logging", "_logRecordFactory"),
    ("asyncio.events", "_event_loop_policy"),
)
_directories, _put_directories = _fields(("tempfile", "tempdir"))

TABLE: tuple[Row, ...] = (
    Row("resource limits", _read_limits, _put_limits, early=True),
    Row(
        "signal handlers",
        lambda: list(map(_signal.getsignal, _SIGNALS)),
        _put_handlers,
        early=True,
        merge=_merge_handlers,
    ),
    Row(
        "signal mask",
        lambda: _signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        lambda base: signal.pthread_sigmask(signal.SIG_SETMASK, base),
        early=True,
    ),
    Row("trace and profile functions", _read_traces, _put_traces, early=True),
    Row(
        "niceness",
        lambda: os.getpriority(os.PRIO_PROCESS, 0),
        lambda base: os.setpriority(os.PRIO_PROCESS, 0, base),
    ),
    Row(
        "affinity",
        lambda: os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None,
        lambda base: os.sched_setaffinity(0, base),
        matters="all",
    ),
    Row("umask", _read_umask, os.umask),
    Row("working directory", _read_directory, _put_directory, matters="own"),
    Row(
        "environment",
        lambda: os.environ._data,  # type: ignore[attr-defined]  # compared without decoding all of it
        _put_environment,
        matters="all",
        merge=merge_items,
        keep=dict,
    ),
    Row("time zone", _read_zone, lambda base: time.tzset(), matters="all"),
    Row("locale", _read_locale, _put_locale, matters="all"),
    Row("logging", _read_logging, _put_logging, merge=_merge_logging, keep=_keep_logging, same=_same_logging),
    Row(
        "warnings",
        _read_warnings,
        _put_warnings,
        merge=_merge_warnings,
        keep=lambda read: read and [read[0][:], *read[1:]],
    ),
    Row(
        "decimal context",
        _read_decimal,
        lambda base: sys.modules["decimal"].setcontext(base.copy()),
        matters="own",
        keep=lambda context: context and context.copy(),
        same=_same_decimal,
    ),
    Row(
        "socket time-out",
        lambda: [_call("_socket", "getdefaulttimeout")],
        lambda base: sys.modules["_socket"].setdefaulttimeout(base[0]),
    ),
    Row("interpreter settings", _read_settings, _put_settings),
    _list_row("path", matters="all"),
    _list_row("argv", matters="own"),
    _list_row("meta_path", matters="all"),
    _list_row("path_hooks", matters="all"),
    Row("standard streams", _read_streams, _put_streams),
    Row("hooks", _hooks, _put_hooks, merge=_merge_handlers),
    Row("classes of loggers and event loops", _classes, _put_classes, merge=_merge_handlers),
    Row(
        "names of logging levels",
        _read_levels,
        _put_levels,
        merge=_merge_levels,
        keep=lambda read: read and dict(read),
    ),
    Row("tempfile.tempdir", _directories, _put_directories),
    Row("garbage collector", _read_garbage, _put_garbage),
    Row("builtins", lambda: vars(builtins), _put_builtins, matters="own", merge=merge_items, keep=dict),
    Row("numpy", _read_numpy, _put_numpy),
)


class Base:
    """What each row of the table is to be after an element.

    Parameters
    ----------
    table : sequence of Row
        The rows.
    """

    def __init__(self, table: Iterable[Row] = TABLE) -> None:
        self._table = tuple(table)
        self._kept: dict[str, Any] = {}
        #: names of rows that differ and could not be put back
        self.stuck: list[str] = []
        self.take()

    def take(self) -> None:
        """Take all as it is now."""
        self._kept = self.read()

    def read(self) -> dict[str, Any]:
        """Read all rows."""
        return {row.name: row.keep(row.read()) for row in self._table}

    def changed(self, matters: str = "") -> list[str]:
        """Return names of the rows that differ; of those alone that imports of `matters` modules may depend on."""
        wanted = {"": ("", "own", "all"), "own": ("own", "all"), "all": ("all",)}[matters]
        return [
            row.name for row in self._table if row.matters in wanted and not row.same(self._kept[row.name], row.read())
        ]

    def put_back(self, *, early: bool) -> None:
        """Put back the rows that differ, the early ones or the others."""
        kept = self._kept
        for row in self._table:
            if row.early is not early or row.same(kept[row.name], row.read()):
                continue
            name = row.name
            if kept[name] is None:  # its module was loaded by a way of its own
                kept[name] = row.keep(row.read())
                continue
            try:
                row.put(kept[name])
            except Exception:
                self.stuck.append(name)
                continue
            if not row.same(kept[name], row.read()):
                self.stuck.append(name)

    def absorb(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Take over what an import has changed between two readings of all rows."""
        for row in self._table:
            was, now = before[row.name], after[row.name]
            if was != now if row.same is eq else not row.same(was, now):
                self._kept[row.name] = row.merge(self._kept[row.name], was, now)
