"""The group: listed from entries, loaded when used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Annotated, Any

import click
import pytest
import typer

from reflow.authoring import Flow
from reflow.cli.group import Commands, as_command, invoke
from reflow.cli.session import Session, own_name
from reflow.errors import PluginError
from reflow.hookspecs import CommandEntry

Call = Callable[..., Any]


def entry(name: str = "hello") -> CommandEntry:
    return CommandEntry(name=name, target="somewhere:command", summary=f"say {name}")


def hello(
    ctx: typer.Context,
    who: Annotated[str, typer.Argument(help="whom to greet")] = "you",
    loud: Annotated[bool, typer.Option("--loud", help="shout")] = False,
) -> None:
    """Greet somebody."""
    print(f"{'HELLO' if loud else 'hello'} {who} from {Session.of(ctx).prog}")


def call(target: object, *words: str) -> int:
    return invoke(Commands("prog", {"hello": entry()}, lambda name: target, help="Help."), Session("prog"), words)


def test_a_function_is_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(hello, "hello", "Ann", "--loud") == 0
    assert capsys.readouterr().out == "HELLO Ann from prog\n"


def test_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(hello, "hello", "-h") == 0
    out = capsys.readouterr().out
    assert out.startswith("Usage: prog hello [OPTIONS] [WHO]\n")
    for word in ("Greet somebody.", "whom to greet", "--loud", "shout", "--debug", "-h, --help"):
        assert out.count(word) == 1


def test_a_click_command_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(click.Command("x", callback=lambda: print("clicked")), "hello") == 0
    assert capsys.readouterr().out == "clicked\n"


def test_a_typer_application_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command("one")(lambda: print("one"))
    app.command("two")(lambda: print("two"))
    assert call(app, "hello", "two", "--debug") == 0
    assert capsys.readouterr().out == "two\n"


def test_anything_else_is_none() -> None:
    with pytest.raises(PluginError, match="command 'hello': somewhere:command is a int, not a function"):
        as_command(3, entry())


def test_a_command_without_a_docstring_has_its_summary() -> None:
    assert as_command(click.Command("x"), entry()).help == "say hello"


def test_its_own_debug_option_stays() -> None:
    own = click.Option(["--debug"], is_flag=True)
    command = as_command(click.Command("x", params=[own]), entry())
    assert [param for param in command.params if param.name == "debug"] == [own]


def test_a_command_is_loaded_once() -> None:
    loaded: list[str] = []

    def load(name: str) -> object:
        loaded.append(name)
        return hello

    group = Commands("prog", {"hello": entry()}, load, help="Help.")
    context = click.Context(group)
    assert group.list_commands(context) == ["hello"]
    assert loaded == []
    assert group.get_command(context, "hello") is group.get_command(context, "hello")
    assert loaded == ["hello"]


def test_notes_stand_below_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    group = Commands("prog", {"hello": entry()}, lambda name: hello, help="Help.", notes=["Plugin x is broken."])
    assert invoke(group, Session("prog"), ["--help"]) == 0
    assert capsys.readouterr().out.endswith("  hello  say hello\n\nPlugin x is broken.\n")


def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    def leave() -> None:
        raise typer.Exit(7)

    assert call(leave, "hello") == 7


def test_a_command_called_without_our_group(capsys: pytest.CaptureFixture[str]) -> None:
    command = as_command(hello, entry())
    command.main(["Bob"], prog_name="test", standalone_mode=False)
    assert capsys.readouterr().out == "hello Bob from test\n"


def test_a_mistyped_command(reflow: Call) -> None:
    said = reflow("stauts")
    assert (said.code, said.out) == (2, "")
    assert said.err == "error: there is no command 'stauts'\nhint: Did you mean 'status'?\n"


def test_a_mistyped_option(reflow: Call) -> None:
    said = reflow("runs", "--limt", "3")
    assert said.code == 2
    assert "'--limit'" in said.err
    assert "runs --help` says what is expected" in said.err


@pytest.mark.parametrize("flow", [None, Flow("demo")])
def test_help_fits_80_columns(flow: Flow | None, reflow: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = reflow("--help", flow=flow).out
    assert max(map(len, out.splitlines())) <= 80
    assert ("plugins" in out) == (flow is None), "what is not about runs is reflow's only"
    for name in ("submit", "run", "status", "cancel", "retry", "logs", "runs", "dag", "describe", "explain"):
        assert f"\n  {name} " in out


_NO_COMMAND = """
import sys
from reflow.cli.main import main
assert main(["--help"]) == 0
heavy = ("reflow.cli.commands.", "rich", "reflow.run", "reflow.store")
loaded = [name for name in sys.modules if name.startswith(heavy)]
assert not loaded, loaded
"""


def test_help_imports_no_command() -> None:
    subprocess.run([sys.executable, "-c", _NO_COMMAND], check=True, capture_output=True)


def test_the_version_of_a_workflow_is_reflows(reflow: Call) -> None:
    import reflow as package

    assert reflow("--version", flow=Flow("demo")).out == f"reflow {package.__version__}\n"
    assert "'--version'" in reflow("--versoin").err


_VERSION = """
import sys
from reflow.cli.main import main
assert main(["--version"]) == 0
loaded = {"typer", "click", "rich", "pluggy", "msgspec", "reflow.plugins", "reflow.config"} & set(sys.modules)
assert not loaded, loaded
"""


def test_the_version_imports_nothing() -> None:
    import reflow

    found = subprocess.run([sys.executable, "-c", _VERSION], check=True, capture_output=True, text=True)
    assert found.stdout == f"reflow {reflow.__version__}\n"


def test_python_m() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "reflow", "runs", "--json"], check=False, capture_output=True, text=True
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "[]\n", "")
    found = subprocess.run([sys.executable, "-m", "reflow", "nope"], check=False, capture_output=True, text=True)
    assert found.returncode == 2


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["/usr/bin/reflow"], "reflow"),
        (["/x/reflow/__main__.py"], "python -m reflow"),
        (["pipe line.py"], "python 'pipe line.py'"),
        ([""], "reflow"),
        ([], "reflow"),
    ],
)
def test_how_it_was_called(argv: list[str], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert own_name() == name


def test_words_of_this_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from reflow.cli.main import main, workflow_app

    monkeypatch.setattr(sys, "argv", ["reflow", "--version"])
    assert main() == 0
    monkeypatch.setattr(sys, "argv", ["pipeline.py", "--help"])
    assert workflow_app(Flow("demo"))(None) == 0
    assert "Usage: python pipeline.py" in capsys.readouterr().out
