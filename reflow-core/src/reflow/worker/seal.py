"""What tells, beside its fingerprint, that a file is the one that was recorded: a seal.

A seal is text, ``FINGERPRINT CTIME PLACE [CONTENT]``:

- the fingerprint, see `reflow.worker.files`;
- the file's ctime in ns, which nobody can set, and after dots its inode, mode, number of links, user and group (of a
  directory a hash of the ctimes in it; ``-`` where the fingerprint is of the content);
- a hash of the path without symbolic links, after ``=`` where its element has written the file, ``+`` where it names
  it first, ``~`` where it was given the file, ``*`` where it shares it;
- the digest of its bytes, of small files alone.

What has no place is recorded by its fingerprint alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from .files import Fingerprints, Print, content_of, still

#: how a file differs whose size and time stamp are as they were
REPLACED = "has its old size and time stamp, but was written, replaced or given other attributes since (ctime)"

MOVED = "has its old size and time stamp, but its path leads elsewhere"

#: bytes up to which a file that a result names is read, so that its content is known
SMALL = 1 << 20


class Seal(msgspec.Struct, frozen=True):
    """A seal, taken apart.

    Attributes
    ----------
    digest : str
        The fingerprint.
    changed : str
        The ctime and what follows it, or "".
    place : str
        Sixteen hexadecimal digits; "" where none was recorded.
    mark : str
        ``=``, ``+``, ``~`` or ``*``.
    content : str
        ``content:SHA256``, or "".
    """

    digest: str
    changed: str = ""
    place: str = ""
    mark: str = "~"
    content: str = ""

    @property
    def ctime(self) -> str:
        """The ctime alone."""
        return self.changed.partition(".")[0]

    @property
    def own(self) -> bool:
        """Whether no other element may name the file as its own, too."""
        return bool(self.place) and self.mark in "=+"

    def __str__(self) -> str:
        if not self.place:
            return self.digest
        place = self.mark + self.place
        return " ".join(filter(None, (self.digest, self.changed or "-", place, self.content)))


def read_seal(text: str) -> Seal:
    """Take a seal apart; what cannot be read fits no file."""
    parts = text.split(" ")
    if len(parts) < 3:
        return Seal(parts[0])
    changed = "" if parts[1] == "-" else parts[1]
    return Seal(parts[0], changed, parts[2][1:], parts[2][:1], parts[3] if len(parts) > 3 else "")


def same_file(one: Seal, other: Seal) -> bool:
    """Return whether two seals of one place show the same file, unwritten between them.

    Whoever links a file, or gives it another mode or owner, changes its ctime,
    and has not written it.
    """
    if one.digest != other.digest:  # by another policy, perhaps
        return one.digest == other.content or other.digest == one.content
    if one.content != other.content and one.content and other.content:
        return False
    if one.changed == other.changed or not one.digest.startswith("stat:"):
        return one.changed == other.changed
    _, inode, *attributes = one.changed.split(".")
    _, same, *now = other.changed.split(".")
    return inode == same and attributes != now


def place_of(path: str) -> str:
    """Hash a path without its symbolic links."""
    from ..model.digest import sha256

    return sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:16]


def refreshed(path: str, text: str) -> str:
    """Give a seal the ctime that its file has now, where it was linked, or given another mode or owner, and no more.

    A file that was written keeps them, and one that was replaced has another
    inode. Directories stay as they are. A file that elements share is sealed as
    it is now, when all of them have written it.
    """
    one = read_seal(text)
    if one.mark == "*":
        return _as_left(path, one)
    if not (one.changed and one.digest.startswith("stat:")):
        return text
    taken = Fingerprints().output(path)
    if taken is None or taken.digest != one.digest or taken.changed == one.changed or place_of(path) != one.place:
        return text
    _, inode, *attributes = one.changed.split(".")
    _, same, *now = taken.changed.split(".")
    if inode != same or attributes == now:
        return text
    return str(msgspec.structs.replace(one, changed=taken.changed))


def _as_left(path: str, one: Seal) -> str:
    policy = "content" if one.digest.startswith(("content:", "tree:")) else "stat"
    taken = Fingerprints(policy, named=True).output(path)
    if taken is None or not taken.digest.startswith(("stat:", "content:", "dir:", "tree:")):
        return str(one)
    content = small_content(path, taken.digest)
    return str(Seal(taken.digest, taken.changed, place_of(path), one.mark, content))


def small_content(path: str, digest: str) -> str:
    """Hash the bytes of a small file, whose fingerprint says how large it is; "" of a large one."""
    if digest.startswith("stat:") and int(digest.split(":")[1]) <= SMALL:
        return content_of(path) or ""
    return ""


class Places:
    """Gives the places of many paths, following the links of each directory once."""

    def __init__(self) -> None:
        self._directories: dict[str, str] = {}

    def of(self, path: str) -> str:
        """See `place_of`."""
        from ..model.digest import sha256

        if os.path.islink(path) or os.path.basename(path) in ("", ".", ".."):
            return place_of(path)
        directory, name = os.path.split(path)
        real = self._directories.get(directory)
        if real is None:
            real = self._directories[directory] = os.path.realpath(directory)
        return sha256(os.fsencode(os.path.join(real, name))).hexdigest()[:16]


def differs(path: str, text: str, *, ctime: bool = True, place: Callable[[str], str] = place_of) -> str:
    """Say how a file differs from what was recorded of it; "" where it is the same.

    Parameters
    ----------
    path : str
        The file.
    text : str
        Its seal, or its fingerprint alone.
    ctime : bool
        Whether the time of its inode's last change counts.
    place : callable
        Gives the place of a path.
    """
    one = read_seal(text)
    changed = ""
    if one.digest.startswith(("stat:", "dir:")):
        taken = Fingerprints(named=True).output(path) or Print("")
        same, changed = taken.digest == one.digest, taken.changed
    else:
        same = still(path, one.digest)
    if not same:
        return "has changed" if os.path.lexists(path) else "is gone"
    if not one.place or not one.changed:
        return ""
    moved = place(path) != one.place
    if not moved and (not ctime or changed.partition(".")[0] == one.ctime):
        return ""
    if one.content and content_of(path) == one.content:
        return ""
    return MOVED if moved else REPLACED
