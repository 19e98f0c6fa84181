"""docs/cli.md says what the commands say."""

from __future__ import annotations

from pathlib import Path

import click

from reflow.cli import pages
from reflow.plugins.builtin import reflow_commands

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_is_up_to_date() -> None:
    assert DOCS.read_text(encoding="utf-8") == pages.page(), "python -m reflow.cli.pages > docs/cli.md"


def test_every_command_and_option_is_explained() -> None:
    page = pages.page()
    for entry in reflow_commands():
        assert f"\n## {entry.name}\n" in page
    rows = [line.split("` | ") for line in page.splitlines() if line.startswith("| `")]
    assert all(text.strip(" |") for _, text in rows), rows
    assert "--debug` |" not in page, "it is explained once"


def test_a_pipe_in_a_metavar_does_not_end_a_cell() -> None:
    command = click.Command("x", params=[click.Option(["--f"], type=click.Choice(["a", "b"]), help="which | what")])
    assert "| `--f [a\\|b]` | which \\| what |" in "\n".join(pages._command(command, "reflow x", "##"))
