"""Opening a run: its configuration, its cache and its executor."""

from __future__ import annotations

import os
from contextlib import suppress

from ...config import Config
from ...errors import ExecutorError, ReflowError, Untrusted
from ...model import layout
from ...model.cache import CacheBackend
from ...model.definition import Definition
from ...model.job import Executor
from ...plugin import Context
from ...plugins import registry as plugin_registry
from ...process.runner import Runner
from ...store.trust import require
from ...worker.trust import trust
from .cache import Refused
from .load import load_secrets
from .trust import acting, require_own, trust_of


def config_of(definition: Definition, root: str) -> Config:
    """The configuration that a run was submitted with."""
    return Config.from_json(definition.config, load_secrets(root, definition, acting(root, trust())).config)


def cache_places(definition: Definition, config: Config, store: str | None = None) -> tuple[str, ...]:
    """Directories of the run's cache, in its own store or another one: the store first."""
    place = str(config.get("cache.path") or store or definition.store)
    return place, f"{place}/cache", f"{place}/cache/segments"


def cache_of(definition: Definition, config: Config, store: str | None = None) -> CacheBackend | None:
    """The run's cache backend, in its own store or another one; None where caching is switched off."""
    if not config.get("cache.enabled"):
        return None
    plugins = plugin_registry(tuple(config.get("plugins.disabled") or ()))
    name = str(config.get("cache.backend"))
    places = cache_places(definition, config, store)
    trusted = acting(layout.root(definition.run_dir, definition.run_id), trust_of(config))
    try:
        require(places, "the cache", trusted)
    except Untrusted as error:
        return Refused(error)  # it was looked at before the run began: what has become of it since stops nothing
    settings = {key: value for key, value in config.section(f"cache.{name}").items() if value is not None}
    context = Context(
        environ=os.environ,
        store=places[0],
        cwd=definition.cwd,
        run_id=definition.run_id,
        trusted=trusted.owners,
        trusted_groups=trusted.groups,
    )
    try:
        return plugins.create_cache_backend(name, settings, context)
    except ReflowError as error:
        return Refused(error)  # a plugin that is gone: the run can still be ended


def executor_of(definition: Definition, root: str) -> Executor:
    """The run's executor, made again from its settings.

    Raises
    ------
    UsageError
        Another instance of the scheduler answers here: the run's ids mean other jobs to it.
    Untrusted
        The run is another user's: its settings name the programs that would be run.
    """
    require_own(root)
    config = config_of(definition, root)
    plugins = plugin_registry(tuple(config.get("plugins.disabled") or ()))
    context = Context(
        environ=os.environ,
        runner=Runner(keep=tuple(config.get("executor.submit_env") or ())),
        store=definition.store,
        cwd=definition.cwd,
        run_id=definition.run_id,
    )
    executor = plugins.create_executor(definition.executor, definition.settings, context)
    verify = getattr(executor, "verify", None)
    if callable(verify):
        with suppress(ExecutorError):  # it is asked again before anything else is
            verify()
    return executor
