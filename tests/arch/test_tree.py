"""What must not, and what must, be in the tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Written in two halves, so that this file passes its own test.
FORBIDDEN = re.compile(
    "|".join(
        [
            "py" + r"pi\.org",
            "python" + r"hosted\.org",
            "/ro" + "ot/",
            "/wo" + "rk/(?:main|shared|venv)",
            "/opt/" + "(?:wheels|pypi)",
        ]
    )
)


def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for path in (ROOT / name for name in listed.stdout.split("\0") if name) if path.is_file()]


def test_no_registry_host_and_no_machine_path() -> None:
    found = []
    for path in tracked():
        text = path.read_bytes().decode("utf-8", "replace")
        for number, line in enumerate(text.splitlines(), 1):
            if FORBIDDEN.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("line", ["https://py" + "pi.org/simple", "cd /ro" + "ot/reflow", "open('/wo" + "rk/main/x')"])
def test_the_pattern_finds_them(line: str) -> None:
    assert FORBIDDEN.search(line)


def test_test_modules_have_names_of_their_own() -> None:
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert not [name for name, count in names.items() if count > 1]
    assert not [
        path
        for path in tracked()
        if path.name == "__init__.py" and path.is_relative_to(ROOT / "tests") and "example-plugin" not in path.parts
    ]


@pytest.mark.parametrize("name", ["dev", ".ci/run"])
def test_scripts_start(name: str) -> None:
    script = ROOT / name
    assert os.access(script, os.X_OK)
    shell = script.read_text(encoding="utf-8").splitlines()[0].split("/")[-1].removeprefix("env ")
    program = shutil.which(shell)
    assert program
    assert subprocess.run([program, "-n", str(script)], check=False).returncode == 0


def test_ci_calls_the_readme_test_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for command in ("./dev demo", "./dev tests"):
        assert f"$ {command}" in readme
    assert "./dev tests" in ci
    assert re.search(r"\./dev .*\blive\b", ci)
