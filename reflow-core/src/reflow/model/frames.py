r"""Framed records: how everything that must survive a crash is written.

A file is a sequence of frames, each one line::

    LLLLLLLL CCCCCCCC {json}\\n

``L`` is the length of the JSON text in bytes and ``C`` its CRC-32, both eight
hexadecimal digits. A writer appends whole frames, and a file has one writer, so
a frame that is short or whose checksum differs can only be the torn end of a
file whose writer died: a reader stops before it. Nothing that follows a torn
frame is ever believed.
"""

from __future__ import annotations

from binascii import crc32

HEAD = 18


def frame(payload: bytes) -> bytes:
    """Wrap one JSON text, which must hold no newline."""
    return b"%08x %08x %b\n" % (len(payload), crc32(payload), payload)


def unframe(data: bytes) -> bytes | None:
    """Take the JSON text out of one frame; None where it is not whole."""
    payload = data[HEAD:-1]
    return payload if frame(payload) == data else None


def parse(data: bytes, start: int = 0) -> tuple[list[bytes], int]:
    """Take the whole frames out of `data`.

    Parameters
    ----------
    data : bytes
        What a file holds from some frame's beginning on.
    start : int
        Where in `data` to begin.

    Returns
    -------
    payloads : list of bytes
        JSON texts, in order.
    end : int
        Offset in `data` after the last whole frame; where it is not
        ``len(data)``, a torn or unfinished frame follows.
    """
    payloads: list[bytes] = []
    position = start
    size = len(data)
    while position + HEAD < size:
        try:
            length = int(data[position : position + 8], 16)
            check = int(data[position + 9 : position + 17], 16)
        except ValueError:
            break
        begin = position + HEAD
        stop = begin + length
        if stop >= size or data[stop] != 10 or data[position + 8] != 32:
            break
        payload = data[begin:stop]
        if crc32(payload) != check:
            break
        payloads.append(payload)
        position = stop + 1
    return payloads, position
