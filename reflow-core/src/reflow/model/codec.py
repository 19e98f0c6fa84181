"""Python values to encoded bytes and back, by their annotation.

`codec_of` compiles a type into closures over the tree that JSON holds; the
bytes are then the concern of msgspec, which alone knows no NaN, no surrogate
and no ambiguous union. What needs no Python types is in `codec_wire`, and can
be had from here.
"""

from __future__ import annotations

import types
import typing
from collections import abc
from collections.abc import Callable, Iterable, Mapping
from enum import Enum, Flag
from itertools import repeat
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import CodecError
from . import codec_wire as wire
from .codec_scalar import (
    ADVICE,
    NONE,
    Mismatch,
    Node,
    Read,
    Write,
    choice,
    class_name,
    enum,
    library,
    plain_item,
    plain_number,
    read_float,
    scalar,
    shown,
    title_of,
    write_exact_float,
    write_int,
    wrong,
)
from .codec_wire import (
    Tree,
    accepts,
    convert,
    convert_each,
    files,
    join,
    names_files,
    own_files,
    owns_files,
    split,
)
from .schema import Field, Schema, Shared, describe, escape, unescape

if TYPE_CHECKING:
    import dataclasses  # where there are any: it costs a worker more than all of this module

__all__ = [
    "Codec",
    "accepts",
    "codec_of",
    "convert",
    "convert_each",
    "describe",
    "files",
    "join",
    "names_files",
    "own_files",
    "owns_files",
    "schema_of",
    "split",
]

_json = msgspec.json.encode


class Codec:
    """How values of one type are written.

    Attributes
    ----------
    type : type
        The annotation.
    schema : Schema
        Its wire form.
    encode : callable
        Value to bytes: compact JSON, and canonical, that is, one value has one
        encoding: an int given for a float becomes one, sets and keys are
        sorted. A value that the annotation forbids is a `CodecError` which
        names the place inside the value.
    decode : callable
        Bytes to value, equal to what was encoded and of the same type; a
        `CodecError` where they do not fit the annotation.
    """

    __slots__ = ("decode", "encode", "schema", "type")

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]

    def __init__(self, tp: Any) -> None:
        try:
            node = _compile(tp, _Scope())
        except RecursionError:
            raise CodecError(f"{tp} holds itself", hint=ADVICE) from None
        self.type, self.schema = tp, node.schema
        self.encode = _fast_encode(node.schema, _encoder(node.write))
        self.decode = _fast_decode(node.schema, _decoder(node.read))

    def __repr__(self) -> str:
        return f"Codec({describe(self.schema)})"


_codecs: dict[Any, Codec] = {}


def codec_of(tp: Any) -> Codec:
    """Return the codec of a type: a resolved annotation.

    Raises
    ------
    CodecError
        Values of the type cannot be carried, or not told apart.
    """
    try:
        return _codecs[tp]
    except KeyError:
        codec = _codecs[tp] = Codec(tp)
        return codec
    except TypeError:  # an annotation with something unhashable in it
        return Codec(tp)


def schema_of(tp: Any) -> Schema:
    """Return the wire form of a type; raises as `codec_of` does."""
    return codec_of(tp).schema


# From and to bytes


def _encoder(write: Write) -> Callable[[Any], bytes]:
    def encode(value: Any) -> bytes:
        try:
            return _json(write(value))
        except Mismatch as misfit:
            error = misfit.error()
        except RecursionError:
            error = CodecError(f"nested too deeply, or holds itself: {title_of(type(value))}", hint=ADVICE)
        except ValueError as refused:  # Python was told to write fewer digits of an int than it does by default
            error = CodecError(f"cannot be written: {refused}")
        raise error

    return encode


def _decoder(read: Read) -> Callable[[bytes], Any]:
    def decode(raw: bytes) -> Any:
        try:
            return read(wire.parse(raw))
        except Mismatch as misfit:
            error = misfit.error()
        except RecursionError:
            error = CodecError("nested too deeply")
        raise error

    return decode


_PLAIN: dict[str, Any] = {"int": int, "float": float, "str": str, "bool": bool}


def _fits(schema: Schema) -> Callable[[Any], bool] | None:
    """What tells a value that msgspec writes as we do, but for odd texts: plain throughout, of the very types."""
    if schema.name or (schema.args or (schema,))[-1].kind not in _PLAIN:
        return None
    only = _PLAIN[(schema.args or (schema,))[-1].kind]
    types_, text = {only}, {str}
    if not schema.args:
        return lambda value: type(value) is only
    if schema.kind == "list":
        return lambda value: type(value) is list and types_.issuperset(map(type, value))
    if schema.kind == "dict" and schema.args[0].kind == "str":
        return lambda value: (
            type(value) is dict and text.issuperset(map(type, value)) and types_.issuperset(map(type, value.values()))
        )
    return None


def _fast_encode(schema: Schema, slow: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Skip the tree for plain scalars, and lists and dicts of them."""
    fits = _fits(schema)
    if fits is None:
        return slow
    # what msgspec writes otherwise than we do: NaN, and strings and keys to be escaped
    kinds = {schema.kind, *(part.kind for part in schema.args)}
    odd = ([b"null"] if "float" in kinds else []) + ([wire.ESCAPED_STR] if "str" in kinds else [])
    odd += [wire.ESCAPED_KEY] if "dict" in kinds else []

    def encode(value: Any) -> bytes:
        if not fits(value):
            return slow(value)
        try:
            raw = _json(value, order="sorted")
        except ValueError:  # surrogates; an int of too many digits
            return slow(value)
        for mark in odd:
            if mark in raw:
                return slow(value)
        return raw

    return encode


def _fast_decode(schema: Schema, slow: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Let msgspec build what it builds right, where nothing is escaped."""
    tp = _plain_type(schema)
    if tp is None:
        return slow
    direct = msgspec.json.Decoder(tp).decode

    def decode(raw: bytes) -> Any:
        if wire.ESCAPED_STR not in raw and wire.ESCAPED_KEY not in raw:
            try:
                return direct(raw)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass  # the slow way says where and what
        return slow(raw)

    return decode


def _plain_type(schema: Schema) -> Any:
    """The type that msgspec may build for a schema, or None."""
    if schema.kind in _PLAIN:
        return _PLAIN[schema.kind]
    item: Any = _plain_type(schema.args[-1]) if schema.kind in ("list", "dict") else None
    if item is None or (schema.kind == "dict" and schema.args[0].kind != "str"):
        return None
    return dict[str, item] if schema.kind == "dict" else tuple[item, ...] if schema.name else list[item]


# Types


class _Scope(msgspec.Struct, frozen=True):
    """Where in a type we are.

    ``exact``: take no int for a float, no bool for an int (members of a union
    are tried so first). ``inside``: the records being compiled. ``variables``:
    what stands for a generic record's type variables. ``shared``: within a
    type that `Shared` annotates.
    """

    exact: bool = False
    inside: tuple[Any, ...] = ()
    variables: Mapping[Any, Any] = {}
    shared: bool = False


def _strip(tp: Any, scope: _Scope) -> tuple[Any, _Scope]:
    """Look through Annotated, NewType, type aliases and bound type variables."""
    while True:
        origin = typing.get_origin(tp)
        if origin is typing.Annotated:
            if any(item is Shared or isinstance(item, Shared) for item in tp.__metadata__):
                scope = msgspec.structs.replace(scope, shared=True)
            tp = tp.__origin__
        elif hasattr(tp, "__supertype__"):
            tp = tp.__supertype__
        elif isinstance(tp, typing.TypeVar) and tp in scope.variables:
            tp = scope.variables[tp]
        elif type(tp).__name__ == "TypeAliasType":
            tp = tp.__value__
        elif type(origin).__name__ == "TypeAliasType":
            tp = origin.__value__[typing.get_args(tp)]
        elif getattr(origin, "_name", None) in ("Required", "NotRequired", "ReadOnly"):
            (tp,) = typing.get_args(tp)
        else:
            return tp, scope


def _compile(tp: Any, scope: _Scope) -> Node:
    """Turn a type into what writes and reads its values."""
    tp, scope = _strip(tp, scope)
    origin, args = typing.get_origin(tp), typing.get_args(tp)
    if tp is None or tp is type(None):
        return NONE
    if tp is Any or tp is object:
        return _ANY
    if tp in (bool, int, float, str, bytes):
        return scalar(tp, scope.exact)
    if origin is typing.Union or origin is types.UnionType:
        return _union(args, scope)
    if origin is typing.Literal:
        return _literal(args, scope)
    base = origin or tp
    if not isinstance(base, type):
        raise _refused(tp)
    if issubclass(base, Enum) and not issubclass(base, Flag):
        return enum(base)
    if _is_typed_dict(base) or _is_dataclass(base) or (issubclass(base, tuple) and hasattr(base, "_fields")):
        return _record(base, args, scope)
    if base is tuple:
        return _tuple(args if args or tp not in _BARE_TUPLES else (Any, ...), scope)
    if base in _CONTAINERS:
        return _CONTAINERS[base](base, args, scope)
    if node := library(base):
        shared = scope.shared and node.schema.kind == "path"
        return msgspec.structs.replace(node, schema=Schema("path", name="shared")) if shared else node
    raise _refused(base)


def _refused(tp: Any, why: str = "cannot be carried between tasks as plain data", hint: str = ADVICE) -> CodecError:
    """What to raise for a type that is not supported."""
    if isinstance(tp, (str, typing.ForwardRef)):
        why, hint = "could not be resolved", "define the class at the top level of the module, or import it there"
    elif isinstance(tp, typing.TypeVar):
        why, hint = "is a type variable", "annotate a concrete type"
    elif isinstance(tp, type) and issubclass(tp, (int, float, str, bytes, list, tuple, set, dict)):
        hint = f"annotate {next(base.__name__ for base in tp.__mro__ if base.__module__ == 'builtins')}"
    return CodecError(f"{title_of(tp) if isinstance(tp, type) else tp} {why}", hint=hint)


# Choices


def _literal(values: tuple[Any, ...], scope: _Scope) -> Node:
    """Each value as its own type writes it."""
    if None in values:
        return _union((typing.Literal[values],), scope)
    nodes = [_compile(type(value), scope) for value in values]
    pairs = [(value, node.write(value)) for value, node in zip(values, nodes, strict=True)]
    texts = tuple(_json(tree).decode() for _, tree in pairs)
    schema = Schema("literal", tuple(node.schema for node in nodes), values=texts)
    if len(set(texts)) < len(texts):
        raise CodecError(f"values of {describe(schema)} are written alike", hint="annotate an Enum instead")
    return choice(schema, pairs)


# Containers


def _list(base: type, args: tuple[Any, ...], scope: _Scope) -> Node:
    """A list or tuple of any length; the abstract sequences take both, and come back as lists."""
    node = _compile(args[0] if args else Any, scope)
    each, back = node.write, node.read
    name, make = ("tuple", tuple) if base is tuple else ("", list)
    allowed = make if base in (list, tuple) else (list, tuple)
    schema = Schema("list", (node.schema,), name=name)
    title = describe(schema)

    def write(value: Any) -> Tree:
        if not isinstance(value, allowed):
            raise wrong(title, value)
        return _each(repeat(each), value)

    def read(tree: Tree) -> Any:
        if type(tree) is not list:
            raise wrong(title, tree)
        items = _each(repeat(back), tree)
        return tuple(items) if make is tuple else items

    return Node(schema, write, read)


def _each(parts: Iterable[Callable[[Any], Any]], items: Any) -> list[Any]:
    """Write or read items, each with its part, and say which one is wrong."""
    done: list[Any] = []
    try:
        for part, item in zip(parts, items, strict=False):
            done.append(part(item))
    except Mismatch as misfit:
        misfit.path.append(f"[{len(done)}]")
        raise
    return done


def _tuple(args: tuple[Any, ...], scope: _Scope) -> Node:
    """A tuple of fixed length, or ``tuple[T, ...]``."""
    if args[1:] == (Ellipsis,):
        return _list(tuple, args, scope)
    nodes = [_compile(arg, scope) for arg in args if arg != ()]  # Python 3.10 says tuple[()] so
    schema = Schema("tuple", tuple(node.schema for node in nodes))
    title, writes, reads = describe(schema), [node.write for node in nodes], [node.read for node in nodes]

    def write(value: Any) -> Tree:
        if not isinstance(value, tuple) or len(value) != len(nodes):
            raise wrong(title, value)
        return _each(writes, value)

    def read(tree: Tree) -> Any:
        if type(tree) is not list or len(tree) != len(nodes):
            raise wrong(title, tree)
        return tuple(_each(reads, tree))

    return Node(schema, write, read)


def _set(base: type, args: tuple[Any, ...], scope: _Scope) -> Node:
    """A set or frozenset; the abstract sets take both, and come back as sets."""
    node = _compile(args[0] if args else Any, scope)
    each, back = node.write, node.read
    make: Any = frozenset if base is frozenset else set
    allowed: Any = make if base in (set, frozenset) else (set, frozenset)
    schema = Schema("set", (node.schema,), name="frozenset" if make is frozenset else "")
    title = describe(schema)

    def write(value: Any) -> Tree:
        if not isinstance(value, allowed):
            raise wrong(title, value)
        try:
            return wire.unique(map(each, value))
        except Mismatch as misfit:
            misfit.path.append("{...}")
            raise

    def read(tree: Tree) -> Any:
        if type(tree) is not list:
            raise wrong(title, tree)
        try:
            return make(_each(repeat(back), tree))
        except TypeError as error:
            raise Mismatch(f"expected {title}, got {shown.repr(tree)} ({error})") from None

    return Node(schema, write, read)


def _dict(base: type, args: tuple[Any, ...], scope: _Scope) -> Node:
    """A dict; a bare one has str keys."""
    key, value = (_compile(arg, scope) for arg in (args or (str, Any)))
    schema = Schema("dict", (key.schema, value.schema))
    title, form = describe(schema), dict if wire.keyed(key.schema) else list
    names, items = key.write, value.write

    def write(given: Any) -> Tree:
        if not isinstance(given, Mapping if base is not dict else dict):
            raise wrong(title, given)
        found = []
        name: Any = None
        try:
            for name, item in given.items():
                found.append((names(name), items(item)))
        except Mismatch as misfit:
            misfit.path.append(f"[{shown.repr(name)}]")
            raise
        try:
            return wire.mapping(found, key.schema)
        except CodecError as error:
            raise Mismatch(error.message) from None

    def read(tree: Tree) -> Any:
        if type(tree) is not form:
            raise wrong(title, tree)
        found = {}
        name: Any = None
        try:
            for name, item in wire.entries(tree, key.schema):
                found[key.read(name)] = value.read(item)
        except Mismatch as misfit:
            misfit.path.append(f"[{shown.repr(name)}]")
            raise
        except (TypeError, ValueError) as error:
            raise Mismatch(f"expected {title}, got {shown.repr(tree)} ({error})") from None
        return found

    return Node(schema, write, read)


_BARE_TUPLES = (tuple, typing.Tuple)  # noqa: UP006
_CONTAINERS: dict[type, Callable[[type, tuple[Any, ...], _Scope], Node]] = {
    **dict.fromkeys((list, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable), _list),
    **dict.fromkeys((set, frozenset, abc.Set, abc.MutableSet), _set),
    **dict.fromkeys((dict, abc.Mapping, abc.MutableMapping), _dict),
}


# Plain JSON


def _write_any(value: Any) -> Tree:
    found = plain_item(value)
    cls = type(found)
    if cls is str:
        return escape(found)
    if cls is bool or found is None:
        return found
    if isinstance(found, (int, float)):
        return write_int(found) if isinstance(found, int) else write_exact_float(found)
    if cls is list:
        return _each(repeat(_write_any), found)
    if cls is dict:
        return _ANY_DICT.write(found)
    raise wrong("plain JSON (str, int, float, bool, None, list, dict with str keys)", value, "annotate its type")


def _read_any(tree: Tree) -> Any:
    if type(tree) is str:
        return unescape(tree)
    if type(tree) is list:
        return list(map(_read_any, tree))
    if type(tree) is dict:
        return read_float(tree) if "$float" in tree else _ANY_DICT.read(tree)
    return tree


_ANY = Node(Schema("any"), _write_any, _read_any)
_ANY_DICT = _dict(dict, (), _Scope())


# Unions


def _flat(members: tuple[Any, ...], scope: _Scope) -> list[Any]:
    """Members of a union: unions among them opened, literals made one, None taken out of it."""
    found: list[Any] = []
    literals: list[Any] = []
    for member in members:
        tp, within = _strip(member, scope)
        origin, args = typing.get_origin(tp), typing.get_args(tp)
        if origin is typing.Literal:
            literals += args
        elif origin is typing.Union or origin is types.UnionType:
            found += _flat(args, within)
        else:
            found.append(typing.Annotated[tp, Shared()] if within.shared else tp)
    if None in literals:
        found.append(None)
    if values := tuple(value for value in literals if value is not None):
        found.append(typing.Literal[values])
    return found


def _union(args: tuple[Any, ...], scope: _Scope) -> Node:
    """One of several types: in an order of our own, since typing takes ``A | B`` and ``B | A`` for the same."""
    exactly = msgspec.structs.replace(scope, exact=True)
    found: dict[str, tuple[Any, Node, Node]] = {}
    for tp in _flat(args, scope):
        strict = _compile(tp, exactly)
        name = describe(strict.schema)
        if name in found and found[name][0] != tp:
            raise CodecError(f"two types of a union are written alike: {name}", hint="annotate one of them")
        found[name] = tp, strict, strict if scope.exact else _compile(tp, scope)
    plain = {node.schema for _, node, _ in found.values()}
    members = sorted(
        # a literal adds nothing to a union that has all of its type
        (
            entry
            for entry in found.values()
            if entry[1].schema.kind != "literal" or not plain >= set(entry[1].schema.args)
        ),
        key=lambda entry: _member_order(entry[1].schema),
    )
    if len(members) == 1:
        return members[0][2]
    schemas = tuple(strict.schema for _, strict, _ in members)
    seen = [shape for schema in schemas for shape in wire.shapes(schema)]
    schema = Schema("union", schemas, tagged=len(set(seen)) < len(seen))
    title = describe(schema)
    tags = [None if not schema.tagged or part.kind == "none" else wire.tag(part) for part in schemas]
    tries = [(tag, node[way].write) for way in (1, 2) for tag, node in zip(tags, members, strict=True)]
    optional = schemas[-1].kind == "none"

    def write(value: Any) -> Tree:
        if value is None and optional:
            return None
        value = plain_number(value)
        deepest: Mismatch | None = None
        for tag, attempt in tries:
            try:
                tree = attempt(value)
            except Mismatch as misfit:
                if len(misfit.path) > (len(deepest.path) if deepest else 0):
                    deepest = misfit
            else:
                return tree if tag is None else {tag: tree}
        raise deepest or wrong(title, value)

    readers = {
        name: node.read
        for tag, (_, node, _) in zip(tags, members, strict=True)
        for name in ([tag] if tag else wire.shapes(node.schema))
    }

    if "float" in readers:
        readers.setdefault("int", readers["float"])

    def read(tree: Tree) -> Any:
        name, inner = wire.shape(tree), tree
        if schema.tagged and type(tree) is dict and len(tree) == 1:
            ((name, inner),) = tree.items()
        if name not in readers:
            raise wrong(title, tree)
        return readers[name](inner)

    return Node(schema, write, read)


def _member_order(schema: Schema) -> tuple[int, str]:
    """First what may be an instance of another member's type as well, float after int, None last."""
    ranks = {"enum": 0, "literal": 0, "record": 0, "float": 2, "any": 3, "none": 4}
    return ranks.get(schema.kind, 1), describe(schema)


# Records


def _is_typed_dict(cls: type) -> bool:
    return issubclass(cls, dict) and hasattr(cls, "__required_keys__")


class _Member(msgspec.Struct, frozen=True):
    """A field of a record: its name in Python, its key on the wire, how it is written."""

    name: str
    key: str
    node: Node
    required: bool
    #: gives the value of a field that is not there; None: it stays away
    default: Callable[[], Any] | None


_Take = Callable[[Any], Mapping[str, Any]]
_Build = Callable[[dict[str, Any]], Any]


def _record(cls: Any, args: tuple[Any, ...], scope: _Scope) -> Node:
    """A dataclass, NamedTuple or TypedDict: an object with the fields in their order."""
    bound = [_bind(arg, scope) for arg in args]
    if (cls, bound) in scope.inside:
        raise CodecError(f"{title_of(cls)} holds itself", hint=ADVICE)
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except Exception as error:
        hint = "define the classes it names at the top level of its module"
        raise CodecError(f"annotations of {title_of(cls)} could not be resolved: {error}", hint=hint) from None
    title = class_name(cls)
    if bound:
        title += f"[{', '.join(describe(_compile(arg, scope).schema) for arg in bound)}]"
    inner = _Scope(
        exact=scope.exact,
        inside=(*scope.inside, (cls, bound)),
        shared=scope.shared,
        variables=dict(zip(getattr(cls, "__parameters__", ()), bound, strict=False)),
    )

    fields: dict[str, tuple[bool, Callable[[], Any] | None]]
    if _is_typed_dict(cls):
        fields = {name: (_is_required(cls, name, hint), None) for name, hint in hints.items()}
        take, build = _typed_dict(title, fields)
    elif _is_dataclass(cls):
        import dataclasses

        fields = {field.name: _default(field) for field in dataclasses.fields(cls)}
        take, build = _attributes(cls, fields), _dataclass(cls, hints)
    else:
        fields = {name: _named_default(cls._field_defaults, name) for name in cls._fields}
        take, build = _attributes(cls, fields), lambda given: cls._make(given.values())

    members = []
    for name, (required, default) in fields.items():
        try:
            node = _compile(hints.get(name, Any), inner)
        except CodecError as error:
            raise CodecError(f"{title_of(cls)}.{name}: {error.message}", hint=error.hint) from None
        members.append(_Member(name, wire.dollar(escape(name)), node, required, default))
    schema = Schema("record", name=title, fields=tuple(Field(m.key, m.node.schema, m.required) for m in members))
    return Node(schema, _write_record(members, take), _read_record(title, members, build))


def _bind(tp: Any, scope: _Scope) -> Any:
    """Put what they stand for in the place of type variables."""
    if isinstance(tp, typing.TypeVar):
        return scope.variables.get(tp, tp)
    if typing.get_origin(tp) and (variables := getattr(tp, "__parameters__", ())):
        return tp[tuple(scope.variables.get(variable, variable) for variable in variables)]
    return tp


def _write_record(members: list[_Member], take: _Take) -> Write:
    def write(value: Any) -> Tree:
        given, tree, at = take(value), {}, ""
        try:
            for member in members:
                at = member.name
                if at in given:
                    tree[member.key] = member.node.write(given[at])
        except Mismatch as misfit:
            misfit.path.append(f".{at}")
            raise
        return tree

    return write


def _read_record(title: str, members: list[_Member], build: _Build) -> Read:
    keys = {member.key for member in members}

    def read(tree: Tree) -> Any:
        if type(tree) is not dict:
            raise wrong(title, tree)
        if not keys >= tree.keys():
            raise Mismatch(f"{title} has no field {sorted(tree.keys() - keys)[0]!r}")
        found: dict[str, Any] = {}
        at = ""
        try:
            for member in members:
                at = member.name
                if member.key in tree:
                    found[at] = member.node.read(tree[member.key])
                elif member.required:
                    raise Mismatch(f"field of {title} is missing")
                elif member.default:
                    found[at] = member.default()
        except Mismatch as misfit:
            misfit.path.append(f".{at}")
            raise
        return build(found)

    return read


def _attributes(cls: Any, names: Mapping[str, object]) -> _Take:
    """Fields of an instance of the very class: a subclass may hold more, and would come back as another."""

    def take(value: Any) -> Mapping[str, Any]:
        if type(value) is not cls:
            raise wrong(title_of(cls), value)
        try:
            return {name: getattr(value, name) for name in names}
        except AttributeError as error:
            raise Mismatch(f"{title_of(cls)} is not complete: {error}") from None

    return take


def _typed_dict(title: str, fields: Mapping[str, tuple[bool, object]]) -> tuple[_Take, _Build]:
    def take(value: Any) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise wrong(title, value)
        for name in value:
            if name not in fields:
                raise Mismatch(f"{title} has no key {name!r}")
        for name, (required, _) in fields.items():
            if required and name not in value:
                raise Mismatch(f"key {name!r} of {title} is missing")
        return value

    return take, lambda given: given


def _is_required(cls: Any, name: str, hint: Any) -> bool:
    """Whether a key of a TypedDict must be there; its own marker counts before the class's."""
    while (origin := typing.get_origin(hint)) is not None:
        word = getattr(origin, "_name", None)
        if word in ("Required", "NotRequired"):
            return bool(word == "Required")
        if origin is not typing.Annotated and word != "ReadOnly":
            break
        hint = typing.get_args(hint)[0]
    return name in cls.__required_keys__


def _is_dataclass(cls: type) -> bool:
    """What `dataclasses.is_dataclass` asks of a class."""
    return hasattr(cls, "__dataclass_fields__")


def _default(field: dataclasses.Field[Any]) -> tuple[bool, Callable[[], Any] | None]:
    """Whether a field of a dataclass is required, and what gives its default."""
    import dataclasses

    if field.default_factory is not dataclasses.MISSING:
        return False, field.default_factory
    if field.default is not dataclasses.MISSING:
        return False, lambda: field.default
    return True, None


def _named_default(defaults: Mapping[str, Any], name: str) -> tuple[bool, Callable[[], Any] | None]:
    return name not in defaults, (lambda: defaults[name]) if name in defaults else None


def _dataclass(cls: Any, hints: Mapping[str, Any]) -> _Build:
    """Make an instance with exactly these fields.

    Through its ``__init__`` where dataclasses wrote that, so that what
    ``__post_init__`` adds is there; then the fields are set again, as it may
    have changed them a second time. Without, where arguments would be missing.
    """
    import dataclasses

    owner = next(base for base in cls.__mro__ if "__dataclass_params__" in vars(base))
    fields = dataclasses.fields(cls)
    init = [field.name for field in fields if field.init]
    usual = (
        owner.__dataclass_params__.init
        and cls.__init__ is owner.__init__
        and not any(isinstance(hint, dataclasses.InitVar) for hint in hints.values())
    )
    settled = usual and len(init) == len(fields) and not hasattr(cls, "__post_init__")

    def build(given: dict[str, Any]) -> Any:
        try:
            made = cls(**{name: given[name] for name in init}) if usual else cls.__new__(cls)
            if not settled:
                for name, value in given.items():
                    object.__setattr__(made, name, value)
        except Exception as error:
            raise Mismatch(f"{title_of(cls)} cannot be made: {type(error).__name__}: {error}") from None
        return made

    return build
