"""Which modules are the user's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from reflow.authoring.code.own import Own, editable_roots
from reflow.model.definition import Entry


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    here = tmp_path / "project"
    for name in ("flow.py", "own_beside.py", "own_pack/__init__.py", "own_pack/sub.py", "own_bare/mod.py"):
        write(here / name)
    write(here / "venv/pyvenv.cfg")
    write(here / "venv/lib/own_venv.py")
    write(here / "lib/site-packages/own_installed.py")
    write(tmp_path / "elsewhere/own_elsewhere.py")
    for path in ("venv/lib", "lib/site-packages", "../elsewhere"):
        monkeypatch.syspath_prepend(str(here / path))
    return here


def make(top: Path, **named: tuple[str, ...]) -> Own:
    return Own(Entry(file=str(top / "flow.py"), module="flow", variable="wf", path=(str(top),), **named))


def test_what_lies_below_the_script_is_own(top: Path) -> None:
    own = make(top)
    assert own.file("flow") == str(top / "flow.py")
    assert own.file("own_beside") == str(top / "own_beside.py")
    assert own.file("own_pack") == str(top / "own_pack/__init__.py")
    assert own.file("own_pack.sub") == str(top / "own_pack/sub.py")
    assert own.file("own_bare") == ""
    assert own.file("own_bare.mod") == str(top / "own_bare/mod.py")
    assert "own_pack" not in sys.modules, "nothing is imported"


@pytest.mark.parametrize(
    "name", ["own_venv", "own_installed", "own_elsewhere", "json", "sys", "reflow", "reflow.errors", "own_nowhere"]
)
def test_what_is_installed_or_elsewhere_is_foreign(top: Path, name: str) -> None:
    assert make(top).file(name) is None


def test_configuration_names_what_is_own_and_foreign(top: Path) -> None:
    own = make(top, own=("own_elsewhere", "own_pack.sub"), foreign=("own_pack", "own_beside"))
    assert own.file("own_elsewhere") == str(top.parent / "elsewhere/own_elsewhere.py")
    assert own.file("own_beside") is None
    assert own.file("own_pack") is None
    assert own.file("own_pack.sub") == str(top / "own_pack/sub.py")


def test_an_editable_install_is_own_but_reflow(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = top / "lib/site-packages"
    told = {"url": (top.parent / "elsewhere").as_uri(), "dir_info": {"editable": True}}
    write(site / "mine-1.dist-info/direct_url.json", json.dumps(told))
    editable_roots.cache_clear()
    try:
        assert make(top).file("own_elsewhere") == str(top.parent / "elsewhere/own_elsewhere.py")
        write(site / "mine-1.dist-info/entry_points.txt", "[reflow.plugins]\nmine = mine\n")
        editable_roots.cache_clear()
        assert make(top).file("own_elsewhere") is None
    finally:
        editable_roots.cache_clear()


def test_the_configuration_reaches_a_run(lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "shared"
    module = write(elsewhere / f"shared_{lab.module}.py", "def f(): return 1\n")
    monkeypatch.syspath_prepend(str(elsewhere))
    monkeypatch.setenv("REFLOW_CACHE_OWN", module.stem)
    text = f"import {module.stem} as s\n@wf.job()\ndef task() -> int: return s.f()\n"

    def digest() -> str:
        sys.modules.pop(module.stem, None)
        return str(lab.good().definition.task("task").code)

    lab.write(text)
    first = digest()
    write(module, "def f(): return 12\n")
    lab.write(text)
    assert digest() != first
    monkeypatch.setenv("REFLOW_CACHE_FOREIGN", module.stem)
    write(module, "def f(): return 123\n")
    lab.write(text)
    foreign = digest()
    write(module, "def f(): return 1234\n")
    lab.write(text)
    assert digest() == foreign
    sys.modules.pop(module.stem, None)
