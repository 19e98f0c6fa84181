"""The registry: which runs there are, and where. One small file a run, ``STORE/runs/RUN_ID.json``."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property

import msgspec

from ..errors import DataError, RunNotFound, Untrusted, UsageError
from ..worker.durable import beside, create, make_directories, sync_directory
from ..worker.opener import decoded, read_regular
from ..worker.trust import Trust, trust, user_name

FORMAT = 1
LATEST = "latest"

_SUFFIX = ".json"
_SHOWN = 10
#: entries whose age is looked at, where a few of the newest are wanted
_DATED = 200
#: characters of a workflow's name that are certainly in its runs' ids
_NAMED = 40

#: bytes of an entry, at most
_MOST = 1 << 20

REPAIR = "name the run by its run directory; `reflow repair --registry RUN_DIR` enters it again"


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry keeps of a run.

    Attributes
    ----------
    run_id, workflow : str
        Names.
    run_dir : str
        Absolute path of the run directory.
    created : float
        Seconds since the epoch.
    user, host : str
        Who created it, where.
    script : str
        Absolute path of the script that defines the workflow; "" where there is none.
    format : int
        Version of this record's layout.
    """

    run_id: str
    workflow: str
    run_dir: str
    created: float
    user: str = ""
    host: str = ""
    script: str = ""
    format: int = FORMAT

    @property
    def gone(self) -> bool:
        """Whether the run's data are no longer in its run directory."""
        return not os.path.isdir(os.path.join(self.run_dir, ".reflow", self.run_id))

    def is_of(self, workflow: str) -> bool:
        """Whether it is a run of this workflow."""
        return self.workflow == workflow


class Unread(RunRecord, frozen=True, kw_only=True):
    """Stands for an entry that cannot be used: its ``run_dir`` is its file.

    Attributes
    ----------
    why : str
        What it is: "damaged", say, or "not trusted, owned by NAME".
    """

    why: str = "damaged"

    @property
    def gone(self) -> bool:
        """Nobody can tell."""
        return False

    def is_of(self, workflow: str) -> bool:
        """Whether its id looks so: it begins with the workflow's name, cut, where that needs no other spelling."""
        return self.run_id.startswith(workflow[:_NAMED])


class _Version(msgspec.Struct):
    format: int = FORMAT


_record = msgspec.json.Decoder(RunRecord)
_version = msgspec.json.Decoder(_Version)


class Registry:
    """The runs of one store.

    Parameters
    ----------
    store : path-like
        The store's directory; created by the first `add`.
    policy : callable, optional
        Returns who is believed beside this user, root and the owner of the registry's directory, who decides what is
        in it. It is called where an entry of somebody else is read.

    Attributes
    ----------
    unread : dict of str to str
        Runs newer than the one that `find` last took for the latest, whose entries cannot be used, and why.
    """

    def __init__(self, store: str | os.PathLike[str], policy: Callable[[], Trust] = trust) -> None:
        self.store = os.fspath(store)
        self.directory = os.path.join(self.store, "runs")
        self.unread: dict[str, str] = {}
        self._policy = policy

    def add(self, record: RunRecord, *, replace: bool = False) -> None:
        """Enter a run, durably; entering the same record again changes nothing.

        Parameters
        ----------
        record : RunRecord
            The run.
        replace : bool
            Whether another record of that id is replaced (for repair).

        Raises
        ------
        FileExistsError
            Where another run has this id; take another one.
        UsageError
            Where the run id cannot be a file's name.
        OSError
            Where the store cannot be written.
        """
        if not record.run_id or record.run_id.startswith(".") or os.sep in record.run_id or "\0" in record.run_id:
            raise UsageError(f"{record.run_id!r} is no run id")
        path = self.path(record.run_id)
        data = msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"
        make_directories(self.directory)
        draft = beside(path)
        try:
            fd = create(draft)
            with open(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(fd)
            # The time stamp tells the age of a run without reading its file: `find("latest")`.
            os.utime(draft, (record.created, record.created))
            if replace:
                os.replace(draft, path)
            else:
                self._claim(draft, path, data)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(draft)
        sync_directory(self.directory)

    @staticmethod
    def _claim(draft: str, path: str, data: bytes) -> None:
        """Give a finished file its name, unless that is taken: readers never see half of it."""
        try:
            os.link(draft, path)
        except FileExistsError:
            # Over NFS a link may have succeeded though its answer was lost: then what is there is ours.
            if _read(path) != data:
                raise
        except OSError:  # no hard links on this file system
            if os.path.lexists(path):
                if _read(path) == data:
                    return
                raise FileExistsError(f"another run is registered as {path}") from None
            os.rename(draft, path)

    def listing(self, workflow: str | None = None) -> list[RunRecord]:
        """All runs, newest first; an `Unread` stands for each entry that cannot be used.

        Parameters
        ----------
        workflow : str, optional
            Only the runs of this workflow.
        """
        found = []
        for run_id in self._ids():
            record = self._entry(run_id)
            if record is not None and (workflow is None or record.is_of(workflow)):
                found.append(record)
        found.sort(key=lambda record: (record.created, record.run_id), reverse=True)
        return found

    def newest(self, beginning: str, count: int) -> list[RunRecord]:
        """The newest runs whose ids begin so, newest first, of the last days' at most; what cannot be read is left."""
        dated = []
        for run_id in sorted((one for one in self._ids() if one.startswith(beginning)), reverse=True)[:_DATED]:
            with suppress(OSError):
                dated.append((os.stat(self.path(run_id)).st_mtime_ns, run_id))
        found = []
        for _, run_id in sorted(dated, reverse=True)[:count]:
            with suppress(OSError, DataError, Untrusted):
                found.append(self._load(run_id))
        return found

    def find(self, ref: str, workflow: str | None = None) -> RunRecord:
        """Look a run up.

        Parameters
        ----------
        ref : str
            A run id, a prefix that only one run id has, or ``latest``.
        workflow : str, optional
            Which workflow's newest run ``latest`` is.

        Raises
        ------
        RunNotFound
            Where none, or more than one, answers to `ref`.
        DataError
            Where its file is corrupt, or newer than this version reads.
        Untrusted
            Where its file is somebody's who is not trusted, or others may write it.
        """
        if ref == LATEST:
            return self._latest(workflow)
        ids = self._ids()
        matches = [ref] if ref in ids else sorted(run_id for run_id in ids if ref and run_id.startswith(ref))
        if len(matches) > 1:
            shown = matches[:_SHOWN] + (["..."] if len(matches) > _SHOWN else [])
            raise RunNotFound(
                f"{ref!r} is ambiguous: {len(matches)} runs begin with it",
                hint="one of: " + ", ".join(shown),
            )
        if not matches:
            raise RunNotFound(f"no run {ref!r} in the registry {self.directory}", hint=self._advice(ref, ids))
        try:
            return self._load(matches[0])
        except OSError as error:
            raise RunNotFound(
                f"the registry's entry of run {matches[0]!r} cannot be read: {error}",
                hint="name the run by its run directory instead",
            ) from error

    def _latest(self, workflow: str | None) -> RunRecord:
        """Read entries of this user's from the newest on, until one is whole and of the workflow."""
        dated = []
        others = 0
        self.unread = {}
        for run_id in self._ids():
            with suppress(OSError):
                status = os.lstat(self.path(run_id))
                if status.st_uid == os.geteuid():
                    dated.append((status.st_mtime_ns, run_id))
                else:
                    others += 1  # in a store that is shared: nobody means somebody else's run by "latest"
        for _, run_id in sorted(dated, reverse=True):
            record = self._entry(run_id)
            if record is None or (workflow is not None and not record.is_of(workflow)):
                continue
            if not isinstance(record, Unread):
                return record
            self.unread[run_id] = record.why
        of = "" if workflow is None else f" of workflow {workflow!r}"
        hint = in_words(self.unread) if self.unread else "submit one first"
        yours = ""
        if others and not self.unread:
            yours, hint = " of yours", f"{others} of others are there: `reflow runs` lists them; name one by its id"
        raise RunNotFound(f"there is no run{yours}{of} in the registry {self.directory}", hint=hint)

    def _entry(self, run_id: str) -> RunRecord | None:
        """An entry, or what stands for it; None where it is gone, or another user's that is not for us to read."""
        try:
            return self._load(run_id)
        except (FileNotFoundError, PermissionError):
            return None
        except (OSError, DataError, Untrusted) as error:
            path = self.path(run_id)
            try:
                created, owner = os.stat(path).st_mtime, os.lstat(path).st_uid
            except OSError:
                return None
            why = "damaged"
            if isinstance(error, Untrusted):
                own = owner == os.geteuid()
                why = f"not trusted, {'writable by others' if own else f'owned by {user_name(owner)}'}"
            return Unread(run_id=run_id, workflow="", run_dir=path, created=created, why=why)

    @staticmethod
    def _advice(ref: str, ids: frozenset[str]) -> str:
        import difflib

        close = difflib.get_close_matches(ref, sorted(ids), n=3, cutoff=0.6)
        if close:
            return f"did you mean {' or '.join(repr(name) for name in close)}?"
        return "`reflow runs` lists them; a run can also be named by its run directory"

    def _ids(self) -> frozenset[str]:
        try:
            names = os.listdir(self.directory)
        except OSError:
            return frozenset()
        return frozenset(name[: -len(_SUFFIX)] for name in names if name.endswith(_SUFFIX) and name[0] != ".")

    def _load(self, run_id: str) -> RunRecord:
        path = self.path(run_id)
        data = self._believed(path)
        try:
            version = decoded(_version.decode, data).format
            if version > FORMAT:
                raise DataError(
                    f"{path} was written by a newer reflow (format {version}, this one reads {FORMAT})",
                    hint="upgrade reflow, or name the run by its run directory",
                )
            record = decoded(_record.decode, data)
        except msgspec.DecodeError as error:
            raise DataError(f"{path} is corrupt: {error}", hint=REPAIR) from error
        if record.run_id != run_id:
            raise DataError(f"{path} is corrupt: it holds the run id {record.run_id!r}", hint=REPAIR)
        return record

    def _believed(self, path: str) -> bytes:
        """Read an entry that somebody who is believed has written, and nobody else can have changed."""
        try:
            return _read(path, self._near)
        except Untrusted:
            return _read(path, self._trusted)

    @cached_property
    def _near(self) -> Trust:
        return Trust(trust().owners | {os.stat(self.directory).st_uid})

    @cached_property
    def _trusted(self) -> Trust:
        return self._near.union(self._policy())

    def leads_to(self, run_id: str, root: str) -> bool:
        """Whether a run's id finds just this run, which lies in `root`."""
        try:
            record = self._load(run_id)
        except (OSError, DataError, Untrusted):
            return False
        return os.path.realpath(os.path.join(record.run_dir, ".reflow", run_id)) == os.path.realpath(root)

    def drop(self, run_id: str) -> None:
        """Take out a run that came to nothing, if it is there."""
        with suppress(FileNotFoundError):
            os.unlink(self.path(run_id))

    def has(self, run_id: str) -> bool:
        """Whether there is an entry of that run id, be it whole or not."""
        return os.path.lexists(self.path(run_id))

    def path(self, run_id: str) -> str:
        """Where a run's entry is."""
        return os.path.join(self.directory, run_id + _SUFFIX)


def in_words(unread: Mapping[str, str]) -> str:
    """Tell of entries that cannot be used, each with the reason, and what to do about them."""
    listed = ", ".join(f"{run_id} ({why})" for run_id, why in unread.items())
    told = f"entries of the registry cannot be used: {listed}"
    return f"{told}; {REPAIR}" if "damaged" in unread.values() else f"{told}; name such a run by its run directory"


def _read(path: str, trusted: Trust | None = None) -> bytes:
    return read_regular(path, trusted, most=_MOST)
