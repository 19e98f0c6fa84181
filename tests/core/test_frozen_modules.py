"""What runs is what was hashed: own modules are frozen with the script, by name, at submit and at each retry."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reflow import Run
from reflow.model.definition import Definition, Entry
from reflow.run.definition.imported_modules import own_modules
from reflow.worker.frozen import Frozen

from .scheduled import cluster, finish

FLOW = """
import {helper}

@wf.job()
def first() -> int:
    return 1

@wf.job()
def second(x: Annotated[int, Result(step="first")]) -> str:
    from late_{helper} import WORD
    assert flag("fixed"), "not yet"
    return f"{{{helper}.VALUE}} {{WORD}}"
"""


@pytest.fixture
def helper(lab: Any) -> Iterator[Path]:
    """A module beside the script; another one is imported inside a task."""
    path = lab.path / f"helper_of_{lab.module}.py"
    path.write_text("VALUE = 1\n")
    (lab.path / f"late_{path.name}").write_text("WORD = 'old'\n")
    yield path
    for name in (path.stem, f"late_{path.stem}"):
        sys.modules.pop(name, None)


def edit(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


def test_jobs_that_wait_run_the_modules_that_were_submitted(lab: Any, helper: Path) -> None:
    lab.write(FLOW.format(helper=helper.stem))
    lab.touch("fixed")
    late = helper.with_name(f"late_{helper.name}")
    site = cluster()
    site.held = True
    run = lab.flow.submit(lab.run_dir, executor=site)
    assert {name: module.file for name, module in run.definition.modules.items()} == {
        helper.stem: str(helper),
        late.stem: str(late),
    }
    site.held = False
    site.advance(60.0)
    site.held = True
    edit(helper, "1", "20")
    late.unlink()
    finish(run, site)
    assert run.result("second") == "1 old"
    late.write_text("WORD = 'old'\n")
    edit(helper, "20", "1")
    again = lab.good("local", max_workers=1, run_dir=lab.path / "again")
    assert again.result("second") == "1 old"


def test_a_retry_freezes_them_anew(lab: Any, helper: Path) -> None:
    lab.write(FLOW.format(helper=helper.stem))
    run = lab.run("local", max_workers=1)
    assert run.state.value == "FAILED"
    lab.touch("fixed")
    edit(helper, "1", "2")
    run.retry()
    assert run.result("second") == "2 old"
    late = helper.with_name(f"late_{helper.name}")
    assert (Path(run.root) / "code/2/modules" / late.name).read_text() == late.read_text()
    assert not list(lab.path.glob("__pycache__/*late*")), "nothing is written beside the user's modules"


def test_what_was_not_known_when_the_code_was_frozen_spoils_the_result(lab: Any) -> None:
    name = f"found_by_{lab.module}"
    (lab.path / f"{name}.py").write_text("VALUE = 3\n")
    lab.write(f"""
    import importlib

    @wf.array_job()
    def late(x: Annotated[int, Result(step="numbers")]) -> int:
        return importlib.import_module("found" + {name[5:]!r}).VALUE if x else 0

    @wf.job()
    def numbers() -> list[int]:
        return [0, 1, 2]
    """)
    run = lab.good("local", max_workers=1)
    assert run.results("late") == [0, 3, 3]
    again = lab.good("local", max_workers=1, run_dir=lab.path / "again")
    assert [decision for decision, _ in lab.why(again, "late").values()] == ["hit", "miss", "miss"]
    (told,) = [one for one in run.status()["run"]["uncached"] if one["task"] == "late"]
    assert told["reason"].startswith(f"{name} (")
    assert "was imported in its process" in told["reason"]


def test_a_package_with_all_that_modules_do(tmp_path: Path) -> None:
    """Relative and circular imports, a namespace package, a module named like one of the library, data, sources."""
    files = {
        "proj/pack/__init__.py": "from .one import ONE\n",
        "proj/pack/one.py": "from . import two\nONE = 1\ndef both(): return ONE + two.TWO\n",
        "proj/pack/two.py": "from pack import one\nTWO = 2\ndef back(): return one.ONE\n",
        "proj/pack/data.txt": "some data",
        "proj/space/inner/deep.py": "DEEP = __name__\n",
        "proj/statistics_.py": "",
        "proj/pack/pipeline.py": """
            from __future__ import annotations
            import inspect, importlib.resources, json, os, sys
            from pathlib import Path
            from reflow import Workflow
            from . import one, two
            from space.inner import deep

            wf = Workflow("packed")

            @wf.job()
            def look() -> list[str]:
                data = importlib.resources.files("pack").joinpath("data.txt").read_text()
                beside = (Path(one.__file__).parent / "data.txt").read_text()
                try:
                    two.TWO / 0
                    raise AssertionError
                except ZeroDivisionError:
                    pass
                return [
                    str(one.both()), str(two.back()), deep.DEEP, data, beside, inspect.getsource(one.both),
                    one.__file__, type(one.__spec__.loader).__name__, one.__package__, __name__,
                    str(sys.modules["pack"].__path__[0]),
                ]

            if __name__ == "__main__":
                wf.cli()
        """,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
    top = tmp_path / "proj"
    command = [sys.executable, "-m", "pack.pipeline", "run", "--executor", "local", "--run-dir", str(tmp_path / "run")]
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "REFLOW_STORE_PATH": str(tmp_path / "store")}
    done = subprocess.run(command, cwd=top, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    run = Run.open(tmp_path / "run")
    assert set(run.definition.modules) == {"pack", "pack.one", "pack.two", "space.inner.deep"}
    assert run.result("look") == [
        *("3", "1", "space.inner.deep", "some data", "some data", "def both(): return ONE + two.TWO\n"),
        *(str(top / "pack/one.py"), "_Loader", "pack", "pack.pipeline", str(top / "pack")),
    ]
    assert not list(top.rglob("*.pyc"))


def frozen_run(lab: Any, helper: Path) -> tuple[Run, Frozen]:
    lab.write(FLOW.format(helper=helper.stem))
    lab.touch("fixed")
    run = lab.good()
    return run, Frozen(run.root, run.definition)


def test_nothing_is_compiled_where_the_interpreter_is_the_same(
    lab: Any, helper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, frozen = frozen_run(lab, helper)
    loader = frozen.loader(helper.stem, str(helper))
    monkeypatch.setattr(type(loader), "source_to_code", lambda *_: pytest.fail("compiled"))
    code = loader.get_code(helper.stem)
    assert code is not None
    assert code.co_filename == str(helper)
    assert frozen.code().co_filename == str(lab.file)


def test_another_module_of_the_same_name_is_not_taken_for_the_frozen_one(
    lab: Any, helper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, frozen = frozen_run(lab, helper)
    other = lab.path / "other" / helper.name
    other.parent.mkdir()
    other.write_text("VALUE = 'other'\n")
    monkeypatch.setattr(sys, "path", [str(lab.path), *sys.path])
    spec = frozen.find_spec(helper.stem)
    assert spec is not None
    assert spec.origin == str(helper)
    monkeypatch.setattr(sys, "path", [str(other.parent), *sys.path])
    assert frozen.find_spec(helper.stem) is None
    monkeypatch.delitem(sys.modules, helper.stem)
    assert __import__(helper.stem).VALUE == "other"
    assert b"has changed since the code was frozen" in frozen.note()
    del sys.modules[helper.stem]
    helper.unlink()
    spec = frozen.find_spec(helper.stem)
    assert spec is not None
    assert spec.origin == str(helper), "what was frozen is found wherever it was"


@pytest.mark.parametrize("damage", ["gone", "changed", "of another interpreter"])
def test_compiled_code_that_is_of_no_use_is_passed_over(
    lab: Any, helper: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, frozen = frozen_run(lab, helper)
    (compiled,) = Path(run.root).glob(f"code/1/modules/{helper.stem}.*.pyc")
    if damage == "gone":
        compiled.unlink()
    elif damage == "changed":
        compiled.write_bytes(compiled.read_bytes()[:-9] + b"\0" * 9)
    else:
        monkeypatch.setattr("reflow.worker.frozen.Frozen.compiled", lambda *_: b"\0" * 400)
    assert frozen.loader(helper.stem, str(helper)).get_code(helper.stem) is not None


def test_a_frozen_module_that_was_changed_is_not_run_and_can_be_repaired(lab: Any, helper: Path) -> None:
    from reflow.errors import DataError
    from reflow.run.recovery.repair import repair

    run, frozen = frozen_run(lab, helper)
    copy = Path(run.root) / "code/1/modules" / helper.name
    copy.write_text("VALUE = 666\n")
    with pytest.raises(DataError, match="it is not what was submitted"):
        frozen.loader(helper.stem, str(helper)).get_code(helper.stem)
    done = repair(run.root)
    assert any(str(copy) in word for word in done.done), done
    assert copy.read_text() == helper.read_text()


def test_modules_of_two_generations_in_one_process(lab: Any, helper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane of a pool may see both; who comes back to a generation finds the modules that it had."""
    lab.write(FLOW.format(helper=helper.stem))
    run = lab.run()
    lab.touch("fixed")
    edit(helper, "1", "2")
    run.retry()
    monkeypatch.delitem(sys.modules, helper.stem)
    first, second = (Frozen(run.root, one) for one in (run.definition, _definition(run, 2)))
    found = []
    for frozen in (first, second, first):
        frozen.enter()
        found.append(__import__(helper.stem))
        frozen.leave()
    assert [module.VALUE for module in found] == [1, 2, 1]
    assert found[0] is found[2]


def _definition(run: Run, generation: int) -> Definition:
    from reflow.run.definition.load import load_definition

    return load_definition(run.root, generation)


def test_what_is_installed_is_not_frozen(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {}
    for place in ("own", "venv/lib/other", "env/site-packages/third"):
        path = lab.path / f"{place}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        module = type(sys)(f"{lab.module}_{path.stem}")
        module.__file__ = str(path)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        names[path.stem] = module.__name__
    (lab.path / "venv" / "pyvenv.cfg").write_text("")
    lab.file.write_text("")
    entry = Entry(file=str(lab.file), module=lab.module, variable="wf", path=(str(lab.path),))
    assert list(own_modules(entry).modules) == [names["own"]]
    assert own_modules(Entry()).modules == {}
