"""Giving to the cache what a run could not give it at its time: its user's home was out of reach, or has been lost."""

from __future__ import annotations

import os
from contextlib import suppress

import msgspec

from ...errors import ReflowError
from ...model import layout
from ...store.registry import Registry
from ..definition.cache import Forgiving
from ..definition.create import run_id_beginning
from ..definition.load import load_definition
from ..definition.open import cache_of, config_of
from ..definition.trust import acting, require_own, trust_of
from ..journal.lease import Lease, Watch
from ..journal.log import Results
from ..journal.writer import Writer
from .cache_publisher import Keeper

#: runs of a workflow that are looked at, the newest
_NEWEST = 20


def publish(root: str, store: str | None = None, *, everything: bool = False) -> int | None:
    """Publish results that the cache lacks.

    Parameters
    ----------
    root : str
        The run's root directory.
    store : str, optional
        The user's store; the run's own where not given.
    everything : bool
        Whether the cache is asked for what it was given already, too.

    Returns
    -------
    int or None
        How many results were published; None where another process holds the run's lease.

    Raises
    ------
    ReflowError
        The cache still cannot be used.
    """
    require_own(root)
    definition = load_definition(root)
    config = config_of(definition, root)
    cache = cache_of(definition, config, store)
    if cache is None:
        return 0
    # Of who holds it, nobody is waited for.
    lease = Lease.acquire(root, watch=Watch(), trusted=acting(root, trust_of(config)))
    if lease is None:
        cache.close()
        return None
    try:
        writer = Writer(root, lease)
    except BaseException:  # its records are damaged: whoever is to mend them needs the lease
        lease.release()
        cache.close()
        raise
    results = Results(root)
    keeper = Keeper(writer, results, Forgiving(cache, writer.warn))
    try:
        count = keeper.republish() if everything else keeper.publish()
        if writer.warnings:
            raise ReflowError("; ".join(writer.warnings))
        return count
    finally:
        keeper.close()
        results.close()
        writer.close()


def catch_up(root: str) -> None:
    """Publish what a run has left, if the cache can be reached from here; nothing fails for it."""
    if os.path.exists(layout.unpublished(root)):
        with suppress(ReflowError, OSError, msgspec.MsgspecError):
            publish(root)


def catch_up_all(registry: Registry, workflow: str) -> None:
    """Publish what the newest runs of a workflow have left: the next run looks for it."""
    for record in registry.newest(run_id_beginning(workflow), _NEWEST):
        if record.workflow == workflow:
            catch_up(layout.root(record.run_dir, record.run_id))
