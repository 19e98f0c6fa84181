"""Plugins as they are found: real distributions, each kind of broken one beside a good one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import reflow
from reflow.errors import PluginError, UsageError
from reflow.plugin import Context, ExecutorEntry
from reflow.plugins import Registry, UnknownName, refuse_rival
from reflow.plugins.discovery import Plugin, discover
from reflow.plugins.installed import entries, installed
from reflow.plugins.known import KNOWN

_HEAD = """
from reflow.plugin import *
from reflow.plugin import hookimpl

"""


def _distribution(
    site: Path, name: str, source: str | None, *, version: str = "1.0", entries: str | None = None, **modules: str
) -> None:
    """Install a distribution: a hook module of its name, and others."""
    module = name.replace("-", "_").replace(".", "_")
    info = site / f"{module}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if entries is None:
        entries = f"[reflow.plugins]\n{name.removeprefix('reflow-')} = {module}\n"
    (info / "entry_points.txt").write_text(entries)
    if source is not None:
        (site / f"{module}.py").write_text(_HEAD + source)
    for other, text in modules.items():
        (site / f"{other}.py").write_text(text)


_GOOD = '''
@hookimpl
def reflow_executors():
    """What runs jobs."""
    yield ExecutorEntry(
        name="good", aliases=("fine",), target="good_parts:GoodExecutor", summary="a good one",
        settings=(Setting(name="queue"),), detect=("good-submit", "good-status"), exports="GoodExecutor",
    )

@hookimpl
def reflow_cache_backends():
    return [CacheBackendEntry(name="good", target="good_parts:Cache")]

@hookimpl
def reflow_notifiers():
    return [NotifierEntry(name="good", target="good_parts:Notifier", settings=(Setting(name="file"),))]

@hookimpl
def reflow_commands():
    return (
        CommandEntry(name="good", target="good_parts:command"),
        CommandEntry(name="only", target="good_parts:command", scopes=("reflow",)),
    )

def __dir__():
    return ["hookimpl", "lazy"]

def __getattr__(name):
    raise RuntimeError("this module is not to be searched")
'''

_PARTS = """
class GoodExecutor:
    def __init__(self, settings): self.settings = settings
    @classmethod
    def create(cls, settings, context): return cls(settings)
    def submit(self, job): ...
    def query(self, jobs): ...
    def find(self, tags): ...
    def cancel(self, jobs): ...

class Cache:
    @classmethod
    def create(cls, settings, context): return object()

class Notifier:
    @classmethod
    def create(cls, settings, context): raise ZeroDivisionError("no settings")

def command(): return 7
"""


def _executor(name: str, target: str = "nowhere:Nothing", more: str = "") -> str:
    return f"@hookimpl\ndef reflow_executors():\n    return [ExecutorEntry(name={name!r}, target={target!r}{more})]\n"


#: distribution -> its hook module
_BROKEN: dict[str, str] = {
    "reflow-import-error": "import a_module_that_is_not_there\n",
    "reflow-exits": "import sys\nsys.exit(3)\n",
    "reflow-bad-signature": "@hookimpl\ndef reflow_executors(config):\n    return []\n",
    "reflow-unknown-hook": "@hookimpl\ndef reflow_executor():\n    return []\n",
    "reflow-raises": "@hookimpl\ndef reflow_executors():\n    raise KeyError('oh\\nno')\n"
    "@hookimpl\ndef reflow_commands():\n    return [CommandEntry(name='still', target='good_parts:command')]\n",
    "reflow-quits": "@hookimpl\ndef reflow_executors():\n    raise SystemExit\n",
    "reflow-generates": "@hookimpl\ndef reflow_executors():\n"
    "    yield ExecutorEntry(name='half', target='a:b')\n    raise OSError('gone')\n",
    "reflow-returns-text": "@hookimpl\ndef reflow_executors():\n    return 'slurm'\n",
    "reflow-returns-entry": "@hookimpl\ndef reflow_executors():\n    return ExecutorEntry(name='a', target='a:b')\n",
    "reflow-returns-number": "@hookimpl\ndef reflow_executors():\n    return 3\n",
    "reflow-returns-other": "@hookimpl\ndef reflow_executors():\n    return [NotifierEntry(name='a', target='a:b')]\n",
    "reflow-bad-name": _executor("two words"),
    "reflow-bad-alias": _executor("a", more=", aliases=('',)"),
    "reflow-bad-type": _executor("a", more=", aliases=(3,)"),
    "reflow-bad-target": _executor("a", target="module.Class"),
    "reflow-bad-export": _executor("a", more=", exports='Slurm'"),
}
_STAGES = {
    "import-error": ("import", "No module named 'a_module_that_is_not_there'"),
    "exits": ("import", "SystemExit: 3"),
    "bad-signature": ("hooks", "{'config'}"),
    "unknown-hook": (
        "hooks",
        "NameError: unknown hook 'reflow_executor' in reflow_unknown_hook. Did you mean 'reflow_executors'?",
    ),
    "raises": ("reflow_executors", "KeyError: 'oh\\nno'"),
    "quits": ("reflow_executors", "SystemExit"),
    "generates": ("reflow_executors", "OSError: gone"),
    "returns-text": ("reflow_executors", "a sequence of entries, not str"),
    "returns-entry": ("reflow_executors", "a sequence of entries, not ExecutorEntry"),
    "returns-number": ("reflow_executors", "'int' object is not iterable"),
    "returns-other": ("reflow_executors", "ExecutorEntry objects, not NotifierEntry"),
    "bad-name": ("reflow_executors", "'two words' is no name"),
    "bad-alias": ("reflow_executors", "'' is no name"),
    "bad-type": ("reflow_executors", "Expected `str`, got `int`"),
    "bad-target": ("reflow_executors", "not 'package.module:object'"),
    "bad-export": ("reflow_executors", "not a name that ends in 'Executor'"),
    "reflow-malformed": ("metadata", "Error"),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of distributions: one good, two of one name, and all that are broken."""
    site = tmp_path_factory.mktemp("site")
    _distribution(site, "reflow-good", _GOOD, good_parts=_PARTS)
    for name, source in _BROKEN.items():
        _distribution(site, name, source)
    _distribution(site, "reflow-malformed", None, entries="[reflow.plugins]\nthis line says nothing\n")
    twin = _executor("twin", more=", aliases=('double',), exports='TwinExecutor'")
    command = "@hookimpl\ndef reflow_commands():\n    return [CommandEntry(name='status', target='a:b')]\n"
    _distribution(site, "reflow-castor", twin + command)
    _distribution(site, "reflow-pollux", _executor("gemini", target="good_parts:Missing", more=", aliases=('twin',)"))
    _distribution(site, "unrelated", None, entries="[console_scripts]\nx = y:z\n")
    (site / "nameless-1.dist-info").mkdir()
    (site / "nameless-1.dist-info" / "entry_points.txt").write_text("[reflow.plugins]\nnameless = nameless\n")
    (site / "nameless.py").write_text(_HEAD + _executor("nameless"))
    (site / "garbled-1.dist-info").mkdir()
    (site / "garbled-1.dist-info" / "entry_points.txt").write_bytes(b"[reflow.plugins]\n\xff\xfe\n")
    return site


def _python(site: Path, code: str, *, clean: bool = False, **environ: str) -> Any:
    """What `code` leaves in ``answer``, run in a Python that has these distributions; `clean`: and no others."""
    head = "import json, sys\nfrom reflow.plugins import *\nfrom reflow.errors import *\n"
    tail = "\nprint(json.dumps(answer))\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", *(["-S"] if clean else []), "-c", head + code + tail],
        env={**os.environ, "PYTHONPATH": str(site), **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


_TRY = """
def said(call, *arguments, **keywords):
    try:
        call(*arguments, **keywords)
    except ReflowError as error:
        return [type(error).__name__, error.exit_code, str(error), type(error.__cause__).__name__]
"""


@pytest.fixture(scope="module")
def described(site: Path) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in _python(site, "answer = registry().describe()")}


def test_a_good_plugin(described: Mapping[str, Any]) -> None:
    row = described["good"]
    assert {key: row[key] for key in ("distribution", "version", "module", "builtin", "status", "problems")} == {
        "distribution": "reflow-good",
        "version": "1.0",
        "module": "reflow_good",
        "builtin": False,
        "status": "ok",
        "problems": [],
    }
    assert row["executors"] == [
        {
            "name": "good",
            "summary": "a good one",
            "aliases": ["fine"],
            "exports": "GoodExecutor",
            "detect": ["good-submit", "good-status"],
            "target": "good_parts:GoodExecutor",
            "conflicts": [],
        }
    ]
    names = {key: [entry["name"] for entry in row[key]] for key in ("cache_backends", "notifiers", "commands")}
    assert names == {"cache_backends": ["good"], "notifiers": ["good"], "commands": ["good", "only"]}


@pytest.mark.parametrize("plugin", _STAGES)
def test_a_broken_plugin(described: Mapping[str, Any], plugin: str) -> None:
    row = described[plugin]
    stage, error = _STAGES[plugin]
    assert row["status"] == "broken"
    (problem,) = row["problems"]
    assert problem["stage"] == stage
    assert error in problem["error"]
    assert "\n" not in problem["error"]


def test_every_broken_plugin_is_looked_at() -> None:
    assert {name.removeprefix("reflow-") for name in _BROKEN} | {"reflow-malformed"} == set(_STAGES)


def test_a_plugin_that_breaks_in_one_hook_keeps_the_others(described: Mapping[str, Any]) -> None:
    assert [entry["name"] for entry in described["raises"]["commands"]] == ["still"]
    assert described["generates"]["executors"] == []


def test_a_plugin_without_metadata_works(described: Mapping[str, Any]) -> None:
    assert described["nameless"]["status"] == "ok"
    assert described["nameless"]["version"] == "?"


def test_reflow_itself_comes_first(described: Mapping[str, Any]) -> None:
    name, row = next(iter(described.items()))
    assert (name, row["distribution"], row["version"]) == ("reflow", "reflow-core", reflow.__version__)
    assert row["builtin"] is True
    assert row["problems"] == []
    assert [entry["name"] for entry in row["executors"]] == ["local", "inline"]
    assert [entry["name"] for entry in row["cache_backends"]] == ["segments", "sqlite"]
    assert [entry["name"] for entry in row["notifiers"]] == ["mail", "webhook"]


def test_conflicts_are_shown(described: Mapping[str, Any]) -> None:
    assert described["castor"]["executors"][0]["conflicts"] == ["reflow-pollux"]
    assert described["pollux"]["executors"][0]["conflicts"] == ["reflow-castor"]
    assert described["castor"]["commands"][0]["conflicts"] == ["reflow-core"]
    status = next(entry for entry in described["reflow"]["commands"] if entry["name"] == "status")
    assert status["conflicts"] == ["reflow-castor"]


def test_listing_imports_hook_modules_only(site: Path) -> None:
    code = """
import reflow
before = set(sys.modules)
registry().executors()
loaded = [name for name in sys.modules if name.startswith(("good", "nowhere"))]
heavy = [name for name in sys.modules if name in ("typer", "rich", "reflow.cli", "reflow.run", "reflow.store")]
dir(reflow)
answer = [loaded, heavy, "reflow_good" in before, "reflow_good" in sys.modules]
"""
    assert _python(site, code) == [[], [], False, True]


def test_import_of_reflow_looks_for_no_plugins() -> None:
    code = "import sys, reflow\nfrom reflow import model\nprint([n for n in sys.modules if n.startswith('reflow')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['reflow', 'reflow.model']\n"


def test_objects_are_loaded_by_name_or_alias(site: Path) -> None:
    code = """
from reflow.plugin import Context
r = registry()
made = r.create_executor("fine", {"queue": "x"}, Context())
import reflow
answer = [r.executor("good").__name__, r.executor("fine").__name__, type(made).__name__, made.settings,
          r.command("good", "workflow")(), r.export("GoodExecutor").__name__, reflow.GoodExecutor.__name__,
          "GoodExecutor" in dir(reflow), r.executor_entry("fine").name, r.cache_backend("good").__name__,
          r.notifier("good").__name__]
"""
    assert _python(site, code) == [
        "GoodExecutor",
        "GoodExecutor",
        "GoodExecutor",
        {"queue": "x"},
        7,
        "GoodExecutor",
        "GoodExecutor",
        True,
        "good",
        "Cache",
        "Notifier",
    ]


def test_names_that_cannot_be_had(site: Path) -> None:
    code = f"""{_TRY}
from reflow.plugin import Context
r = registry()
answer = {{
    "conflict": said(r.executor, "twin"),
    "alone": said(r.executor, "double"),
    "missing": said(r.executor, "gemini"),
    "builtin": said(r.command, "status", "reflow"),
    "scope": said(r.command, "only", "workflow"),
    "broken": said(r.executor, "import-error"),
    "typo": said(r.executor, "godo"),
    "far": said(r.notifier, "telegraph"),
    "no cache": said(r.create_cache_backend, "good", {{}}, Context()),
    "no notifier": said(r.create_notifier, "good", {{}}, Context()),
    "own error": said(r.create_notifier, "webhook", {{}}, Context()),
}}
"""
    found = _python(site, code)
    kind, exit_code, text, _ = found["conflict"]
    assert (kind, exit_code) == ("PluginError", 1)
    assert (
        "two plugins provide the executor 'twin': 'castor' (reflow-castor 1.0) and 'pollux' (reflow-pollux 1.0)" in text
    )
    assert "REFLOW_PLUGINS_DISABLED=pollux" in text
    assert "'double'" not in text
    assert "executor 'twin' of plugin 'castor'" in found["alone"][2]
    assert found["alone"][3] == "ModuleNotFoundError"
    assert "good_parts:Missing: AttributeError" in found["missing"][2]
    assert "'reflow' (reflow-core" in found["builtin"][2]
    assert "REFLOW_PLUGINS_DISABLED=castor" in found["builtin"][2]
    assert found["scope"][:2] == ["UnknownName", 2]
    kind, _, text, cause = found["broken"]
    assert (kind, cause) == ("PluginError", "ModuleNotFoundError")
    assert "plugin 'import-error' (reflow-import-error 1.0) is broken, import: ModuleNotFoundError" in text
    kind, exit_code, text, _ = found["typo"]
    assert (kind, exit_code) == ("UnknownName", 2)
    assert "there is no executor 'godo'" in text
    assert "Did you mean 'good'?" in text
    assert "Broken plugins, one of which may have it:" in text
    assert "'raises' (reflow-raises 1.0)" in text
    assert "There are: good, mail, webhook." in found["far"][2]
    assert "is no cache backend: object has no lookup, history, publish, close" in found["no cache"][2]
    assert "cannot be created: ZeroDivisionError: no settings" in found["no notifier"][2]
    assert found["own error"][0] == "ConfigError"


def test_disabled_by_argument_and_environment(site: Path) -> None:
    code = f"""{_TRY}
r = registry({{"Reflow.Pollux", "raises"}})
answer = [
    {{row["name"]: row.get("disabled_by") for row in r.describe() if row["status"] == "disabled"}},
    [entry["conflicts"] for row in r.describe() if row["name"] == "castor" for entry in row["executors"]],
    said(r.executor, "good"),
    [name for name in ("reflow_good", "reflow_raises", "reflow_exits") if name in sys.modules],
    r is registry(["raises", "reflow-pollux"]),
    r is registry(),
    said(r.executor, "raises"),
]
"""
    found = _python(site, code, REFLOW_PLUGINS_DISABLED=" good, reflow_exits,,nobody")
    configured = "the configuration ([plugins] disabled)"
    assert found[0] == {
        "good": "REFLOW_PLUGINS_DISABLED",
        "exits": "REFLOW_PLUGINS_DISABLED",
        "pollux": configured,
        "raises": configured,
    }
    assert found[1] == [[]]
    assert found[2][:2] == ["UnknownName", 2]
    assert "plugin 'good' (reflow-good 1.0) is disabled by REFLOW_PLUGINS_DISABLED" in found[2][2]
    assert found[3] == []
    assert found[4:6] == [True, False]
    assert configured in found[6][2]


def test_the_first_of_two_on_the_path_counts(site: Path, tmp_path: Path) -> None:
    entries = "[reflow.plugins]\ngood = reflow_good\n"
    _distribution(tmp_path, "Reflow.Good", None, version="0.1", entries=entries, reflow_good=_HEAD + _GOOD)
    code = "answer = [row['version'] for row in registry().describe() if row['name'] == 'good']"
    assert _python(site, code) == ["1.0"]
    assert _python(tmp_path, code, PYTHONPATH=f"{tmp_path}{os.pathsep}{site}") == ["0.1"]


def test_detection_and_settings(site: Path, tmp_path: Path) -> None:
    for program in ("good-submit", "good-status"):
        (tmp_path / program).write_text("")
    code = f"""
import os
path = {str(tmp_path)!r}
def detected():
    return [entry.name for entry in registry().detect({{"PATH": path}})]
os.chmod(path + "/good-submit", 0o755)
answer = [detected()]
os.chmod(path + "/good-status", 0o755)
answer += [detected(), [entry.name for entry in registry().detect({{}})]]
settings = registry().settings()
answer += [[s.name for s in settings["executor.good"]], [s.name for s in settings["notifications.good"]],
           [s.name for s in settings["cache.segments"]]]
"""
    assert _python(site, code) == [[], ["good"], [], ["queue"], ["file"], []]


def test_problems_are_sentences(site: Path) -> None:
    text = _python(site, "answer = [str(p) for p in registry().problems() if p.plugin == 'exits']")
    assert text == ["plugin 'exits' (reflow-exits 1.0) is broken, import: SystemExit: 3"]


# -- this project's own plugins --


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds reflow and what its registry needs, and nothing else."""
    clean = tmp_path_factory.mktemp("clean")
    for name in ("msgspec", "pluggy", "reflow"):
        module = __import__(name)
        (clean / name).symlink_to(Path(module.__file__ or "").parent)
    return clean


_IMPORT = """
def imported(name):
    try:
        exec(f"from reflow import {name}")
    except ImportError as error:
        return [type(error).__name__, str(error)]
"""


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.extra)
def test_a_known_plugin_that_is_not_installed(clean: Path, known: Any) -> None:
    code = f"""{_TRY}{_IMPORT}
answer = [imported({known.exports!r}), [said(registry().executor, name) for name in {known.names!r}]]
"""
    (kind, text), errors = _python(clean, code, clean=True)
    line = f"Run: pip install 'reflow-core[{known.extra}]'"
    assert kind == "ImportError"
    assert f"{known.exports!r} is in the plugin package reflow-{known.extra}, which is not installed" in text
    assert line in text
    assert all(error[:2] == ["UnknownName", 2] and line in error[2] for error in errors)


def test_missing_plugins_are_listed_with_their_line(clean: Path) -> None:
    rows = _python(clean, "answer = registry().describe()[1:]", clean=True)
    assert [(row["name"], row["status"], row["install"]) for row in rows] == [
        (known.extra, "missing", f"pip install 'reflow-core[{known.extra}]'") for known in KNOWN
    ]


def test_a_mistyped_name(clean: Path) -> None:
    code = f"""{_TRY}{_IMPORT}
import reflow
try:
    reflow.SlrmExecutor
except AttributeError as error:
    said_of_class = str(error)
answer = [said(registry().executor, "slrum")[2], imported("SlrmExecutor"), said_of_class, hasattr(reflow, "Workflw")]
"""
    name, (kind, _), of_class, there = _python(clean, code, clean=True)
    assert "Did you mean 'slurm'?" in name
    assert kind == "ImportError"
    assert "Did you mean 'SlurmExecutor'?" in of_class
    assert there is False


def test_a_known_plugin_that_is_disabled_broken_or_too_old(clean: Path, tmp_path: Path) -> None:
    _distribution(tmp_path, "reflow-slurm", _executor("slurm", more=", exports='SlurmExecutor'"))
    _distribution(tmp_path, "reflow-pbs", "raise RuntimeError('half installed')\n")
    _distribution(tmp_path, "reflow-lsf", "")
    code = f"{_IMPORT}answer = [imported(name) for name in ('SlurmExecutor', 'PBSExecutor', 'LSFExecutor')]"
    slurm, pbs, lsf = _python(
        tmp_path, code, clean=True, PYTHONPATH=f"{tmp_path}{os.pathsep}{clean}", REFLOW_PLUGINS_DISABLED="slurm"
    )
    assert "is disabled by REFLOW_PLUGINS_DISABLED" in slurm[1]
    assert "is broken, import: RuntimeError: half installed" in pbs[1]
    assert "is not in plugin 'lsf' (reflow-lsf 1.0), though it should be" in lsf[1]
    assert "pip install --upgrade reflow-lsf" in lsf[1]


def test_reflow_hpc_is_refused(clean: Path, tmp_path: Path) -> None:
    info = tmp_path / "reflow_hpc-2.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: reflow-hpc\nVersion: 2.1\n")
    path = f"{tmp_path}{os.pathsep}{clean}"
    code = f"{_TRY}\nimport reflow.worker.context\nanswer = said(registry)"
    kind, exit_code, text, _ = _python(tmp_path, code, clean=True, PYTHONPATH=path)
    assert (kind, exit_code) == ("UsageError", 2)
    assert "reflow-hpc 2.1 is installed" in text
    assert "pip uninstall reflow-hpc" in text


# -- in this process --


def test_all_that_reflow_brings_can_be_loaded() -> None:
    (own,) = [plugin for plugin in discover({}) if plugin.builtin]
    registry = Registry([own])
    for entry in registry.executors():
        assert callable(registry.executor(entry.name).create)
    for backend in registry.cache_backends():
        assert callable(registry.cache_backend(backend.name).create)
    for notifier in registry.notifiers():
        assert callable(registry.notifier(notifier.name).create)
    for command in registry.commands():
        for scope in command.scopes:
            assert registry.command(command.name, scope)


def _plugin(name: str, *entries: ExecutorEntry, **more: Any) -> Plugin:
    plugin = Plugin(name, f"{name}_module", f"reflow-{name}", "1", **more)
    plugin._answers["reflow_executors"] = entries
    return plugin


def test_one_plugin_may_not_have_a_name_twice() -> None:
    entry = ExecutorEntry(name="x", target="a:b")
    with pytest.raises(PluginError, match="two plugins provide the executor 'x'"):
        Registry([_plugin("one", entry, ExecutorEntry(name="y", target="a:b", aliases=("x",)))]).executor("x")


def test_a_target_that_cannot_create() -> None:
    entry = ExecutorEntry(name="x", target="reflow.plugins.lookup:Registry")
    with pytest.raises(PluginError, match=r"executor 'x' of plugin 'one'.*AttributeError"):
        Registry([_plugin("one", entry)]).create_executor("x", {}, Context())


def test_no_plugins_at_all() -> None:
    with pytest.raises(UnknownName, match=r"there is no notifier 'x'\n  There are none\."):
        Registry([]).notifier("x")


def test_installed_distributions_are_found_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tree's own plugins, as this environment has them."""
    found = {plugin.name: plugin for plugin in discover({"slurm": "a test"})}
    assert found["slurm"].disabled_by == "a test"
    assert found["slurm"].answer("reflow_executors") == ()
    assert {known.extra for known in KNOWN} <= found.keys()

    monkeypatch.setattr(sys, "path", [])
    assert [plugin.name for plugin in discover({})] == ["reflow"]


def test_distributions_are_those_that_importlib_metadata_tells_of(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> set[tuple[str, str, str]]:
        return {(one.name, one.version, one.entry_points) for one in installed()}

    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    lying = told()
    assert len(lying) > 20
    archive = site / "empty.zip"
    zipfile.ZipFile(archive, "w").close()
    monkeypatch.setattr(sys, "path", [*sys.path, str(archive)])
    assert told() == lying
    assert [one.name for one in installed("reflow-good")] == ["reflow-good"]


def test_entry_points_are_read_as_they_are_written() -> None:
    text = "[a]\nx = y:z\n[b]\n# a comment\n ; another\n\nhalf=m\n whole = p.q : r [extra]\n[c]\nthis is none\n"
    assert entries(text, "a") == [("x", "y:z")]
    assert entries(text, "b") == [("half", "m"), ("whole", "p.q : r [extra]")]
    assert entries(text, "d") == []
    with pytest.raises(ValueError, match="'this is none'"):
        entries(text, "c")


def test_public_names_that_cannot_be_had(site: Path) -> None:
    code = """
import reflow
answer = []
for name in ("TwinExecutor", "SlrmExecutor", "SlurmExecutor"):
    try:
        getattr(reflow, name)
    except (ImportError, AttributeError) as error:
        answer += [[type(error).__name__, str(error).split(chr(10))[0]]]
"""
    twin, typo, disabled = _python(site, code, REFLOW_PLUGINS_DISABLED="reflow-slurm,pollux")
    assert twin[0] == "ImportError"
    assert "executor 'twin' of plugin 'castor'" in twin[1]
    assert typo[0] == "AttributeError"
    assert "has no attribute 'SlrmExecutor'" in typo[1]
    assert disabled[0] == "ImportError"
    assert "is disabled by REFLOW_PLUGINS_DISABLED" in disabled[1]


def test_missing_and_unfit_plugins_in_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = Registry([]).describe()
    assert [row["install"] for row in rows] == [f"pip install 'reflow-core[{known.extra}]'" for known in KNOWN]
    with pytest.raises(UnknownName, match="which is not installed"):
        Registry([]).executor_entry("torque")
    with pytest.raises(UnknownName, match="though it should be"):
        Registry([_plugin("pbs")]).executor_entry("torque")
    assert [*Registry([]).executors(), *Registry([]).cache_backends(), *Registry([]).notifiers()] == []

    directory = tmp_path / "reflow_hpc-2.1.dist-info"
    directory.mkdir()
    (directory / "METADATA").write_text("Metadata-Version: 2.1\nName: reflow-hpc\nVersion: 2.1\n\nVersion: 3\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(UsageError, match=r"reflow-hpc 2\.1 is installed"):
        refuse_rival()


def test_unknown_names_are_usage_errors() -> None:
    assert issubclass(UnknownName, UsageError)
    assert issubclass(UnknownName, PluginError)
