"""Options from parameters, and what is typed to Python values."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Optional, TypedDict, Union
from uuid import UUID

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.authoring import Parameter
from reflow.cli import params
from reflow.errors import UsageError
from reflow.model.codec import codec_of, schema_of


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Box:
    name: str
    south: float
    when: date | None = None
    colour: Colour = Colour.RED


class Pair(NamedTuple):
    a: int
    b: str = "x"


class Movie(TypedDict, total=False):
    title: str
    year: int


def parameter(tp: Any, key: str = "x", default: Any = ..., **more: Any) -> Parameter:
    return Parameter(
        key=key,
        flag=f"--{key.replace('_', '-')}",
        short=more.pop("short", None),
        type=tp,
        schema=schema_of(tp),
        default=None if default is ... else codec_of(tp).encode(default).decode(),
        help=more.pop("help", ""),
        tasks=("t",),
    )


def read(tp: Any, *texts: str) -> Any:
    return params.read_texts(parameter(tp), texts)


UTC = timezone.utc
GOOD = [
    (str, "a b", "a b"),
    (str, "", ""),
    (str, "bad \udcff name", "bad \udcff name"),
    (str, "\0x", "\0x"),
    (str, "{not json", "{not json"),
    (int, "-12", -12),
    (int, str(10**40), 10**40),
    (float, "1", 1.0),
    (float, "1e-3", 0.001),
    (float, "inf", float("inf")),
    (bool, "yes", True),
    (bool, "No", False),
    (Path, "~/a b", Path("~/a b")),
    (bytes, "a\udcff", b"a\xff"),
    (datetime, "2025-03-01", datetime(2025, 3, 1)),
    (datetime, "2025-03-01T10:00:00Z", datetime(2025, 3, 1, 10, tzinfo=UTC)),
    (datetime, "2025-03-01 10:00:00+02:00", datetime(2025, 3, 1, 10, tzinfo=timezone(timedelta(hours=2)))),
    (date, "2025-03-01", date(2025, 3, 1)),
    (time, "10:30", time(10, 30)),
    (timedelta, "90m", timedelta(minutes=90)),
    (timedelta, "1-00:00:00", timedelta(days=1)),
    (timedelta, "0.25", timedelta(milliseconds=250)),
    (timedelta, "-3", timedelta(seconds=-3)),
    (UUID, "12345678123456781234567812345678", UUID(int=0x12345678123456781234567812345678)),
    (Decimal, "1.10", Decimal("1.10")),
    (Colour, "RED", Colour.RED),
    (Colour, "blue", Colour.BLUE),
    (Level, "2", Level.HIGH),
    (Literal["fast", "slow"], "slow", "slow"),
    (Literal[1, 2, "three", True], "2", 2),
    (Literal[1, 2, "three", True], "three", "three"),
    (Literal[True, "x"], "true", True),
    (Optional[int], "3", 3),
    (Optional[int], "none", None),
    (Optional[str], "none", "none"),
    (Optional[Colour], "red", Colour.RED),
    (Union[int, str], "3", 3),
    (Union[int, str], "three", "three"),
    (Union[Path, str], "three", Path("three")),
    (Union[int, bool], "1", 1),
    (Union[int, bool], "yes", True),
    (Union[bool, str], "1", True),
    (Union[bool, Path], "no", False),
    (Optional[bool], "none", None),
    (Optional[list[int]], "none", None),
    (Optional[list[str]], "none", ["none"]),
    (Union[date, Box, None], '{"name": "n", "south": 1}', Box("n", 1.0)),
    (tuple[int, str], '[1, "a"]', (1, "a")),
    (dict[str, int], '{"a": 1, "$b": 2}', {"a": 1, "$b": 2}),
    (dict[str, float], '{"a": 1, "b": NaN}', None),
    (dict[int, str], '{"3": "c"}', {3: "c"}),
    (dict[date, int], '{"2025-03-01": 1}', {date(2025, 3, 1): 1}),
    (dict[tuple[int, int], int], "[[[1, 2], 3]]", {(1, 2): 3}),
    (Box, '{"name": "n", "south": 1, "when": "2025-03-01", "colour": "blue"}', None),
    (Pair, '{"a": 1}', Pair(1)),
    (Movie, '{"title": "Brazil"}', {"title": "Brazil"}),
    (Movie, "{}", {}),
    (Any, '[1, {"$a": [null, 0.5, true, "x"]}]', [1, {"$a": [None, 0.5, True, "x"]}]),
    (Any, "5", 5),
    (Any, "hello", "hello"),
    (Annotated[int, "whatever"], "3", 3),
]


@pytest.mark.parametrize(("tp", "text", "value"), GOOD, ids=lambda v: str(v)[:30])
def test_texts_become_values(tp: Any, text: str, value: Any) -> None:
    found = read(tp, text)
    if value is None and tp is Box:
        value = Box("n", 1.0, date(2025, 3, 1), Colour.BLUE)
    if tp == dict[str, float]:
        assert found["a"] == 1.0
        assert found["b"] != found["b"]
        return
    assert found == value
    assert type(found) is type(value)


BAD = [
    (int, "x", "'x' is not an int"),
    (int, "1.5", "not an int"),
    (float, "one", "'one' is not a float"),
    (bool, "maybe", "not a bool"),
    (datetime, "yesterday", "'yesterday' is not a datetime"),
    (date, "2025-02-30", "not a date"),
    (timedelta, "02:00", "not a timedelta ('02:00' could be hours and minutes"),
    (timedelta, "nan", "not a timedelta"),
    (UUID, "12", "not an UUID"),
    (Decimal, "x", "not a Decimal"),
    (Colour, "rad", "'rad' is none of 'RED', 'BLUE'"),
    (Literal["fast", "slow"], "fats", "did you mean 'fast'?"),
    (Optional[int], "x", "'x' is not an int"),
    (Union[int, date], "x", "'x' is not a date | int"),
    (Union[int, date], "x" * 10_000, "is not a date | int"),
    (Box, "[1]", "[1] is not a Box"),
    (Box, "n", "'n' is not JSON"),
    (Box, '{"name": "n"}', "Box needs 'south', too"),
    (Box, '{"name": "n", "sout": 1}', "Box has no field 'sout'; did you mean 'south'?"),
    (Box, '{"name": "n", "south": 1, "qqqq": 1}', "it has 'name', 'south', 'when', 'colour'"),
    (Box, '{"name": "n", "south": "x"}', ".south: 'x' is not a float"),
    (Box, '{"name": "n", "south": true}', ".south: True is not a float"),
    (dict[str, list[int]], '{"a": [1, 2.5]}', "['a'][1]: 2.5 is not an int"),
    (dict[str, int], "[1]", "[1] is not an object: dict[str, int]"),
    (dict[tuple[int, int], int], "{}", "not a list of [key, value] pairs"),
    (tuple[int, str], "[1]", "[1] is not a tuple[int, str]"),
    (tuple[int, str], '["a", "b"]', "[0]: 'a' is not an int"),
    (list[int], "[1, 2", "is not JSON"),
    (list[int], '[1, "x"]', "[1]: 'x' is not an int"),
    (list[int], "[true]", "[0]: True is not an int"),
    (dict[str, Literal[1, 2]], '{"a": 3}', "['a']: 3 is not a Literal[1, 2]"),
    (dict[str, Union[int, None]], '{"a": []}', "['a']: [] is not an int"),
]


@pytest.mark.parametrize(("tp", "text", "message"), BAD, ids=lambda v: str(v)[:30])
def test_what_does_not_fit_is_said_shortly(tp: Any, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tp, text)
    assert message in caught.value.message
    assert len(caught.value.message) < 300


def test_lists_take_several_texts_and_json() -> None:
    assert read(list[int], "1", "[2, 3]", "4") == [1, 2, 3, 4]
    assert read(set[str], "a", "b", "a") == {"a", "b"}
    assert read(tuple[Path, ...], "a", "b") == (Path("a"), Path("b"))
    assert read(list[str], '["a", "b"]') == ["a", "b"]
    assert read(list[str], "[a]") == ["[a]"], "no JSON: an item like any other"
    assert read(list[list[int]], "[1, 2]", "[3]") == [[1, 2], [3]], "not a list of lists: an item"
    assert read(list[list[int]], "[[1, 2], [3]]") == [[1, 2], [3]]
    assert read(Optional[list[int]], "1", "2") == [1, 2]
    assert read(list[Colour], "red", "BLUE") == [Colour.RED, Colour.BLUE]
    assert read(list[Box], '{"name": "n", "south": 1}') == [Box("n", 1.0)]
    assert read(list[timedelta], "1h", "90m") == [timedelta(hours=1), timedelta(minutes=90)]


def test_the_last_text_wins_where_one_value_is_taken() -> None:
    assert read(int, "1", "2") == 2


@given(st.lists(st.one_of(st.integers(), st.floats(allow_nan=False), st.booleans(), st.none(), st.text())))
def test_json_of_any_round_trips(value: list[Any]) -> None:
    assert params.read_json(parameter(Any), json.loads(json.dumps(value))) == value


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_is_a_str(text: str) -> None:
    assert read(str, text) == text


def test_a_hundred_thousand_items() -> None:
    assert read(list[int], json.dumps(list(range(100_000)))) == list(range(100_000))


def test_json_values_mean_the_same_as_texts() -> None:
    assert params.read_json(parameter(timedelta), "90m") == timedelta(minutes=90)
    assert params.read_json(parameter(float), 1) == 1.0
    assert params.read_json(parameter(Union[int, float]), 1) == 1
    assert params.read_json(parameter(Union[int, float]), 1.5) == 1.5
    assert params.read_json(parameter(Optional[int]), None) is None
    assert params.read_json(parameter(Literal["a", 1]), 1) == 1
    assert params.read_json(parameter(Union[str, None, date]), "2025-01-01") == date(2025, 1, 1)
    assert params.read_json(parameter(bool), False) is False
    with pytest.raises(UsageError, match="1 is not a bool"):
        params.read_json(parameter(bool), 1)
    with pytest.raises(UsageError, match="None is not a str"):
        params.read_json(parameter(str), None)


def test_what_only_the_whole_value_shows() -> None:
    with pytest.raises(UsageError, match="is too large for a float"):
        params.read_json(parameter(float), 10**400)
    with pytest.raises(UsageError, match="two keys of a dict are the same"):
        read(dict[int, int], '{"1": 1, "01": 2}')
    with pytest.raises(UsageError, match="nested too deeply"):
        read(Any, "[" * 100_000 + "]" * 100_000)


# Options


def parse(found: Parameter, *words: str) -> dict[str, object]:
    sink: dict[str, object] = {}
    command = click.Command("c", params=[params.option(found, sink)], callback=lambda: None)
    command.main(list(words), standalone_mode=False)
    return sink


def help_of(found: Parameter) -> tuple[str, str]:
    option = params.option(found, {})
    record = option.get_help_record(click.Context(click.Command("c")))
    assert record is not None
    return record


def test_an_option_puts_its_value_where_it_belongs() -> None:
    assert parse(parameter(int, "pre_ingest_chunk"), "--pre-ingest-chunk", "3") == {"pre_ingest_chunk": 3}
    assert parse(parameter(int, short="-n"), "-n3") == {"x": 3}
    assert parse(parameter(int)) == {}, "what is not given is left to its default"
    assert parse(parameter(list[int])) == {}
    assert parse(parameter(list[int]), "--x", "1", "--x", "2") == {"x": [1, 2]}


def test_bools_are_flags() -> None:
    assert parse(parameter(bool), "--x") == {"x": True}
    assert parse(parameter(bool), "--no-x") == {"x": False}
    assert parse(parameter(Optional[bool]), "--no-x") == {"x": False}
    assert parse(parameter(bool)) == {}


def test_a_wrong_value_names_its_option() -> None:
    with pytest.raises(UsageError, match="--chunk-size: 'x' is not an int"):
        parse(parameter(int, "chunk_size"), "--chunk-size", "x")


@pytest.mark.parametrize(
    ("found", "flags", "text"),
    [
        (parameter(int, help="how many"), "--x INT", "how many  [required]"),
        (parameter(int, default=7, help="how many", short="-n"), "-n, --x INT", "how many  [default: 7]"),
        (parameter(str, default="a b"), "--x TEXT", "[default: a b]"),
        (parameter(timedelta, default=timedelta(days=1, minutes=90)), "--x DURATION", "[default: 1-01:30:00]"),
        (parameter(Optional[timedelta], default=timedelta(seconds=-1.5)), "--x DURATION", "[default: -1.5]"),
        (parameter(Optional[int], default=None), "--x INT", ""),
        (parameter(list[int], default=[]), "--x INT", "[repeatable]"),
        (parameter(list[Path], default=[Path("a"), Path("b")]), "--x PATH", "[repeatable; default: a, b]"),
        (parameter(bool, default=True), "--x / --no-x", "[default: x]"),
        (parameter(bool, default=False), "--x / --no-x", "[default: no-x]"),
        (parameter(Literal["a", 1], default="a"), "--x [a|1]", "[default: a]"),
        (parameter(Colour, default=Colour.RED), "--x [RED|BLUE]", "[default: RED]"),
        (parameter(Optional[Colour], default=None), "--x [RED|BLUE]", ""),
        (parameter(Union[int, str], default=1), "--x INT|TEXT", "[default: 1]"),
        (parameter(Box), "--x JSON", "[required]"),
        (parameter(Any, default={"a": 1}), "--x JSON", '[default: {"a": 1}]'),
        (parameter(datetime, default=datetime(2025, 1, 1)), "--x DATETIME", "[default: 2025-01-01T00:00:00]"),
        (parameter(timedelta), "--x DURATION", "[required]"),
        (parameter(float, default=float("inf")), "--x FLOAT", "[default: inf]"),
    ],
    ids=str,
)
def test_help(found: Parameter, flags: str, text: str) -> None:
    assert help_of(found) == (flags, text)


# --param


def pairs(known: list[Parameter], *given: str) -> dict[str, object]:
    return params.read_pairs({found.key: found for found in known}, given)


def test_pairs() -> None:
    known = [parameter(int, "a"), parameter(list[int], "b_c"), parameter(str, "d")]
    assert pairs(known, "a=1", "b-c=1", "b_c=2", "d=x=y") == {"a": 1, "b_c": [1, 2], "d": "x=y"}


def test_pairs_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "params.json"
    file.write_text('{"a": 1, "b-c": [1, 2]}')
    known = [parameter(int, "a"), parameter(list[int], "b_c")]
    assert pairs(known, f"@{file}") == {"a": 1, "b_c": [1, 2]}
    assert pairs(known, f"@{file}", "a=2") == {"a": 2, "b_c": [1, 2]}, "what is written out wins"
    monkeypatch.setattr("sys.stdin", io.StringIO('{"a": 3}'))
    assert pairs(known, "@-") == {"a": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "--param 'a' has no value"),
        ("aa=1", "there is no parameter 'aa'; did you mean 'a'?"),
        ("zzz=1", "there is no parameter 'zzz'"),
        ("a=x", "parameter a: 'x' is not an int"),
        ("@nowhere.json", "cannot read parameters from 'nowhere.json'"),
    ],
)
def test_wrong_pairs(text: str, message: str) -> None:
    with pytest.raises(UsageError, match="^" + message.replace("?", r"\?")):
        pairs([parameter(int, "a")], text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "not a JSON object"),
        ("{", "cannot read parameters"),
        ('{"a": "x"}', "parameter a: 'x' is not an int"),
        ('{"b": 1}', "there is no parameter 'b'"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "params.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        pairs([parameter(int, "a")], f"@{file}")


def test_everything_missing_is_named_at_once() -> None:
    known = {"a": parameter(int, "a", help="the first"), "b": parameter(str, "b"), "c": parameter(int, "c", 1)}
    with pytest.raises(UsageError) as caught:
        params.check_given(known, {})
    assert caught.value.message == "missing --a (int), --b (str)"
    assert caught.value.hint == "--a: the first"
    params.check_given(known, {"a": 1, "b": "x"})
