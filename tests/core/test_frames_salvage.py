"""Frames behind damage are found, and none is made up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reflow.model.frames import HEAD, frame, parse, salvage

payloads = st.lists(st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b"")), max_size=8)


def laid_out(texts: list[bytes]) -> list[tuple[int, bytes]]:
    found, at = [], 0
    for text in texts:
        found.append((at, text))
        at += HEAD + len(text) + 1
    return found


@given(payloads, st.binary(max_size=30))
def test_what_is_whole_is_read_as_it_is(texts: list[bytes], tail: bytes) -> None:
    data = b"".join(map(frame, texts))
    assert salvage(data) == (laid_out(texts), [])
    frames, gaps = salvage(data + b"x" + tail.replace(b"\n", b""))
    assert frames == laid_out(texts)
    assert gaps == [(len(data), len(data) + 1 + len(tail.replace(b"\n", b"")))]


@given(payloads, st.data())
def test_all_that_was_not_touched_is_found_and_nothing_else(texts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(map(frame, texts))
    begin = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(begin, len(whole)))
    noise = data.draw(st.binary(max_size=60))
    damaged = whole[:begin] + noise + whole[end:]
    frames, gaps = salvage(damaged)
    shift = len(noise) - (end - begin)
    before = [(at, text) for at, text in laid_out(texts) if at + HEAD + len(text) + 1 <= begin]
    after = [(at + shift, text) for at, text in laid_out(texts) if at > end]
    assert frames[: len(before)] == before
    if after:
        assert frames[-len(after) :] == after
    for at, text in frames:
        piece = damaged[at : at + HEAD + len(text) + 1]
        assert piece == frame(text), "only what is there, whole, with its checksum"
    position = 0
    for start, stop in sorted([*gaps, *((at, at + HEAD + len(text) + 1) for at, text in frames)]):
        assert start == position, "frames and gaps cover every byte, once"
        position = stop
    assert position == len(damaged)
    if not gaps:
        assert parse(damaged)[1] == len(damaged)
