"""One vocabulary of options for all schedulers, as data.

Each dialect has one cell for every row; the documentation's table is made of
the same cells.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

#: the rows: what users may ask for, and what it means
VOCABULARY: Mapping[str, str] = {
    "name": "job name, after the tag that reflow puts at its head",
    "queue": "queue or partition",
    "account": "account to be charged",
    "project": "project",
    "qos": "quality of service",
    "time": "walltime",
    "mem": "memory for each node",
    "cpus": "cores for each MPI task",
    "nodes": "number of nodes",
    "tasks": "MPI tasks in total",
    "gpus": "GPUs for each node",
    "exclusive": "whole nodes",
    "constraint": "features of nodes",
    "reservation": "advance reservation",
    "priority": "priority among one's own jobs, as the scheduler counts",
    "nice": "lower priority",
    "begin": "not before: seconds from now, a duration ('2h'), or a local time ('2025-03-01T08:00')",
    "array": "array of elements",
    "array_parallelism": "elements that may run at once",
    "after": "start when other jobs have ended",
    "env": "environment variables",
    "cwd": "working directory",
    "output": "file for what the scheduler writes of the job",
    "mail_user": "mail address, for a single job ([notifications] mails once for a run)",
    "mail_type": "when to mail",
    "signal": "warning before the walltime is over ('INT@60')",
    "requeue": "the scheduler may run the job again by itself: for `[dispatch]`, never for tasks",
}

FLAG, BUILT, EMULATED, REFUSED = "flag", "built", "emulated", "refused"


class Cell(msgspec.Struct, frozen=True):
    """What becomes of an option on one scheduler.

    Attributes
    ----------
    kind : str
        ``flag``: `text` with the value in place of ``{}``; ``built``: flags
        that the dialect composes, shown by `text`; ``emulated``: done by
        reflow, `text` says how; ``refused``: an error, `text` says why.
    text : str
        See `kind`.
    bare : str
        The flag where the value is True; "": `text`, without a value, if it has no place for one.
    """

    kind: str
    text: str
    bare: str = ""

    def __str__(self) -> str:
        if self.kind in (FLAG, BUILT):
            return self.text
        return f"{self.kind}: {self.text}"

    def words(self, value: str | None) -> tuple[str, ...] | None:
        """Words of a flag; `value` None stands for True. None: the flag needs a value, or takes none."""
        template = self.text if value is not None or not self.bare else self.bare
        if ("{}" in template) is (value is None):
            return None
        return tuple(word.replace("{}", value or "") for word in template.split(" "))


def flag(text: str, bare: str = "") -> Cell:
    """Return a row that is a flag, with ``{}`` where its value goes; `bare`: the flag for the value True."""
    return Cell(FLAG, text, bare)


def built(text: str) -> Cell:
    """Return a row whose flags a method of the dialect composes; the text shows them."""
    return Cell(BUILT, text)


def emulated(text: str) -> Cell:
    """Return a row that reflow does itself; the text says how."""
    return Cell(EMULATED, text)


def refused(text: str) -> Cell:
    """Return a row that is an error before anything is submitted; the text says why, and what to write instead."""
    return Cell(REFUSED, text)


def table(columns: Mapping[str, Mapping[str, Cell]]) -> str:
    """The vocabulary as a table in Markdown: a row for each option, a column for each scheduler.

    Parameters
    ----------
    columns : mapping of str to mapping
        A scheduler's title -> its cells.
    """
    lines = [
        "| option | meaning | " + " | ".join(columns) + " |",
        "|---" * (2 + len(columns)) + "|",
    ]
    for name, meaning in VOCABULARY.items():
        cells = [
            f"`{cell}`" if cell.kind in (FLAG, BUILT) else str(cell)
            for cell in (column[name] for column in columns.values())
        ]
        lines.append(" | ".join([f"| `{name}`", meaning, *(text.replace("|", "\\|") for text in cells)]) + " |")
    return "\n".join(lines) + "\n"


def faults(rows: Collection[str]) -> list[str]:
    """Return what is wrong with the rows that a dialect has: those that are missing, and those of an unknown name."""
    found = []
    if lacking := [name for name in VOCABULARY if name not in rows]:
        found.append(f"it lacks the row{'s' if len(lacking) > 1 else ''} {', '.join(map(repr, lacking))}")
    return found + [f"its row {name!r} is no option{_meant(name)}" for name in rows if name not in VOCABULARY]


def _meant(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, VOCABULARY, n=1)
    return f": did you mean {close[0]!r}?" if close else ""


def names(text: str) -> frozenset[str]:
    """Return option names that are written one after the other."""
    return frozenset(text.split())


#: cells that are the same everywhere
SCRIPT = emulated("by the job's script")
WORKER = emulated("by the worker's own clock")
