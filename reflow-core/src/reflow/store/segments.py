"""The default cache: append-only segments, one per run, that any number of hosts may read at once.

``STORE/cache/segments/WORKFLOW/RUN_ID.log`` is a file of frames
(`reflow.model.frames`). The first one is a header that says the format, each
further one a `CacheEntry`. Only the run's lease holder appends to it. No
database lies in the store: the index that finds entries is a file of this host
(`reflow.store.index`), a hint that is checked against the segment at each use.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

import msgspec

from ..errors import ConfigError, DataError, Untrusted
from ..model.cache import CacheEntry
from ..model.digest import sha256
from ..model.frames import HEAD, frame, parse, salvage, unframe
from ..worker.durable import beside, create, make_directories, shared, sync_directory
from ..worker.opener import WHOLE, open_regular, read_regular
from ..worker.trust import Trust, doubt, trust
from .index import SCHEMA, Found, Growth, Index, Known, Place, Rank
from .paths import StoreContext, run_of, safe_name, trusted_of
from .trust import closed, distrust, require, shut

T = TypeVar("T")

FORMAT = 1

_SUFFIX = ".log"
#: bytes of segments read, or taken into the index, at a time
_CHUNK = 8 << 20
#: bytes after a torn frame that are searched for whole ones
_MOST = 64 << 20
#: wanted frames closer than this, in bytes, are read at once
_GAP = 16 << 10


class _Header(msgspec.Struct, frozen=True, tag_field="reflow", tag="cache-segment"):
    """First frame of a segment."""

    format: int
    workflow: str = ""
    run_id: str = ""


class _Label(msgspec.Struct):
    """Of an entry, what the index keeps; `result` must be there."""

    key: str
    workflow: str
    task: str
    result: msgspec.Raw
    time: float = 0.0


class _Newer(Exception):
    """A segment of a format that this version does not read."""


_label = msgspec.json.Decoder(_Label)
_header = msgspec.json.Decoder(_Header)
_entry = msgspec.json.Decoder(CacheEntry)
_encode = msgspec.json.Encoder().encode


class SegmentCache:
    """A cache backend (`reflow.model.cache.CacheBackend`) of segments.

    Parameters
    ----------
    store : path-like
        The store's directory.
    run_id : str, optional
        The run that publishes, whose lease the caller holds; None: looking up only.
    index_dir : str, optional
        Where this host's index is kept; the user's cache directory where not given.
    trusted : Trust, optional
        Whose segments are believed; this user's and root's where not given.

    Attributes
    ----------
    problems : list of str
        What was met and passed over: segments that are unreadable, damaged, of a newer
        format, or of somebody who is not trusted; an index that could not be
        used. Each is a sentence, said once.
    """

    def __init__(
        self,
        store: str | os.PathLike[str],
        run_id: str | None = None,
        index_dir: str | None = None,
        trusted: Trust | None = None,
    ) -> None:
        self.directory = _directory(os.path.abspath(os.fspath(store)))
        self.run_id = run_id
        self.trusted = trust() if trusted is None else trusted
        self.problems: list[str] = []
        self._index_dir = index_dir
        self._opened: Index | None = None
        self._writers: dict[str, _Writer] = {}
        #: folder and owner of what is not believed, and was said
        self._doubts: set[tuple[str, int]] = set()
        #: name and size of what was looked at for damage
        self._inspected: set[tuple[str, int]] = set()

    @classmethod
    def create(cls, settings: Mapping[str, object], context: StoreContext) -> SegmentCache:
        """Make the backend that configuration describes.

        Parameters
        ----------
        settings : mapping
            ``[cache]``'s own table; ``index``: directory of this host's index.
        context : StoreContext
            Tells the store, and where it can the run id and the owners that are trusted.
        """
        index = settings.get("index")
        index_dir = os.path.expanduser(str(index)) if index else None
        return cls(context.store, run_of(context), index_dir, trusted_of(context))

    def lookup(self, keys: Sequence[str]) -> Mapping[str, CacheEntry]:
        """Find the newest entry of each key that has one; see `CacheBackend.lookup`."""
        if not keys:
            return {}
        found, stale = self._read(self._ask(lambda index: index.find(keys)))
        if stale:
            # A segment no longer says what the index remembers: it was replaced unnoticed. Read it anew, once.
            self._index.forget(sorted(stale))
            found, _ = self._read(self._ask(lambda index: index.find(keys)))
        self._note(self._index.problem)
        return found

    def history(self, workflow: str, task: str) -> Iterator[CacheEntry]:
        """Go through the entries of a task, newest first; see `CacheBackend.history`."""
        before: Rank | None = None
        while rows := self._ask(partial(Index.page, workflow=workflow, task=task, before=before)):
            places = [place for place, _ in rows]
            entries = dict(self._frames(sorted(places, key=lambda place: (place.name, place.start))))
            for place in places:
                entry = entries.get(place)
                if entry is not None and (entry.workflow, entry.task) == (workflow, task):
                    yield entry
            before = rows[-1][1]

    def publish(self, entries: Sequence[CacheEntry]) -> None:
        """Append entries to the run's segment; durable on return. See `CacheBackend.publish`.

        Raises
        ------
        OSError
            Where the store cannot be written; what was written in part is taken back.
        DataError
            Where the run's segment is of a newer format: it is left as it is.
        Untrusted
            Where somebody else may write there: what was kept would not be believed.
        ConfigError
            Where the cache was opened without a run.
        """
        if not entries:
            return
        if self.run_id is None:
            raise ConfigError("this cache was opened for looking up; publishing takes a run id")
        by_workflow: dict[str, list[CacheEntry]] = {}
        for entry in entries:
            by_workflow.setdefault(entry.workflow, []).append(entry)
        for workflow, group in by_workflow.items():
            writer = self._writers.get(workflow)
            if writer is None:
                name = f"{safe_name(workflow)}/{safe_name(self.run_id)}{_SUFFIX}"
                path = os.path.join(self.directory, name)
                require((*_above(self.directory), os.path.dirname(path), path), "the cache", self.trusted)
                header = _Header(FORMAT, workflow, self.run_id)
                writer = _Writer(self.directory, name, header, self._index.known().get(name), self.trusted)
                self._writers[workflow] = writer
            self._index.add([writer.append(group)])

    def close(self) -> None:
        """Let go of files; a later call opens them again."""
        for writer in self._writers.values():
            writer.close()
        if self._opened is not None:
            self._opened.close()

    @property
    def _index(self) -> Index:
        if self._opened is None:
            self._opened = Index(index_path(self.directory, self._index_dir), self.trusted)
        return self._opened

    def _note(self, problem: str) -> None:
        if problem and problem not in self.problems:
            self.problems.append(problem)

    def _ask(self, question: Callable[[Index], T]) -> T:
        """Ask the index, brought up to date; again where it had to begin anew meanwhile, and so knew nothing."""
        while True:
            generation = self._index.generation
            self._refresh()
            answer = question(self._index)
            if self._index.generation == generation:
                return answer

    def _refresh(self) -> None:
        """Bring the index up to date: only segments that are new or have changed are opened."""
        # What is known is asked first: whatever is in the index has been in the directory before it is listed.
        known = self._index.known()
        strange: set[str] = set()
        listed = self._list(strange)
        if listed is None:
            return
        gone = [
            name
            for name in known
            if name not in listed and (not strange.isdisjoint((name, os.path.dirname(name))) or self._vanished(name))
        ]
        replaced = [
            name
            for name, now in listed.items()
            if (was := known.get(name)) and (was.inode != now.inode or now.size < was.end)
        ]
        if gone or replaced:
            self._index.forget([*gone, *replaced])
        batch: list[Growth] = []
        weight = 0
        for name, now in listed.items():
            was = None if name in replaced else known.get(name)
            if was is not None and (was.inode, was.size, was.mtime) == (now.inode, now.size, now.mtime):
                if was.end < was.size:
                    self._inspect(name, was)
                continue
            for growth in self._grown(name, was.end if was else 0):
                batch.append(growth)
                weight += growth.known.end - growth.begin
                if weight >= _CHUNK:
                    self._index.add(batch)
                    batch, weight = [], 0
        if batch:
            self._index.add(batch)

    def _list(self, strange: set[str]) -> dict[str, Known] | None:
        """All segments with their present state; None where the directory cannot be listed now.

        Segments and folders that are not to be believed are left out, and put into `strange`.
        """
        listed: dict[str, Known] = {}
        outside = closed(_above(self.directory), self.trusted)
        try:
            with os.scandir(self.directory) as workflows:
                for folder in workflows:
                    if not folder.is_dir():
                        continue
                    status = folder.stat()
                    if self._doubted(folder.name, status, outside):
                        strange.add(folder.name)
                        continue
                    within = outside or shut(status, self.trusted)
                    for name, status in _segments(folder):
                        if self._doubted(name, status, within):
                            strange.add(name)
                        else:
                            listed[name] = _known(status, 0)
        except FileNotFoundError:
            return listed
        except OSError as error:
            self._note(f"the cache's segments in {self.directory} cannot be listed: {error.strerror}")
            return None
        return listed

    def _doubted(self, name: str, status: os.stat_result, closed: bool) -> bool:
        """Whether a segment or folder is not to be believed; said once of each folder's files of one owner."""
        why, hint = doubt(os.path.join(self.directory, name), status, self.trusted, closed=closed)
        if why and (kind := (os.path.dirname(name) or name, status.st_uid)) not in self._doubts:
            self._doubts.add(kind)
            self._note(f"{why}; the cache takes no results from there ({hint})")
        return bool(why)

    def _vanished(self, name: str) -> bool:
        """Whether a segment that is not listed is not there: listings may be stale, opening is not."""
        try:
            os.close(open_regular(os.path.join(self.directory, name)))
        except OSError:
            return True
        return False

    def _grown(self, name: str, begin: int) -> Iterator[Growth]:
        """Read a segment from `begin` on, a chunk at a time."""
        path = os.path.join(self.directory, name)
        try:
            with open(open_regular(path, self.trusted, closed=True), "rb", buffering=0) as file:
                if begin == 0:
                    _check_header(file.fileno())
                status = os.fstat(file.fileno())
                for payloads, end in _scan(file.fileno(), begin):
                    yield Growth(name, begin, _known(status, end), list(_labels(payloads, begin)))
                    begin = end
        except _Newer as newer:
            self._note(f"the cache segment {path} was written by a newer reflow ({newer}); it is not used")
        except Untrusted as error:
            self._note(f"{error.message}; the cache takes no results from there ({error.hint})")
        except OSError as error:
            self._note(f"the cache segment {path} cannot be read: {error.strerror}")

    def _inspect(self, name: str, was: Known) -> None:
        """Tell of damage where whole frames follow the last one that was read; once, as a torn end is no damage."""
        if (name, was.size) in self._inspected:
            return
        self._inspected.add((name, was.size))
        path = os.path.join(self.directory, name)
        lost, _ = salvage(_bytes(path, was.end, min(was.size - was.end, _MOST), self.trusted))
        if lost:
            self._note(
                f"the cache segment {path} is damaged, and {len(lost)} results in it are not found;"
                " `reflow repair --registry RUN_DIR` mends it"
            )

    def _read(self, places: Sequence[Place]) -> tuple[dict[str, CacheEntry], set[str]]:
        """Read entries; those that are not where the index has them name their segment as stale."""
        entries: dict[str, CacheEntry] = {}
        stale: set[str] = set()
        for place, entry in self._frames(places):
            if entry is None:
                stale.add(place.name)
            else:
                entries[place.key] = entry
        return entries, stale

    def _frames(self, places: Sequence[Place]) -> Iterator[tuple[Place, CacheEntry | None]]:
        """Read the entries at these places, which are ordered by segment and offset; None where there is none."""
        for name, start, group in _spans(places):
            last = group[-1]
            data = _bytes(os.path.join(self.directory, name), start, last.start + last.length - start, self.trusted)
            for place in group:
                yield place, _believed(data, place.start - start, place)


class _Writer:
    """One run's segment, being appended to."""

    def __init__(self, directory: str, name: str, header: _Header, known: Known | None, trusted: Trust) -> None:
        self.name = name
        self._trusted = trusted
        self.path = os.path.join(directory, name)
        self._header = header
        self._hint = known
        self._fd: int | None = None
        self._end = 0

    def append(self, entries: Sequence[CacheEntry]) -> Growth:
        """Write entries, durably; returns what the index may take in."""
        # Something else at the file's end than what this object wrote: look before writing after it.
        if self._fd is not None and (os.fstat(self._fd).st_size != self._end or not self._named()):
            self.close()
        if self._fd is None:
            self._fd = self._open()
        begin = position = self._end
        pieces: list[bytes] = []
        found: list[Found] = []
        if begin == 0:
            pieces.append(frame(_encode(self._header)))
            position = len(pieces[0])
        for entry in entries:
            piece = frame(_encode(entry))
            pieces.append(piece)
            found.append(Found(entry.key, entry.time, position, len(piece), entry.workflow, entry.task))
            position += len(piece)
        try:
            _write(self._fd, b"".join(pieces))
            os.fsync(self._fd)
            status = os.fstat(self._fd)
        except BaseException:
            self._take_back(self._fd, begin)
            raise
        if begin == 0:
            sync_directory(os.path.dirname(self.path))
        self._end = position
        return Growth(self.name, begin, _known(status, position), found)

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _named(self) -> bool:
        """Whether the open file is still the one of that name."""
        try:
            return self._fd is not None and os.path.samestat(os.stat(self.path), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    def _open(self) -> int:
        """Open the segment after its last whole frame; a torn end, left by a writer that died, is cut off."""
        make_directories(os.path.dirname(self.path))
        fd = open_regular(self.path, self._trusted, closed=True, flags=os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            shared(self.path, fd)
            _check_header(fd)
            status = os.fstat(fd)
            hint, self._hint = self._hint, None
            end = 0
            if hint and hint.inode == _known(status, 0).inode:
                end = _end(fd, hint.end)
            if end != status.st_size:
                # The index saved reading the file, but nothing is cut off on its word alone.
                end = _end(fd, 0)
            if end < status.st_size:
                os.ftruncate(fd, end)
        except _Newer as newer:
            os.close(fd)
            raise DataError(
                f"the cache segment {self.path} was written by a newer reflow ({newer})", hint="upgrade reflow"
            ) from None
        except BaseException:
            os.close(fd)
            raise
        self._end = end
        return fd

    def _take_back(self, fd: int, begin: int) -> None:
        """After a failed write: as if it had not been tried; failing that, the next one repairs."""
        with suppress(OSError):
            os.ftruncate(fd, begin)
        self.close()


def mend(store: str) -> list[tuple[str, str]]:
    """Write damaged segments anew, with all entries that can be read; what was there is kept beside.

    A torn end is no damage: it is left to the run that writes the segment.
    So are segments that others own or may write: written anew by this user they would be believed.

    Returns
    -------
    list of (str, str)
        Each segment that was mended, and where its former file is.

    Raises
    ------
    OSError
        Where the store cannot be written.
    """
    mended = []
    directory = _directory(store)
    trusted = trust()
    for folder, _, names in os.walk(directory):
        for path in sorted(os.path.join(folder, name) for name in names if name.endswith(_SUFFIX)):
            if distrust((*_above(directory), folder, path), trusted)[0]:
                continue
            try:
                data = read_regular(path, trusted, most=WHOLE)
            except (OSError, Untrusted):
                continue
            frames, gaps = salvage(data)
            if not gaps or not frames or frames[-1][0] < gaps[0][0]:
                continue
            draft = beside(path)
            with open(create(draft), "wb") as file:
                file.write(b"".join(frame(payload) for _, payload in frames))
                file.flush()
                os.fsync(file.fileno())
            number = 1
            while os.path.lexists(backup := f"{path}.damaged-{number}"):
                number += 1
            try:
                os.link(path, backup)
            except OSError:  # no hard links on this file system
                os.rename(path, backup)
            os.replace(draft, path)
            sync_directory(folder)
            mended.append((path, backup))
    return mended


def index_path(directory: str, index_dir: str | None = None) -> str:
    """Name this host's index file of the segments in `directory`.

    It is named by store and host, so that hosts that share a home directory don't share it.
    """
    if index_dir is None:
        import platformdirs

        index_dir = os.path.join(platformdirs.user_cache_dir("reflow"), "index")
    store = sha256(os.fsencode(os.path.realpath(directory))).hexdigest()[:16]
    return os.path.join(index_dir, f"{store}-{safe_name(os.uname().nodename)}-{SCHEMA}.sqlite")


def _directory(store: str) -> str:
    """Where a store's segments are."""
    return os.path.join(store, "cache", "segments")


def _above(directory: str) -> tuple[str, str, str]:
    """The store, its cache, and the directory of segments itself."""
    cache = os.path.dirname(directory)
    return os.path.dirname(cache), cache, directory


def _segments(folder: os.DirEntry[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Name the segments of one workflow, as they stand."""
    with os.scandir(folder.path) as items:
        for item in items:
            if item.name.endswith(_SUFFIX):
                yield f"{folder.name}/{item.name}", item.stat()


def _known(status: os.stat_result, end: int) -> Known:
    # Some network file systems use all 64 bits of an inode number; SQLite's integers are signed.
    return Known(status.st_ino & (2**63 - 1), status.st_size, status.st_mtime_ns, end)


def _scan(fd: int, begin: int) -> Iterator[tuple[list[bytes], int]]:
    """Read the whole frames of a file from `begin` on, a chunk at a time.

    Yields payloads and the offset after them, at least once.
    """
    total = os.fstat(fd).st_size
    size = _CHUNK
    while True:
        data = os.pread(fd, size, begin)
        payloads, end = parse(data)
        if not payloads and data and begin + len(data) < total and (need := _frame_size(data)) > len(data):
            size = need
            continue
        begin += end
        yield payloads, begin
        if not payloads or begin >= total:
            return
        size = _CHUNK


def _end(fd: int, begin: int) -> int:
    """Offset after the last whole frame."""
    end = begin
    for _, position in _scan(fd, begin):
        end = position
    return end


def _frame_size(data: bytes) -> int:
    """Size in bytes that a frame says it has; 0 where its head is none."""
    try:
        return HEAD + int(data[:8], 16) + 1
    except ValueError:
        return 0


def _check_header(fd: int) -> None:
    """Refuse a segment of a newer format; an empty, torn or headless file passes, and holds what it holds."""
    payloads, _ = parse(os.pread(fd, 1 << 16, 0))
    if payloads:
        try:
            header = _header.decode(payloads[0])
        except msgspec.DecodeError:
            return
        if header.format > FORMAT:
            raise _Newer(f"format {header.format}, this one reads {FORMAT}")


def _labels(payloads: Iterable[bytes], position: int) -> Iterator[Found]:
    """What the index keeps of frames that begin at `position`; those that are no entries are passed over."""
    for payload in payloads:
        length = HEAD + len(payload) + 1
        try:
            label = _label.decode(payload)
            yield Found(label.key, label.time, position, length, label.workflow, label.task)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        position += length


def _spans(places: Sequence[Place]) -> Iterator[tuple[str, int, list[Place]]]:
    """Group places, ordered by segment and offset, into pieces of a segment that are read at once."""
    group: list[Place] = []
    name, begin, end = "", 0, 0
    for place in places:
        if group and (place.name != name or place.start > end + _GAP or place.start > begin + _CHUNK):
            yield name, begin, group
            group = []
        if not group:
            name, begin = place.name, place.start
        group.append(place)
        end = place.start + place.length
    if group:
        yield name, begin, group


def _bytes(path: str, start: int, length: int, trusted: Trust) -> bytes:
    """Part of a file; nothing where it cannot be read, or is not to be believed."""
    try:
        fd = open_regular(path, trusted, closed=True)
        try:
            return os.pread(fd, length, start)
        finally:
            os.close(fd)
    except (OSError, Untrusted, MemoryError):
        return b""


def _believed(data: bytes, offset: int, place: Place) -> CacheEntry | None:
    """Decode the frame at `offset` if it is whole and is what the index says."""
    payload = unframe(data[offset : offset + place.length])
    if payload is None:
        return None
    try:
        entry = _entry.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return entry if place.key in (entry.key, "") else None


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
