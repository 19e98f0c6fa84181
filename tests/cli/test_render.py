"""What is printed, and how wide it is."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.cli import render


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_printed_can_move_the_cursor_or_break_a_line() -> None:
    assert render.clean("a\x1b[2Jb\nc\td\u202ee\udcff") == r"a\x1b[2Jb\nc\td\u202ee\udcff"
    assert render.clean("a\tb\nc\r", lines=True) == "a\tb\nc\\r"
    assert render.clean("Zürich 東京") == "Zürich 東京"


@given(st.text(st.characters(exclude_categories=())))
def test_clean_text_can_be_encoded_and_is_one_line(text: str) -> None:
    shown = render.clean(text)
    assert len(shown.encode().decode().splitlines()) <= 1


def test_data_goes_to_stdout_and_talk_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    render.put("data")
    render.put()
    render.say("talk")
    render.say()
    render.complain("hint", "more")
    out, err = capsys.readouterr()
    assert (out, err) == ("data\n\n", "talk\n\nhint: more\n")


def test_a_narrow_encoding_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    render.put("é├")
    stream.flush()
    assert stream.buffer.getvalue() == b"\\xe9\\u251c\n"


def test_json_is_ascii_and_holds_anything(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"a": ["é", "\udcff", 1, None], "p": 0.5}
    render.put_json({**value, "path": pytest})
    out = capsys.readouterr().out
    assert out.isascii()
    assert {key: item for key, item in json.loads(out).items() if key != "path"} == value


@pytest.mark.parametrize("width", [80, 40])
def test_tables_fold_and_lose_nothing(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    path = "/scratch/" + "x" * 100 + "/end"
    render.table(
        ["RUN_ID", "STATE", "N", "DIRECTORY"], [["demo-1", "SUCCESS", 3, path], ["[b]x", None, 12, ""]], right=["N"]
    )
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert all(line == line.rstrip() for line in lines)
    assert "".join(line.split()[-1] for line in lines[1:-1]) == path
    assert lines[0].split() == ["RUN_ID", "STATE", "N", "DIRECTORY"]
    assert lines[-1].split() == ["[b]x", "12"]


def test_colours_only_where_they_are_welcome(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm")
    assert render.style("x", "red", terminal) == "\x1b[31m\x1b[1mx\x1b[0m"
    assert render.style("x", None, terminal) == "x"
    assert render.style("x", "red", io.StringIO()) == "x"
    monkeypatch.setenv("TERM", "dumb")
    assert not render.coloured(terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not render.coloured(terminal)


def test_a_table_that_fits_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    render.table(["NAME", "N", "END"], [["東京", 1, ""], ["a", 1000, "x\ty"], ["abcdef", None, None]], right=["N"])
    assert capsys.readouterr().out.splitlines() == [
        "NAME       N  END",
        "東京       1",
        "a       1000  x\\ty",
        "abcdef",
    ]


def test_what_folds_is_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    render.table(["A", "WORDS", "WIDE"], [["1", "all happy families are alike", "東京都千代田区"]])
    assert capsys.readouterr().out.splitlines() == [
        "A  WORDS      WIDE",
        "1  all happy  東京都千",
        "   families   代田区",
        "   are alike",
    ]


def test_a_table_wider_than_any_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "4")
    render.table(["AB", "CD"], [["xy", "zw"]])
    assert capsys.readouterr().out.splitlines() == ["A  C", "B  D", "x  z", "y  w"]


def test_an_empty_table_has_its_headings(capsys: pytest.CaptureFixture[str]) -> None:
    render.table(["A", "B"], [])
    assert capsys.readouterr().out == "A  B\n"


@pytest.mark.parametrize("columns", ["200", "20"])
def test_a_table_on_a_terminal_has_colours(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    terminal = Terminal()
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr("sys.stdout", terminal)
    render.table(["STATE", "WHAT"], [["FAILED", "FAILED"], ["SUCCESS", "x" * 30]])
    shown = terminal.getvalue()
    assert "\x1b[31m" in shown
    assert "\x1b[32m" in shown
    assert shown.count("\x1b[31m") == 1, "states are coloured, not what looks like one"


def test_facts_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    render.facts({"run": "a\nb", "directory": "/x", "reason": None, "word": ""})
    assert capsys.readouterr().out == "run        a\\nb\ndirectory  /x\n"
    render.facts({})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, None),
        (0.04, "0.04 s"),
        (59.94, "59.9 s"),
        (185, "3 min 05 s"),
        (7_800, "2 h 10 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_durations(seconds: float | None, text: str | None) -> None:
    assert render.duration(seconds) == text


def test_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert render.moment(0) == "1970-01-01 00:00:00"
    assert render.moment(None) is None


def failure(**more: object) -> dict[str, object]:
    found: dict[str, object] = {"task": "compute", "index": 3, "class": "error", "reason": "", "traceback": ""}
    return found | {"attempt": 1, "signal": None, "exit_code": None, "log": "/l"} | more


def test_a_failure_says_class_element_exception_log_and_what_next() -> None:
    found = failure(reason="ValueError: bad\nthing", traceback="...", place="/p/help er.py:4, in help")
    assert render.failure_block([found], 1, ["reflow logs x", "reflow retry x"]) == [
        "FAILED compute[3] (error)",
        "  ValueError: bad",
        "  thing",
        "  at /p/help er.py:4, in help",
        "  log: /l",
        "next: reflow logs x",
        "      reflow retry x",
    ]


@pytest.mark.parametrize(
    ("more", "first"),
    [
        ({"class": "exit", "signal": 9, "exit_code": 137}, "FAILED compute[3] (exit, signal 9)"),
        ({"class": "exit", "exit_code": 3, "attempt": 2}, "FAILED compute[3] (exit, exit code 3, attempt 2)"),
        ({"index": None, "class": "lost", "task": "a\nb"}, "FAILED a\\nb (lost)"),
    ],
)
def test_how_it_failed(more: dict[str, object], first: str) -> None:
    assert render.failure_block([failure(**more)], 1, []) == [first, "  log: /l"]


def test_a_refusal_of_an_array_is_printed_once() -> None:
    refused = {"class": "launch", "reason": "Slurm did not take the job", "log": "/job"}
    array = [failure(index=index, **refused) for index in (0, 1, 2, 5)]
    other = [failure(task="other", index=index, **(refused | {"log": "/other"})) for index in range(3)]
    assert render.failure_block([*array, *other, failure()], 20, []) == [
        "FAILED compute[0-2,5] (launch)",
        "  Slurm did not take the job",
        "  log: /job",
        "FAILED other[0-2] (launch)",
        "  Slurm did not take the job",
        "  log: /other",
        "FAILED compute[3] (error)",
        "  log: /l",
        "and 12 more failures",
    ]


def test_many_failures_are_counted() -> None:
    assert render.failure_block([failure()] * 6, 6, [])[-1] == "and 1 more failure"
    assert render.failure_block([failure()] * 100, 1200, [])[-1] == "and 1195 more failures"
    assert render.failure_block([], 0, []) == []
