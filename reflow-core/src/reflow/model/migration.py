"""From older schemas to this one, record by record.

`STEPS` holds, for each schema that is still read, what leads from it to the
next. Records are changed when they are read: event files and mailboxes, which
others may be reading or writing, stay as they are; what is written anew has the
schema of today. A step gets a record's fields as encoded bytes, so that
what it does not touch, results above all, stays the same byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping

import msgspec

from .record import SCHEMA

Fields = MutableMapping[str, msgspec.Raw]
Change = Callable[[Fields], None]


def _same(fields: Fields) -> None:
    """Leave a record as it is."""


class Step(msgspec.Struct, frozen=True):
    """What leads from one schema to the next: changes a record's fields in place.

    Attributes
    ----------
    definition : callable
        Of ``run.json``.
    event, mail : callable
        Of an event and of a worker's report, whose kind is in ``k``.
    """

    definition: Change = _same
    event: Change = _same
    mail: Change = _same


#: schema -> what leads to the following one; 1 is the first there ever was
STEPS: dict[int, Step] = {}

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Schema(msgspec.Struct):
    schema: int = SCHEMA


_schema = msgspec.json.Decoder(_Schema)


def schema_of(raw: bytes) -> int:
    """The schema that a record says it has; today's where it says nothing.

    Raises
    ------
    msgspec.MsgspecError
        It is no record.
    """
    try:
        return _schema.decode(raw).schema
    except RecursionError:
        raise msgspec.DecodeError("it is nested too deeply") from None


def known(schema: int) -> bool:
    """Whether records of a schema can be read: it is today's, or steps lead there."""
    return schema <= SCHEMA and all(number in STEPS for number in range(schema, SCHEMA))


def upgrade(kind: str, raw: bytes, schema: int) -> bytes:
    """Bring one record to today's schema.

    Parameters
    ----------
    kind : {"definition", "event", "mail"}
        What it is.
    raw : bytes
        Its JSON text.
    schema : int
        The schema of the file that it is in; `known`.

    Raises
    ------
    msgspec.MsgspecError
        It is no record.
    """
    if schema >= SCHEMA:
        return raw
    fields = _fields.decode(raw)
    for number in range(schema, SCHEMA):
        getattr(STEPS[number], kind)(fields)
    if "schema" in fields:
        fields["schema"] = msgspec.Raw(b"%d" % SCHEMA)
    return msgspec.json.encode(fields)
