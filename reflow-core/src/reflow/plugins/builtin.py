"""What reflow itself brings, registered through the same hooks as any plugin."""

from __future__ import annotations

from collections.abc import Sequence

from ..plugin import CacheBackendEntry, CommandEntry, ExecutorEntry, NotifierEntry, Setting, hookimpl

_REFLOW = ("reflow",)


def _command(name: str, summary: str, scopes: tuple[str, ...] = ("reflow", "workflow")) -> CommandEntry:
    return CommandEntry(name=name, target=f"reflow.cli.commands.{name}:command", summary=summary, scopes=scopes)


@hookimpl
def reflow_executors() -> Sequence[ExecutorEntry]:
    """The machine at hand, and the process at hand."""
    return (
        ExecutorEntry(
            name="local",
            target="reflow.local.pool:LocalExecutor",
            summary="worker processes on this machine, in the foreground",
            exports="LocalExecutor",
        ),
        ExecutorEntry(
            name="inline",
            target="reflow.local.inline:InlineExecutor",
            summary="this process, one element after another: for pdb, tests and notebooks",
        ),
    )


@hookimpl
def reflow_cache_backends() -> Sequence[CacheBackendEntry]:
    """Where results are kept."""
    return (
        CacheBackendEntry(
            name="segments",
            target="reflow.store.segments:SegmentCache",
            summary="append-only files, one per run: safe on network file systems",
        ),
        CacheBackendEntry(
            name="sqlite",
            target="reflow.store.sqlite:SqliteCache",
            summary="one database file, for a local disk",
        ),
    )


@hookimpl
def reflow_notifiers() -> Sequence[NotifierEntry]:
    """Mail and webhooks."""
    return (
        NotifierEntry(
            name="mail",
            target="reflow.notify.mail:Mail",
            summary="mail by the sendmail program, or by SMTP where a host is configured",
            settings=(
                Setting(name="to", type="list[str]", default=[], help="addresses; the user's login name where empty"),
                Setting(name="sender", help="From address; left to the mail system where not given"),
                Setting(name="program", type="path", help="sendmail program; found on PATH where not given"),
                Setting(name="host", help="SMTP server; its use replaces the sendmail program"),
                Setting(name="port", type="int", help="SMTP port; 25, or 587 with starttls, or 465 with tls"),
                Setting(name="security", default="none", choices=("none", "starttls", "tls"), help="of the SMTP line"),
                Setting(name="user", help="SMTP login"),
                Setting(name="password", secret=True, help="SMTP password"),
                Setting(name="timeout", type="float", default=30.0, help="seconds for one message"),
            ),
        ),
        NotifierEntry(
            name="webhook",
            target="reflow.notify.webhook:Webhook",
            summary="JSON sent by POST to a URL (Slack, Mattermost, Teams, your own)",
            settings=(
                Setting(name="url", secret=True, help="http or https address; never shown"),
                Setting(
                    name="format",
                    default="json",
                    choices=("json", "text"),
                    help="json: the notice's fields and its text; text: {'text': ...} alone, as chat services take it",
                ),
                Setting(name="headers", type="dict[str, str]", default={}, secret=True, help="further HTTP headers"),
                Setting(name="timeout", type="float", default=30.0, help="seconds for one message"),
            ),
        ),
    )


@hookimpl
def reflow_commands() -> Sequence[CommandEntry]:
    """The command line."""
    return (
        _command("submit", "start a run and leave it to the scheduler"),
        _command("run", "start a run and wait for its end"),
        _command("status", "how a run fares"),
        _command("cancel", "end a run, or some of its tasks"),
        _command("retry", "run again what failed, was cancelled or skipped"),
        _command("logs", "what a task printed"),
        _command("results", "what a task returned"),
        _command("script", "the script by which a task was submitted"),
        _command("explain", "why each element was computed or taken from the cache"),
        _command("events", "the journal of a run as a story"),
        _command("runs", "all runs"),
        _command("dag", "the graph of tasks"),
        _command("describe", "a workflow or a run as JSON"),
        _command("drive", "advance a run from here, without wake-up jobs"),
        _command("repair", "rebuild what was damaged or lost of a run"),
        _command("plugins", "what is installed, and what is wrong with it", _REFLOW),
        _command("config", "configuration: path, show, init", _REFLOW),
    )
