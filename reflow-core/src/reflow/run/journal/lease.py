"""Who may write a run now.

Each holder has an *epoch*, claimed by the exclusive create of ``lease/EPOCH``,
and goes on rewriting that file with a counter. Who wants the lease watches the
counter on a clock of its own: no two hosts' clocks are ever compared. A holder
that could not beat for half the expiry stops by itself, before anybody else may
have taken over; and whatever a frozen one still writes after thawing goes to its
own epoch's event file, of which its successor has noted how much counts.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from ...errors import DataError, LeaseLost
from ...model import layout
from ...worker.durable import claim, make_directories
from ...worker.mailbox import born
from ...worker.opener import decoded, open_regular, read_regular
from ...worker.trust import Trust

#: seconds between two beats, and of silence after which a lease may be taken, at least
BEAT = 5.0
EXPIRY = 360.0

#: beats missed after which it may be taken from a process whose job has ended, says the scheduler
_MISSED = 4

#: beats within which a holder has written its damaged lease anew, if it is alive
_MENDED = 3

_SIZE = 512

#: wake-ups that a lease names: its file has one size
_NAMED = 8


class LeaseLapsed(LeaseLost):
    """The lease was not kept up, and nobody has taken over."""


class Owner(msgspec.Struct, kw_only=True):
    """What a lease file holds."""

    epoch: int
    host: str
    pid: int
    born: str = ""
    #: in which of its host's process id spaces it runs: a container may have one of its own
    space: str = ""
    #: tags of the wake-ups whose work its process does: it runs in such a one's job, or in one that they wait for
    wakes: tuple[str, ...] = ()
    counter: int = 0
    released: bool = False
    #: seconds since the epoch at which its process takes the lease again; 0.0 where it does not mean to
    back: float = 0.0
    #: bytes of its event file that were durable at its last beat
    length: int = 0
    #: seconds of silence after which it may be taken
    expiry: float = EXPIRY

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, which holds the run's lease," if self.pid else "who holds the lease"

    def dead(self) -> bool:
        """Whether its process is known to be gone: it ran on this host, and does not any more."""
        if self.host != os.uname().nodename or self.space not in ("", space()):
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return bool(self.born) and born(self.pid) != self.born
        return bool(self.born) and born(self.pid) != self.born


_owner = msgspec.json.Decoder(Owner)


def space() -> str:
    """Where this process's number means this process; "" where that cannot be told."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def clock() -> float:
    """Seconds on a clock that is never set, and that runs while the machine sleeps, where there is one."""
    try:
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    except (AttributeError, OSError):
        return time.monotonic()


def latest(root: str) -> int:
    """The newest epoch that was claimed; 0 for none."""
    epoch = newest(f"{root}/lease")
    # A listing may be older than what it lists; opening a file is not.
    while _there(layout.lease(root, epoch + 1)):
        epoch += 1
    return epoch


def newest(directory: str, suffix: str = "") -> int:
    """The highest number that names a file in the highest shard of a directory; 0 for none."""
    try:
        shards = [int(name) for name in os.listdir(directory) if name.isdigit()]
        names = os.listdir(f"{directory}/{max(shards)}")
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return 0
    stems = [name.removesuffix(suffix) for name in names if name.endswith(suffix)]
    return max((int(stem) for stem in stems if stem.isdigit()), default=0)


def _there(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def owner(root: str, epoch: int, trusted: Trust | None = None) -> Owner:
    """Return who holds, or held, that epoch; of a damaged file somebody unknown, whose counter stands still.

    Raises
    ------
    Untrusted
        Nobody of `trusted` has written it, or others could have; None: whoever.
    """
    data = read_regular(layout.lease(root, epoch), trusted)
    try:
        return decoded(_owner.decode, data.strip())
    except msgspec.DecodeError:
        return Owner(epoch=epoch, host="", pid=0, counter=-1)  # whoever holds it writes it whole at its next beat


class Watch:
    """What was seen of who holds a lease, on this process's own clock."""

    def __init__(self) -> None:
        self._seen: tuple[int, int] | None = None
        self._since = 0.0
        #: whether it has beaten, or another one has come, while it was watched
        self.alive = False
        #: whether somebody else held it when it was last asked for
        self.held = False
        #: whether it was said that it is waited for
        self.told = False

    def silence(self, now: Owner, at: float) -> float:
        """Seconds for which it has stood still, as far as it was watched; `at`: when this process began to look.

        What has happened since, this process does not know: it may have been stopped itself.
        """
        if self._seen != (now.epoch, now.counter):
            self.alive = self._seen is not None
            self._seen, self._since = (now.epoch, now.counter), clock()
        return at - self._since


class Lease:
    """The right to write a run; `acquire` is how to get it."""

    def __init__(self, root: str, mine: Owner, expiry: float, beat: float, since: float) -> None:
        self.root = root
        self.epoch = mine.epoch
        self._mine = mine
        self._expiry = expiry
        self._interval = beat
        self._file = open_regular(layout.lease(root, mine.epoch), flags=os.O_WRONLY)
        self._length: Callable[[], int] = int
        #: when its last beat began: others may have seen it from then on, however long it took
        self._last = since
        self._lapsed = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="reflow-lease", daemon=True)
        self._thread.start()

    @classmethod
    def acquire(
        cls,
        root: str,
        *,
        patience: float = 0.0,
        watch: Watch | None = None,
        say: Callable[[str], None] | None = None,
        expiry: float = EXPIRY,
        beat: float = BEAT,
        wakes: Sequence[str] = (),
        woken: bool = False,
        trusted: Trust | None = None,
    ) -> Lease | None:
        """Take the lease, or give up.

        Parameters
        ----------
        root : str
            The run's root directory.
        patience : float
            Seconds to wait for a holder that is alive. One of which that is not
            known is watched until it beats or its expiry is over.
        watch : Watch, optional
            What this process has seen so far: given by one that looks again and
            again, it is not waited for the expiry here.
        say : callable, optional
            Told in a sentence what is waited for, where that takes long.
        expiry, beat : float
            Seconds of silence after which a lease may be taken, and between beats.
        wakes : sequence of str
            Wake-ups whose work this process does.
        woken : bool
            Whether it runs in such a wake-up's job. A holder that did its work before ran in a job that has ended,
            for else the scheduler would not have started this one: its silence is not waited for as long.
        trusted : Trust, optional
            Whose leases count; None: whoever's.

        Returns
        -------
        Lease or None
            None where somebody else holds it.

        Raises
        ------
        Untrusted
            Nobody of `trusted` has written the newest one, or others could have: it is neither waited for nor passed
            over, for whoever wrote it could write the run's events as well.
        DataError
            It is lost or damaged, and its holder does not write it anew. A wake-up, which nobody watches, waits for
            the expiry instead.
        """
        started = clock()
        looks_again = watch is not None
        seen = watch or Watch()
        known = 0
        nap = min(beat / 50, 0.1)
        while True:
            # Listings may be stale, on network file systems: what is opened, or could not be created, is there.
            epoch, begun = max(latest(root), known), newest(f"{root}/events", ".log")
            while epoch < begun and _opens(layout.lease(root, epoch + 1)):
                epoch += 1
            if epoch < begun:
                raise DataError(
                    f"{layout.lease(root, epoch + 1)} is missing: nobody can tell who writes this run",
                    hint=f"`reflow repair {root}` puts it in order",
                )
            if epoch:
                at = clock()
                try:
                    now = owner(root, epoch, trusted)
                except FileNotFoundError:
                    time.sleep(nap)
                    continue
                if not (now.released or now.dead()):
                    ended = woken and not set(wakes).isdisjoint(now.wakes)
                    enough = expiry if now.counter < 0 else now.expiry
                    if ended:
                        enough = min(enough, _MISSED * beat)
                    silence = seen.silence(now, at)
                    if silence <= enough:
                        if now.counter < 0 and not woken and silence > _MENDED * beat:
                            raise DataError(
                                f"{layout.lease(root, epoch)} is damaged, and no process has written it anew:"
                                " nobody can tell who writes this run",
                                hint=f"`reflow repair {root}` puts it in order",
                            )
                        if say is not None and silence > 2 * beat and not seen.told:
                            say(f"{now} is not heard of; the run is taken over after {enough:g} s of silence")
                            seen.told = True
                        if clock() - started >= patience and (seen.alive or looks_again):
                            seen.held = True
                            return None
                        time.sleep(nap)
                        nap = min(nap * 1.3, beat / 5)  # most holders are done in a moment; a dead one takes minutes
                        continue
            mine = Owner(
                epoch=epoch + 1,
                host=os.uname().nodename,
                pid=os.getpid(),
                born=born(os.getpid()),
                space=space(),
                wakes=tuple(wakes[:_NAMED]),
                expiry=expiry,
            )
            path = layout.lease(root, epoch + 1)
            make_directories(os.path.dirname(path))
            since = clock()
            if claim(path, _written(mine)):
                seen.held = False
                return cls(root, mine, expiry, beat, since)
            known = mine.epoch

    def follow(self, length: Callable[[], int]) -> None:
        """Say with each beat how many bytes of the event file are durable: less than that is damage, no torn end."""
        self._length = length

    def check(self) -> None:
        """Make sure that this process may still write; to be called before every write and scheduler call.

        Raises
        ------
        LeaseLost
            It may not: it was silent for too long, or somebody has taken over.
        """
        if _there(layout.lease(self.root, self.epoch + 1)):
            raise LeaseLost("another process has taken over this run")
        if self._lapsed or clock() - self._last > self._expiry / 2:
            self._lapsed = True
            raise LeaseLapsed("this process was held up for too long; the run may be advanced by another one now")

    def renew(self) -> Lease:
        """Claim the next epoch, after this one has lapsed.

        Raises
        ------
        LeaseLost
            Somebody else has claimed it.
        """
        mine = Owner(
            epoch=self.epoch + 1,
            host=self._mine.host,
            pid=os.getpid(),
            born=self._mine.born,
            space=self._mine.space,
            wakes=self._mine.wakes,
            expiry=self._expiry,
        )
        path = layout.lease(self.root, mine.epoch)
        make_directories(os.path.dirname(path))
        since = clock()
        if not claim(path, _written(mine)):
            raise LeaseLost("another process has taken over this run")
        self.release()
        return Lease(self.root, mine, self._expiry, self._interval, since)

    def _beat(self) -> None:
        pause = self._interval / 10  # the first tells early how much there is of the event file
        while not self._stop.wait(pause):
            pause = self._interval
            if self._lapsed or clock() - self._last > self._expiry / 2:
                self._lapsed = True  # a beat after so long a silence must not pretend that there was none
                return
            self._mine.counter += 1
            since = clock()
            try:
                self._write()
            except OSError:
                continue  # no beat was made: `check` counts from the last one that was
            self._last = since

    def _write(self, *, durable: bool = True) -> None:
        self._mine.length = self._length()
        os.pwrite(self._file, _written(self._mine), 0)
        if durable:
            os.fsync(self._file)
        path = layout.lease(self.root, self.epoch)
        if os.fstat(self._file).st_nlink == 0:  # somebody has deleted it: who is here must be seen
            make_directories(os.path.dirname(path))
            if claim(path, _written(self._mine)):
                lost, self._file = self._file, open_regular(path, flags=os.O_WRONLY)
                os.close(lost)

    def release(self, back: float = 0.0) -> None:
        """Let others have it; `back` tells when this process will take it again, if it will."""
        self._stop.set()
        self._thread.join()
        self._mine.released = True
        self._mine.back = back
        try:
            # Closing hands it to the file server. A machine that dies before its disk has it is seen to have died.
            self._write(durable=False)
        finally:
            os.close(self._file)


def _opens(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except FileNotFoundError:
        return False
    return True


def _written(mine: Owner) -> bytes:
    return msgspec.json.encode(mine).ljust(_SIZE - 1) + b"\n"
