"""Which records this version of reflow reads: those of its own schema, and no others."""

from __future__ import annotations

import sys

import msgspec

from ..errors import DataError
from .record import SCHEMA

#: this version of reflow; an import of the package here would tie this layer to those that its names lead to
VERSION: str = sys.modules["reflow"].__version__


class _Written(msgspec.Struct):
    """What a record says of the code that wrote it."""

    schema: int = SCHEMA
    version: str = ""


_written = msgspec.json.Decoder(_Written)


def require_schema(path: str, raw: bytes) -> None:
    """Refuse a file whose first record, `raw`, has another schema; the file is left as it is.

    Raises
    ------
    DataError
        Another version of reflow has written it.
    msgspec.MsgspecError
        It is no record.
    """
    try:
        found = _written.decode(raw)
    except RecursionError:
        raise msgspec.DecodeError("it is nested too deeply") from None
    if found.schema == SCHEMA:
        return
    other = f"reflow {found.version}" if found.version else "another version of reflow"
    raise DataError(
        f"{path} was written by {other} in schema {found.schema}; this is reflow {VERSION}, which reads {SCHEMA}",
        hint=f"use {other} for this run; a new run takes from the cache what holds",
    )
