"""One vocabulary of scheduler options, whoever the scheduler is."""

from __future__ import annotations

#: options that every dialect maps to its own flags, emulates, or refuses with the reason
PORTABLE = (
    "name",
    "queue",
    "account",
    "project",
    "qos",
    "exclusive",
    "constraint",
    "reservation",
    "priority",
    "nice",
    "begin",
    "signal",
    "mail_user",
    "mail_type",
    "output",
)

#: other spellings -> the one name under which an option is kept
ALIASES = {
    "partition": "queue",
    "job_name": "name",
    "begin_time": "begin",
    "features": "constraint",
}

#: what others call keywords of ``job(...)``: it is not taken, but told what is meant
MEANT = {
    "retry": "retries",
    "memory": "mem",
    "walltime": "time",
    "cpu": "cpus",
    "gpu": "gpus",
    "node": "nodes",
    "module": "modules",
    "depends_on": "after",
}


def canonical(name: str) -> str:
    """The one name of an option: ``partition`` is ``queue``, ``mail-user`` is ``mail_user``; others stay."""
    name = name.strip().lstrip("-").replace("-", "_")
    return ALIASES.get(name, name)
