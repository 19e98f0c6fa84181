"""What is frozen is what was analysed, and it is compiled only where nobody has compiled it before."""

from __future__ import annotations

import builtins
import marshal
import os
import py_compile
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import MAGIC_NUMBER, source_hash
from pathlib import Path
from typing import Any

import pytest

from reflow.errors import UsageError
from reflow.model import layout
from reflow.run.definition.compiled import compile_frozen

from .scheduled import cluster, finish

FLOW = """
import {helper}

@wf.job()
def one() -> int:
    assert flag("fixed"), "not yet"
    return {helper}.VALUE
"""


@pytest.fixture
def helper(lab: Any) -> Iterator[Path]:
    """A module beside the script."""
    path = lab.path / f"helper_of_{lab.module}.py"
    path.write_text("VALUE = 1\n")
    yield path
    sys.modules.pop(path.stem, None)


def before(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], object]) -> None:
    """Do something once, when a function is called next."""
    module, _, function = name.rpartition(".")
    inner = getattr(import_module(module), function)

    def first(*args: Any) -> Any:
        monkeypatch.setattr(name, inner)
        act()
        return inner(*args)

    monkeypatch.setattr(name, first)


@pytest.mark.parametrize("when", ["own_modules", "create"])
@pytest.mark.parametrize("what", ["script", "module", "gone"])
def test_what_is_edited_after_its_analysis_is_not_submitted(
    lab: Any, helper: Path, monkeypatch: pytest.MonkeyPatch, when: str, what: str
) -> None:
    lab.write(FLOW.format(helper=helper.stem))
    lab.touch("fixed")
    file = lab.file if what == "script" else helper
    text = file.read_text()
    edit = file.unlink if what == "gone" else lambda: file.write_text(text + "# edited\n")
    before(monkeypatch, f"reflow.run.service.submit.{when}", edit)
    with pytest.raises(UsageError, match=f"{file.name} was edited while its code was being frozen"):
        lab.flow.submit(lab.run_dir, executor=cluster())
    assert not list(lab.path.glob("run/.reflow/*/code")), "no run is left"
    file.write_text(text)
    site = cluster()
    run = lab.flow.submit(lab.run_dir, executor=site)
    finish(run, site)
    assert run.result("one") == 1


@pytest.mark.parametrize("what", ["script", "module"])
def test_what_is_edited_after_its_analysis_is_not_retried(
    lab: Any, helper: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    lab.write(FLOW.format(helper=helper.stem))
    run = lab.run("local", max_workers=1)
    lab.touch("fixed")
    helper.write_text("VALUE = 2\n")
    file = lab.file if what == "script" else helper
    edited = file.read_text().replace("VALUE = 2", "VALUE = 3") + "# edited\n"
    before(monkeypatch, "reflow.run.service.refresh.write_generation", lambda: file.write_text(edited))
    with pytest.raises(UsageError, match=f"{file.name} was edited while its code was being frozen"):
        run.retry()
    run.retry()
    assert run.result("one") == (2 if what == "script" else 3)


class Count:
    """Compilations of files below a directory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, top: Path) -> None:
        self._seen: list[str] = []
        inner = builtins.compile

        def counted(source: Any, filename: Any, *args: Any, **kwargs: Any) -> Any:
            if str(filename).startswith(str(top)):
                self._seen.append(os.path.basename(filename))
            return inner(source, filename, *args, **kwargs)

        monkeypatch.setattr(builtins, "compile", counted)

    def take(self) -> list[str]:
        """Return the names of what was compiled since this was last asked."""
        found, self._seen = self._seen, []
        return found


def test_a_retry_compiles_only_what_was_edited(lab: Any, helper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write(FLOW.format(helper=helper.stem))
    run = lab.run("local", max_workers=1)
    count = Count(monkeypatch, lab.path)
    lab.edit("not yet", "still not")
    count.take()
    run.retry()
    assert count.take() == [lab.file.name]
    helper.write_text("VALUE = 20\n")
    lab.touch("fixed")
    run.retry()
    assert count.take() == [helper.name]
    assert run.result("one") == 20
    assert [len(list(Path(run.root).glob(f"code/{number}/modules/*.pyc"))) for number in (1, 2, 3)] == [2, 2, 2]


def imported(path: Path, later: float, mode: py_compile.PycInvalidationMode) -> Path:
    """Leave in ``__pycache__`` what an import leaves there, some seconds after the source was written."""
    compiled = py_compile.compile(str(path), doraise=True, optimize=0, invalidation_mode=mode)
    assert compiled is not None
    time = path.stat().st_ctime + later
    os.utime(compiled, (time, time))
    return Path(compiled)


@pytest.mark.parametrize(
    "kind", ["as it was", "young", "other time", "other size", "other bytes", "hash", "other magic", "none"]
)
def test_code_that_an_import_has_compiled_is_used_where_it_is_of_the_frozen_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    source, copy = tmp_path / "some.py", tmp_path / "copy.py"
    source.write_text("VALUE = 1\n")
    checks = py_compile.PycInvalidationMode
    compiled = imported(
        source, 1.5 if kind == "young" else 3, checks.CHECKED_HASH if kind == "hash" else checks.TIMESTAMP
    )
    status = source.stat()
    if kind == "other time":
        os.utime(source, (status.st_atime, status.st_mtime - 10))
    elif kind == "other size":
        source.write_text("VALUE = 20\n")
        os.utime(source, (status.st_atime, status.st_mtime))
    elif kind == "other magic":
        raw = compiled.read_bytes()
        compiled.write_bytes(b"\0" + raw[1:])
        os.utime(compiled, (status.st_ctime + 3, status.st_ctime + 3))
    elif kind == "none":
        compiled.unlink()
    copy.write_text("VALUE = 2\n" if kind == "other bytes" else source.read_text())
    root = str(tmp_path / "root")
    os.makedirs(os.path.dirname(layout.frozen_module(root, 1, "some")))
    count = Count(monkeypatch, tmp_path)
    assert compile_frozen(root, 1, "some", str(copy), str(source))
    assert count.take() == ([] if kind == "as it was" else ["some.py"])
    (written,) = Path(root).rglob("*.pyc")
    raw = written.read_bytes()
    assert raw[:16] == MAGIC_NUMBER + b"\1\0\0\0" + source_hash(copy.read_bytes())
    assert marshal.loads(raw[16:]) == compile(copy.read_text(), str(source), "exec", dont_inherit=True)
