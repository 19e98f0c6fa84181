"""What a job asks for."""

from __future__ import annotations

import msgspec


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
