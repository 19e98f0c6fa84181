"""Scripts that leave evidence of how they were run: a shell plays them for real, `act` plays them on a fake clock."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from .cluster import Died, Start

_HEAD = "# probe: "


class _Plan(msgspec.Struct, frozen=True):
    """What a probe does, as its script's second line says it."""

    out: str
    seconds: int = 0
    exits: Mapping[str, int] = {}
    signals: Mapping[str, int] = {}
    requires: str = ""
    says: str = ""


class Evidence(msgspec.Struct, frozen=True):
    """What one slot of a probe saw when it started.

    Attributes
    ----------
    cwd : str
        Its working directory, links resolved.
    umask : int
        Its file mode creation mask.
    required : bool
        Whether the file that it was to find was there.
    """

    cwd: str
    umask: int
    required: bool


class Probe:
    """A script for one job.

    Parameters
    ----------
    directory : str
        Where its files are: ``name.sh``, and for each slot ``name.SLOT.start`` and ``name.SLOT.end``.
    name : str
        What its files' names begin with.
    seconds : int
        How long it sleeps.
    exits : mapping of int to int
        Exit codes by slot (0 in a single job), for those that do not succeed.
    signals : mapping of int to int
        Signals by slot, for those that kill themselves.
    requires : str
        Path of a file that should exist when it starts.
    says : str
        Text for its standard output; letters, digits and blanks.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        name: str,
        *,
        seconds: int = 0,
        exits: Mapping[int, int] | None = None,
        signals: Mapping[int, int] | None = None,
        requires: str = "",
        says: str = "",
    ) -> None:
        self.out = os.path.join(os.path.realpath(directory), name)
        self.script = f"{self.out}.sh"
        plan = _Plan(
            out=self.out,
            seconds=seconds,
            exits={str(slot): code for slot, code in (exits or {}).items()},
            signals={str(slot): number for slot, number in (signals or {}).items()},
            requires=requires,
            says=says,
        )
        cases = [f"  {slot}) exit {code};;" for slot, code in plan.exits.items()]
        cases += [f"  {slot}) kill -{number} $$; sleep 60;;" for slot, number in plan.signals.items()]
        lines = [
            "#!/bin/sh",
            _HEAD + msgspec.json.encode(plan).decode(),
            f"out='{self.out}'",
            "slot=${REFLOW_SLOT:-0}",
            f"echo '{says}'" if says else ":",
            f"if [ -e '{requires or '/'}' ]; then required=true; else required=false; fi",
            'printf \'{"cwd":"%s","umask":%d,"required":%s}\' "$(pwd -P)" "$(($(umask)))" $required > "$out.$slot.new"',
            'mv "$out.$slot.new" "$out.$slot.start"',
            f"sleep {seconds} || exit 143" if seconds else ":",  # who is cancelled is not to go on
            ': > "$out.$slot.end"',
            "case $slot in",
            *cases,
            "esac",
            "exit 0",
        ]
        descriptor = os.open(self.script, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755)
        with open(descriptor, "w") as stream:
            stream.write("\n".join(lines) + "\n")

    def started(self) -> set[int]:
        """The slots that have started."""
        return self._slots("start")

    def ended(self) -> set[int]:
        """The slots that have come to their end."""
        return self._slots("end")

    def evidence(self, slot: int = 0) -> Evidence:
        """What a slot saw.

        Raises
        ------
        FileNotFoundError
            Where it has not started.
        """
        with open(f"{self.out}.{slot}.start", "rb") as stream:
            return msgspec.json.decode(stream.read(), type=Evidence)

    def end_of(self, slot: int = 0) -> str:
        """Path of the file that appears at a slot's end."""
        return f"{self.out}.{slot}.end"

    def _slots(self, suffix: str) -> set[int]:
        directory, name = os.path.split(self.out)
        parts = (entry.rpartition(".")[0] for entry in os.listdir(directory) if entry.endswith(f".{suffix}"))
        return {int(part[len(name) + 1 :]) for part in parts if part.startswith(f"{name}.")}


def act(start: Start) -> Generator[float, None, int | Died]:
    """Play a probe's script on a `MemoryCluster`."""
    from .cluster import Died

    with open(start.job.script) as stream:
        lines = stream.read().splitlines()
    if len(lines) < 2 or not lines[1].startswith(_HEAD):
        raise ValueError(f"{start.job.script} is no probe: give the cluster a program that plays it")
    plan = msgspec.json.decode(lines[1][len(_HEAD) :], type=_Plan)
    slot = start.environ.get("REFLOW_SLOT", "0")
    if plan.says:
        start.say(f"{plan.says}\n")
    evidence = Evidence(
        cwd=os.path.realpath(start.job.cwd), umask=start.umask, required=os.path.exists(plan.requires or "/")
    )
    with open(f"{plan.out}.{slot}.start", "wb") as file:
        file.write(msgspec.json.encode(evidence))
    if plan.seconds:
        yield plan.seconds
    with open(f"{plan.out}.{slot}.end", "wb"):
        pass
    if slot in plan.signals:
        return Died(signal=plan.signals[slot])
    return plan.exits.get(slot, 0)
