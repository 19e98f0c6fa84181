"""README and docs do what they say: their blocks are executed, in order, in a directory of their own.

A ``python`` block whose first line is ``# NAME.py`` is written to that file, any other is executed, and shares its
names with those before it on the page. A ``toml`` block whose first line is ``# NAME.toml`` is written, any other is
parsed. In a ``console`` block the lines after ``$`` are commands, and the lines below them, if any, what they print
(``…`` stands for anything); a command must succeed, unless its last line of output is ``[exit N]``. A block is left
out only where the comment ``<!-- not run: reason -->`` stands above it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?P<skip><!-- not run: .+? -->\n\s*)?^(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^ *```$", re.M | re.S
)
NAME = re.compile(r"# (?P<name>[\w./-]+\.(?:py|toml))\n")


@dataclass(frozen=True)
class Block:
    line: int
    language: str
    text: str
    run: bool


def blocks_of(page: str) -> list[Block]:
    """Find the blocks of a page."""
    return [
        Block(
            page.count("\n", 0, match.start("text")),
            match["language"],
            re.sub(rf"^{match['indent']}", "", match["text"], flags=re.M),
            not match["skip"],
        )
        for match in BLOCK.finditer(page)
    ]


def commands_of(text: str) -> list[tuple[str, str, int]]:
    """Split a console block into commands, what each is said to print, and the exit code."""
    parts = re.split(r"^\$ ", text, flags=re.M)
    assert not parts[0].strip(), f"a console block begins with a command, not with {parts[0]!r}"
    found = []
    for part in parts[1:]:
        lines = part.splitlines()
        command = [lines.pop(0)]
        while command[-1].endswith("\\") and lines:
            command.append(lines.pop(0).removeprefix("> "))
        code = 0
        if lines and (last := re.fullmatch(r"\[exit (\d+)\]", lines[-1])):
            code = int(last[1])
            lines.pop()
        found.append(("\n".join(command), "\n".join(lines).strip(), code))
    return found


def prints(expected: str, printed: str) -> bool:
    """Whether what was printed is what the page says, ``…`` standing for anything."""
    pattern = ".*".join(re.escape(part) for part in expected.split("…"))
    plain = "\n".join(line.rstrip() for line in printed.strip().splitlines())
    return re.fullmatch(pattern, plain, re.S) is not None


class Reader:
    """Someone who does what a page says, in an empty directory."""

    def __init__(self, page: Path, place: Path) -> None:
        self.page = page
        self.place = place
        self.names: dict[str, Any] = {"__name__": "__page__"}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environ = {**os.environ, "PATH": path, "PYTHONWARNINGS": "error"}

    def follow(self, block: Block) -> None:
        where = f"{self.page.name}:{block.line}"
        if block.language in ("python", "toml") and (named := NAME.match(block.text)):
            path = self.place / named["name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
            if block.language == "python":
                sys.modules.pop(path.stem, None)  # another test may have imported a module of this name
        elif block.language == "python":
            exec(compile("\n" * block.line + block.text, str(self.page), "exec"), self.names)
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "console":
            for command, expected, code in commands_of(block.text):
                done = subprocess.run(
                    ["bash", "-c", command],
                    cwd=self.place,
                    env=self.environ,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    check=False,
                    timeout=300,
                )
                assert done.returncode == code, f"{where}: {command}: exit {done.returncode}\n{done.stdout}"
                assert not expected or prints(expected, done.stdout), f"{where}: {command} printed\n{done.stdout}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_does_what_it_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    reader = Reader(page, tmp_path)
    for block in blocks_of(page.read_text(encoding="utf-8")):
        if block.run:
            reader.follow(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_blocks_are_found() -> None:
    page = "a\n```python\nx = 1\n```\n<!-- not run: needs a cluster -->\n```console\n$ sbatch\n```\n"
    page += "1. b\n   ```toml\n   a = 1\n   ```\n"
    assert blocks_of(page) == [
        Block(2, "python", "x = 1\n", True),
        Block(6, "console", "$ sbatch\n", False),
        Block(10, "toml", "a = 1\n", True),
    ]


@pytest.mark.parametrize(
    ("block", "failure"),
    [
        (Block(1, "python", "assert 1 > 2\n", True), AssertionError),
        (Block(1, "toml", "a = \n", True), tomllib.TOMLDecodeError),
        (Block(1, "console", "$ false\n", True), AssertionError),
        (Block(1, "console", "$ echo one\ntwo\n", True), AssertionError),
        (Block(1, "console", "$ exit 3\n[exit 2]\n", True), AssertionError),
        (Block(1, "console", "two\n", True), AssertionError),
    ],
)
def test_a_wrong_page_fails(tmp_path: Path, block: Block, failure: type[Exception]) -> None:
    with pytest.raises(failure):
        Reader(Path("page.md"), tmp_path).follow(block)


def test_a_right_page_passes(tmp_path: Path) -> None:
    reader = Reader(Path("page.md"), tmp_path)
    reader.follow(Block(1, "python", "# lib/two.py\nTWO = 2\n", True))
    reader.follow(Block(1, "python", "x = 1\n", True))
    reader.follow(Block(1, "python", "assert x == 1\n", True))
    reader.follow(Block(1, "console", "$ cat lib/two.py\n…\nTWO = 2\n$ echo \\\n> two; exit 2\ntwo\n[exit 2]\n", True))
