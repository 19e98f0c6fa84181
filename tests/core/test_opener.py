"""Files that others may have made: none makes a reader wait, and what is read of them ends where it is damaged."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.errors import Untrusted
from reflow.model.frames import frame, parse
from reflow.worker import opener
from reflow.worker.opener import decoded, frames_of, open_regular, read_regular
from reflow.worker.trust import Trust


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("frames") / "file"


@given(
    st.lists(st.binary(max_size=60)),
    st.binary(max_size=60),
    st.integers(1, 80),
    st.one_of(st.none(), st.integers(0, 600)),
)
def test_frames_are_read_as_if_at_once_however_little_is_read_at_a_time(
    scratch: Path, payloads: list[bytes], rest: bytes, ahead: int, end: int | None
) -> None:
    data = b"".join(map(frame, payloads)) + rest
    scratch.write_bytes(data)
    file = os.open(scratch, os.O_RDONLY)
    before = opener._AHEAD
    opener._AHEAD = ahead
    try:
        assert frames_of(file, 0, end) == parse(data[:end])
    finally:
        opener._AHEAD = before
        os.close(file)


def test_what_follows_damage_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sparse"
    path.write_bytes(frame(b"{}"))
    os.truncate(path, 200 << 30)
    read = [0]
    real = os.pread

    def counted(file: int, size: int, offset: int) -> bytes:
        data = real(file, size, offset)
        read[0] += len(data)
        return data

    monkeypatch.setattr(os, "pread", counted)
    file = open_regular(str(path))
    assert frames_of(file) == ([b"{}"], len(frame(b"{}")))
    os.close(file)
    assert read[0] <= 2 * opener._AHEAD


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "fifo")
    os.symlink("file", tmp_path / "link")
    os.symlink("/dev/zero", tmp_path / "zero")
    (tmp_path / "directory").mkdir()
    for name, said in (("fifo", "no regular file"), ("link", "symbolic link"), ("directory", "directory")):
        with pytest.raises(OSError, match=said) as caught:
            open_regular(str(tmp_path / name))
        assert caught.value.filename == str(tmp_path / name)
    with pytest.raises(OSError, match="no regular file"):
        open_regular(str(tmp_path / "zero"), follow=True)
    assert read_regular(str(tmp_path / "link"), follow=True) == b"x"


def test_a_file_has_a_size(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_regular(str(tmp_path / "file"), most=5) == b"12345"
    with pytest.raises(OSError, match="it has 5 bytes, and 4 at most"):
        read_regular(str(tmp_path / "file"), most=4)
    assert read_regular("/proc/self/stat"), "what has no size is read as well"
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_regular("/proc/self/stat", most=4)


def test_what_is_opened_is_what_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    own = Trust(frozenset({os.geteuid()}))
    assert read_regular(str(path), own) == b"x"
    path.chmod(0o646)
    with pytest.raises(Untrusted, match="world-writable"):
        open_regular(str(path), own)
    os.close(open_regular(str(path), own, closed=True))
    with pytest.raises(Untrusted, match="belongs to"):
        open_regular(str(path), Trust(frozenset({12345})), closed=True)


@pytest.mark.parametrize("data", [b"[" * 200_000, b"\xff", b"", b'"\xff"'])
def test_whatever_cannot_be_decoded_is_one_kind_of_damage(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decoded(msgspec.json.Decoder(object).decode, data)
