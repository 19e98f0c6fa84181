"""Giving to the cache what a run could not give it at its time: its user's home was out of reach, or has been lost."""

from __future__ import annotations

import os

from ..errors import ReflowError
from ..model import layout
from .cache import Forgiving
from .drive import cache_of, config_of
from .keep import Keeper
from .lease import Lease
from .load import load_definition
from .log import Results
from .trust import require_own
from .writer import Writer


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
    lease = Lease.acquire(root)
    if lease is None:
        cache.close()
        return None
    writer = Writer(root, lease)
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


def unpublished(root: str) -> bool:
    """Whether a run has left results that the cache could not take."""
    return os.path.exists(layout.unpublished(root))
