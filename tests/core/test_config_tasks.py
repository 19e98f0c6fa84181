"""What a task asks for, once configuration, decorator and overrides are merged; and what a run keeps."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.config import Config, Override, load_config, parse_override, parse_overrides
from reflow.config.values import Wrong, expand, scalar, toml
from reflow.errors import ConfigError, DataError
from reflow.hookspecs import Setting
from reflow.model.resources import Resources
from reflow.model.task import JobConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLES = {
    "notifications.webhook": (
        Setting(name="url", secret=True),
        Setting(name="headers", type="dict[str, str]", secret=True),
        Setting(name="timeout", type="float", default=30.0),
    )
}
TASKS = ("pre.download", "compute", "plot")


def config_of(text: str, tmp_path: Path, **arguments: Any) -> Config:
    file = tmp_path / "reflow.toml"
    file.write_text(text)
    return load_config(file, environ={"HOME": "/home/me", "USER": "me"}, tables=TABLES, **arguments)


SITE = """
[executor]
modules = ["python"]
native = ["--comment=x"]
setup = "ulimit -s unlimited"
array_parallelism = 10
[executor.submit_options]
partition = "compute"
account = "ab01"
qos = "low"
exclusive = true
mem = "2G"
time = "01:00:00"
[executor.env]
A = "1"
B = "2"
"""


def test_a_task_that_says_nothing_gets_the_configuration(tmp_path: Path) -> None:
    resolved = config_of(SITE, tmp_path).task(JobConfig(), name="compute")
    assert resolved.resources == Resources(mem=2 << 30, time=3600)
    assert resolved.options == {"queue": "compute", "account": "ab01", "qos": "low", "exclusive": True}
    assert (resolved.modules, resolved.native) == (("python",), ("--comment=x",))
    assert (resolved.setup, resolved.env) == ("ulimit -s unlimited", {"A": "1", "B": "2"})
    assert resolved.array_parallelism == 10


def test_nothing_configured_asks_for_nothing() -> None:
    resolved = load_config(environ={}).task(JobConfig(), name="compute")
    assert resolved.resources == Resources()
    assert (resolved.options, resolved.native, resolved.env, resolved.modules, resolved.setup) == ({}, (), {}, (), "")
    assert resolved.array_parallelism is None


def test_the_decorator_wins_and_false_or_none_removes(tmp_path: Path) -> None:
    job = JobConfig(
        resources=Resources(cpus=4, mem=1 << 30),
        array_parallelism=3,
        options={"queue": "gpu", "qos": None, "exclusive": False, "time": None, "nodes": "2", "cpus": "9"},
        native=("--x",),
        env={"B": "3"},
        modules=("cdo", "python"),
        setup="export X=1",
    )
    resolved = config_of(SITE, tmp_path).task(job, name="compute")
    assert resolved.resources == Resources(cpus=4, mem=1 << 30, nodes=2)
    assert resolved.options == {"queue": "gpu", "account": "ab01"}
    assert resolved.native == ("--comment=x", "--x")
    assert resolved.modules == ("python", "cdo")
    assert resolved.setup == "ulimit -s unlimited\nexport X=1"
    assert resolved.env == {"A": "1", "B": "3"}
    assert resolved.array_parallelism == 3


def test_a_resource_among_the_decorators_options_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="task 'compute': mem 'x' is not an amount of memory"):
        config_of("", tmp_path).task(JobConfig(options={"mem": "x"}), name="compute")


def test_overrides_win(tmp_path: Path) -> None:
    overrides = parse_overrides(
        [
            "compute.queue=fat",
            "compute.mem=64G",
            "compute.time=none",
            "compute.account=",
            "compute.exclusive=false",
            "compute.gpus=0",
            "compute.env.A=",
            "compute.env.C=a=b",
            "compute.modules=x, y",
            "compute.native=--a '--b c'",
            "compute.setup=",
            "compute.array_parallelism=7",
            "compute.requeue=true",
            "compute.nice=0",
            "plot.mem=1G",
        ],
        queue="long",
        tasks=TASKS,
    )
    config = config_of(SITE, tmp_path)
    resolved = config.task(JobConfig(resources=Resources(mem=1 << 30, cpus=2)), name="compute", overrides=overrides)
    assert resolved.resources == Resources(mem=64 << 30, cpus=2, gpus=0)
    assert resolved.options == {"queue": "fat", "qos": "low", "requeue": True, "nice": 0}
    assert (resolved.env, resolved.modules, resolved.setup) == ({"B": "2", "C": "a=b"}, ("x", "y"), "")
    assert (resolved.native, resolved.array_parallelism) == (("--a", "--b c"), 7)
    other = config.task(JobConfig(), name="pre.download", overrides=overrides)
    assert other.options["queue"] == "long"
    assert other.resources == Resources(mem=2 << 30, time=3600)


def test_overrides_as_values() -> None:
    given = {
        "compute.mem": 1 << 30,
        "compute.cpus": 8,
        "compute.qos": None,
        "compute.modules": ["a"],
        "compute.env.X": 3,
    }
    assert parse_overrides(given, tasks=TASKS) == (
        Override("compute", "mem", 1 << 30),
        Override("compute", "cpus", 8),
        Override("compute", "qos", None),
        Override("compute", "modules", ["a"]),
        Override("compute", "env.X", "3"),
    )
    assert parse_overrides({"compute.array_parallelism": None}) == (Override("compute", "array_parallelism", None),)
    assert parse_overrides("compute.partition=x") == (Override("compute", "queue", "x"),)
    assert parse_overrides((), queue="none") == (Override("*", "queue", None),)
    assert parse_overrides((), queue="7") == (Override("*", "queue", "7"),)
    assert parse_overrides(()) == ()


def test_names_with_dots_and_patterns() -> None:
    assert parse_override("pre.download.mem=1G", tasks=TASKS) == Override("pre.download", "mem", 1 << 30)
    assert parse_override("pre.download.env.X=1", tasks=TASKS) == Override("pre.download", "env.X", "1")
    assert parse_override("pre.*.mail-user=x", tasks=TASKS) == Override("pre.*", "mail_user", "x")
    assert parse_override("a.env.mem=1G", tasks=["a.env"]) == Override("a.env", "mem", 1 << 30)
    assert parse_override("pre.*.x=1", tasks=TASKS).concerns("pre.download")
    assert not parse_override("pre.*.x=1", tasks=TASKS).concerns("compute")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("compute.mem", "'compute.mem' has no value\n  Write TASK.KEY=VALUE"),
        ("mem=1G", "names no task and key"),
        (".mem=1G", "names no task and key"),
        ("compute.=1G", "names no task and key"),
        ("comptue.mem=1G", "there is no task 'comptue'\n  Did you mean 'compute'?"),
        ("zzz.mem=1G", "there is no task 'zzz'\n  The tasks are pre.download, compute, plot."),
        ("compute.memm=1G", "there is no key 'memm'; did you mean 'mem'?"),
        ("zzz.*.mem=1G", "there is no task 'zzz.*'"),
        ("compute.mem=64", "mem '64' has no unit of memory"),
        ("compute.cpus=two", "cpus must be a whole number, not a string ('two')"),
        ("compute.cpus=0", "cpus must be at least 1, not 0"),
        ("compute.gpus=-1", "gpus must be at least 0, not -1"),
        ("compute.array_parallelism=x", "array_parallelism must be a whole number"),
        ("compute.native='x", "cannot be split into arguments"),
        ("compute.retries=3", "retries cannot be changed here\n  Change it in the script"),
        ("compute.env=3", "env cannot be changed here\n  Write env.NAME."),
        ("compute.setup=a\0", "setup must not hold a NUL character"),
        ("compute.account=a\0", "account must not hold a NUL character"),
        ("compute.account=\udcff", "account is not UTF-8: '\\udcff'"),
    ],
)
def test_overrides_that_are_wrong(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_override(text, tasks=TASKS)
    assert expected in str(caught.value)


def test_wake_ups_take_over_who_pays_but_not_how_much(tmp_path: Path) -> None:
    wake = config_of(SITE, tmp_path).dispatch()
    assert wake.resources == Resources(cpus=1, time=1800)
    assert wake.options == {"queue": "compute", "account": "ab01", "qos": "low"}
    assert (wake.modules, wake.env, wake.array_parallelism) == (("python",), {"A": "1", "B": "2"}, None)
    more = "[dispatch]\npartition = 'serial'\nmem = '1G'\nsubmit_options = {qos = false, nice = 1, cpus = 2}\n"
    wake = config_of(SITE + more, tmp_path).dispatch()
    assert wake.resources == Resources(cpus=2, time=1800, mem=1 << 30)
    assert wake.options == {"queue": "serial", "account": "ab01", "nice": 1}


def test_notifiers(tmp_path: Path) -> None:
    assert config_of("", tmp_path).notifiers() == ()
    assert config_of("[notifications]\nmail_user = 'me@x'\n", tmp_path).notifiers() == ("mail",)
    assert config_of("[notifications.webhook]\nheaders = {A = 'x'}\n", tmp_path).notifiers() == ("webhook",)
    assert config_of("[notifications]\nmail_user='me'\nnotifiers = ['chat']\n", tmp_path).notifiers() == ("chat",)


def test_run_directories(tmp_path: Path) -> None:
    def of(text: str, **environ: str) -> str | None:
        config = config_of(f"[defaults]\nrun_dir = '{text}'\n", tmp_path)
        return config.run_dir(workflow="wf$X", run_id="wf-1", environ={"HOME": "/home/me", **environ})

    assert load_config(environ={}).run_dir(workflow="w", run_id="i", environ={}) is None
    assert of("~/r/{workflow}/{run_id}") == "/home/me/r/wf$X/wf-1"
    assert of("~") == "/home/me"
    assert of("$S/${USER}/x", S="/s{run_id}", USER="me") == "/s{run_id}/me/x"
    assert of("runs/{run_id}") == "runs/wf-1"
    with pytest.raises(ConfigError, match=r"reflow.toml:2: \[defaults\] run_dir holds {task}; known are {workflow}"):
        of("{task}")
    with pytest.raises(ConfigError, match="holds \\$NO, which is not set"):
        of("$NO/x")


def test_user_is_known_where_the_variable_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "me")
    assert expand("$USER", {}) == "me"
    assert expand("~/{x}", {}).endswith("/{x}")
    assert expand("~nobody-here/x", {}) == "~nobody-here/x"
    with pytest.raises(Wrong, match="NOWHERE"):
        expand("$NOWHERE", {})


SECRETS = SITE + "[notifications.webhook]\nurl = 'https://hunter2'\nheaders = {K = 'hunter2'}\n"


def test_secrets_are_shown_nowhere(tmp_path: Path) -> None:
    config = config_of(SECRETS, tmp_path)
    shown = {row.key: row for row in config.rows()}
    assert shown["notifications.webhook.url"].value == "(hidden)"
    assert shown["notifications.webhook.url"].secret
    assert shown["executor.env.A"].value == "(hidden)"
    assert shown["executor.submit_options.mem"].value == '"2G"'
    assert shown["executor.submit_options.time"].value == '"01:00:00"'
    assert shown["dispatch.mem"].value == ""
    assert "hunter2" not in f"{config!r} {list(shown.values())} {config.to_json()}"
    assert config.secrets() == {
        "notifications.webhook.url": "https://hunter2",
        "notifications.webhook.headers.K": "hunter2",
        "executor.env.A": "1",
        "executor.env.B": "2",
    }
    assert config.values()["notifications"]["webhook"]["url"] == "https://hunter2"


def test_rows_stand_in_the_order_of_the_schema(tmp_path: Path) -> None:
    keys = [row.key for row in config_of(SITE, tmp_path).rows()]
    assert len(keys) == len(set(keys))
    assert keys.index("executor.submit_options.queue") < keys.index("executor.env.A") < keys.index("dispatch.chain")
    assert "executor.env" not in keys
    assert "dispatch.submit_options" in keys


def test_a_run_keeps_its_configuration(tmp_path: Path) -> None:
    odd = "[executor.htcondor]\n'a.b' = 1\n"
    config = config_of(SECRETS.replace("qos =", "'odd.name' =") + odd, tmp_path)
    data = json.loads(json.dumps(config.to_json()))
    assert data["executor"]["submit_options"]["odd.name"] == "low"
    assert data["cache"]["policy"] == "track"
    again = Config.from_json(data, config.secrets())
    assert again.values() == config.values()
    assert again.rows() == config.rows()
    assert again.warnings == config.warnings != ()
    assert again.task(JobConfig(), name="x") == config.task(JobConfig(), name="x")
    bare = Config.from_json(data)
    assert bare.get("executor.env") == {}
    assert bare.get("notifications.webhook.url") is None
    assert bare.secrets() == {}
    assert bare.get("executor.submit_options") == config.get("executor.submit_options")


@pytest.mark.parametrize("data", [{}, {"meta": None}, {"meta": {"items": {"a": {"value": 1}}, "warnings": []}}])
def test_a_kept_configuration_that_is_none(data: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        Config.from_json(data)


def test_questions_about_what_is_not_there(tmp_path: Path) -> None:
    config = config_of("", tmp_path)
    for ask in (config.get, config.origin):
        with pytest.raises(ConfigError, match=r"no configuration key 'cache.polcy'\n.*'cache.policy'"):
            ask("cache.polcy")
    with pytest.raises(ConfigError, match="no section 'cahce'"):
        config.section("cahce")
    assert config.section("executor.nothing") == {}
    assert str(config.origin("cache.policy")) == "built-in"


_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_VALUES = st.one_of(_TEXT, st.integers(-(2**63), 2**63 - 1), st.booleans(), st.floats(allow_nan=False))


@given(st.dictionaries(_TEXT, st.one_of(_VALUES, st.lists(_VALUES), st.dictionaries(_TEXT, _VALUES))))
def test_what_is_written_as_toml_is_read_back(value: dict[str, Any]) -> None:
    assert tomllib.loads(f"x = {toml(value)}") == {"x": value}


@given(_TEXT)
def test_text_stays_itself_unless_it_is_a_number_or_a_word(text: str) -> None:
    found = scalar(text)
    if isinstance(found, bool):
        assert text.strip().lower() in ("true", "false")
    elif isinstance(found, int):
        assert str(found) == text.strip()
    elif found is None:
        assert text.strip().lower() in ("", "none", "null")
    else:
        assert found == text
