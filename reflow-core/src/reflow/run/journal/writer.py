"""The right to write a run, and what is written with it."""

from __future__ import annotations

import time
from collections.abc import Iterable

from ...model.definition import Definition
from ...model.record import CodeChanged, Event
from ...model.state import State
from ...worker.durable import share
from ...worker.trust import trust
from ..definition.load import load_definition, load_secrets
from ..definition.trust import acting
from .lease import Lease, LeaseLapsed
from .log import Log, replay
from .report_reader import frozen_trust


class Writer:
    """A run under its lease: its state, and the log that every change of it goes through.

    Parameters
    ----------
    root : str
        The run's root directory.
    lease : Lease
        The lease on it; released by `close`.

    Attributes
    ----------
    state : State
        Where the run stands; changed by `add` alone.
    definition : Definition
        The run's, of the code generation that counts now.
    secrets : Secrets
        What only its owner may read: the tasks' environment variables, for instance.
    trusted : Trust
        Whose reports and commands count.
    warnings : list of str
        What people should hear of, each once.
    """

    def __init__(self, root: str, lease: Lease) -> None:
        self.root = root
        self.warnings: list[str] = []
        self._lease = lease
        trusted = acting(root, trust())
        first = load_definition(root, trusted=trusted)
        self.state = State(first)
        span = replay(root, self.state, lease.epoch, trusted)
        #: seconds by which this host's clock is behind what was written down before
        self._behind = max(0.0, self.state.heard - time.time())
        self.definition: Definition = (
            first if self.state.generation == 1 else load_definition(root, self.state.generation, trusted)
        )
        self.secrets = load_secrets(root, self.definition, trusted)
        self.trusted = trusted.union(frozen_trust(self.state))
        share(self.trusted.groups)
        self._log = Log(root, lease.epoch, self.state, span)
        lease.follow(lambda: self._log.synced)

    def now(self) -> float:
        """Seconds since the epoch, never before what is on record: a clock that was set back must hold up nothing."""
        return time.time() + self._behind

    def add(self, event: Event, payload: bytes | None = None) -> None:
        """Write an event down, and let the state know it; durable after `commit`."""
        self._log.add(event, payload)
        if type(event) is CodeChanged:
            self.definition = load_definition(self.root, event.generation, self.trusted)
            self.secrets = load_secrets(self.root, self.definition, self.trusted)

    def add_all(self, events: Iterable[Event]) -> None:
        """Write down what a task was found to consist of, as `add` does."""
        self._log.add_all(events)

    def flush(self) -> None:
        """Hand what was added to the system, so that it can be read, and outlives this process."""
        self._log.flush()

    def commit(self) -> None:
        """Make all that was added durable."""
        self._log.commit()

    def check(self) -> None:
        """Make sure that this process may still write; to be called before every scheduler call.

        One that was held up (a closed lid, a stopped process) for longer than
        it may be, while nobody took over, begins an epoch of its own anew.

        Raises
        ------
        LeaseLost
            Another process has taken over; nothing more may be written.
        """
        try:
            self._lease.check()
        except LeaseLapsed:
            # Held by who releases it, whatever comes next: else this very process would keep it from itself.
            self._lease = self._lease.renew()
            self._log.commit()
            former, self._log = self._log, Log(self.root, self._lease.epoch, self.state, self._log.span)
            former.close()
            self._lease.follow(lambda: self._log.synced)

    def warn(self, message: str) -> None:
        """Keep a sentence for people, once."""
        if message not in self.warnings:
            self.warnings.append(message)

    def close(self, back: float = 0.0) -> None:
        """Commit, and release the lease; `back`: see `Lease.release`."""
        try:
            self._log.close()
        finally:
            self._lease.release(back)
