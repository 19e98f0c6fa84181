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
        if stop >= size or data[stop] != 10 or data[position + 8] != 32 or data[begin - 1] != 32:
            break
        payload = data[begin:stop]
        if crc32(payload) != check:
            break
        payloads.append(payload)
        position = stop + 1
    return payloads, position


def salvage(data: bytes) -> tuple[list[tuple[int, bytes]], list[tuple[int, int]]]:
    """Take every whole frame out of `data`, those behind damage too: for repair, which has more to compare them with.

    A frame is a line of its own with a checksum of its own, so the next one is
    found at the next line.

    Parameters
    ----------
    data : bytes
        A whole file.

    Returns
    -------
    frames : list of (int, bytes)
        Offset and JSON text of each, in order.
    gaps : list of (int, int)
        Begin and end of what is no frame; one that reaches the end of `data` may be a torn tail.
    """
    frames: list[tuple[int, bytes]] = []
    gaps: list[tuple[int, int]] = []
    position = 0
    while position < len(data):
        payloads, end = parse(data, position)
        for payload in payloads:
            frames.append((position, payload))
            position += HEAD + len(payload) + 1
        if end >= len(data):
            break
        line = data.find(b"\n", end)
        position = len(data) if line < 0 else line + 1
        if gaps and gaps[-1][1] == end:
            gaps[-1] = (gaps[-1][0], position)
        else:
            gaps.append((end, position))
    return frames, gaps
