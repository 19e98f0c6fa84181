"""Encoded values without their Python types: what the engine does with JSON bytes and a `Schema`.

The wire form is JSON that any reader understands, but for three escapes, which
hold wherever they occur:

- a string with lone surrogates (an undecodable file name) or a leading NUL is
  escaped (`schema.escape`);
- NaN and the infinities are ``{"$float": "nan"}``, ``"inf"``, ``"-inf"``;
- a key that begins with ``$`` gets another one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ..errors import CodecError
from .schema import Schema, describe, unescape

Tree = Any  # what a JSON text decodes to
Convert = Callable[[Tree], Tree]

#: an escape in the encoded text: a string that begins with NUL, an object key that begins with $
ESCAPED_STR, ESCAPED_KEY = b'"\\u0000', b'"$'
_INFINITE = float("inf")
_raw_items = msgspec.json.Decoder(list[msgspec.Raw])
#: kinds whose wire form is always a string
STRINGS = frozenset(("str", "bytes", "path", "datetime", "date", "time", "timedelta", "uuid", "decimal", "enum"))


#: kinds that plain JSON holds as a list or an object, which cannot be hashed
_MANY = frozenset(("list", "tuple", "set", "dict", "record"))


def dollar(key: str) -> str:
    """Return an object key, escaped as a string already, as it is written; ``removeprefix("$")`` undoes it."""
    return "$" + key if key[:1] == "$" else key


def float_tree(value: float) -> Tree:
    """Return a float as it is written."""
    return value if -_INFINITE < value < _INFINITE else {"$float": repr(value)}


def shape(tree: Tree) -> str:
    """What kind of JSON a value is: tells the members of an untagged union apart."""
    if isinstance(tree, dict):
        return "float" if "$float" in tree else "object"
    return "null" if tree is None else type(tree).__name__


def shapes(schema: Schema) -> frozenset[str]:
    """Every `shape` that values of a type can have."""
    kind = schema.kind
    if kind in STRINGS:
        return frozenset(("str",))
    if kind in ("literal", "union"):
        return frozenset().union(*map(shapes, schema.args))
    if kind == "dict":
        return frozenset(("object" if keyed(schema.args[0]) else "list",))
    if kind == "any":
        return frozenset(("null", "bool", "int", "float", "str", "list", "object"))
    known = {"none": "null", "set": "list", "tuple": "list", "record": "object"}
    return frozenset((known.get(kind, kind),))


def keyed(key: Schema) -> bool:
    """Whether a dict with such keys is a JSON object; otherwise it is a list of pairs."""
    if key.kind in ("literal", "union"):
        return not key.tagged and all(arg.kind != "int" and keyed(arg) for arg in key.args)
    return key.kind in STRINGS or key.kind == "int"


def tag(member: Schema) -> str:
    """The key under which a tagged union holds a value of this member."""
    return "$" + describe(member)


def order(tree: Tree) -> tuple[int, Any]:
    """Sort key over everything that may stand in a set, or be a key."""
    if isinstance(tree, (bool, int, float)):
        return 1, tree
    if isinstance(tree, str):
        return 2, tree
    if isinstance(tree, list):
        return 3, [order(item) for item in tree]
    if isinstance(tree, dict):
        return 4, [(key, order(item)) for key, item in tree.items()]
    return 0, 0


def unique(trees: Iterable[Tree]) -> list[Tree]:
    """Items of a set as they are written: sorted, and each once, as 2**53 and 2**53 + 1 are one float."""
    items = list(trees)
    if set(map(type, items)) in ({str}, {int}):
        return sorted(set(items))
    ordered = sorted(items, key=order)
    return [item for at, item in enumerate(ordered) if not at or item != ordered[at - 1]]


def mapping(entries: Iterable[tuple[Tree, Tree]], key: Schema) -> Tree:
    """A dict as it is written, sorted: an object, its keys as text, or a list of pairs."""
    if not keyed(key):
        found = sorted(entries, key=lambda entry: order(entry[0]))
    elif key.kind == "int":
        found = [(str(name), item) for name, item in sorted(entries, key=lambda entry: int(entry[0]))]
    else:
        found = sorted(((dollar(str(name)), item) for name, item in entries), key=lambda entry: entry[0])
    if any(found[at - 1][0] == found[at][0] for at in range(1, len(found))):
        raise CodecError(f"two keys of a dict are the same once they are {describe(key)}")
    return dict(found) if keyed(key) else list(map(list, found))


def entries(tree: Tree, key: Schema) -> Iterable[tuple[Tree, Tree]]:
    """Keys and values of a written dict, each key as it is written elsewhere: the inverse of `mapping`."""
    if not keyed(key):
        return ((name, item) for name, item in tree)
    if key.kind == "int":
        return ((int(name), item) for name, item in tree.items())
    return ((name.removeprefix("$"), item) for name, item in tree.items())


# Assignability


def accepts(dst: Schema, src: Schema) -> bool:
    """Whether every value of type ``src`` can be received as ``dst``.

    The same type; int as float; a literal as its type; `list`, `set`, `tuple`,
    `dict` and records by their parts; a fixed tuple as a list; a member as its
    union; anything as Any. Not bool as int, nor str and Path as each other (a
    Path's file counts for the cache, a relative str does not: be explicit),
    nor Any as anything else: annotate what returns it. A record or an enum is
    accepted under its own name only, in whatever module it stands.
    """
    return _accepts(dst, src)


def _accepts(dst: Schema, src: Schema, *, promote: bool = True, key: bool = False) -> bool:
    """`accepts`; without ``promote``, int is no float; ``key``: inside what must be hashed."""
    inside = functools.partial(_accepts, promote=promote, key=key)
    if dst == src or (dst.kind == "any" and not (key and src.kind in _MANY)):
        return True
    if src.kind == "union":
        return all(inside(dst, member) for member in src.args)
    if src.kind == "literal" and dst.kind != "literal":
        if len(src.args) > 1:
            return all(inside(dst, one) for one in _singles(src))
        if dst.kind != "union":
            return inside(dst, src.args[0])
    if dst.kind == "union":
        return any(inside(member, src) for member in dst.args)
    if dst.kind == "list" and src.kind == "tuple":
        return not (key and not dst.name) and all(inside(dst.args[0], arg) for arg in src.args)
    if dst.kind != src.kind:
        return promote and dst.kind == "float" and src.kind == "int"
    if dst.kind == "literal":
        return set(zip(src.args, src.values, strict=True)) <= set(zip(dst.args, dst.values, strict=True))
    if dst.kind in ("record", "enum") and dst.name != src.name:
        return False
    hashed = {"set": (True,), "dict": (True, key)}.get(dst.kind, (key,) * len(dst.args))
    return (
        len(dst.args) == len(src.args)
        and all(
            _accepts(to, of, promote=promote, key=part) for to, of, part in zip(dst.args, src.args, hashed, strict=True)
        )
        and set(src.values) <= set(dst.values)
        and len(dst.fields) == len(src.fields)
        and all(
            to.name == of.name and to.required <= of.required and inside(to.schema, of.schema)
            for to, of in zip(dst.fields, src.fields, strict=True)
        )
    )


def _singles(literal: Schema) -> list[Schema]:
    """Each value of a literal type as a type of its own."""
    return [Schema("literal", (arg,), values=(text,)) for arg, text in zip(literal.args, literal.values, strict=True)]


# Conversion


def convert(raw: bytes, src: Schema, dst: Schema) -> bytes:
    """Rewrite an encoded value of type ``src`` as the ``dst`` that accepts it.

    Parameters
    ----------
    raw : bytes
        As `Codec.encode` wrote it.

    Returns
    -------
    bytes
        What encoding the value as ``dst`` gives; ``raw`` itself where both are
        written alike.

    Raises
    ------
    CodecError
        ``dst`` does not accept ``src``, or an int is too large for a float.
    """
    return convert_each([raw], src, dst)[0]


def convert_each(raws: Iterable[bytes], src: Schema, dst: Schema) -> list[bytes]:
    """`convert`, of many values of one type."""
    change = None if src is dst else converter(src, dst)
    if change is None:
        return list(raws)
    return [msgspec.json.encode(change(parse(raw))) for raw in raws]


@functools.lru_cache(maxsize=1024)
def converter(src: Schema, dst: Schema) -> Convert | None:
    """How to rewrite a tree of ``src`` as ``dst``; None where there is nothing to do."""
    if not accepts(dst, src):
        raise CodecError(f"{describe(src)} cannot be received as {describe(dst)}")
    return _plan(src, dst)


def _plan(src: Schema, dst: Schema) -> Convert | None:
    """`converter` without the check."""
    if src == dst:
        return None
    if src.kind == "union":
        return _from_union(src, dst)
    if src.kind == "literal" and dst.kind != "literal":
        if len(src.args) > 1:
            return _from_literal(src, dst)
        if dst.kind != "union":
            return _plan(src.args[0], dst)
    if dst.kind == "union":
        return _to_union(src, dst)
    if src.kind == "int" and dst.kind == "float":
        return _to_float
    if src.kind == "tuple":
        return _from_tuple(src, dst.args if dst.kind == "tuple" else (dst.args or (dst,)) * len(src.args))
    if src.kind in ("list", "set"):
        each = _plan(src.args[0], dst.args[0] if dst.args else dst)
        if each is None:
            return None
        if dst.kind == "set":
            return lambda tree: unique(map(each, tree))
        return lambda tree: [each(item) for item in tree]
    if src.kind == "dict":
        return _from_dict(src, dst)
    if src.kind == "record":
        return _from_record(src, dst)
    return None


def _to_float(tree: Tree) -> Tree:
    """An int as a float."""
    try:
        return float(tree)
    except OverflowError:
        raise CodecError(f"int of {len(str(tree))} digits is too large for a float") from None


def _from_union(src: Schema, dst: Schema) -> Convert | None:
    """Each member its own way."""
    if src.tagged:
        by_tag = {tag(member): _plan(member, dst) for member in src.args}
        empty = by_tag.pop("$None", None)

        def untag(tree: Tree) -> Tree:
            if tree is None:
                return empty(tree) if empty else tree
            ((name, item),) = tree.items()
            part = by_tag[name]
            return part(item) if part else item

        return untag
    by_shape = {name: part for member in src.args if (part := _plan(member, dst)) for name in shapes(member)}
    if not by_shape:
        return None
    return lambda tree: tree if (part := by_shape.get(shape(tree))) is None else part(tree)


def _to_union(src: Schema, dst: Schema) -> Convert | None:
    """As the first member that takes it unchanged, else the first that takes it."""
    taking = [member for member in dst.args if _accepts(member, src, promote=False)]
    member = next(iter(taking or [member for member in dst.args if accepts(member, src)]))
    part = _plan(src, member)
    if not dst.tagged or member.kind == "none":
        return part
    key = tag(member)
    return lambda tree: {key: tree if part is None else part(tree)}


def _from_literal(src: Schema, dst: Schema) -> Convert | None:
    """Each value as its own type."""
    by_text = {one.values[0]: part for one in _singles(src) if (part := _plan(one, dst))}
    if not by_text:
        return None

    def change(tree: Tree) -> Tree:
        part = by_text.get(msgspec.json.encode(tree).decode())
        return part(tree) if part else tree

    return change


def _from_tuple(src: Schema, wanted: tuple[Schema, ...]) -> Convert | None:
    """Item by item."""
    parts = [_plan(of, to) for of, to in zip(src.args, wanted, strict=True)]
    if not any(parts):
        return None
    return lambda tree: [part(item) if part else item for part, item in zip(parts, tree, strict=True)]


def _from_dict(src: Schema, dst: Schema) -> Convert | None:
    """Keys and values, in the order and form that the new keys ask for."""
    key, value = src.args
    # as plain JSON, an object has string keys, and a list of pairs stays one
    to_key, to_value = dst.args or (Schema("str") if keyed(key) else dst, dst)
    items = _plan(value, to_value)
    names = _plan(key, to_key) if dst.args or not keyed(key) else None
    in_order = (keyed(key), key.kind == "int") == (keyed(to_key), to_key.kind == "int")
    if not names and not items and in_order:
        return None

    def change(tree: Tree) -> Tree:
        moved = ((names(n) if names else n, items(v) if items else v) for n, v in entries(tree, key))
        return mapping(moved, to_key)

    return change


def _from_record(src: Schema, dst: Schema) -> Convert | None:
    """Field by field; the keys of plain JSON are sorted."""
    wanted = [field.schema for field in dst.fields] or [dst] * len(src.fields)
    parts = {of.name: part for of, to in zip(src.fields, wanted, strict=True) if (part := _plan(of.schema, to))}
    names = [field.name for field in src.fields]
    resort = dst.kind == "any" and sorted(names) != names
    if not parts and not resort:
        return None

    def change(tree: Tree) -> Tree:
        moved = {name: parts[name](item) if name in parts else item for name, item in tree.items()}
        return dict(sorted(moved.items())) if resort else moved

    return change


# Bytes


def parse(raw: bytes) -> Tree:
    """Read JSON; a CodecError where it is none."""
    try:
        return msgspec.json.decode(raw)
    except RecursionError:  # its own words differ between versions of Python
        raise CodecError(f"not an encoded value (it is nested too deeply): {raw[:60]!r}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CodecError(f"not an encoded value ({error}): {raw[:60]!r}") from None


def split(raw: bytes) -> list[bytes]:
    """Items of an encoded list, each as it stands, not looked into; a CodecError where it is no list."""
    try:
        return list(map(bytes, _raw_items.decode(raw)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CodecError(f"not an encoded list ({error}): {raw[:60]!r}") from None


def join(items: Iterable[bytes]) -> bytes:
    """Encoded list of encoded items: the inverse of `split`."""
    return b"[" + b",".join(items) + b"]"


# Files

_STR = Schema("str")
See = Callable[[str, Schema], None]
Walk = Callable[[Tree, See], None]


def files(raw: bytes, schema: Schema) -> list[tuple[str, bool]]:
    """Paths that an encoded value names.

    Returns
    -------
    list of (str, bool)
        Each once, in order: every Path as given, with True, and every string
        that begins with ``/``, keys included, with False. What holds a NUL can
        name no file and is left out.
    """
    walk, declared = _walker(schema)
    if walk is None or not (declared or b'"/' in raw or b'"\\u0000/' in raw):
        return []
    found: dict[tuple[str, bool], None] = {}

    def see(text: str, part: Schema) -> None:
        name, declared = unescape(text), part.kind == "path"
        if (declared or name[:1] == "/") and "\0" not in name:
            found[name, declared] = None

    walk(parse(raw), see)
    return list(found)


def own_files(raw: bytes, schema: Schema) -> set[str]:
    """Paths that an encoded result names as its element's own: every Path that is not shared, as given."""
    walk = _walker(schema)[0]
    found: set[str] = set()
    if walk is not None:
        walk(parse(raw), lambda text, part: found.add(unescape(text)) if _is_own(part) else None)
    return found


def names_paths(schema: Schema) -> bool:
    """Whether a value of this type can hold a Path."""
    return _walker(schema)[1]


def names_files(schema: Schema) -> bool:
    """Whether a value of this type can name a file at all."""
    return _walker(schema)[0] is not None


@functools.lru_cache(maxsize=1024)
def owns_files(schema: Schema) -> bool:
    """Whether a result of this type can name a file as its element's own: a Path that is not shared."""
    parts = (*schema.args, *(field.schema for field in schema.fields))
    return _is_own(schema) or any(map(owns_files, parts))


def _is_own(schema: Schema) -> bool:
    return schema.kind == "path" and schema.name != "shared"


@functools.lru_cache(maxsize=1024)
def _walker(schema: Schema) -> tuple[Walk | None, bool]:
    """What shows each string that may name a file, None if there can be none; whether it may be a Path."""
    kind = schema.kind
    if kind in ("str", "path"):
        return lambda tree, see: see(tree, schema), kind == "path"
    if kind == "any":
        return _walk_any, False
    children = [_walker(part) for part in (*schema.args, *(field.schema for field in schema.fields))]
    walks = [walk or _walk_nothing for walk, _ in children]
    declared = any(path for _, path in children)
    if not any(walk for walk, _ in children):
        return None, False
    if kind == "literal":
        return _walk_any, False
    if kind in ("list", "set"):
        return _walk_list(walks[0]), declared
    if kind == "tuple":
        return _walk_tuple(walks), declared
    if kind == "dict":
        return _walk_dict(schema.args[0], *walks), declared
    if kind == "record":
        return _walk_record({field.name: walk for field, walk in zip(schema.fields, walks, strict=True)}), declared
    members: dict[str, Walk] = {}
    for member, walk in zip(schema.args, walks, strict=True):
        members |= dict.fromkeys((tag(member),) if schema.tagged else shapes(member), walk)
    return _walk_union(members, schema.tagged), declared


def _walk_nothing(tree: Tree, see: See) -> None:
    """There is nothing to show."""


def _walk_any(tree: Tree, see: See) -> None:
    if isinstance(tree, str):
        see(tree, _STR)
    elif isinstance(tree, list):
        for item in tree:
            _walk_any(item, see)
    elif isinstance(tree, dict):
        for key, item in tree.items():
            see(key, _STR)
            _walk_any(item, see)


def _walk_list(each: Walk) -> Walk:
    def walk(tree: Tree, see: See) -> None:
        for item in tree:
            each(item, see)

    return walk


def _walk_tuple(parts: list[Walk]) -> Walk:
    def walk(tree: Tree, see: See) -> None:
        for part, item in zip(parts, tree, strict=True):
            part(item, see)

    return walk


def _walk_dict(schema: Schema, key: Walk, value: Walk) -> Walk:
    def walk(tree: Tree, see: See) -> None:
        for name, item in entries(tree, schema):
            key(name, see)
            value(item, see)

    return walk


def _walk_record(fields: dict[str, Walk]) -> Walk:
    def walk(tree: Tree, see: See) -> None:
        for name, item in tree.items():
            fields[name](item, see)

    return walk


def _walk_union(members: dict[str, Walk], tagged: bool) -> Walk:
    def walk(tree: Tree, see: See) -> None:
        if tagged and tree is not None:
            ((name, tree),) = tree.items()
        else:
            name = shape(tree)
        members.get(name, _walk_nothing)(tree, see)

    return walk
