"""What `submit` and `run` share: their options, those of the workflow's parameters, and what is printed."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import click
import typer
from typer.core import TyperCommand

from ..errors import UsageError
from . import params, render
from .group import typed
from .options import JsonOption, QueueOption, SetOption, StoreOption, all_overrides
from .progress import watching
from .scripts import load
from .session import Session
from .summary import interruptible, show_end

if TYPE_CHECKING:
    from ..authoring import Flow, Parameter
    from ..run.service.api import Run
    from ..run.service.submit import Prepared

_META = "reflow.launch"


class _Wanted:
    """A workflow, its parameters, and the values that their options were given."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.parameters: Mapping[str, Parameter] = flow.compile().parameters
        self.values: dict[str, object] = {}
        self.options = [params.option(parameter, self.values) for parameter in self.parameters.values()]

    def all_values(self, pairs: Sequence[str]) -> dict[str, object]:
        """What the options and ``--param`` gave, together.

        Raises
        ------
        UsageError
            If one is given twice, or a required one is missing.
        """
        given = params.read_pairs(self.parameters, pairs)
        for key in given:
            if key in self.values:
                raise UsageError(f"parameter {key} is given twice, as {self.parameters[key].flag} and as --param")
        values = {**given, **self.values}
        params.check_given(self.parameters, values)
        return values


class LaunchCommand(TyperCommand):
    """A command with an option for each parameter of the workflow: of the script it names, where it is ``reflow``'s."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Find the workflow first, then parse all of `args` with its options."""
        session = Session.of(ctx)
        flow = session.flow or self._named(ctx, args)
        if flow is not None:
            ctx.meta[_META] = _Wanted(flow)
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The options, those of the workflow first."""
        own = super().get_params(ctx)
        if Session.of(ctx).flow is not None:
            own = [param for param in own if param.name != "script"]
        wanted = ctx.meta.get(_META)
        return [*wanted.options, *own] if wanted else own

    def _named(self, ctx: click.Context, args: list[str]) -> Flow | None:
        """The workflow of the script among `args`; None where only help is asked for."""
        parser = self.make_parser(ctx)
        parser.allow_interspersed_args = False
        try:
            given, _, _ = parser.parse_args(list(args))
        except click.NoSuchOption as error:
            raise UsageError(
                f"{error.format_message()}",
                hint=f"options of the workflow come after the script: {ctx.command_path} pipeline.py ...",
            ) from None
        script = given.get("script")
        if isinstance(script, str):
            return load(script)
        asked = self.get_help_option(ctx)
        if asked is not None and given.get(asked.name or ""):
            return None
        raise UsageError("which workflow?", hint=f"name its script: {ctx.command_path} pipeline.py")


Script = Annotated[
    str | None,
    typer.Argument(
        metavar="SCRIPT",
        show_default=False,
        help="The script that makes the workflow: FILE, or FILE:VARIABLE where it makes several. "
        "The options of the workflow's parameters come after it; --help there lists them.",
    ),
]
RunDir = Annotated[
    str | None, typer.Option("--run-dir", metavar="DIR", help="Where the run keeps its results; created if need be.")
]
Executor = Annotated[
    str | None,
    typer.Option(
        "--executor",
        metavar="NAME",
        help="What runs the tasks: local, slurm, pbs, lsf, sge, flux, ...; dry-run only shows what would be done.",
    ),
]
MaxWorkers = Annotated[
    int | None,
    typer.Option("--max-workers", metavar="N", min=1, help="Elements that run at once, on the local executor."),
]
Force = Annotated[bool, typer.Option("--force", help="Compute everything, whatever the cache holds.")]
ForceTask = Annotated[
    list[str] | None, typer.Option("--force-task", metavar="TASK", help="Compute this task again; repeatable.")
]
Verify = Annotated[
    bool,
    typer.Option("--verify/--no-verify", help="Check that the output files of cached results are unchanged."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")]
Param = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        metavar="KEY=VALUE",
        help="Set a parameter; repeatable. @FILE reads a JSON object of parameters, @- from stdin.",
    ),
]


def _show_rehearsal(made: Prepared, *, as_json: bool) -> None:
    """Print what a run would do."""
    from ..run.service.dry_run import as_text

    steps = made.rehearse()
    if as_json:
        render.put_json(steps)
        return
    told = made.definition
    render.say(f"nothing is written or submitted; {told.executor}, run directory {render.clean(told.run_dir)}")
    for note in made.notes:
        render.say(render.clean(note))
    for line in as_text(steps):
        render.put(render.clean(line, lines=True))


def launcher(name: str, doc: str, *, wait: bool) -> click.Command:
    """The command that starts a run, and waits for its end or not."""

    def launch(
        ctx: typer.Context,
        script: Script = None,
        run_dir: RunDir = None,
        executor: Executor = None,
        max_workers: MaxWorkers = None,
        overrides: SetOption = None,
        queue: QueueOption = None,
        force: Force = False,
        force_task: ForceTask = None,
        verify: Verify = True,
        dry_run: DryRun = False,
        param: Param = None,
        store_path: StoreOption = None,
        as_json: JsonOption = False,
    ) -> None:
        session = Session.of(ctx)
        wanted: _Wanted = ctx.meta[_META]
        values = wanted.all_values(param or ())
        from ..run.service.submit import begin, check

        made = check(
            wanted.flow,
            run_dir,
            values,
            executor=executor,
            fallback="local" if wait else None,
            dry=dry_run,
            force=force,
            force_tasks=tuple(force_task or ()),
            verify=verify,
            overrides=all_overrides(overrides, queue),
            settings=None if max_workers is None else {"max_workers": max_workers},
            store_path=store_path,
        )
        if made.dry:
            _show_rehearsal(made, as_json=as_json)
            return
        created: list[Run] = []

        def announce(run: Run) -> None:
            created.append(run)
            if not as_json:
                render.put(f"Created run {render.clean(f'{run.run_id} in {run.run_dir}')}")
                sys.stdout.flush()

        with (
            watching() as progress,
            interruptible(
                session,
                lambda: session.named(created[0].run_id, created[0].root) if created else "",
                lambda: created[0].chained,
            ),
        ):
            run = begin(made, wait=wait, on_created=announce, on_progress=progress)
        if as_json:
            render.put_json(run.status()["run"])
        show_end(session, run)

    launch.__doc__ = doc
    return typed(launch, name, cls=LaunchCommand)
