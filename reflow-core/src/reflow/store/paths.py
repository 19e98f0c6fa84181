"""Where the user's store is, and how names become file names in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Protocol

from ..errors import ConfigError, UsageError
from ..model.digest import sha256
from ..worker.trust import Trust

#: environment variable that moves the store
VARIABLE = "REFLOW_STORE_PATH"

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
_LONGEST = 80


class StoreContext(Protocol):
    """What a cache backend needs of the context that ``create(settings, context)`` is given.

    A ``run_id`` may be there too, the run that publishes, and ``trusted`` and ``trusted_groups``, the owners whose
    files are believed and the groups that may write them.
    """

    @property
    def store(self) -> str:
        """Absolute path of the store."""
        ...


def run_of(context: StoreContext) -> str | None:
    """Tell which run publishes; None where the context names none (looking up only)."""
    return getattr(context, "run_id", None) or None


def trusted_of(context: StoreContext) -> Trust | None:
    """Who is believed; None where the context names nobody."""
    owners = getattr(context, "trusted", None)
    return Trust(frozenset(owners), frozenset(getattr(context, "trusted_groups", ()))) if owners else None


def store_path(environ: Mapping[str, str] | None = None, override: str | os.PathLike[str] | None = None) -> str:
    """Find the user's store.

    Parameters
    ----------
    environ : mapping of str to str, optional
        Environment variables; those of this process where not given.
    override : path-like, optional
        What the user named (``--store-path``, ``store_path=``); wins.

    Returns
    -------
    str
        Absolute path; the directory need not exist.

    Raises
    ------
    ConfigError
        Where it is no directory, or everybody may write in it: whoever can
        write into a cache decides what a pipeline's results are.
    """
    if override is not None:
        path, said = os.fspath(override), "the store path"
    elif found := (os.environ if environ is None else environ).get(VARIABLE):
        path, said = found, VARIABLE
    else:
        import platformdirs

        path, said = platformdirs.user_data_dir("reflow"), "the store"
    path = named(said, path)
    check_store(path, said)
    return path


def named(what: str, path: str | os.PathLike[str]) -> str:
    """Return the absolute path of what a user named; ``~`` is the home directory.

    Raises
    ------
    UsageError
        It is empty: that would be the working directory, which nobody means.
    """
    text = os.fspath(path)
    if not text:
        raise UsageError(f"{what} is an empty path", hint="a variable that is not set, perhaps? `.` is this directory")
    return os.path.abspath(os.path.expanduser(text))


def check_store(path: str, said: str = "the store") -> None:
    """Refuse a store that is no directory, or that everybody may write in.

    Parameters
    ----------
    path : str
        The store; one that is not there, or cannot be looked at, passes.
    said : str
        How the message names it.

    Raises
    ------
    ConfigError
        Where it is refused.
    """
    import stat

    try:
        mode = os.stat(path).st_mode
    except NotADirectoryError as error:
        raise ConfigError(f"{said}: {path} lies below a file", hint=f"set {VARIABLE} to a directory") from error
    except OSError:
        return
    if not stat.S_ISDIR(mode):
        raise ConfigError(f"{said}: {path} is not a directory", hint=f"set {VARIABLE} to a directory")
    if mode & stat.S_IWOTH:
        raise ConfigError(
            f"{said}: {path} is world-writable (mode {stat.S_IMODE(mode):04o}); anybody could plant results there",
            hint=f"chmod o-w {path}, or set {VARIABLE} to a directory of your own",
        )


def safe_name(name: str) -> str:
    """Make a file name of any text: the text itself where it is harmless, else cleaned and with a digest added."""
    if name and len(name) <= _LONGEST and not name.startswith(".") and _SAFE.issuperset(name):
        return name

    clean = "".join(c if c in _SAFE else "_" for c in name[: _LONGEST - 17]).lstrip(".")
    return f"{clean}-{sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
