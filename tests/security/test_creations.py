"""What reflow makes by a name it makes anew: nothing that lies there already is written to, or followed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for path in ROOT.glob("reflow-*/src/**/*.py") if "testing" not in path.parts)

#: calls that give a descriptor, and names of variables that hold one
DESCRIPTORS = {"create", "create_file", "os.open", "open_regular", "fd", "descriptor", "opened", "output"}

#: how files are opened that are appended to: logs, and segments of the cache
APPENDING = {("worker/opener.py", "LOG"), ("store/segments.py", "open_regular")}


def _mode(call: ast.Call) -> str:
    """The mode of a call of `open` that is written out."""
    given = [*call.args[1:2], *(word.value for word in call.keywords if word.arg == "mode")]
    return next((str(one.value) for one in given if isinstance(one, ast.Constant)), "")


def _wrong(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines that write to what a name leads to."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name == "open" and set(_mode(node)) & set("wax+"):
            first = node.args[0]
            source = ast.unparse(first.func if isinstance(first, ast.Call) else first)
            if source not in DESCRIPTORS:
                yield node.lineno, f"open({source}) is given no descriptor"
        if name.endswith((".write_text", ".write_bytes", "mktemp", ".touch")) and "formatter" not in name:
            yield node.lineno, f"{name} follows what is there"


def test_files_are_made_by_descriptors_that_follow_nothing() -> None:
    assert list(_wrong(ast.parse('open(path, "w"); open(name, mode="xb"); Path(path).write_text("")')))
    assert len(SOURCES) > 200
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert not list(_wrong(ast.parse(text))), path
        for line in text.splitlines():
            if "os.O_CREAT" not in line or "O_EXCL" in line:
                continue
            assert any(str(path).endswith(file) and word in line for file, word in APPENDING), (path, line)


def test_names_of_temporary_files_cannot_be_foreseen() -> None:
    from reflow.worker.durable import beside

    names = {beside("/there/name") for _ in range(100)}
    assert len(names) == 100
    assert all(len(name) >= len("/there/name.") + 16 for name in names)
    for path in SOURCES:
        for line in path.read_text(encoding="utf-8").splitlines():
            assert '.tmp"' not in line or "os.urandom" in line, (path, line)


def test_what_lies_where_a_file_is_made_is_not_followed(tmp_path: Path) -> None:
    from reflow.worker.durable import claim, create, write_new

    target, place = tmp_path / "target", tmp_path / "place"
    target.write_bytes(b"mine")
    place.symlink_to(target)
    with pytest.raises(FileExistsError):
        create(str(place))
    assert not claim(str(place), b"theirs")
    write_new(str(place), b"theirs")
    assert target.read_bytes() == b"mine"
    assert not place.is_symlink()
