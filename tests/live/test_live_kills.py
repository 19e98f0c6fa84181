"""Workers, wake-ups and daemons are killed at random while a pipeline runs: it ends with the right answer all the same.

Workers kill themselves (see hunted.py) wherever they run. Of processes on this host, others are killed from here;
wake-ups are cancelled, too; and daemons are stopped and started by the commands of the ``--control`` file.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from reflow.model.names import RunState
from reflow.plugin import JobRef

N = 200
#: daemons by the name of the commands that stop and start them; how long they may be away, in seconds
DAEMONS = {"controller": 4.0, "node": 4.0, "accounting": 6.0}

Strike = Callable[[random.Random], str]


class Hunt:
    """Kills what belongs to a run."""

    def __init__(self, live: Any, control: Callable[[str], None], daemons: Sequence[str]) -> None:
        self.live = live
        self.control = control
        self.daemons = daemons
        #: processes killed from here
        self.pids: set[int] = set()
        #: what was done, to be told when the test fails
        self.done: list[str] = []
        #: whether the chain was struck, so that somebody has to go on
        self.cut = False
        #: whether the controller was killed, with what it had not written down
        self.amnesia = False

    def processes(self, what: str) -> list[int]:
        """Python processes of the run on this host."""
        found = []
        root = os.fsencode(self.live.run.root)
        for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
            with suppress(OSError):
                words = Path("/proc", entry, "cmdline").read_bytes().split(b"\0") if entry.isdigit() else []
                if root in words and any(what.encode() in word for word in words[:4]):
                    found.append(int(entry))
        return sorted(found)

    def _kill(self, dice: random.Random, module: str) -> str:
        pids = self.processes(module)
        if not pids:
            return ""
        pid = dice.choice(pids)
        self.pids.add(pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return f"killed {module}, process {pid}"

    def worker(self, dice: random.Random) -> str:
        return self._kill(dice, "reflow.worker")

    def advance(self, dice: random.Random) -> str:
        said = self._kill(dice, "reflow.run.drive.wakeup_main")
        self.cut = self.cut or bool(said)
        return said

    def wake_up(self, dice: random.Random) -> str:
        wakes = self.live.ids().get("wake-up", [])[-2:]
        if not wakes:
            return ""
        self.cut = True
        self.live.site.create().cancel([JobRef(id) for id in wakes])
        return f"cancelled the wake-ups {wakes}"

    def daemon(self, dice: random.Random) -> str:
        name = dice.choice(self.daemons)
        self.cut = True
        self.amnesia = self.amnesia or name == "controller"
        self.control(f"stop-{name}")
        try:
            time.sleep(dice.uniform(0.0, DAEMONS[name]))
        finally:
            self.control(f"start-{name}")
        return f"restarted the {name}"

    def strike(self, dice: random.Random) -> None:
        """Kill something."""
        strikes: list[Strike] = [self.worker, self.worker, self.advance, self.wake_up]
        if self.daemons:
            strikes += [self.daemon, self.daemon]
        said = dice.choice(strikes)(dice)
        if said:
            self.done.append(f"{time.time():.1f} {said}")


SEEDS = [seed if seed <= 2 else pytest.param(seed, marks=pytest.mark.full) for seed in range(1, 11)]


@pytest.mark.parametrize("seed", SEEDS)
def test_random_kills(site: Any, control: Callable[[str], None], controls: set[str], seed: int) -> None:
    dice = random.Random(seed)
    daemons = [name for name in DAEMONS if {f"stop-{name}", f"start-{name}"} <= controls]
    live = site.submit("hunted.py", "--n", str(N), "--seed", str(seed))
    hunt = Hunt(live, control, daemons)
    try:
        for _ in range(10):
            time.sleep(dice.uniform(0.5, 3.0))
            if live.run.state.ended:
                break
            hunt.strike(dice)
        if hunt.cut:
            live.reflow("drive", str(live.run_dir), check=not hunt.amnesia)
        if hunt.amnesia and live.run.state is RunState.CANCELLED:
            # Of what had died before it could say anything, and whose end the controller had not written down when it
            # was killed, nobody knows more than of what was cancelled while it waited.
            live.reflow("retry", str(live.run_dir))
            live.reflow("drive", str(live.run_dir))
        live.wait("SUCCESS", timeout=400)
        assert live.run.result("total") == sum(value * value for value in range(N))
        once_each(live, hunt.pids)
    except BaseException:
        print("\n".join(hunt.done))
        raise


def once_each(live: Any, killed: set[int]) -> None:
    """The ledger proves that no success was computed twice, and nothing was begun once it had succeeded."""
    begun: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    ended: dict[tuple[str, int], list[int]] = defaultdict(list)
    for folder in (live.run_dir / "ledger").iterdir():
        for name in os.listdir(folder):
            task, index, attempt, what, pid, at = name.split(".")
            if what == "begin":
                begun[task, int(index)].append((int(attempt), int(at)))
            elif what == "end" and int(pid) not in killed:
                ended[task, int(index)].append(int(attempt))
    rows = {(row["task"], row["index"] or 0): row for row in live.run.status(elements=True)["elements"]}
    assert begun.keys() == rows.keys()
    for key, row in rows.items():
        attempts = sorted(attempt for attempt, _ in begun[key])
        # What a scheduler runs again by itself is still the same attempt.
        once = len(set(attempts)) == len(attempts) or live.site.kind.reruns
        assert once, f"{key}: an attempt was begun twice: {sorted(begun[key])}"
        assert len(ended[key]) <= 1, f"{key}: more than one attempt was computed to its end: {sorted(begun[key])}"
        late = [at for _, at in begun[key] if at > row["ended"] * 1e9]
        assert not late, f"{key}: begun again after it had succeeded: {sorted(begun[key])}, {row}"
