"""What tells, beside its fingerprint, that a file is the one that was recorded: a seal.

A seal is text, ``FINGERPRINT CTIME PLACE [CONTENT]``:

- the fingerprint, see `reflow.worker.files`;
- the file's ctime in ns, which nobody can set (of a directory a hash of those in it; ``-`` where the fingerprint is
  of the content);
- a hash of the path without symbolic links, after ``=`` where its element has written the file, ``+`` where it names
  it first, ``~`` where it was given the file, or shares it;
- the digest of its bytes, of small files alone.

What has no place is recorded by its fingerprint alone.
"""

from __future__ import annotations

import os

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
        The ctime, or "".
    place : str
        Sixteen hexadecimal digits; "" where none was recorded.
    mark : str
        ``=``, ``+`` or ``~``.
    content : str
        ``content:SHA256``, or "".
    """

    digest: str
    changed: str = ""
    place: str = ""
    mark: str = "~"
    content: str = ""

    @property
    def own(self) -> bool:
        """Whether no other element may name the file as its own, too."""
        return bool(self.place) and self.mark != "~"

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


def place_of(path: str) -> str:
    """Hash a path without its symbolic links."""
    from ..model.digest import sha256

    return sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:16]


def seal(path: str, taken: Print) -> Seal:
    """Make the seal of a file whose fingerprint was taken just now, as if it was given."""
    return Seal(taken.digest, taken.changed, place_of(path), content=small_content(path, taken.digest))


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


def differs(path: str, text: str, *, ctime: bool = True) -> str:
    """Say how a file differs from what was recorded of it; "" where it is the same.

    Parameters
    ----------
    path : str
        The file.
    text : str
        Its seal, or its fingerprint alone.
    ctime : bool
        Whether the time of its inode's last change counts.
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
    moved = place_of(path) != one.place
    if not moved and (not ctime or changed == one.changed):
        return ""
    if one.content and content_of(path) == one.content:
        return ""
    return MOVED if moved else REPLACED
