"""Whom a user trusts is said by the site, the user and the environment, and by nothing that lies where one works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reflow.config import load_config
from reflow.run.definition.trust import policy, trust_of


def _file(world: Any, path: Path) -> Path:
    """A configuration of A's that trusts B."""
    text = f'[run]\ntrusted_owners = ["{world.b.name}"]\ntrusted_groups = ["reflow-test"]\n'
    world.a.do(lambda: path.parent.mkdir(parents=True, exist_ok=True))
    world.a.do(lambda: path.write_text(text))
    return path


def _user(world: Any) -> dict[str, str]:
    _file(world, world.a.home / ".config" / "reflow" / "config.toml")
    return {}


#: where trust is said -> how; each returns the variables of the user's process
SOURCES: dict[str, Callable[[Any], dict[str, str]]] = {
    "site": lambda world: {"REFLOW_SITE_CONFIG": str(_file(world, world.a.home / "site.toml"))},
    "user": _user,
    "user, by name": lambda world: {"REFLOW_CONFIG": str(_file(world, world.a.home / "mine.toml"))},
    "environment": lambda world: {
        "REFLOW_RUN_TRUSTED_OWNERS": world.b.name,
        "REFLOW_RUN_TRUSTED_GROUPS": "reflow-test",
    },
}


@pytest.mark.parametrize("where", SOURCES)
def test_trust_is_taken_from_site_user_and_environment(world: Any, where: str) -> None:
    environ = SOURCES[where](world)
    told = world.a.do(lambda: [sorted(part) for part in policy()], **environ)
    assert told == [sorted((0, world.a.uid, world.b.uid)), [world.a.team]]


def test_trust_is_taken_from_what_a_call_says(world: Any) -> None:
    said = [f"run.trusted_owners={world.b.name}", "run.trusted_groups=reflow-test"]
    told = world.a.do(lambda: [sorted(part) for part in trust_of(load_config(overrides=said))])
    assert told == [sorted((0, world.a.uid, world.b.uid)), [world.a.team]]


@pytest.mark.parametrize("where", ["working directory", "directory of the pipeline", "project file by name"])
def test_trust_is_taken_from_no_project(world: Any, where: str) -> None:
    file = _file(world, world.a.home / "project" / "reflow.toml")
    project = {"directory of the pipeline": file.parent / "flow.py", "project file by name": file}.get(where)
    told = world.a.do(lambda: [sorted(part) for part in trust_of(load_config(project))], cwd=file.parent)
    assert told == [sorted((0, world.a.uid)), []]
    assert world.a.do(lambda: [sorted(part) for part in policy()], cwd=file.parent) == told


def test_a_site_file_of_another_user_says_nothing(world: Any) -> None:
    file = world.shared / "site.toml"
    world.b.do(lambda: file.write_text(f'[run]\ntrusted_owners = ["{world.b.name}"]\n'))
    told = world.a.do(lambda: [sorted(part) for part in policy()], REFLOW_SITE_CONFIG=str(file))
    assert told == [sorted((0, world.a.uid)), []]
