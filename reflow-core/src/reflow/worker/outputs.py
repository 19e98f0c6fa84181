"""The files that a result names: they must be there, and what they are is recorded with it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from errno import ELOOP

from ..errors import ReflowError
from ..model.schema import escape, unescape
from .files import Fingerprints, Print
from .seal import SMALL, Places, Seal, small_content

#: seconds between further looks for a file that is not there: another host's work may be seen late
_PATIENCE = (0.1, 0.4, 1.0, 1.5)

#: seconds by which a file server's clock may be behind
_SKEW = 2.0

#: bytes of small files that are read of one result, at most
_READ = 16 << 20

_ABSENT = ("missing", f"unreadable:{ELOOP}")

#: input files whose symbolic links are followed to find out whether a result names one of them, at most
_FOLLOWED = 1000


class MissingOutput(ReflowError):
    """A result names a file that does not exist."""


class AmbiguousOutput(ReflowError):
    """A result names a file by a relative path that means another one where the task has gone."""


class Outputs:
    """Records the files that results of one job name.

    Parameters
    ----------
    cwd : str
        The directory that relative paths are relative to.
    run_dir : str
        The run directory: it is nobody's own work.
    policy : str
        ``stat`` or ``content``.
    common : mapping
        The fingerprints of files in the values that all elements share, as inputs files have them.
    """

    def __init__(self, cwd: str, run_dir: str, policy: str, common: Mapping[str, str]) -> None:
        self._cwd = cwd
        self._run_dir = run_dir
        self._policy = policy
        self._common = common
        self._places: frozenset[str] | None = None
        #: of one element: the places of its own input files, and how many bytes may still be read
        self._own_places: frozenset[str] | None = None
        self._links = Places()
        self._budget = _READ

    def record(
        self,
        named: Sequence[tuple[str, bool]],
        own: Collection[str],
        inputs: Mapping[str, str],
        begin: float,
    ) -> dict[str, str]:
        """Look at the files that one result names.

        Parameters
        ----------
        named : sequence of (str, bool)
            Paths, and whether each is given as a `Path`.
        own : collection of str
            Those of them that no other element may name.
        inputs : mapping
            The fingerprints of files in the element's own values.
        begin : float
            When the element began.

        Returns
        -------
        dict of str to str
            Absolute path -> seal.

        Raises
        ------
        MissingOutput
            One that is given as a `Path` does not exist, although it was looked for again.
        AmbiguousOutput
            One names another file seen from where the task has left its working directory.
        """
        self._check_directory([name for name, declared in named if declared and not os.path.isabs(name)])
        fingerprints = Fingerprints(self._policy, named=True)
        found: dict[str, Print] = {}
        for name, declared in named:
            path = os.path.join(self._cwd, name)
            taken = fingerprints.output(path, declared)
            if taken is not None:
                found[path] = taken
        absent = [path for path, taken in found.items() if taken.digest in _ABSENT]
        if absent:
            found |= _look_again(absent, lambda path: fingerprints.output(path) or Print("missing"), self._cwd)
        self._own_places = None
        self._links = Places()
        self._budget = _READ
        marks = {os.path.join(self._cwd, name): "*" for name, declared in named if declared}
        marks |= {os.path.join(self._cwd, name): "=" for name in own}
        return {
            escape(path): str(self._seal(path, taken, inputs, begin, marks.get(path, "~")))
            for path, taken in found.items()
        }

    def _seal(self, path: str, taken: Print, inputs: Mapping[str, str], begin: float, mark: str) -> Seal:
        if taken.digest.partition(":")[0] not in ("stat", "content", "dir", "tree"):
            return Seal(taken.digest)  # a device, say: nobody's work
        content = ""
        if taken.digest.startswith("stat:"):
            size = int(taken.digest.split(":")[1])
            if size <= min(SMALL, self._budget):
                self._budget -= size
                content = small_content(path, taken.digest)
        place = self._links.of(path)
        if mark != "~" and self._given(path, place, inputs, begin):
            mark = "~"
        elif mark == "=" and _written(path) < begin - _SKEW:
            mark = "+"
        return Seal(taken.digest, taken.changed, place, mark, content)

    def _given(self, path: str, place: str, inputs: Mapping[str, str], begin: float) -> bool:
        """Whether the element was given a file that its result names.

        What lies in a directory that it was given counts where the element has not written it.
        """
        name = escape(path)
        if name in inputs or name in self._common:
            return True
        if self._places is None:
            known = self._common if len(self._common) <= _FOLLOWED else ()
            self._places = frozenset(self._links.of(unescape(one)) for one in (*known, self._run_dir))
        if self._own_places is None:
            known = inputs if len(inputs) <= _FOLLOWED else ()
            self._own_places = frozenset(self._links.of(unescape(one)) for one in known)
        if place in self._places or place in self._own_places:
            return True
        parent = os.path.dirname(path) if inputs or self._common else ""
        while len(parent) > 1:
            name = escape(parent)
            digest = inputs.get(name) or self._common.get(name)
            if digest is not None and digest.startswith(("dir:", "tree:")):
                return _written(path) < begin
            parent = os.path.dirname(parent)
        return False

    def _check_directory(self, relative: Sequence[str]) -> None:
        """Refuse relative paths that mean one file here, and another one where the task has gone."""
        if not relative:
            return
        try:
            there = os.getcwd()
        except OSError:  # it is gone
            return
        if there == self._cwd:
            return
        for name in relative:
            meant = os.path.join(there, name)
            if os.path.exists(meant) and not _same(meant, os.path.join(self._cwd, name)):
                raise AmbiguousOutput(
                    f"it returned the relative path {name}, and left the working directory {self._cwd} for {there}",
                    hint="return an absolute path: relative ones are read from the directory of submission",
                )


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _written(path: str) -> float:
    """When a file, or what is in a directory, was last written, whatever time stamp was set."""
    try:
        return os.stat(path).st_ctime
    except OSError:
        return 0.0


def _look_again(absent: Sequence[str], look: Callable[[str], Print], cwd: str) -> dict[str, Print]:
    """Look for files again, for some seconds."""
    found: dict[str, Print] = {}
    for pause in _PATIENCE:
        time.sleep(pause)
        for parent in {os.path.dirname(path) for path in absent}:
            try:
                os.listdir(parent)  # asks the file server, where what is known of a name may be old
            except OSError:
                continue
        found |= {path: look(path) for path in absent if path not in found or found[path].digest in _ABSENT}
        if not any(taken.digest in _ABSENT for taken in found.values()):
            return found
    left = [path for path in absent if found[path].digest in _ABSENT]
    others = len(left) - 1
    more = f" (nor do {others} others)" if others > 1 else " (nor does another one)" if others else ""
    raise MissingOutput(
        f"it returned {left[0]}, which does not exist{more}",
        hint=f"relative paths are read from {cwd}; a task that may write none returns Path | None, "
        "and a path that names no file yet is a str",
    )
