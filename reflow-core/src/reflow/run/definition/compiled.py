"""The compiled code of frozen sources; a source is compiled only where that was not done before."""

from __future__ import annotations

import os
import stat
import sys
import warnings
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash

from ...model import layout
from ...model.digest import sha256
from ...worker.durable import write_new
from ...worker.frozen import Frozen
from ...worker.opener import read_regular

_HEADER = 16
#: the flags in the header where a hash names the source, and imports do not compare it
_UNCHECKED_HASH = (1).to_bytes(4, "little")
#: nanoseconds by which a source is older than its compiled code, for certain
_OLDER = 2_000_000_000


def compile_frozen(root: str, generation: int, name: str, copy: str, file: str, earlier: Frozen | None = None) -> str:
    """Write what a frozen source compiles to, as private as its copy.

    Parameters
    ----------
    root : str
        The run's root directory.
    generation : int
        The code generation.
    name : str
        The module.
    copy : str
        The frozen source.
    file : str
        Where it was frozen from.
    earlier : Frozen, optional
        Another code generation of the run, which may have the same source.

    Returns
    -------
    str
        The digest of what was written; "" where the source does not compile.
    """
    source = read_regular(copy)
    path = layout.compiled(root, generation, name, sys.implementation.cache_tag or "")
    code = _earlier(earlier, name, source) or _imported(file, source)
    if code:
        raw = b"".join((MAGIC_NUMBER, _UNCHECKED_HASH, source_hash(source), code))
        write_new(path, raw, stat.S_IMODE(os.stat(copy).st_mode), durable=False)
    elif not _compile(copy, path, file):
        return ""
    return sha256(read_regular(path)).hexdigest()


def _earlier(earlier: Frozen | None, name: str, source: bytes) -> bytes:
    """Return the code of a module from another code generation; empty where that has another source, or no code."""
    known = None if earlier is None else earlier.modules.get(name)
    if earlier is None or known is None or known.digest != sha256(source).hexdigest() or not known.compiled:
        return b""
    try:
        raw = earlier.compiled(name)
    except OSError:
        return b""
    return raw[_HEADER:] if raw.startswith(MAGIC_NUMBER) else b""


def _imported(file: str, source: bytes) -> bytes:
    """Return the code that an import has left in ``__pycache__``; empty where it may be that of another source.

    Whoever imports writes there the source's size and time as they were before it read the source. These are compared,
    and the compiled code has to be younger than the last change of any kind to the source: what was
    compiled is then what is there now, which is compared with `source`.
    """
    try:
        with open(cache_from_source(file, optimization=""), "rb") as stream:
            made = os.fstat(stream.fileno())
            raw = stream.read()
        if read_regular(file, follow=True) != source:
            return b""
        status = os.stat(file)  # last: an edit from now back to when the compiled code was read makes it younger
    except (OSError, ValueError, NotImplementedError):
        return b""
    header = b"".join(
        (MAGIC_NUMBER, bytes(4), *(_word(number) for number in (int(status.st_mtime), status.st_size))),
    )
    is_younger = made.st_dev == status.st_dev and made.st_mtime_ns - status.st_ctime_ns >= _OLDER
    return raw[_HEADER:] if raw.startswith(header) and is_younger and made.st_uid in (0, os.getuid()) else b""


def _word(number: int) -> bytes:
    return (number & 0xFFFFFFFF).to_bytes(4, "little")


def _compile(copy: str, path: str, file: str) -> bool:
    """Compile a source as if it lay in `file`; tell whether that was possible."""
    import py_compile

    with warnings.catch_warnings():  # they are given to who imports it
        warnings.simplefilter("ignore")
        try:
            mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
            py_compile.compile(copy, cfile=path, dfile=file, doraise=True, optimize=0, invalidation_mode=mode)
        except (py_compile.PyCompileError, ValueError, RecursionError):
            return False
    return True
