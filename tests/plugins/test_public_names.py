"""`from reflow import ...`: what can be had, lazily, and what type checkers are told of it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import reflow
from reflow.plugins.known import KNOWN

ROOT = Path(reflow.__file__).parent


def _stub() -> dict[str, str | None]:
    """Names of the stub -> module that each is imported from."""
    found: dict[str, str | None] = {}
    for node in ast.parse((ROOT / "__init__.pyi").read_text()).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                assert alias.asname == alias.name, f"{alias.name} is not exported"
                found[alias.name] = node.module
        elif isinstance(node, ast.AnnAssign):
            assert isinstance(node.target, ast.Name)
            found[node.target.id] = None
    return found


def test_the_stub_names_what_there_is() -> None:
    stub = _stub()
    packages = {known.exports for known in KNOWN}
    assert {name: module for name, module in stub.items() if name not in packages} == {
        **reflow._NAMES,  # type: ignore[attr-defined]
        "errors": None,
        "__version__": None,
    }
    assert packages <= stub.keys()


@pytest.mark.parametrize("name", reflow.__all__)  # type: ignore[attr-defined]
def test_each_name_is_there(name: str) -> None:
    assert getattr(reflow, name) is getattr(reflow, name)
    assert name in dir(reflow)


def test_scheduler_classes_are_not_among_the_names_of_a_star_import() -> None:
    assert not {known.exports for known in KNOWN} & set(reflow.__all__)  # type: ignore[attr-defined]


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Workflw'"):
        reflow.Workflw  # type: ignore[attr-defined]  # noqa: B018


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    code = "import sys, reflow; print(sorted(n for n in sys.modules if n.startswith(('reflow', 'msgspec', 'pluggy'))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['reflow']\n"


def test_errors_is_a_module_of_its_own() -> None:
    code = "import reflow; print(reflow.errors.ReflowError.__name__, reflow.Executor.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "ReflowError Executor\n"


def test_a_worker_does_not_pay_for_plugins() -> None:
    code = (
        "import sys\nfrom reflow import Param, Result, RunDir, Retry, context, TaskInterrupted\n"
        "print([n for n in ('pluggy', 'reflow.plugins', 'importlib.metadata') if n in sys.modules])"
    )
    # -I -S: the interpreter's own start, with editable installs, may import importlib.metadata.
    paths = [str(ROOT.parent), *(path for path in sys.path if path.endswith("site-packages"))]
    code = f"import sys\nsys.path += {paths!r}\n{code}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.slow
def test_type_checkers_see_real_types(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from reflow import SlurmExecutor, Workflow, context\n"
        "reveal_type(Workflow('x'))\nreveal_type(SlurmExecutor())\nreveal_type(context())\n"
        "from reflow import Workflw\n"
    )
    argv = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(script)]
    done = subprocess.run(argv, cwd=ROOT.parents[2], capture_output=True, text=True, check=False)
    said = [line.partition("script.py:")[2] for line in done.stdout.splitlines() if "script.py:" in line]
    assert said == [
        '2: note: Revealed type is "reflow.workflow.Workflow"',
        '3: note: Revealed type is "reflow_slurm.dialect.SlurmExecutor"',
        '4: note: Revealed type is "reflow.worker.context.Context"',
        '5: error: Module "reflow" has no attribute "Workflw"; maybe "Workflow"?  [attr-defined]',
    ]
