"""A daemonless workflow engine: typed Python functions become a pipeline on a laptop or a batch scheduler.

Names are imported when they are used: a worker pays for none that its script
does not name, and ``from reflow import SlurmExecutor`` asks the plugins. Type
checkers and editors read ``__init__.pyi``.
"""

from __future__ import annotations

__version__ = "0.1.0"

_NAMES = {
    "Config": "config",
    "Executor": "model.job",
    "Failed": "model.failed",
    "Flow": "authoring.flow",
    "JobConfig": "model.task",
    "LocalExecutor": "local.pool",
    "Param": "authoring.markers",
    "Requeue": "worker.context",
    "Result": "authoring.markers",
    "Retry": "model.retry",
    "Run": "run.service.api",
    "RunDir": "authoring.markers",
    "RunState": "model.names",
    "Scale": "model.retry",
    "Shared": "model.schema",
    "TaskInterrupted": "worker.context",
    "TaskSpec": "model.task",
    "TaskState": "model.names",
    "Workflow": "workflow",
    "checkpoint_dir": "worker.context",
    "config_path": "config",
    "context": "worker.context",
    "ensure_config_exists": "config",
    "load_config": "config",
    "time_left": "worker.context",
    "write_example_config": "config",
}

__all__ = [*_NAMES, "errors"]  # noqa: PLE0604 - ruff does not see that the keys are str


def __getattr__(name: str) -> object:
    if name in __all__:
        from importlib import import_module

        module = import_module(f"{__name__}.{_NAMES.get(name, name)}")
        found: object = module if name == "errors" else getattr(module, name)
    elif name.endswith("Executor"):
        found = _from_plugin(name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def _from_plugin(name: str) -> object:
    from .errors import PluginError
    from .plugins import UnknownName, registry
    from .plugins.known import BY_NAME

    try:
        return registry().export(name)
    except UnknownName as error:
        if name not in BY_NAME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}: {error}") from None
        # An AttributeError's message is lost: `from reflow import` says in its place that the name is unknown.
        raise ImportError(str(error), name=__name__) from None
    except PluginError as error:
        raise ImportError(str(error), name=__name__) from error


def __dir__() -> list[str]:
    from .plugins import registry

    return sorted({*globals(), *__all__, *registry().exports()})
