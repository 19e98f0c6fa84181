"""Whatever is raised ends as one message and an exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from reflow.cli.boundary import guarded
from reflow.cli.session import Session
from reflow.errors import ConfigError, PluginError, ReflowError, UsageError


def run(error: BaseException, *, debug: bool = False) -> int:
    session = Session("reflow")
    session.debug = debug

    def work() -> int:
        raise error

    return guarded(session, work)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ReflowError("it broke"), 1, "error: it broke\n"),
        (ReflowError("it broke", hint="mend it"), 1, "error: it broke\nhint: mend it\n"),
        (UsageError("no \x1b[2J"), 2, "error: no \\x1b[2J\n"),
        (ConfigError("a\nb"), 2, "error: a\nb\n"),
        (PluginError("bad"), 1, "error: bad\n"),
        (click.UsageError("what?"), 2, "error: what?\n"),
        (click.FileError("x", "gone"), 1, "error: Could not open file 'x': gone\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (click.Abort(), 130, "error: interrupted\n"),
        (PermissionError(13, "Permission denied", "/x y"), 1, "error: '/x y': Permission denied\nhint: --debug"),
        (OSError(28, "No space left on device"), 1, "error: No space left on device\n"),
        (OSError("odd"), 1, "error: odd\n"),
    ],
    ids=repr,
)
def test_errors_are_messages(error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(error) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(said)
    assert "Traceback" not in err


@pytest.mark.parametrize("error", [ReflowError("x"), OSError(1, "x"), ValueError("x"), KeyboardInterrupt()], ids=repr)
def test_debug_shows_tracebacks(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    run(error, debug=True)
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "--debug" not in err


def test_the_unexpected_is_one_line_and_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run(ZeroDivisionError("oh")) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == "error: unexpected ZeroDivisionError: oh"
    (kept,) = tmp_path.iterdir()
    assert str(kept) in second
    assert "raise error" in kept.read_text()


def test_the_unexpected_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert run(ZeroDivisionError("oh")) == 1
    assert capsys.readouterr().err.endswith("plugin; --debug shows the traceback\n")


def test_no_arguments_show_the_help(reflow: Callable[..., object], capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["config"]):
        said = reflow(*words)
        assert said.code == 2  # type: ignore[attr-defined]
        assert said.out == ""  # type: ignore[attr-defined]
        assert said.err.startswith("Usage: ")  # type: ignore[attr-defined]


def process(code: str, **more: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, **more)  # type: ignore[call-overload,no-any-return]


_PRINTER = (
    "import sys; from reflow.cli.boundary import guarded; from reflow.cli.session import Session\n"
    "def work():\n    for _ in range(100000): print('x' * 100)\n    return 0\n"
    "sys.exit(guarded(Session('x'), work))"
)


def test_a_reader_that_goes_is_no_error() -> None:
    read, write = os.pipe()
    found = process(_PRINTER, stdout=write)
    os.close(write)
    os.read(read, 10)
    os.close(read)
    assert found.communicate()[1] == b""
    assert found.returncode == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_said() -> None:
    with open("/dev/full", "w") as full:
        found = process(_PRINTER.replace("100000", "10"), stdout=full)
        err = found.communicate()[1]
    assert err.startswith(b"error: No space left on device")
    assert found.returncode == 1
