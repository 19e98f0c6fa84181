"""One run's life: submit, advance, look at it."""

from __future__ import annotations


def __getattr__(name: str) -> object:
    """Refuse reflow-hpc, which imports `Run` from its own ``reflow.run``: where both are installed it finds this one.

    Nothing else of ours can be relied on then: whichever was installed last has replaced files of the other.
    """
    if name == "Run":
        raise ImportError(
            "reflow-hpc and reflow-core are installed in one environment, and both are imported as 'reflow': "
            "files of one have replaced the other's. "
            "Run: pip uninstall reflow-hpc && pip install --force-reinstall --no-deps reflow-core",
            name=__name__,
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
