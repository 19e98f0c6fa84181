"""Scripts named on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reflow.authoring import Flow
from reflow.cli import scripts
from reflow.cli.session import Session
from reflow.errors import UsageError

ONE = "from reflow.workflow import Workflow\nwf = Workflow('one')\n"
TWO = ONE + "other = Workflow('two')\n"

Write = Callable[..., Path]


def test_the_only_workflow_is_meant(script: Write) -> None:
    assert scripts.load(str(script(ONE))).name == "one"


def test_a_workflow_under_two_names_is_one(script: Write) -> None:
    assert scripts.load(str(script(ONE + "alias = wf\n"))).name == "one"


def test_one_of_several(script: Write) -> None:
    assert scripts.load(f"{script(TWO)}:other").name == "two"


def test_it_is_imported_as_its_user_would(script: Write, capsys: pytest.CaptureFixture[str]) -> None:
    script("value = 'beside'\n", "helper_beside.py")
    text = ONE + "import helper_beside\nprint(__name__, __file__, helper_beside.value)\n"
    text += "if __name__ == '__main__':\n    raise SystemExit(3)\n"
    file = script(text)
    scripts.load(str(file))
    out, err = capsys.readouterr()
    assert out == "", "what a script prints is no data of ours"
    assert err == f"pipeline {file} beside\n"


@pytest.mark.parametrize(
    ("text", "variable", "code", "message"),
    [
        ("import nowhere_at_all\n", "", 1, "pipeline.py:1 cannot be imported: ModuleNotFoundError"),
        ("x = 1\n1 / 0\n", "", 1, "pipeline.py:2 cannot be imported: ZeroDivisionError"),
        ("def broken(:\n", "", 1, "pipeline.py cannot be imported: "),
        ("import sys\nsys.exit(4)\n", "", 1, "ended with exit code 4 when it was imported"),
        (ONE + "wf.cli()\n", "", 2, "calls cli() when it is imported"),
        (ONE + "wf.run_local('here')\n", "", 2, "starts a run when it is imported"),
        ("x = 1\n", "", 2, "has no workflow"),
        ("from reflow import Flow\nf = Flow('f')\n", "", 2, "has no workflow"),
        (TWO, "", 2, "has 2 workflows: wf, other"),
        (ONE, "wff", 2, "has no workflow 'wff'"),
        ("x = 1\n", "x", 2, "has no workflow 'x'"),
    ],
)
def test_what_is_wrong_with_a_script(script: Write, text: str, variable: str, code: int, message: str) -> None:
    file = script(text)
    with pytest.raises(Exception) as caught:
        scripts.load(f"{file}:{variable}" if variable else str(file))
    assert message in caught.value.message  # type: ignore[attr-defined]
    assert caught.value.exit_code == code  # type: ignore[attr-defined]
    assert caught.value.hint  # type: ignore[attr-defined]


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        scripts.load(str(tmp_path / "nope.py"))
    with pytest.raises(UsageError, match="is a directory"):
        scripts.load(str(tmp_path))


def test_names_with_colons_and_spaces(script: Write) -> None:
    assert scripts.load(str(script(ONE, "my pipe:line.py"))).name == "one"
    assert scripts.load(f"{script(TWO, 'a:b')}:other").name == "two"


def test_what_looks_like_a_script(script: Write) -> None:
    assert scripts.looks_like_script("gone.py")
    assert scripts.looks_like_script("gone.py:wf")
    assert scripts.looks_like_script(str(script("", "noending")))
    assert not scripts.looks_like_script("demo-20250301-a1b2")
    assert not scripts.looks_like_script("latest")


def test_a_subject_is_a_script_a_run_or_the_own_workflow(script: Write, shelf: object) -> None:
    flow = Flow("demo")
    assert scripts.subject(Session("p", flow), None, None, None) is flow
    found = scripts.subject(Session("reflow"), str(script(ONE)), None, None)
    assert found.name == "one"  # type: ignore[union-attr]
    run = shelf.add()  # type: ignore[attr-defined]
    assert scripts.subject(Session("reflow"), run.run_id, None, None) is run
    assert scripts.subject(Session("p", flow), None, "latest", None) is run
    with pytest.raises(UsageError, match="name a script or a run"):
        scripts.subject(Session("reflow"), None, None, None)
