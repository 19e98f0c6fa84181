"""What of a file enters an identity, and whether it is still so: fingerprints.

A fingerprint is a text that says how it was taken, so it can be checked alone:

=====================  ==========================================================
``stat:SIZE:MTIME``    a regular file's size in bytes and mtime in nanoseconds
``content:SHA256``     a regular file's bytes
``dir:N:DIGEST``       a directory's N entries: relative names, sizes, mtimes
``tree:N:DIGEST``      the same with the files' bytes in place of sizes and mtimes
``name``               the path alone (policy ``name``)
``missing``            nothing is there
``special:TYPE``       a device, socket or pipe; its type in octal
``unreadable:ERRNO``   it cannot be looked at
=====================  ==========================================================

A string that names no regular file is only a string: it has no fingerprint.

**Young files.** A file's time stamp tells two contents apart only if the file is
left alone for a while: what is younger than 2 s may be written again within the
same tick of the clock. Such a file's fingerprint carries a *guard*, kept with the
result and checked before that is reused: ``content:SHA256`` (``young:SINCE:SHA256``
for a directory: the bytes of its files with mtime >= SINCE, in ns), or ``settle``
where more than 64 MiB would have to be read, which says that the result may be
published only once the file is 2 s old and unchanged. `Settler` sees to that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from stat import S_IFMT, S_ISDIR, S_ISREG

import msgspec

from ..errors import UsageError
from ..model.names import Fingerprint

#: age in nanoseconds from which on a time stamp is trusted
YOUNG = 2_000_000_000
#: bytes that are read to guard a young file, at most
GUARDED = 64 << 20
#: entries of a directory that are looked at without a policy having been named
ENTRIES = 10_000

SETTLE = "settle"

#: why a result is not kept
SPOILED = "an input file changed while the run used it"
AHEAD = "the time stamp of an input file lies ahead of this machine's clock"

#: where runs lie in their run directory
_HOME = ".reflow"

_BLOCK = 1 << 20

#: entries of a directory after which progress is told again
_TELL = 100_000

#: what stands for a directory within another one
_BELOW = "directory"


class Print(msgspec.Struct, frozen=True):
    """A file's fingerprint.

    Attributes
    ----------
    digest : str
        What enters the identity.
    guard : str, optional
        Of a young file, what tells its content; None where the digest does.
    changed : str
        When its inode changed last (ctime, in ns), which nobody can set, then its number, mode, links, user and group;
        of a directory a hash of the ctimes of all that is in it; "" where the digest is of the content, or nothing is
        there.
    """

    digest: str
    guard: str | None = None
    changed: str = ""


_NAME = Print("name")


class Fingerprints:
    """Takes fingerprints by one policy, looking at each path once: make one for each batch.

    Parameters
    ----------
    policy : Fingerprint or str
        ``stat``, ``content`` or ``name``.
    named : bool
        Whether somebody named the policy for this parameter, result or task:
        directories of more than 10,000 entries are then read too.
    tell : callable, optional
        Takes sentences on how a large directory is getting on.
    """

    def __init__(
        self,
        policy: Fingerprint | str = Fingerprint.STAT,
        *,
        named: bool = False,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._tell = tell
        self.policy = Fingerprint(policy)
        self.named = named
        self._files: dict[str, Print] = {}
        self._declared: dict[str, Print] = {}

    def of(self, path: str, declared: bool = True) -> Print | None:
        """Take an input's fingerprint.

        Parameters
        ----------
        path : str
            The file or directory.
        declared : bool
            Whether it is given as a `Path`. A string counts only where it names a regular file.

        Returns
        -------
        Print or None
            None for what is only a string. Never raises OSError: a `Path` that
            cannot be looked at is ``missing`` or ``unreadable``.

        Raises
        ------
        UsageError
            For a directory of more than 10,000 entries where no policy was named.
        """
        known = self._files.get(path)
        if known is None and declared:
            known = self._declared.get(path)
        if known is not None:
            return known
        taken, regular = self._look(path, declared, guarded=True)
        if taken is not None:
            (self._files if regular else self._declared)[path] = taken
        return taken

    def output(self, path: str, declared: bool = True) -> Print | None:
        """Take the fingerprint of a file that a result names, as it is now; see `of`.

        It has no guard: an output is young by nature, and reading it all over again would be dear.
        """
        return self._look(path, declared, guarded=False)[0]

    def many(self, paths: Iterable[tuple[str, bool]]) -> dict[str, Print]:
        """Take the fingerprints of many (path, declared); what is only a string is left out."""
        taken = ((path, self.of(path, declared)) for path, declared in paths)
        return {path: found for path, found in taken if found is not None}

    def _look(self, path: str, declared: bool, *, guarded: bool) -> tuple[Print | None, bool]:
        """Take a fingerprint, and tell whether it is a regular file's."""
        if self.policy is Fingerprint.NAME:
            return (_NAME if declared else None), False
        content = self.policy is Fingerprint.CONTENT
        try:
            status = os.stat(path)
        except (OSError, ValueError) as error:
            return (Print(_absent(error)) if declared else None), False
        if S_ISREG(status.st_mode):
            return _file(path, status, content=content, guarded=guarded), True
        if not declared:
            return None, False
        if S_ISDIR(status.st_mode):
            limit = None if self.named else ENTRIES
            return _directory(path, content=content, guarded=guarded, limit=limit, tell=self._tell), False
        return Print(_special(status)), False


def fingerprint(path: str, policy: Fingerprint | str = Fingerprint.STAT, declared: bool = True) -> str:
    """Take one fingerprint, without its guard; "" for what is only a string. See `Fingerprints.of`."""
    taken = Fingerprints(policy).output(path, declared)
    return "" if taken is None else taken.digest


def still(path: str, digest: str) -> bool:
    """Tell whether a path still has this fingerprint, or a young file this guard."""
    kind, _, rest = digest.partition(":")
    if kind == "name":
        return True
    if kind == "content":
        return content_of(path) == digest
    if kind == "young":
        return _young(path, _number(rest)) == digest
    if kind == SETTLE:
        return False
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        return _absent(error) == digest
    if S_ISREG(status.st_mode):
        return _stat_digest(status) == digest
    if not S_ISDIR(status.st_mode):
        return _special(status) == digest
    if kind not in ("dir", "tree"):
        return False
    try:
        return _directory(path, content=kind == "tree", guarded=False, limit=_number(rest)).digest == digest
    except UsageError:  # it holds more than it did
        return False


def unchanged(digests: Mapping[str, str]) -> list[str]:
    """Check many files.

    Parameters
    ----------
    digests : mapping of str to str
        Path -> fingerprint or guard, as recorded.

    Returns
    -------
    list of str
        The paths that changed or are gone; empty where all is as it was.
    """
    return [path for path, digest in digests.items() if not still(path, digest)]


class Settler:
    """Decides, before results are published, what their input files' fingerprints are worth.

    It looks at each path once: make one for each batch of results, after the
    last of them was computed.
    """

    def __init__(self) -> None:
        self._judged: dict[tuple[str, str, str | None], tuple[bool, str | None]] = {}

    def settle(self, digests: Mapping[str, str], guards: Mapping[str, str]) -> dict[str, str] | str:
        """Judge one result's input files.

        A file that was young and is so no longer, with its content unchanged,
        needs no guard any more; one that is still young keeps its guard or,
        where it is too large to have one, is waited for, 2 s at most.

        Parameters
        ----------
        digests : mapping of str to str
            Path -> fingerprint, as taken when the inputs were.
        guards : mapping of str to str
            Path -> guard, for those that have one.

        Returns
        -------
        dict of str to str, or str
            The guards to keep with the result; or why it must not be published:
            an input changed, or may have changed unseen.
        """
        kept = {}
        for path, digest in digests.items():
            guard = guards.get(path)
            key = (path, digest, guard)
            if key not in self._judged:
                self._judged[key] = judge(*key)
            good, keep = self._judged[key]
            if not good:
                return AHEAD if guard == SETTLE and youth(path) > YOUNG else SPOILED
            if keep is not None:
                kept[path] = keep
        return kept


def settle(digests: Mapping[str, str], guards: Mapping[str, str]) -> dict[str, str] | str:
    """Judge one result's input files alone; see `Settler.settle`."""
    return Settler().settle(digests, guards)


def judge(path: str, digest: str, guard: str | None) -> tuple[bool, str | None]:
    """Tell whether a file is as it was, and which guard it still needs."""
    if guard is None:
        return still(path, digest), None
    left = youth(path)
    if guard == SETTLE:
        if left > YOUNG:  # it lies ahead of our clock: no use waiting
            return False, None
        if left > 0:
            time.sleep(left / 1e9)
        return still(path, digest), None
    # The content first: whoever writes after it was read changes the time stamp that is looked at next.
    same = still(path, guard) and still(path, digest)
    return same, guard if left > 0 else None


def youth(path: str) -> int:
    """For how many nanoseconds the newest time stamp of a file or directory is not to be trusted yet."""
    try:
        status = os.stat(path)
    except OSError:
        return 0
    now = time.time_ns()
    newest = _stamp(status, now)
    if S_ISDIR(status.st_mode):
        newest = max((_stamp(item.status, now) for item in _walk(path) if item.status is not None), default=0)
    return newest + YOUNG - now


def _stamp(status: os.stat_result, now: int) -> int:
    """When a file was last written: a time stamp that lies ahead of the clock was set, and its inode tells when."""
    return status.st_mtime_ns if status.st_mtime_ns <= now else status.st_ctime_ns


def _number(rest: str) -> int:
    """The number in ``NUMBER:SHA256``; -1, which fits nothing, where there is none."""
    try:
        return int(rest.partition(":")[0])
    except ValueError:
        return -1


def _stat_digest(status: os.stat_result) -> str:
    return f"stat:{status.st_size}:{status.st_mtime_ns}"


def _changed(status: os.stat_result) -> str:
    """When an inode changed, and what else than a write can have been the cause."""
    return f"{status.st_ctime_ns}.{status.st_ino}.{status.st_mode:o}.{status.st_nlink}.{status.st_uid}.{status.st_gid}"


def _special(status: os.stat_result) -> str:
    return f"special:{S_IFMT(status.st_mode):o}"


def _absent(error: OSError | ValueError) -> str:
    """What cannot be looked at; a path with a null byte or a surrogate names nothing."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError, ValueError)):
        return "missing"
    return f"unreadable:{error.errno}"


def _file(path: str, status: os.stat_result, *, content: bool, guarded: bool) -> Print:
    """Take a regular file's fingerprint; where it cannot be read, its size and time stamp must do."""
    digest, changed = _stat_digest(status), _changed(status)
    if content and (text := content_of(path)):
        return Print(text)
    now = time.time_ns()
    if content or not guarded or now - _stamp(status, now) >= YOUNG:
        return Print(digest, None, changed)
    return Print(digest, (content_of(path) if status.st_size <= GUARDED else None) or SETTLE, changed)


def content_of(path: str) -> str | None:
    """Hash a regular file's bytes; None where it cannot be read."""
    from hashlib import sha256

    digest = sha256()
    try:
        # Not blocking: something else, a pipe say, may have taken the file's place.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        if not S_ISREG(os.fstat(fd).st_mode):
            return None
        while block := os.read(fd, _BLOCK):
            digest.update(block)
    except OSError:
        return None
    finally:
        os.close(fd)
    return f"content:{digest.hexdigest()}"


class _Item(msgspec.Struct):
    """Something in a directory: its relative name, and its state where it is a regular file."""

    name: str
    path: str
    what: str
    status: os.stat_result | None = None


def _walk(top: str) -> Iterator[_Item]:
    """Go through a directory, following links, each directory once.

    Directories come in their order, so that the same one of several links to a
    directory is followed each time. Files come as they lie, so that a directory
    of any size needs no more memory than a small one: what is made of them must
    not depend on their order.
    """
    seen: set[tuple[int, int]] = set()
    stack = [(top, "")]
    while stack:
        path, prefix = stack.pop()
        below: list[str] = []
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in seen:
                yield _Item(prefix, path, "again")
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(path) as entries:
                for entry in entries:
                    item = _item(os.path.join(path, entry.name), prefix + entry.name, entry.name)
                    if item is not None:
                        yield item
                        if item.what == _BELOW:
                            below.append(entry.name)
        except OSError as error:
            yield _Item(prefix, path, _absent(error))
        stack.extend((os.path.join(path, name), f"{prefix}{name}/") for name in sorted(below, reverse=True))


def _item(path: str, relative: str, name: str) -> _Item | None:
    """Look at something in a directory; None for what reflow writes itself."""
    try:
        status = os.stat(path)
    except OSError as error:
        return _Item(relative, path, _absent(error))
    if S_ISREG(status.st_mode):
        return _Item(relative, path, "file", status)
    if S_ISDIR(status.st_mode):
        return None if _ours(name, path) else _Item(relative, path, _BELOW)
    return _Item(relative, path, _special(status))


class _Sum:
    """A digest of things in any order: the sum of their hashes."""

    def __init__(self) -> None:
        from hashlib import sha512

        self._hash = sha512
        self._total = 0

    def add(self, name: str, what: str) -> None:
        """Add one; neither part holds a null byte, so no two pairs read the same."""
        one = self._hash(os.fsencode(name) + b"\0" + what.encode()).digest()
        self._total = (self._total + int.from_bytes(one, "big")) % (1 << 512)

    def text(self) -> str:
        """The digest, 64 hexadecimal digits."""
        return self._hash(self._total.to_bytes(64, "big")).hexdigest()[:64]


def _ours(name: str, path: str) -> bool:
    """Whether a directory holds what reflow writes itself, as a run directory's ``.reflow`` and ``logs/latest`` do.

    It changes with each run, and grows: a task may return its run directory all the same.
    """
    if name == _HOME:
        return True
    try:
        return name == "latest" and os.path.islink(path) and _HOME in os.readlink(path).split(os.sep)
    except OSError:
        return False


def require_few(top: str) -> None:
    """Refuse a directory of more than 10,000 entries, of which nobody has said what of it counts.

    Raises
    ------
    UsageError
        It has more.
    """
    for count, _ in enumerate(_walk(top), 1):
        _limit(top, count, ENTRIES)


def _limit(top: str, count: int, limit: int | None) -> None:
    if limit is not None and count > limit:
        raise UsageError(
            f"the directory {top} holds more than {limit:,} entries",
            hint='name a policy: fingerprint="stat" looks at all of them, "content" reads them, '
            '"name" takes the path alone',
        )


def _directory(
    top: str, *, content: bool, guarded: bool, limit: int | None, tell: Callable[[str], None] | None = None
) -> Print:
    """Take a directory's fingerprint, of `limit` entries at most."""
    digest, changed = _Sum(), _Sum()
    count = 0
    trusted = time.time_ns() - YOUNG  # as of the beginning: what is written while we look is young too
    since: int | None = None
    for item in _walk(top):
        count += 1
        _limit(top, count, limit)
        if tell is not None and count % _TELL == 0:
            tell(f"{top}: {count:,} entries looked at")
        what = item.what
        if item.status is not None:
            what = (content and content_of(item.path)) or _stat_digest(item.status)
            changed.add(item.name, str(item.status.st_ctime_ns))
            if guarded and not content and _stamp(item.status, trusted + YOUNG) > trusted:
                since = min(since or item.status.st_mtime_ns, item.status.st_mtime_ns)
        digest.add(item.name, what)
    text = f"{'tree' if content else 'dir'}:{count}:{digest.text()}"
    guard = None if since is None else _young(top, since) or SETTLE
    return Print(text, guard, "" if content else changed.text()[:16])


def _young(top: str, since: int) -> str | None:
    """Hash the bytes of a directory's files that are not older than `since` (ns); None where they are too many."""
    digest = _Sum()
    size = 0
    for item in _walk(top):
        if item.status is not None and item.status.st_mtime_ns >= since:
            size += item.status.st_size
            text = content_of(item.path) if size <= GUARDED else None
            if text is None:
                return None
            digest.add(item.name, text)
    return f"young:{since}:{digest.text()}"
