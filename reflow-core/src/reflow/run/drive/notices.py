"""Telling people of a run: at most once for each occasion."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable

from ...config import Config
from ...errors import ReflowError
from ...model import layout
from ...model.definition import Definition
from ...model.lifecycle.states import FAILED, RETRY_PENDING
from ...model.names import RunState
from ...model.notice import Notice, Notifier, Occasion, occasions
from ...model.state import State
from ...plugin import Context
from ...plugins import registry as plugin_registry
from ...process.runner import Runner
from ..views.words import run_times

_ENDS = {
    RunState.SUCCESS: Occasion.SUCCESS,
    RunState.FAILED: Occasion.FAILED,
    RunState.CANCELLED: Occasion.CANCELLED,
}

_MOST_FAILURES = 10


class Teller:
    """Tells people by the notifiers that are configured.

    Parameters
    ----------
    definition : Definition
        The run.
    root : str
        Its root directory, which may have been moved since it was submitted.
    config : Config
        Its configuration, with its secrets.
    complain : callable
        Takes a sentence for each notifier that could not be used; a run never fails for it.
    """

    def __init__(self, definition: Definition, root: str, config: Config, complain: Callable[[str], None]) -> None:
        self._definition = definition
        self._root = root
        self._complain = complain
        self._notifiers: list[tuple[str, Notifier]] = []
        self._wanted = occasions(config.get("notifications.mail_type") or ())
        plugins = plugin_registry(tuple(config.get("plugins.disabled") or ()))
        context = Context(
            environ=os.environ,
            runner=Runner(),
            store=definition.store,
            cwd=definition.cwd,
            run_id=definition.run_id,
        )
        for name in config.notifiers() if self._wanted else ():
            settings = {k: v for k, v in config.section(f"notifications.{name}").items() if v is not None}
            if name == "mail" and not settings.get("to"):
                settings["to"] = config.get("notifications.mail_user")
            try:
                self._notifiers.append((name, plugins.create_notifier(name, settings, context)))
            except ReflowError as error:
                complain(f"notifier {name} cannot be used: {error}")

    def due(self, state: State) -> list[Occasion]:
        """Occasions that people want to hear of, and that hold now."""
        if not self._notifiers:
            return []
        now = [Occasion.BEGIN] if state.started else []
        if state.run in _ENDS:
            now.append(_ENDS[state.run])
        return [occasion for occasion in now if occasion in self._wanted]

    def tell(self, occasion: Occasion, state: State) -> None:
        """Tell of one occasion, by all notifiers."""
        notice = self._notice(occasion, state)
        for name, notifier in self._notifiers:
            try:
                notifier.notify(notice)
            except Exception as error:  # a notifier is anybody's; no run fails for it
                self._complain(f"notifier {name} could not tell that the run {occasion.value}: {error}")

    def _notice(self, occasion: Occasion, state: State) -> Notice:
        from ...store.registry import Registry
        from ..definition.trust import policy

        definition = self._definition
        failures: list[str] = []
        failed = sum(progress.counts[FAILED] + progress.counts[RETRY_PENDING] for progress in state.tasks.values())
        for task in definition.tasks:
            progress = state.tasks[task.name]
            for index, failure in sorted(progress.failures.items()):
                if progress.status[index] in (FAILED, RETRY_PENDING) and len(failures) < _MOST_FAILURES:
                    element = f"{task.name}[{index}]" if task.array else task.name
                    failures.append(f"{element} ({failure.cls.value}): {failure.reason}".splitlines()[0])
        if failed > len(failures):
            failures.append(f"and {failed - len(failures)} more")
        over = occasion is not Occasion.BEGIN
        worked, idle = run_times(state, time.time())
        name = definition.run_id
        if not Registry(definition.store, policy).leads_to(name, self._root):
            name = shlex.quote(self._root)
        commands = [f"reflow status {name}"]
        if occasion in (Occasion.FAILED, Occasion.CANCELLED):
            commands.append(f"reflow retry {name}")
        return Notice(
            occasion=occasion,
            run_id=definition.run_id,
            workflow=definition.workflow,
            run_dir=layout.run_dir(self._root),
            host=os.uname().nodename,
            user=definition.user,
            time=time.time(),
            duration=worked if over else None,
            idle=idle if over else None,
            reason=state.reason if over else "",
            summary={name: progress.shown() for name, progress in state.tasks.items()} if over else {},
            failures=tuple(failures),
            commands=tuple(commands),
        )
