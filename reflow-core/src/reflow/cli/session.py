"""What the commands of one invocation share: how it was called, for which workflow, and which run is meant."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING

from ..errors import ConfigError, RunNotFound, UsageError
from . import render

if TYPE_CHECKING:
    import click

    from ..authoring import Flow
    from ..run.service.api import Run


class Session:
    """The ``obj`` of every command's context.

    Parameters
    ----------
    prog : str
        What a person types to reach this command line: ``reflow`` or ``python pipeline.py``.
    flow : Flow, optional
        The workflow whose own command line this is.

    Attributes
    ----------
    debug : bool
        Whether tracebacks are shown.
    """

    def __init__(self, prog: str, flow: Flow | None = None) -> None:
        self.prog = prog
        self.flow = flow
        self.debug = False

    @property
    def project(self) -> str:
        """Where the project's configuration is looked for: the pipeline, else the working directory."""
        return (self.flow.file if self.flow is not None else None) or os.getcwd()

    @property
    def disabled(self) -> tuple[str, ...]:
        """Plugins that the configuration leaves out; none where it cannot be read, which who uses it will say."""
        from ..config import load_config

        try:
            flow = self.flow.file if self.flow is not None else None
            return tuple(load_config(flow or None).get("plugins.disabled") or ())
        except ConfigError:
            return ()

    @classmethod
    def of(cls, ctx: click.Context) -> Session:
        """The session of a command's context."""
        found = ctx.find_object(cls)
        if found is None:  # a command of a plugin that is called without our group, as its own tests may
            found = ctx.obj = cls(ctx.command_path or "reflow")
        return found

    def named(self, run_id: str, root: object) -> str:
        """How a run is named in a command that is to be typed: by its id, where that finds it, else by its place."""
        from ..errors import ReflowError
        from ..run.definition.trust import policy
        from ..store.paths import store_path as find_store
        from ..store.registry import Registry

        if not isinstance(root, str):
            return run_id
        try:
            known = Registry(find_store(), policy).leads_to(run_id, root)
        except ReflowError:
            known = False
        return run_id if known else root

    def command(self, *words: str) -> str:
        """A command of this command line as it would be typed, quoted for a shell."""
        return f"{self.prog} {shlex.join(words)}"

    def find(self, run: str | None, run_id: str | None, store_path: str | None, *, required: bool = False) -> Run:
        """The run that was asked for.

        Parameters
        ----------
        run, run_id : str, optional
            The positional argument and ``--run-id``: an id, a unique
            beginning of one, ``latest``, or a run directory.
        store_path : str, optional
            ``--store-path``.
        required : bool
            Whether one must be named; otherwise the latest is meant.

        Raises
        ------
        UsageError
            If two different runs are named, or none where one must be.
        RunNotFound
            If no run answers to it, more than one does, or it is another workflow's.
        """
        from ..run.definition.trust import policy
        from ..run.service.api import Run
        from ..store.paths import store_path as find_store
        from ..store.registry import LATEST, Registry, in_words

        if run is not None and run_id is not None and run != run_id:
            raise UsageError(f"two runs are named: {run!r} and --run-id {run_id!r}", hint="name one")
        wanted = run if run is not None else run_id
        if wanted is None:
            if required:
                raise UsageError(
                    "which run?", hint=f"name it; `{self.command('runs')}` lists them, `latest` is the newest"
                )
            wanted = LATEST
        if wanted == LATEST:
            registry = Registry(find_store(override=store_path), policy)
            wanted = registry.find(LATEST, None if self.flow is None else self.flow.name).run_id
            if registry.unread:
                text = f"{wanted} may not be the latest run, since newer {in_words(registry.unread)}"
                render.complain("warning", text)
        found = Run.open(wanted, store_path=store_path)
        if self.flow is not None and found.workflow != self.flow.name:
            raise RunNotFound(
                f"run {found.run_id} is of workflow {found.workflow!r}, not of {self.flow.name!r}",
                hint=f"`reflow status {found.run_id}` sees every workflow's runs",
            )
        return found


def own_name() -> str:
    """How this process was started, as a person would type it again."""
    path = sys.argv[0] if sys.argv else ""
    if os.path.basename(path) == "__main__.py":
        return "python -m reflow"
    if path.endswith(".py"):
        return f"python {shlex.quote(path)}"
    return os.path.basename(path) or "reflow"
