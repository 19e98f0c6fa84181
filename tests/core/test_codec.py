"""Values to bytes and back: what is written, what is refused, and what is said then."""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import datetime as dt
import enum
import math
import subprocess
import sys
import typing
import uuid
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar, Union
from zoneinfo import ZoneInfo

import pytest
import typing_extensions

from reflow.errors import CodecError
from reflow.model.codec import Codec, codec_of, describe, schema_of

T = TypeVar("T")
U = TypeVar("U")
UserId = NewType("UserId", int)


class Level(enum.Enum):
    LOW = 1
    HIGH = 2
    TOP = 2  # noqa: PIE796, an alias


class Word(str, enum.Enum):
    YES = "yes"


class Number(enum.IntEnum):
    ONE = 1


class Access(enum.Flag):
    READ = 1


@dataclasses.dataclass
class Unhashable:
    weight: int


class Odd(Unhashable, enum.Enum):
    A = 1


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.5
    tags: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Point3(Point):
    z: float = 0.0


@dataclasses.dataclass(frozen=True)
class Box(Generic[T]):
    item: T
    more: tuple[T, ...] = ()


@dataclasses.dataclass
class Shelf(Generic[U]):
    boxes: list[Box[list[U]]]
    first: Box[U]


@dataclasses.dataclass
class Counted:
    """Changes its field whenever it is made, and adds what is no field."""

    value: int
    double: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.value += 1
        self.double = 2 * self.value
        self.note = "made"


@dataclasses.dataclass(frozen=True)
class Slotted:
    __slots__ = ("value",)
    value: int


@dataclasses.dataclass
class Initial:
    value: int
    seed: dataclasses.InitVar[int]

    def __post_init__(self, seed: int) -> None:
        self.value += seed


@dataclasses.dataclass(init=False)
class Own:
    value: int

    def __init__(self, text: str) -> None:
        self.value = len(text)


@dataclasses.dataclass
class Positive:
    value: int

    def __post_init__(self) -> None:
        if self.value < 0:
            raise ValueError("negative")


@dataclasses.dataclass
class Node:
    children: list[Node]


@dataclasses.dataclass
class Lost:
    value: Nowhere  # type: ignore[name-defined]  # noqa: F821


@dataclasses.dataclass
class Plot:
    figure: complex


class Pair(NamedTuple):
    left: int
    right: str = "r"


Bare = collections.namedtuple("Bare", ["a", "b"])


class Base(TypedDict):
    a: int


class Options(Base, total=False):
    b: dict[str, int]
    c: typing_extensions.Required[list[int]]


class Strict(TypedDict):
    a: typing_extensions.NotRequired[int]
    b: Annotated[typing_extensions.Required[Annotated[str, "note"]], "note"]


Dollar = TypedDict("Dollar", {"$ref": str, "\0": int})


class Scalar:
    """What a numpy scalar looks like."""

    shape = ()

    def __init__(self, value: object, kind: str = "i") -> None:
        self.value = value
        self.dtype = collections.namedtuple("Dtype", "kind")(kind)

    def item(self) -> object:
        return self.value


def write(tp: Any, value: Any) -> bytes:
    return codec_of(tp).encode(value)


def back(tp: Any, value: Any) -> Any:
    return codec_of(tp).decode(codec_of(tp).encode(value))


# What is written


@pytest.mark.parametrize(
    ("tp", "value", "raw"),
    [
        (None, None, b"null"),
        (bool, True, b"true"),
        (int, True, b"1"),
        (int, 2**70, b"1180591620717411303424"),
        (float, 1, b"1.0"),
        (float, True, b"1.0"),
        (float, -0.0, b"-0.0"),
        (float, math.nan, b'{"$float":"nan"}'),
        (list[float], [1, -math.inf], b'[1.0,{"$float":"-inf"}]'),
        (str, "é/\"", '"é/\\""'.encode()),
        (str, "\udcff", b'"\\u0000\\u0000dcff"'),
        (str, "\0", b'"\\u0000\\u0000\\u0000"'),
        (str, "a\0", b'"a\\u0000"'),
        (bytes, b"\x00\xff", b'"AP8="'),
        (Path, Path("a/../b"), b'"a/../b"'),
        (dt.datetime, dt.datetime(2025, 1, 2, 3), b'"2025-01-02T03:00:00"'),
        (dt.datetime, dt.datetime(2025, 10, 26, 2, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
         b'"2025-10-26T02:00:00+01:00[Europe/Berlin][fold]"'),
        (dt.time, dt.time(1, 2, tzinfo=ZoneInfo("Europe/Berlin")), b'"01:02:00[Europe/Berlin]"'),
        (dt.date, dt.date(2025, 1, 2), b'"2025-01-02"'),
        (dt.timedelta, dt.timedelta(microseconds=-1), b'"P-1DT86399.999999S"'),
        (uuid.UUID, uuid.UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
        (Decimal, Decimal("1.00"), b'"1.00"'),
        (Level, Level.TOP, b'"HIGH"'),
        (Word, Word.YES, b'"YES"'),
        (str, Word.YES, b'"yes"'),
        (int, Number.ONE, b"1"),
        (Literal["x", 1, False], False, b"false"),
        (set[int], {10, 9, 2}, b"[2,9,10]"),
        (frozenset[Optional[int]], frozenset([None, 3]), b"[null,3]"),
        (set[float], {2**53, 2**53 + 1}, b"[9007199254740992.0]"),
        (set[tuple[int, str]], {(2, "a"), (1, "b")}, b'[[1,"b"],[2,"a"]]'),
        (dict[str, int], {"b": 1, "a": 2}, b'{"a":2,"b":1}'),
        (dict[str, int], {"$b": 1, "\0": 2}, b'{"\\u0000\\u0000\\u0000":2,"$$b":1}'),
        (dict[int, str], {10: "a", 9: "b"}, b'{"9":"b","10":"a"}'),
        (dict[Level, int], {Level.LOW: 1}, b'{"LOW":1}'),
        (dict[float, int], {10: 1, 9.5: 2}, b"[[9.5,2],[10.0,1]]"),
        (dict[tuple[int, int], int], {(2, 1): 1, (1, 2): 2}, b"[[[1,2],2],[[2,1],1]]"),
        (Point, Point(1), b'{"x":1.0,"y":0.5,"tags":[]}'),
        (Pair, Pair(1), b'{"left":1,"right":"r"}'),
        (Options, {"c": [1], "a": 1}, b'{"a":1,"c":[1]}'),
        (Dollar, {"$ref": "x", "\0": 1}, b'{"$$ref":"x","\\u0000\\u0000\\u0000":1}'),
        (Optional[Path], None, b"null"),
        (Union[int, str], "1", b'"1"'),
        (Union[int, str], True, b"1"),
        (Optional[str], "é", '"é"'.encode()),
        (Union[Path, str, None], Path("x"), b'{"$Path":"x"}'),
        (Union[Path, str, None], "x", b'{"$str":"x"}'),
        (Union[Path, str, None], None, b"null"),
        (Any, {"b": [1, 1.0, "\ud800", {"$float": None}], "a": True},
         b'{"a":true,"b":[1,1.0,"\\u0000\\u0000d800",{"$$float":null}]}'),
    ],
)  # fmt: skip
def test_written_form(tp: Any, value: Any, raw: bytes) -> None:
    codec = codec_of(tp)
    assert codec.encode(value) == raw
    assert codec.encode(codec.decode(raw)) == raw


@pytest.mark.parametrize(
    ("tp", "value"),
    [
        (typing.List[int], [1]),
        (typing.Dict[str, int], {"a": 1}),
        (typing.Tuple[int, ...], (1, 2)),
        (typing.Tuple[()], ()),
        (tuple[()], ()),
        (tuple, (1, "a")),
        (set, {1, "a"}),
        (collections.abc.Sequence[int], [1]),
        (collections.abc.Set[int], {1}),
        (collections.abc.Mapping[str, int], {"a": 1}),
        (Annotated[int, {"unhashable": 1}], 1),
        (Annotated[Optional[UserId], "x"], None),
        (UserId, 3),
        (Union[UserId, int], 3),
        (Union[Literal["a"], Literal["b", None]], None),
        (Union[Literal["a"], str], "b"),
        (Union[Literal[Level.LOW], Level], Level.HIGH),
        (Union[Number, int], Number.ONE),
        (Union[Number, int], 1),
        (Union[Pair, tuple[int, str]], Pair(1, "a")),
        (Union[Pair, tuple[int, str]], (1, "a")),
        (Union[list[int], list[float]], [1]),
        (Union[list[int], list[float]], [1.0]),
        (Union[int, float, bool], True),
        (Union[int, float], 1),
        (Union[int, float], 1.0),
        (Union[set[int], frozenset[int]], frozenset([1])),
        (Union[Any, Path], Path("x")),
        (Union[Any, Path], {"a": [None]}),
        (Union[Optional[int], Annotated[Union[str, None], 0]], "x"),
        (Box[int], Box(1, (2,))),
        (Box[Box[Path]], Box(Box(Path("x")), (Box(Path("y")),))),
        (Shelf[int], Shelf([Box([1])], Box(1))),
        (Bare, Bare(1, "x")),
        (Strict, {"b": "x"}),
        (Slotted, Slotted(3)),
        (Odd, Odd.A),
        (Literal[Word.YES, "no"], Word.YES),
        (Literal[b"a"], b"a"),
        (PurePosixPath, PurePosixPath("/x")),
        (dt.datetime, dt.datetime(2025, 1, 1, tzinfo=dt.timezone(-dt.timedelta(seconds=7)))),
        (Decimal, Decimal("-Infinity")),
    ],
)  # fmt: skip
def test_spellings_of_types(tp: Any, value: Any) -> None:
    found = back(tp, value)
    assert found == value
    assert type(found) is type(value)
    if isinstance(value, list):
        assert [type(item) for item in found] == [type(item) for item in value]


def test_signalling_decimals_come_back() -> None:
    assert repr(back(Decimal, Decimal("-sNaN7"))) == "Decimal('-sNaN7')"


def test_abstract_types_take_their_relatives() -> None:
    assert back(collections.abc.Sequence[int], (1, 2)) == [1, 2]
    assert back(collections.abc.Iterable[int], (1, 2)) == [1, 2]
    assert back(collections.abc.Set[int], frozenset([1])) == {1}
    assert back(collections.abc.Mapping[str, int], collections.ChainMap({"a": 1})) == {"a": 1}
    assert back(dict[str, int], collections.Counter("aab")) == {"a": 2, "b": 1}


def test_a_number_that_looks_like_numpys_is_taken_where_a_number_is_declared() -> None:
    assert write(int, Scalar(3)) == b"3"
    assert write(float, Scalar(3)) == b"3.0"
    assert write(bool, Scalar(True)) == b"true"
    assert write(list[float], [1.0, Scalar(0.5)]) == b"[1.0,0.5]"
    assert write(Union[float, int], Scalar(3)) == b"3"
    assert write(Any, [Scalar(0.5)]) == b"[0.5]"
    assert write(Literal[1, 2], Scalar(2)) == b"2"
    with pytest.raises(CodecError, match="expected int, got"):
        write(int, Scalar(1.5))
    with pytest.raises(CodecError, match="expected int, got"):
        write(int, Scalar(1, "M"))


def test_numpy_scalars() -> None:
    np = pytest.importorskip("numpy")
    assert write(float, np.float32(0.5)) == write(float, np.float64(0.5)) == b"0.5"
    assert write(list[int], list(np.arange(3))) == b"[0,1,2]"
    assert write(bool, np.bool_(True)) == b"true"
    assert write(str, np.str_("x")) == b'"x"'
    assert write(Union[int, float, None], np.int8(3)) == b"3"
    assert write(float, np.float64("nan")) == b'{"$float":"nan"}'
    with pytest.raises(CodecError, match="expected int"):
        write(int, np.datetime64(1, "ns"))
    with pytest.raises(CodecError, match="expected float"):
        write(float, np.array([1.0]))
    with pytest.raises(CodecError, match=r"expected list\[float\], got numpy.ndarray .*\n  return array.tolist\(\)"):
        write(list[float], np.array([1.0]))
    with pytest.raises(CodecError, match="ndarray cannot be carried"):
        schema_of(np.ndarray)
    with pytest.raises(CodecError, match="annotate float"):
        schema_of(np.float64)


# What is refused


@pytest.mark.parametrize(
    ("tp", "value", "said"),
    [
        (int, "x", "expected int, got str 'x'"),
        (int, 1.0, "expected int, got float 1.0"),
        (int, None, "expected int, got NoneType None"),
        (None, 0, "expected None, got int 0"),
        (bool, 1, "expected bool, got int 1"),
        (float, "1", "expected float, got str '1'"),
        (float, 10**400, "is too large for a float"),
        (list[int], [10**5000], "[0]: int of 16610 bits is too large"),
        (str, b"x", "expected str, got bytes"),
        (bytes, "x", "expected bytes, got str"),
        (Path, "x", "expected Path, got str 'x'\n  wrap it in Path(...)"),
        (Path, 3, "expected Path, got int 3"),
        (Path, PurePosixPath("x"), "expected Path"),
        (Level, 1, "expected Level, got int 1"),
        (Level, "LOW", "expected Level, got str"),
        (Word, "yes", "expected Word, got str"),
        (Literal[1], True, "expected Literal[1], got bool True"),
        (Literal["a"], [], "expected Literal['a'], got list []"),
        (list[int], (1,), "expected list[int], got tuple (1,)"),
        (list[str], "abc", "expected list[str], got str"),
        (list[int], [1, 2, "x"], "[2]: expected int, got str 'x'"),
        (tuple[int, ...], [1], "expected tuple[int, ...], got list"),
        (tuple[int, str], (1,), "expected tuple[int, str], got tuple"),
        (tuple[int, str], (1, 2), "[1]: expected str, got int 2"),
        (tuple[int, str], [1, "a"], "expected tuple[int, str], got list"),
        (set[int], [1], "expected set[int], got list"),
        (set[int], {"x"}, "{...}: expected int"),
        (frozenset[int], {1}, "expected frozenset[int], got set"),
        (dict[str, int], [], "expected dict[str, int], got list"),
        (dict[str, list[int]], {"a": [1, "b"]}, "['a'][1]: expected int, got str 'b'"),
        (dict[str, int], {1: 1}, "[1]: expected str, got int 1"),
        (dict[float, int], {2**53: 1, 2**53 + 1: 2}, "two keys of a dict are the same"),
        (Point, Point3(1), "expected test_codec.Point, got test_codec.Point3"),
        (list[Point], [Point(1), Point("a")], "[1].x: expected float, got str 'a'"),
        (Pair, (1, "a"), "expected test_codec.Pair, got tuple"),
        (Options, [], "expected Options, got list"),
        (Options, {"a": 1, "c": [], "d": 1}, "Options has no key 'd'"),
        (Options, {"a": 1}, "key 'c' of Options is missing"),
        (Options, {"a": 1, "c": ["x"]}, "c[0]: expected int"),
        (Optional[int], "x", "expected int | None, got str 'x'"),
        (Optional[Point], Point("x"), "x: expected float, got str 'x'"),
        (Union[list[int], dict[str, list[int]]], {"a": ["x"]}, "['a'][0]: expected int"),
        (Any, (1,), "expected plain JSON (str, int, float, bool, None, list, dict with str keys), got tuple (1,)"),
        (Any, [Path("x")], "[0]: expected plain JSON"),
        (Any, {1: 2}, "[1]: expected str"),
        (dt.date, dt.datetime(2025, 1, 1), "expected date, got datetime.datetime"),
        (dt.datetime, dt.date(2025, 1, 1), "expected datetime, got datetime.date"),
        (uuid.UUID, "x", "expected UUID, got str"),
        (Decimal, 1, "expected Decimal, got int"),
    ],
)  # fmt: skip
def test_a_value_its_annotation_forbids_is_refused_with_its_place(tp: Any, value: Any, said: str) -> None:
    with pytest.raises(CodecError) as caught:
        write(tp, value)
    assert said in str(caught.value).replace("tests.core.test_codec.", "test_codec.")


class Local(dt.tzinfo):
    def utcoffset(self, at: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(0)

    def __repr__(self) -> str:
        return "Local()"


def test_a_zone_that_has_no_name_is_refused() -> None:
    with pytest.raises(CodecError, match="fixed or zoneinfo time zone"):
        write(dt.datetime, dt.datetime(2025, 1, 1, tzinfo=Local()))
    with open(next(iter_zone_files()), "rb") as file:
        nameless = ZoneInfo.from_file(file)
    with pytest.raises(CodecError, match="use zoneinfo"):
        write(dt.datetime, dt.datetime(2025, 1, 1, tzinfo=nameless))


def iter_zone_files() -> typing.Iterator[Path]:
    import zoneinfo

    for folder in zoneinfo.TZPATH:
        if (file := Path(folder) / "UTC").is_file():
            yield file
    import tzdata

    yield Path(tzdata.__file__).parent / "zoneinfo" / "UTC"


def test_an_offset_of_split_seconds_is_refused() -> None:
    zone = dt.timezone(dt.timedelta(microseconds=1))
    with pytest.raises(CodecError, match="expected a datetime whose offset is whole seconds"):
        write(dt.datetime, dt.datetime(2025, 1, 1, tzinfo=zone))


def test_a_path_of_another_library_is_refused() -> None:
    class Remote(PurePosixPath):
        """Means a URL by its text."""

    with pytest.raises(CodecError, match="expected PurePosixPath, got"):
        write(PurePosixPath, Remote("s3:/x"))
    with pytest.raises(CodecError, match="cannot be carried"):
        schema_of(Remote)


def test_an_incomplete_record_is_refused() -> None:
    point = Point(1.0)
    del point.x
    with pytest.raises(CodecError, match=r"Point is not complete: .*x"):
        write(Point, point)


def test_a_value_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(CodecError, match="holds itself: list"):
        write(Any, endless)


@pytest.mark.parametrize(
    ("tp", "said"),
    [
        (complex, "complex cannot be carried between tasks as plain data\n  write it to a file"),
        (list[complex], "complex cannot be carried"),
        (collections.OrderedDict, "annotate dict"),
        (type("Mine", (int,), {}), "annotate int"),
        (collections.abc.Callable[[int], str], "cannot be carried"),
        (Access, "Access cannot be carried"),
        ("Nowhere", "Nowhere could not be resolved"),
        (list["Nowhere"], "Nowhere could not be resolved"),  # type: ignore[name-defined]  # noqa: F821
        (T, "~T is a type variable"),
        (Box, "Box.item: ~T is a type variable"),
        (Literal["LOW", Level.LOW], "values of Literal['LOW', Level.LOW] are written alike"),
        (Union[Path, PurePosixPath], "two types of a union are written alike: Path"),
        (Node, "Node.children: .*Node holds itself"),
        (Lost, "annotations of .*Lost could not be resolved: name 'Nowhere'"),
        (Plot, "Plot.figure: complex cannot be carried"),
        (typing.NoReturn, "cannot be carried"),
    ],
)  # fmt: skip
def test_a_type_that_cannot_be_carried_is_refused_with_advice(tp: Any, said: str) -> None:
    import re

    with pytest.raises(CodecError) as caught:
        schema_of(tp)
    assert re.search(said if ".*" in said else re.escape(said), str(caught.value))
    assert caught.value.hint


def test_a_generic_record_that_grows_without_end_is_refused() -> None:
    with pytest.raises(CodecError, match="holds itself"):
        schema_of(Growing[int])


@dataclasses.dataclass
class Growing(Generic[T]):
    inner: Optional[Growing[list[T]]]


# the same with TypeAliasType of typing_extensions below, but for what refers to itself
@pytest.mark.skipif(sys.version_info < (3, 12), reason="type statements are of Python 3.12")
def test_type_aliases() -> None:  # pragma: no cover
    space: dict[str, Any] = {}
    exec("type Ints = list[int]\ntype Many[T] = list[T]\ntype Tree = list[Tree]", space)
    assert describe(schema_of(space["Ints"])) == "list[int]"
    assert describe(schema_of(space["Many"][str])) == "list[str]"
    with pytest.raises(CodecError, match="holds itself"):
        schema_of(space["Tree"])


def test_type_aliases_of_typing_extensions() -> None:
    assert describe(schema_of(typing_extensions.TypeAliasType("Ints", list[int]))) == "list[int]"
    many = typing_extensions.TypeAliasType("many", list[T], type_params=(T,))
    assert describe(schema_of(many[str])) == "list[str]"


# Records


def test_a_dataclass_is_made_again_with_exactly_its_fields() -> None:
    made = Counted(1)
    assert (made.value, made.double) == (2, 4)
    made.double = 7
    found = back(Counted, made)
    assert (found.value, found.double, found.note) == (2, 7, "made")
    initial = Initial(1, 5)
    if sys.version_info >= (3, 11):
        assert back(Initial, initial) == initial
    else:  # an InitVar as text is beyond typing.get_type_hints there
        with pytest.raises(CodecError, match="could not be resolved"):
            schema_of(Initial)
    own = Own("abc")
    assert back(Own, own) == own


def test_a_dataclass_that_refuses_its_fields_is_a_codec_error() -> None:
    with pytest.raises(CodecError, match=r"Positive cannot be made: ValueError: negative"):
        codec_of(Positive).decode(b'{"value":-1}')


def test_fields_that_are_not_there_have_their_defaults() -> None:
    assert codec_of(Point).decode(b'{"x":1}') == Point(1.0)
    assert codec_of(Pair).decode(b'{"left":1}') == Pair(1)
    assert codec_of(Strict).decode(b'{"b":""}') == {"b": ""}


# Reading


def test_a_whole_number_is_read_as_a_float() -> None:
    for tp in (float, Optional[float], Union[float, str]):
        assert repr(codec_of(tp).decode(b"1")) == "1.0"


@pytest.mark.parametrize(
    ("tp", "raw", "said"),
    [
        (int, b"", "not an encoded value"),
        (int, b"1 2", "not an encoded value"),
        (int, b"1.5", "expected int, got float 1.5"),
        (int, b"true", "expected int, got bool True"),
        (float, b'"1"', "expected float, got str"),
        (float, b'{"$float":"x"}', "expected float, got dict"),
        (float, b"1" + b"0" * 400, "too large"),
        (Optional[float], b"1" + b"0" * 400, "too large"),
        (str, b"1", "expected str, got int"),
        (str, b'"\xff"', "not an encoded value"),
        (bytes, b'"A"', "expected bytes, got 'A'"),
        (bytes, b'"QQ"', "expected bytes, got 'QQ'"),
        (bytes, b'"Q Q=="', "not base64"),
        (Level, b'"MIDDLE"', "expected Level, got str 'MIDDLE'"),
        (Level, b"[]", "expected Level, got list"),
        (Literal[1], b"true", "expected Literal[1], got bool"),
        (dt.datetime, b'"x"', "expected datetime, got 'x'"),
        (dt.datetime, b'"2025-01-01T00:00:00[No/Where]"', "expected datetime"),
        (dt.timedelta, b'"P1D"', "expected timedelta"),
        (uuid.UUID, b'"x"', "expected UUID"),
        (Decimal, b'"x"', "expected Decimal"),
        (list[int], b"{}", "expected list[int], got dict"),
        (list[list[int]], b'[[1],[2,"x"]]', "[1][1]: expected int, got str 'x'"),
        (list[Path], b"{}", "expected list[Path], got dict"),
        (tuple[int, str], b"[1]", "expected tuple[int, str], got list"),
        (set[int], b"1", "expected set[int], got int"),
        (set[Any], b"[[]]", "unhashable"),
        (dict[str, Path], b"[]", "expected dict[str, Path], got list"),
        (dict[str, Path], b'{"a":1}', "['a']: expected str, got int"),
        (dict[int, int], b'{"x":1}', "expected dict[int, int]"),
        (dict[float, int], b"[[1]]", "expected dict[float, int]"),
        (dict[float, int], b"[1]", "expected dict[float, int]"),
        (dict[Any, int], b"[[[],1]]", "unhashable"),
        (Point, b"[]", "expected Point, got list"),
        (Point, b"{}", "x: field of Point is missing"),
        (Point, b'{"x":1,"w":2}', "Point has no field 'w'"),
        (list[Point], b'[{"x":"1"}]', "[0].x: expected float"),
        (Optional[int], b"[]", "expected int | None, got list"),
        (Union[Path, str], b'"x"', "expected Path | str, got str"),
        (Union[Path, str], b'{"$int":1}', "expected Path | str, got dict"),
        (Any, b"[" * 100_000 + b"]" * 100_000, "not an encoded value (it is nested too deeply)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_not_read(tp: Any, raw: bytes, said: str) -> None:
    with pytest.raises(CodecError) as caught:
        codec_of(tp).decode(raw)
    assert said in str(caught.value)


@pytest.mark.parametrize(("start", "end"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_a_deep_value_is_written_and_read_or_refused(start: bytes, end: bytes) -> None:
    deepest = 0
    for depth in (10, 200, 400, 600, 800, 100_000):
        raw = start * depth + b"1" + end * depth
        try:
            assert write(Any, codec_of(Any).decode(raw)) == raw
            deepest = depth
        except CodecError as error:
            assert any(word in str(error) for word in ("deep", "recursion"))
    assert 10 <= deepest < 100_000


@pytest.mark.skipif(not hasattr(sys, "set_int_max_str_digits"), reason="Python has no limit")
def test_a_lower_limit_of_digits_is_said() -> None:
    usual = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        for tp in (int, Optional[int]):
            with pytest.raises(CodecError, match=r"cannot be written: .*640\b"):
                write(tp, 10**1000)
    finally:
        sys.set_int_max_str_digits(usual)


# The codec itself


def test_codecs_are_kept() -> None:
    assert codec_of(dict[str, int]) is codec_of(dict[str, int])
    assert schema_of(list[int]) is codec_of(list[int]).schema
    assert repr(Codec(list[int])) == "Codec(list[int])"
    assert Codec(list[int]).type == list[int]


def test_importing_it_imports_nothing_else() -> None:
    code = (
        "import msgspec, inspect, dataclasses, sys; before = set(sys.modules); import reflow.model.codec;"
        "from reflow.model.codec import codec_of; codec_of(dict[str, list[int]]).encode({'a': [1]});"
        "print(sorted(name for name in set(sys.modules) - before if not name.startswith(('reflow', '_sha2'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
