"""Who an element is: the key under which its result is cached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from ..model.digest import sha256
from ..model.task import Task

#: counts changes of this scheme; entries of another scheme are never hit
SCHEME = b"reflow-identity-3"


def digest(raw: bytes, files: Iterable[tuple[str, str]] = ()) -> bytes:
    """Digest of one parameter: its canonical value, and the fingerprints of the files it names."""
    if not files:
        return sha256(raw).digest()
    state = sha256(raw)
    for path, fingerprint in files:
        state.update(b"\0" + path.encode("utf-8", "surrogateescape") + b"\0" + fingerprint.encode())
    return state.digest()


def located(key: str, directory: str) -> str:
    """The key of a result that holds in one directory alone: it names files by way of that, as relative paths do."""
    return sha256(f"{key}\0{directory}".encode("utf-8", "surrogatepass")).hexdigest()


def types(task: Task) -> str:
    """Digest of what a task's values mean: its parameters' and its result's types."""
    told = [task.returns, *((wired.name, wired.schema) for wired in sorted(task.inputs, key=lambda one: one.name))]
    return sha256(msgspec.json.encode(told)).hexdigest()


def counted(task: Task) -> str:
    """Digest of the versions of packages that count; "" where none does."""
    return sha256(msgspec.json.encode(task.counted, order="sorted")).hexdigest() if task.counted else ""


class Identity:
    """Keys of the elements of one task.

    Parameters
    ----------
    workflow : str
        The root workflow's name.
    task : Task
        The task, with its version and the digest of its variables.
    code : str
        The digest of its code that counts; "" under the policy ``ignore``.
    common : mapping of parameter name to digest
        Digests of the values that all elements share, hashed once.
    names : sequence of str
        Parameters of which each element has a value of its own.
    """

    def __init__(self, workflow: str, task: Task, code: str, common: Mapping[str, bytes], names: Iterable[str]) -> None:
        state = sha256(SCHEME)
        for part in (workflow, task.name, task.version, task.env_digest, types(task), counted(task), code):
            encoded = part.encode("utf-8", "surrogatepass")
            state.update(b"%d:" % len(encoded) + encoded)
        for name in sorted(common):
            state.update(name.encode() + b"=" + common[name])
        state.update(b"|" + ",".join(names).encode() + b"|")
        self._state = state

    def key(self, digests: Iterable[bytes]) -> str:
        """The key of the element whose own values have these digests, in the order of `names`."""
        state = self._state.copy()
        for one in digests:
            state.update(one)
        return state.hexdigest()
