"""Layers, provenance and what is said where something is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.config import Config, config_path, load_config
from reflow.config import load as loading
from reflow.config.document import Document, positions
from reflow.config.schema import SECTIONS, Schema
from reflow.config.values import TYPES
from reflow.errors import ConfigError
from reflow.hookspecs import Setting

TABLES = {
    "executor.slurm": (
        Setting(name="sbatch", type="path", default="sbatch"),
        Setting(name="qstat", type="path"),
        Setting(name="poll", type="float", default=1.5),
        Setting(name="limits", type="dict[str, str]", default={"a": "1"}),
    ),
    "executor.pbs": (Setting(name="qstat", type="path"), Setting(name="flavour", choices=("pbs", "torque"))),
    "notifications.webhook": (
        Setting(name="url", secret=True),
        Setting(name="port", type="int", secret=True),
        Setting(name="headers", type="dict[str, str]", default={}, secret=True),
    ),
    "cache.sqlite": (),
}


class Machine:
    """A machine's files and variables."""

    def __init__(self, root: Path) -> None:
        self.site = root / "etc" / "config.toml"
        self.user = root / "home" / ".config" / "reflow" / "config.toml"
        self.project = root / "project" / "reflow.toml"
        for file in (self.site, self.user, self.project):
            file.parent.mkdir(parents=True)
        self.environ = {"HOME": str(root / "home"), "USER": "me"}

    def load(self, **arguments: Any) -> Config:
        arguments.setdefault("tables", TABLES)
        arguments.setdefault("environ", self.environ)
        return load_config(self.project.parent / "pipeline.py", **arguments)

    def refused(self, text: str, **arguments: Any) -> str:
        """What is said of a user file that holds this."""
        self.user.write_text(text)
        with pytest.raises(ConfigError) as caught:
            self.load(**arguments)
        assert caught.value.exit_code == 2
        return str(caught.value)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setattr(loading, "SITE", str(made.site))
    return made


def test_every_layer_wins_over_the_one_below(machine: Machine) -> None:
    def policy(**arguments: Any) -> tuple[object, str]:
        config = machine.load(**arguments)
        return config.get("run.grace"), config.origin("run.grace").layer

    assert policy() == (90, "built-in")
    machine.site.write_text("[run]\ngrace = '1m'\n")
    assert policy() == (60, "site")
    machine.user.write_text("[run]\ngrace = '2m'\n")
    assert policy() == (120, "user")
    machine.project.write_text("[run]\ngrace = '3m'\n")
    assert policy() == (180, "project")
    machine.environ["REFLOW_RUN_GRACE"] = "4m"
    assert policy() == (240, "environment")
    assert policy(overrides={"run.grace": "5m"}) == (300, "override")
    assert policy(overrides=["run.grace=6m"]) == (360, "override")
    assert policy(overrides={"run.grace": None}) == (240, "environment")


def test_tables_merge_entry_by_entry_and_each_entry_keeps_its_origin(machine: Machine) -> None:
    machine.site.write_text("[executor.submit_options]\npartition = 'a'\naccount = 'site'\n[executor.env]\nA = '1'\n")
    machine.user.write_text("[executor]\nsubmit-options = { queue = 'b', mem = '2G' }\nenv = {B = 2}\n")
    config = machine.load()
    assert config.get("executor.submit_options") == {"queue": "b", "account": "site", "mem": 2 << 30}
    assert config.get("executor.env") == {"A": "1", "B": "2"}
    assert str(config.origin("executor.submit_options.queue")) == f"{machine.user}:2"
    assert str(config.origin("executor.submit_options.account")) == f"{machine.site}:3"
    assert config.get("executor.submit_options.nothing") is None
    assert config.section("executor")["slurm"]["limits"] == {"a": "1"}
    assert config.section("executor.env") == {"A": "1", "B": "2"}


@pytest.mark.parametrize(
    ("variable", "value", "key", "expected"),
    [
        ("REFLOW_EXECUTOR", "slurm", "executor.name", "slurm"),
        ("REFLOW_MODE", "local", "executor.name", "local"),
        ("REFLOW_EXECUTOR_NAME", "local", "executor.name", "local"),
        ("REFLOW_PYTHON", "/opt/python", "executor.python", "/opt/python"),
        ("REFLOW_MAX_SUBMITTED", "12", "executor.max_submitted", 12),
        ("REFLOW_MODULES", "a/1, b", "executor.modules", ["a/1", "b"]),
        ("REFLOW_MODULES", '["a", "b,c"]', "executor.modules", ["a", "b,c"]),
        ("REFLOW_ENV", "A=1,B=x=y", "executor.env", {"A": "1", "B": "x=y"}),
        ("REFLOW_ENV", '{"A": "1,2"}', "executor.env", {"A": "1,2"}),
        ("REFLOW_PARTITION", "gpu", "executor.submit_options.queue", "gpu"),
        ("REFLOW_QUEUE", "gpu", "executor.submit_options.queue", "gpu"),
        ("REFLOW_ACCOUNT", "007", "executor.submit_options.account", "007"),
        ("REFLOW_NICE", "100", "executor.submit_options.nice", 100),
        ("REFLOW_EXCLUSIVE", "true", "executor.submit_options.exclusive", True),
        ("REFLOW_QOS", "none", "executor.submit_options.qos", None),
        ("REFLOW_MEM", "3G", "executor.submit_options.mem", 3 << 30),
        ("REFLOW_TIME", "90m", "executor.submit_options.time", 5400),
        ("REFLOW_CPUS", "4", "executor.submit_options.cpus", 4),
        ("REFLOW_SUBMIT_OPTIONS", "partition=x,cpus=2", "executor.submit_options", {"queue": "x", "cpus": 2}),
        ("REFLOW_CACHE_ENABLED", "no", "cache.enabled", False),
        ("REFLOW_DISPATCH_PARTITION", "serial", "dispatch.queue", "serial"),
        ("REFLOW_NOTIFICATIONS_MAIL_TYPE", "begin,END", "notifications.mail_type", ["BEGIN", "END"]),
        ("REFLOW_PLUGINS_DISABLED", "flux", "plugins.disabled", ["flux"]),
        ("REFLOW_EXECUTOR_SLURM_POLL", "2", "executor.slurm.poll", 2.0),
        ("REFLOW_SBATCH", "/x/sbatch", "executor.slurm.sbatch", "/x/sbatch"),
        ("REFLOW_QSTAT", "/x/qstat", "executor.pbs.qstat", "/x/qstat"),
        ("REFLOW_QSTAT", "/x/qstat", "executor.slurm.qstat", "/x/qstat"),
        ("REFLOW_NOTIFICATIONS_WEBHOOK_URL", "http://x", "notifications.webhook.url", "http://x"),
    ],
)
def test_variables(machine: Machine, variable: str, value: str, key: str, expected: object) -> None:
    machine.environ[variable] = value
    config = machine.load()
    assert config.get(key) == expected
    origin = config.origin(key if not isinstance(expected, dict) else f"{key}.{next(iter(expected))}")
    assert origin.layer == "environment"
    assert str(origin) == variable
    assert config.warnings == ()


def test_a_variable_of_one_table_wins_over_one_for_all(machine: Machine) -> None:
    machine.environ |= {"REFLOW_QSTAT": "/all", "REFLOW_EXECUTOR_PBS_QSTAT": "/pbs"}
    config = machine.load()
    assert (config.get("executor.pbs.qstat"), config.get("executor.slurm.qstat")) == ("/pbs", "/all")


def test_a_short_variable_never_takes_another_keys_place(machine: Machine) -> None:
    machine.environ |= {"REFLOW_PYTHON": "/p", "REFLOW_CACHE_POLICY": "warn"}
    table = (Setting(name="python", default="x"), Setting(name="cache_policy", default="x"))
    config = machine.load(tables={"executor.slurm": table})
    assert (config.get("executor.python"), config.get("cache.policy")) == ("/p", "warn")
    assert config.section("executor.slurm") == {"python": "x", "cache_policy": "x"}


def test_two_variables_for_one_key_must_agree(machine: Machine) -> None:
    machine.environ |= {"REFLOW_QUEUE": "a", "REFLOW_PARTITION": "a"}
    assert machine.load().get("executor.submit_options.queue") == "a"
    machine.environ["REFLOW_QUEUE"] = "b"
    assert "REFLOW_PARTITION and REFLOW_QUEUE are one key" in machine.refused("")


def test_unknown_variables_warn_and_reserved_and_empty_ones_are_silent(machine: Machine) -> None:
    machine.environ |= {"REFLOW_SLOT": "3", "REFLOW_STORE_PATH": "/s", "REFLOW_GRACE": "", "REFLOW_CACHE_POLICY": ""}
    assert machine.load().warnings == ()
    machine.environ |= {"REFLOW_PYHTON": "x", "REFLOW_STOER_PATH": "x", "REFLOW_ZZZZZZZZZZZZZ": "x"}
    assert machine.load().warnings == (
        "REFLOW_PYHTON sets nothing. Did you mean 'REFLOW_PYTHON'?",
        "REFLOW_STOER_PATH sets nothing. Did you mean 'REFLOW_STORE_PATH'?",
        "REFLOW_ZZZZZZZZZZZZZ sets nothing",
    )
    # without plugins' tables nothing can be said of a variable
    assert machine.load(tables=None).warnings == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[executor]\npyton = 'x'\n", ":2: [executor] has no key 'pyton'\n  Did you mean 'python'?"),
        ("[executor]\nmdoe = 'x'\n", ":2: [executor] has no key 'mdoe'\n  Did you mean 'mode'?"),
        ("[executer]\nname = 'x'\n", ":1: there is no section [executer]\n  Did you mean 'executor'?"),
        ("\n[zzz]\n", ":2: there is no section [zzz]\n  The sections are executor,"),
        ("python = 'x'\n", ":1: python stands in no section\n  It belongs into [executor]."),
        ("mem = '1G'\n", ":1: mem stands in no section\n  It belongs into [executor.submit_options] or [dispatch]."),
        ("cache = 3\n", ":1: cache must be a table\n  Write [cache]."),
        ("[executor]\npartition = 'x'\n", "It belongs into [executor.submit_options]."),
        ("[executor]\nsbatch = 'x'\n", "[executor] has no key 'sbatch'\n  It belongs into [executor.slurm]."),
        ("[executor]\nzzzz = 'x'\n", ":2: [executor] has no key 'zzzz'"),
        ("[executor.slrum]\nx = 1\n", ":1: there is no table [executor.slrum]\n  Did you mean 'slurm'?"),
        ("[executor.submit_optoins]\nx = 1\n", "Did you mean 'submit_options'?"),
        ("[executor.slurm]\nsbtach = 'x'\n", ":2: [executor.slurm] has no key 'sbtach'\n  Did you mean 'sbatch'?"),
        ("[executor]\nname = 'x'\nmode = 'y'\n", ":3: [executor] sets name and mode, which are one key\n  Keep name."),
        (
            "[executor.submit_options]\nqueue = 'x'\npartition = 'y'\n",
            ":3: [executor] submit_options sets queue twice, by two of its names",
        ),
        ("[cache]\npolicy = 'tarck'\n", ":2: [cache] policy must be one of 'track', 'warn', 'ignore', not 'tarck'"),
        ("[cache]\npolicy = 3\n", ":2: [cache] policy must be a string, not a number (3)"),
        ("[cache]\nenabled = 'maybe'\n", "must be true or false, not a string ('maybe')"),
        ("[executor]\nmax_array = true\n", "must be a whole number, not a boolean (True)"),
        ("[executor]\nmax_array = 0\n", "must be at least 1, not 0"),
        ("[executor]\nmodules = 3\n", "must be a list of strings, not a number (3)"),
        ("[executor]\nmodules = [3]\n", "must be a string, not a number (3)"),
        ("[executor]\nsubmit_options = 3\n", "must be a table, not a number (3)"),
        ('[executor]\nsetup = "a\\u0000b"\n', "must not hold a NUL character"),
        ("[run]\ngrace = '02:00'\n", "could be hours and minutes"),
        ("[run]\ngrace = 1979-05-27\n", "must be a time such as '01:00:00' or '90s', not date"),
        ("[dispatch]\nmem = '4'\n", ":2: [dispatch] mem '4' has no unit of memory"),
        ("[dispatch]\nmem = true\n", "must be an amount of memory such as '16G', not a boolean"),
        ("[executor.submit_options]\na = 1\ncpus = 0\n", ":3: [executor] submit_options cpus: must be at least 1"),
        ("[executor.submit_options]\ncpus = 'four'\n", "must be a whole number, not a string ('four')"),
        (
            "[executor.submit_options]\nqos = {a = 1}\n",
            "must be a string, a number, true, false or a list, not a table",
        ),
        ('[executor.submit_options]\nqos = ["\\u0000"]\n', "qos: must not hold a NUL character"),
        ("[executor.submit_options]\nqos = [{}]\n", "must be a list of strings and numbers, not a list"),
        ("[executor.submit_options]\n'--' = 1\n", "holds an option without a name"),
        ("[executor.slurm]\npoll = nan\n", "must be a finite number"),
        ("[executor.slurm]\npoll = 'x'\n", "must be a number, not a string ('x')"),
        ("[executor.slurm]\nsbatch = '$NOWHERE/sbatch'\n", "holds $NOWHERE, which is not set"),
        (
            "[executor.pbs]\nflavour = 'torqe'\n",
            "must be one of 'pbs', 'torque', not 'torqe'\n  Did you mean 'torque'?",
        ),
        ("[notifications]\nmail_type = ['NEVER']\n", "'NEVER' is no occasion to tell people of"),
        ("[cache]\npolicy = warn\n", ':2: no TOML: Invalid value\n  A string is written in quotes: policy = "..."'),
        ("[cache]\npolicy = \n", ":2: no TOML: Invalid value"),
        ('[cache]\n\n\nx = """abc\n', "no TOML: "),
        ("a = 1\na = 2\n", "no TOML: Cannot overwrite a value"),
    ],
)
def test_mistakes_are_told_with_file_and_line(machine: Machine, text: str, expected: str) -> None:
    said = machine.refused(text)
    assert said.startswith(str(machine.user))
    assert expected in said


def test_all_mistakes_of_a_file_are_told_at_once(machine: Machine) -> None:
    said = machine.refused("[executor]\npyton = 'x'\n\n[cache]\npolicy = 1\n")
    assert said.startswith("the configuration has 2 mistakes:")
    assert f"{machine.user}:2: [executor] has no key 'pyton' (Did you mean 'python'?)" in said
    assert f"{machine.user}:5: [cache] policy must be a string" in said


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("REFLOW_MAX_ARRAY", "many", "REFLOW_MAX_ARRAY: [executor] max_array must be a whole number, not a string"),
        ("REFLOW_EXECUTOR_SLURM_POLL", "x", "must be a number"),
        ("REFLOW_CACHE_ENABLED", "x", "must be true or false"),
        ("REFLOW_MODULES", "[1]", "must be a list of strings, not '[1]'"),
        ("REFLOW_MODULES", "[", "is no JSON"),
        ("REFLOW_MODULES", '["a"', "is no JSON"),
        ("REFLOW_SUBMIT_OPTIONS", "{", "is no JSON"),
        ("REFLOW_MEM", "-4", "[executor] submit_options mem: -4: memory must be more than nothing"),
        ("REFLOW_ACCOUNT", "\udcff", "[executor] submit_options account: is not UTF-8"),
        ("REFLOW_EXECUTOR", "\udcff", "[executor] name is not UTF-8"),
        ("REFLOW_ENV", "A B=1", "is not of type dict[str, str]"),
    ],
)
def test_mistakes_in_variables(machine: Machine, variable: str, value: str, expected: str) -> None:
    machine.environ[variable] = value
    said = machine.refused("")
    assert said.startswith(variable)
    assert expected in said


def test_mistakes_in_overrides(machine: Machine) -> None:
    for overrides, expected in [
        (["executor.mdoe=x"], "there is no configuration key 'executor.mdoe'\n  Did you mean 'executor.mode'?"),
        (["cache.polcy=warn"], "there is no configuration key 'cache.polcy'\n  Did you mean 'cache.policy'?"),
        ("cache.policy", "has no value"),
        ({"cache.policy": "x"}, "override: [cache] policy must be one of"),
        ({"cache.policy.x": "x"}, "there is no configuration key"),
        ({"nothing": "x"}, "there is no configuration key"),
    ]:
        assert expected in machine.refused("", overrides=overrides)


def test_overrides_of_entries(machine: Machine) -> None:
    given = ["executor.submit_options.partition=x", "executor.env.A=1", "executor.slurm.poll=2"]
    config = machine.load(overrides=given)
    assert config.get("executor.submit_options.queue") == "x"
    assert config.get("executor.env.A") == "1"
    assert config.get("executor.slurm.poll") == 2.0
    assert machine.load(overrides={"executor.submit_options.nice": 3}).get("executor.submit_options.nice") == 3


def test_lists_among_the_options(machine: Machine) -> None:
    machine.user.write_text("[executor.submit_options]\nlicenses = ['a', 2]\n")
    assert machine.load().get("executor.submit_options.licenses") == ["a", 2]


def test_times_of_day_without_quotes_are_durations(machine: Machine) -> None:
    machine.user.write_text(
        "[dispatch]\ntime = 02:00:00\n[executor.submit_options]\ntime = 00:30:00\nbegin = 16:00:00\n"
    )
    config = machine.load()
    assert config.get("dispatch.time") == 7200
    assert config.get("executor.submit_options") == {"time": 1800, "begin": "16:00:00"}


def test_paths(machine: Machine) -> None:
    machine.environ["DATA"] = "/data"
    machine.user.write_text(
        "[cache]\npath = '~/c'\n[executor]\npython = 'python3'\n[executor.slurm]\nsbatch='$DATA/x'\n"
    )
    machine.project.write_text("[cache]\npath = 'c'\n[executor]\npython = 'venv/bin/python'\n")
    below = load_config(environ=machine.environ, tables=TABLES)
    assert below.get("cache.path") == f"{machine.environ['HOME']}/c"
    assert below.get("executor.python") == "python3"
    assert below.get("executor.slurm.sbatch") == "/data/x"
    config = machine.load()
    assert config.get("cache.path") == f"{machine.project.parent}/c"
    assert config.get("executor.python") == f"{machine.project.parent}/venv/bin/python"
    machine.environ["REFLOW_CACHE_PATH"] = "here"
    assert machine.load().get("cache.path") == f"{os.getcwd()}/here"


def test_the_python_of_submission_is_the_default(machine: Machine) -> None:
    assert machine.load().get("executor.python") == sys.executable


def test_tables_of_plugins_that_are_not_installed(machine: Machine) -> None:
    machine.user.write_text("[executor.htcondor]\nwhatever = 3\n")
    config = machine.load()
    assert config.warnings == (
        f"{machine.user}:1: [executor.htcondor] is not used: no plugin of that name is installed",
    )
    assert config.section("executor.htcondor") == {"whatever": 3}
    assert [row.value for row in config.rows() if row.key == "executor.htcondor.whatever"] == ["(hidden)"]
    machine.environ["REFLOW_PLUGINS_DISABLED"] = "flux"
    machine.user.write_text("[plugins]\ndisabled = ['htcondor']\n[executor.htcondor]\nwhatever = 3\n")
    assert len(machine.load().warnings) == 1
    del machine.environ["REFLOW_PLUGINS_DISABLED"]
    assert machine.load().warnings == ()
    machine.user.write_text("[executor.slrum]\nwhatever = 3\n")
    assert machine.load(tables=None).warnings == ()


def test_tables_may_depend_on_what_is_disabled(machine: Machine) -> None:
    asked: list[tuple[str, ...]] = []

    def tables(disabled: tuple[str, ...]) -> dict[str, tuple[Setting, ...]]:
        asked.append(disabled)
        return TABLES

    machine.site.write_text("[plugins]\ndisabled = ['flux']\n")
    machine.user.write_text("[executor.slurm]\nsbatch = '/x'\n")
    assert machine.load(tables=tables).get("executor.slurm.sbatch") == "/x"
    machine.user.write_text("[plugins]\ndisabled = ['lsf', 'sge']\n")
    machine.load(tables=tables)
    machine.environ["REFLOW_PLUGINS_DISABLED"] = "pbs"
    machine.load(tables=tables)
    del machine.environ["REFLOW_PLUGINS_DISABLED"]
    assert "must be a list of strings" in machine.refused("[plugins]\ndisabled = 3\n", tables=tables)
    assert asked == [("flux",), ("lsf", "sge"), ("pbs",), ()]


def test_a_plugin_with_a_wrong_default_or_type_harms_nobody(machine: Machine) -> None:
    tables = {"executor.bad": (Setting(name="a", type="int", default="x"), Setting(name="b", type="colour"))}
    config = machine.load(tables=tables)
    assert config.section("executor.bad") == {"a": None, "b": None}
    assert config.warnings == (
        "[executor.bad] a: the default that its plugin declares must be a whole number, not a string ('x')",
    )
    assert "unknown type 'colour'" in machine.refused("[executor.bad]\nb = 1\n", tables=tables)


def test_where_the_files_are(machine: Machine, tmp_path: Path) -> None:
    assert config_path(machine.environ) == machine.user
    assert config_path({**machine.environ, "XDG_CONFIG_HOME": "/xdg"}) == Path("/xdg/reflow/config.toml")
    assert config_path({**machine.environ, "XDG_CONFIG_HOME": "relative"}) == machine.user
    assert config_path({**machine.environ, "REFLOW_CONFIG": "~/mine.toml"}) == tmp_path / "home/mine.toml"
    assert config_path({"REFLOW_CONFIG": "/a/b.toml"}) == Path("/a/b.toml")
    assert config_path() == Path(os.environ["XDG_CONFIG_HOME"]) / "reflow/config.toml"


def test_a_file_that_is_named_must_exist(machine: Machine, tmp_path: Path) -> None:
    for name in ("REFLOW_CONFIG", "REFLOW_SITE_CONFIG"):
        with pytest.raises(ConfigError, match="does not exist"):
            load_config(environ={**machine.environ, name: str(tmp_path / "none.toml")})
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path / "none.toml", environ=machine.environ)
    machine.project.write_text("[run]\ngrace = '1s'\n")
    for project in (machine.project, machine.project.parent, str(machine.project.parent / "wf.py")):
        assert load_config(project, environ=machine.environ).get("run.grace") == 1
    site = {**machine.environ, "REFLOW_SITE_CONFIG": str(machine.project)}
    assert load_config(environ=site).origin("run.grace").layer == "site"


def test_files_that_cannot_be_read(machine: Machine) -> None:
    machine.user.write_bytes(b"[run]\ngrace = '\xff'\n")
    with pytest.raises(ConfigError, match=r"config\.toml:2: the file is not UTF-8"):
        machine.load()
    machine.user.unlink()
    machine.user.mkdir()
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        machine.load()


def test_carriage_returns_are_fine(machine: Machine) -> None:
    machine.user.write_bytes(b"[run]\r\ngrace = '1s'\r\n")
    assert machine.load().get("run.grace") == 1


def test_a_secret_is_in_no_error(machine: Machine) -> None:
    for text in (
        "[notifications.webhook]\nport = 'hunter2'\n",
        "[notifications.webhook]\nheaders = {A = ['hunter2']}\n",
    ):
        said = machine.refused(text)
        assert "hunter2" not in said
        assert "config.toml:2: [notifications.webhook]" in said


def test_lines_of_keys() -> None:
    assert Document("x", {}, "[a]").line("b", "c") == 0
    text = '''\
# [a] = 1
top = """
[no] = 1
"""
[a . "b c"]  # x
x.y = { z = 1, w = [
  1, # = 2
] }
'q' = '[r]'
[[list]]
k = 1
[last]'''
    assert positions(text) == {
        ("top",): 2,
        ("a",): 5,
        ("a", "b c"): 5,
        ("a", "b c", "x"): 6,
        ("a", "b c", "x", "y"): 6,
        ("a", "b c", "q"): 9,
        ("list",): 10,
        ("list", "k"): 11,
        ("last",): 12,
    }


_WORD = st.text("abc_-", min_size=1, max_size=4)
_VALUE: st.SearchStrategy[str] = st.sampled_from(
    [
        "1",
        "'[x]'",
        '"a = \\" # b"',
        '"""\n[x]\ny = 1 \\""""',
        "'''\nz = 2'''",
        "[\n  1,\n  [2], # ]\n]",
        "{a = '}', b = [1]}",
    ]
)


@given(st.dictionaries(_WORD, st.dictionaries(_WORD, st.tuples(_VALUE, st.booleans()), max_size=4), max_size=4))
def test_every_key_is_found_on_its_line(document: dict[str, dict[str, tuple[str, bool]]]) -> None:
    lines: list[str] = []
    expected: dict[tuple[str, ...], int] = {}
    for table, keys in document.items():
        lines.append(f"[{table}] # x")
        expected[(table,)] = len(lines)
        for key, (value, comment) in keys.items():
            expected[(table, key)] = len(lines) + 1
            lines += f"{key} = {value}{' # y = 1' if comment else ''}".split("\n")
    assert positions("\n".join(lines)) == expected


def test_the_schema_is_sound() -> None:
    schema = Schema()
    for section in SECTIONS:
        for key in section.keys:
            assert key.type in TYPES
            assert key.help.endswith(".")
            assert key.name.islower()
            for name in (key.name, *key.aliases):
                assert schema.find(f"{section.name}.{name}") == (section.name, key, "")
    own = Schema({"executor.x": (Setting(name="Odd-Name"),)})
    odd = own.key("executor.x", "odd_name")
    assert odd is not None
    assert odd.name == "Odd-Name"
    assert schema.find("executor.env.A.B") == ("executor", schema.sections["executor"]["env"], "A.B")


def test_loading_is_fast_and_imports_nothing_heavy(machine: Machine) -> None:
    def quickest(what: Callable[[], object]) -> float:
        times = []
        for _ in range(20):
            start = time.perf_counter()
            what()
            times.append(time.perf_counter() - start)
        return min(times)

    assert quickest(lambda: load_config(environ=machine.environ)) < 1e-3
    code = (
        "import msgspec, pluggy, sys; before = set(sys.modules);"
        "import reflow.config; reflow.config.load_config(environ={'HOME': '/nowhere'});"
        "heavy = {'tomllib', 'tomli', 'json', 'difflib', 'typer', 'rich', 'sqlite3', 'subprocess', 'platformdirs'};"
        "print(sorted(heavy & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
