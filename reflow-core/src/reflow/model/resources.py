"""What a job asks for."""

from collections.abc import Mapping

import msgspec

from reflow.errors import UsageError

#: least memory that can be meant: an interpreter alone takes more, so ``mem=16`` is a forgotten unit
LEAST_MEM = 1024**2

#: variables that say how many threads numerical libraries start: `cpus`, where nobody says anything else
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """Resources of one job, or of one element of an array. None: not given.

    Attributes
    ----------
    cpus : int, optional
        CPU cores for each MPI task.
    time : int, optional
        Walltime in seconds.
    mem : int, optional
        Memory for each node, in bytes.
    gpus : int, optional
        GPUs for each node.
    nodes : int, optional
        Number of nodes.
    tasks : int, optional
        Number of MPI tasks in total.
    """

    cpus: int | None = None
    time: int | None = None
    mem: int | None = None
    gpus: int | None = None
    nodes: int | None = None
    tasks: int | None = None


def parse_resource(name: str, value: object) -> int:
    """Read one resource as a person wrote it, in a decorator, a configuration file or an override.

    Parameters
    ----------
    name : str
        A field of `Resources`.
    value : object
        ``mem``: as `units.parse_mem`; ``time``: as `units.parse_time`; the
        others: a whole number, as int or as text, at least 1 (``gpus``: 0).

    Returns
    -------
    int
        What the field holds: bytes, seconds, or a count.

    Raises
    ------
    UsageError
        Where the value cannot be read; the message begins with the name.
    """
    from .units import parse_mem, parse_time

    if name in ("mem", "time"):
        try:
            amount = parse_mem(value) if name == "mem" else parse_time(value)  # type: ignore[arg-type]  # refused there
        except UsageError as error:
            raise UsageError(f"{name}: {error.message}", hint=error.hint) from None
        if name == "mem" and amount < LEAST_MEM:
            raise UsageError(f"mem: {value!r} is {amount} bytes", hint="write a number and its unit, such as '16G'")
        return amount
    least = 0 if name == "gpus" else 1
    if isinstance(value, str) and value.strip().isdecimal() and value.isascii():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UsageError(f"{name}: {value!r} is not a whole number of at least {least}")
    return value


def parse_resources(given: Mapping[str, object]) -> Resources:
    """Read several resources at once; None stays None. Raises UsageError for the first that cannot be read."""
    return Resources(**{name: value if value is None else parse_resource(name, value) for name, value in given.items()})
