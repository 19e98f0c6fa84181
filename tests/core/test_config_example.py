"""The example file and the manual say what the schema says."""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path

import pytest

import reflow.config
from reflow.config import config_path, ensure_config_exists, load_config, write_example_config
from reflow.config.example import example, reference
from reflow.config.schema import SECTIONS, Schema
from reflow.errors import ConfigError
from reflow.hookspecs import Setting

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
TABLES = {
    "executor.my-cluster": (
        Setting(name="limits", type="dict[str, str]", help="limits"),
        Setting(name="program", type="path", default="sub", help="a program"),
        Setting(name="size", type="mem"),
        Setting(name="kind", choices=("a", "b"), help="a kind"),
        Setting(name="note"),
    ),
    "cache.sqlite": (),
}


def uncommented(text: str) -> str:
    return re.sub(r"^#(?! )", "", text, flags=re.M)


def test_the_example_sets_nothing() -> None:
    assert tomllib.loads(example(TABLES)) == {}
    assert max(map(len, example(TABLES).splitlines())) < 120


def test_the_example_shows_every_key_and_is_valid_when_it_is_not_commented_out(tmp_path: Path) -> None:
    text = uncommented(example(TABLES))
    file = tmp_path / "all.toml"
    file.write_text(text)
    config = load_config(environ={"HOME": "/h", "REFLOW_CONFIG": str(file)}, tables=TABLES)
    assert config.warnings == ()
    data = tomllib.loads(text)
    for section in SECTIONS:
        assert {key.name for key in section.keys} <= set(data[section.name])
    assert data["executor"]["my-cluster"] == {"program": "sub", "size": "4G", "kind": "a", "note": "", "limits": {}}
    defaults = load_config(environ={}, tables=TABLES)
    for name in Schema(TABLES).names():
        found = Schema(TABLES).find(name)
        assert found is not None
        if found[1].default not in (None, "", [], {}):
            assert config.get(name) == defaults.get(name)


def test_the_manual_holds_the_table_of_keys() -> None:
    page = PAGE.read_text(encoding="utf-8")
    held = re.search(r"<!-- keys: begin -->\n(.*)<!-- keys: end -->", page, re.S)
    assert held is not None
    assert held[1].strip() == reference().strip(), "put the text of reflow.config.example.reference() there"


def test_the_file_is_written_once(tmp_path: Path) -> None:
    path = ensure_config_exists()
    assert path == config_path()
    assert path.read_text() == example()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("# mine\n")
    assert ensure_config_exists() == path
    assert path.read_text() == "# mine\n"
    with pytest.raises(ConfigError, match="exists already"):
        write_example_config()
    assert write_example_config(overwrite=True, tables=TABLES).read_text() == example(TABLES)
    assert write_example_config(str(tmp_path / "a" / "b.toml")) == tmp_path / "a" / "b.toml"


def test_a_place_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written: Not a directory"):
        write_example_config(tmp_path / "file" / "x" / "config.toml")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ConfigError, match="cannot be written: No space left on device"):
        write_example_config(tmp_path / "config.toml")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_public_names() -> None:
    for name in reflow.config.__all__:
        assert getattr(reflow.config, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = reflow.config.nothing
