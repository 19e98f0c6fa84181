"""`Workflow`: a Flow that can be run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from .authoring.flow import Flow

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from .model.job import Executor
    from .run.drive.pool import Progress
    from .run.service.api import Run


class Workflow(Flow):
    """A set of tasks that is submitted as a whole.

    Parameters
    ----------
    name : str
        What runs are called after, and under which results are cached.

    Examples
    --------
    >>> import reflow
    >>> wf = reflow.Workflow("greeting")
    >>> @wf.job()
    ... def hello() -> str:
    ...     return "hello"
    >>> run = wf.submit("/tmp/greeting", executor="inline")  # doctest: +SKIP
    """

    root = True

    def submit(
        self,
        run_dir: str | os.PathLike[str] | None = None,
        *,
        executor: str | Executor | None = None,
        force: bool = False,
        force_tasks: Sequence[str] = (),
        verify: bool = True,
        wait: bool = False,
        overrides: Mapping[str, Any] | Sequence[str] = (),
        store_path: str | os.PathLike[str] | None = None,
        on_created: Callable[[Run], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        **params: Any,
    ) -> Run:
        """Start a run.

        Parameters
        ----------
        run_dir : path, optional
            Where the run keeps everything; ``[defaults] run_dir`` where not given.
        executor : str or Executor, optional
            Configured, or the single scheduler found, where not given. With a
            local executor the run goes in the foreground, to its end. With
            ``"dry-run"`` scripts and commands are printed, and nothing is written or submitted.
        force, force_tasks : bool, sequence of str
            Compute everything, or these tasks, whatever the cache holds.
        verify : bool
            Whether output files of cached results are checked to be unchanged.
        wait : bool
            Whether to return only when the run has ended.
        overrides : mapping or sequence of str
            ``{"compute.mem": "64G"}`` or ``["compute.mem=64G"]``.
        store_path : path, optional
            The user's store: registry and cache.
        on_created : callable, optional
            Told of the run as soon as it is there, before anything of it runs.
        on_progress : callable, optional
            Told how a run that is driven from here goes on.
        **params
            Values of the workflow's parameters.

        Returns
        -------
        Run

        Raises
        ------
        WorkflowError
            The workflow has mistakes; all of them are told.
        UsageError
            A parameter, an option or the run directory is wrong. Nothing was written.
        """
        from .run.service.submit import begin, check

        made = check(
            self,
            run_dir,
            params,
            executor=executor,
            force=force,
            force_tasks=force_tasks,
            verify=verify,
            overrides=overrides,
            store_path=store_path,
        )
        return begin(made, wait=wait, on_created=on_created, on_progress=on_progress)

    def run_local(
        self,
        run_dir: str | os.PathLike[str] | None = None,
        max_workers: int | None = None,
        *,
        executor: str | Executor | None = None,
        force: bool = False,
        force_tasks: Sequence[str] = (),
        verify: bool = True,
        overrides: Mapping[str, Any] | Sequence[str] = (),
        store_path: str | os.PathLike[str] | None = None,
        on_created: Callable[[Run], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        **params: Any,
    ) -> Run:
        """Run on this machine, in the foreground, to the end; returns whatever the outcome.

        Parameters
        ----------
        max_workers : int, optional
            How many elements run at once; as many as there are CPUs where not given.
        executor : {"local", "inline"} or Executor, optional
            Worker processes, or this very process. Inline where the workflow is
            defined in a notebook, since workers could not import it; else local.

        Other parameters are those of `submit`.
        """
        from .run.service.submit import begin, check

        if executor is None:
            executor = "local" if self.file else "inline"
        made = check(
            self,
            run_dir,
            params,
            executor=executor,
            settings={} if max_workers is None else {"max_workers": max_workers},
            force=force,
            force_tasks=force_tasks,
            verify=verify,
            overrides=overrides,
            store_path=store_path,
        )
        return begin(made, on_created=on_created, on_progress=on_progress)

    def dry_run(
        self,
        run_dir: str | os.PathLike[str] | None = None,
        *,
        executor: str | Executor | None = None,
        force_tasks: Sequence[str] = (),
        overrides: Mapping[str, Any] | Sequence[str] = (),
        store_path: str | os.PathLike[str] | None = None,
        **params: Any,
    ) -> list[dict[str, Any]]:
        """Check everything that `submit` would, and tell what it would do; nothing is written or submitted.

        Parameters are those of `submit`.

        Returns
        -------
        list of dict
            For each task, in order, ``task``, ``array``, ``after`` and ``note``;
            for a scheduler's jobs the ``script`` and the ``command`` as well, and
            a last one for the job that goes on with the run.
        """
        from .run.service.submit import check

        made = check(
            self,
            run_dir,
            params,
            executor=executor,
            dry=True,
            force_tasks=force_tasks,
            overrides=overrides,
            store_path=store_path,
        )
        return made.rehearse()

    def dag(self) -> dict[str, Any]:
        """The graph of tasks, as plain data."""
        from .planning.graph import dag

        compiled = self.compile()
        return dag(compiled.workflow, compiled.tasks)

    def describe(self) -> dict[str, Any]:
        """Tasks and parameters, as plain data."""
        import json

        from .model.schema import describe
        from .planning.graph import describe_tasks

        compiled = self.compile()
        return {
            "workflow": compiled.workflow,
            "parameters": [
                {
                    "name": key,
                    "flag": one.flag,
                    "short": one.short,
                    "type": describe(one.schema),
                    "required": one.default is None,
                    "default": None if one.default is None else json.loads(one.default),
                    "help": one.help,
                    "tasks": list(one.tasks),
                }
                for key, one in compiled.parameters.items()
            ],
            "tasks": describe_tasks(compiled.tasks),
        }

    def cli(self, argv: Sequence[str] | None = None) -> NoReturn:
        """The command line: ``submit``, ``run``, ``status``, ``cancel``, ``retry``, ``logs``, ``dag`` and so on.

        Parameters
        ----------
        argv : sequence of str, optional
            Arguments; the process's own where not given. Ends the process.

        Raises
        ------
        UsageError
            The script is being imported, not run.
        """
        from .cli.main import workflow_app
        from .worker.load import refuse_in_import

        refuse_in_import("calls cli()")

        raise SystemExit(workflow_app(self)(argv))
