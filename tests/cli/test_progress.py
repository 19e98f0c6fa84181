"""Progress on stderr."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest

from reflow.cli import progress


def event(task: str = "", total: int = 0, message: str = "", **counts: int) -> Any:
    return SimpleNamespace(task=task, total=total, message=message, counts=counts)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("reflow.cli.progress.time.monotonic", found)
    return found


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.partition("] ")[2] or line for line in capsys.readouterr().err.splitlines()]


def test_plain_lines_are_few(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress.watching() as watch:
        assert isinstance(watch, progress.Plain)
        for done in range(100):
            clock.now += 0.5
            watch(event("compute", 100, SUCCESS=done, RUNNING=2))
        watch(event("compute", 100, SUCCESS=100))
        watch(event("compute", 100, SUCCESS=100))
    said = lines(capsys)
    assert said[0] == "compute: 0/100 (2 running)"
    assert said[-1] == "compute: 100/100"
    assert len(said) == 6, "one at the beginning, one each ten seconds, one at the end"


def test_failures_are_said_at_once(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    watch = progress.Plain()
    watch(event("a", 10, SUCCESS=1))
    watch(event("a", 10, SUCCESS=2, FAILED=1))
    watch(event("a", 10, SUCCESS=3, FAILED=1))
    assert lines(capsys) == ["a: 1/10", "a: 3/10 (1 failed)"]


def test_words_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    progress.Plain()(event(message="the task \x1b is larger than this machine"))
    assert capsys.readouterr().err == "the task \\x1b is larger than this machine\n"


def test_a_task_of_unknown_or_no_size(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    watch = progress.Plain()
    watch(event("a", 0, PENDING=0))
    watch(event("a", 0, PENDING=0))
    assert lines(capsys) == ["a: 0/0"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_data_for_a_pipe_is_not_mixed_with_bars(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm")
    with progress.watching() as watch:
        watch(event("a", 4, SUCCESS=3))
        print("data")
    assert capsys.readouterr().out == "data\n"
    assert "data" not in terminal.getvalue()


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm")
    with progress.watching() as watch:
        assert isinstance(watch, progress.Live)
        watch(event(message="[b]hello[/b]"))
        watch(event("a[0]", 0))
        watch(event("a[0]", 4, SUCCESS=3, FAILED=1))
    shown = terminal.getvalue()
    assert "[b]hello[/b]" in shown
    assert "a[0]" in shown
    assert "4/4" in shown
    assert "1 failed" in shown
