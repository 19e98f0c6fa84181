"""Commands of plugins, installed as a distribution would be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOOKS = """
from reflow.plugin import CommandEntry, hookimpl

@hookimpl
def reflow_commands():
    return [{entries}]
"""
COMMAND = """
import typer

def command(ctx: typer.Context, loud: bool = False) -> None:
    '''Say hello.'''
    print("HELLO" if loud else "hello", ctx.obj.flow.name if ctx.obj.flow else "anybody")

def fails() -> None:
    raise ZeroDivisionError("oh no")
"""
PIPELINE = """
from reflow import Workflow
wf = Workflow("demo")
if __name__ == "__main__":
    wf.cli()
"""


def entry(name: str, target: str = "hello_command:command") -> str:
    return f"CommandEntry(name={name!r}, target={target!r}, summary='say {name}')"


class Site:
    """A directory of installed distributions, and processes that see it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "pipeline.py").write_text(PIPELINE)

    def install(self, name: str, *entries: str, text: str | None = None) -> None:
        info = self.path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[reflow.plugins]\n{name} = {name}_hooks\n")
        hooks = HOOKS.format(entries=", ".join(entries)) if text is None else text
        (self.path / f"{name}_hooks.py").write_text(hooks)
        (self.path / f"{name}_command.py").write_text(COMMAND)

    def __call__(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.path,
            env={**os.environ, "PYTHONPATH": str(self.path), **env},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


BOTH = [("-m", "reflow"), ("pipeline.py",)]


@pytest.mark.parametrize(("way", "who"), [(BOTH[0], "anybody"), (BOTH[1], "demo")])
def test_a_plugins_command_is_in_both(site: Site, way: tuple[str, ...], who: str) -> None:
    site.install("hello", entry("hello"))
    assert "\n  hello     say hello\n" in site(*way, "--help").stdout
    assert site(*way, "hello", "--loud").stdout == f"HELLO {who}\n"
    found = site(*way, "hello", "--help")
    assert "Say hello." in found.stdout
    assert "--debug" in found.stdout


def test_help_does_not_import_it(site: Site) -> None:
    site.install("hello", entry("hello"))
    (site.path / "hello_command.py").write_text("raise SystemExit(9)\n")
    assert site("-m", "reflow", "--help").returncode == 0
    assert site("-m", "reflow", "runs").returncode == 0


def test_a_command_that_cannot_be_loaded(site: Site) -> None:
    site.install("hello", entry("hello", "hello_command:nothing"))
    found = site("-m", "reflow", "hello")
    assert found.returncode == 1
    assert found.stderr.startswith("error: the command 'hello' of plugin 'hello'")
    assert "Traceback" not in found.stderr


def test_a_command_that_raises(site: Site) -> None:
    site.install("hello", entry("hello", "hello_command:fails"))
    found = site("-m", "reflow", "hello", TMPDIR=str(site.path))
    assert found.returncode == 1
    assert found.stderr.startswith("error: unexpected ZeroDivisionError: oh no\nhint: ")
    assert "Traceback" not in found.stderr
    assert "Traceback" in site("-m", "reflow", "hello", "--debug").stderr


def test_a_broken_plugin_breaks_nothing_else(site: Site) -> None:
    site.install("bad", text="import nowhere_at_all\n")
    site.install("hello", entry("hello"))
    found = site("-m", "reflow", "--help")
    assert found.returncode == 0
    assert "say hello" in found.stdout
    assert "`reflow plugins` says why" in found.stdout
    found = site("-m", "reflow", "plugins")
    assert "bad 1.0 (bad): broken" in found.stdout
    assert "nowhere_at_all" in found.stdout


def test_two_plugins_with_one_command(site: Site) -> None:
    site.install("hello", entry("hello"), entry("runs"))
    site.install("hullo", entry("hello"))
    found = site("-m", "reflow", "--help")
    assert found.returncode == 0
    assert found.stdout.count("  hello ") == 1
    found = site("-m", "reflow", "hello")
    assert found.returncode == 1
    assert "hello 1.0" in found.stderr
    assert "hullo 1.0" in found.stderr
    assert site("-m", "reflow", "runs").returncode == 1, "reflow's own name is taken, too"
    assert site("-m", "reflow", "plugins").returncode == 0


def test_disabled_plugins(site: Site) -> None:
    site.install("hello", entry("hello"))
    found = site("-m", "reflow", "hello", REFLOW_PLUGINS_DISABLED="hello")
    assert found.returncode == 2
    text = "[plugins]\ndisabled = ['hello']\n"
    project, own = site.path / "reflow.toml", site.path / "own.toml"
    project.write_text(text)
    own.write_text(text)
    assert "hello" in site("-m", "reflow", "--help").stdout, "a project's file counts for its pipeline only"
    for way, environ in zip(BOTH, ({"REFLOW_CONFIG": str(own)}, {}), strict=True):
        assert "hello" not in site(*way, "--help", **environ).stdout
        assert site(*way, "hello", **environ).returncode == 2
    found = site("-m", "reflow", "plugins", REFLOW_CONFIG=str(own))
    assert "hello 1.0 (hello): disabled" in found.stdout
    assert found.stderr == ""


def test_disabling_what_is_no_plugin_is_told(site: Site) -> None:
    """One of this project's that is not installed may be named: a site's configuration does that."""
    site.install("hello", entry("hello"))
    own = site.path / "own.toml"
    own.write_text("[plugins]\ndisabled = ['helo', 'flux', 'reflow-lsf']\n")
    said = "the configuration ([plugins] disabled) names 'helo', which is no plugin. Did you mean 'hello'?"
    for words in (["plugins"], ["config", "show", "plugins"]):
        assert site("-m", "reflow", *words, REFLOW_CONFIG=str(own)).stderr == f"warning: {said}\n"
    said = "REFLOW_PLUGINS_DISABLED names 'slrum', which is no plugin. Did you mean 'slurm'?"
    assert site("-m", "reflow", "config", "show", REFLOW_PLUGINS_DISABLED="slrum").stderr == f"warning: {said}\n"
