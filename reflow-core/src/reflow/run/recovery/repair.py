"""``reflow repair``: putting a run's files, or a user's registry and cache, in order again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import msgspec

from ...batch.script import environment
from ...errors import DataError, LeaseLost, ReflowError, RunNotFound, Untrusted
from ...model import layout
from ...model.definition import Definition
from ...model.digest import sha256
from ...model.names import RunState
from ...model.record import Intent, JobSpec
from ...model.state import State
from ...planning.plan import Submit
from ...store.paths import store_path as find_store
from ...store.registry import Registry
from ...worker.durable import claim, keep, make_directories, sync_directory, write_new
from ...worker.opener import WHOLE, decoded, read_regular
from ...worker.tags import void
from ...worker.trust import Trust, doubt
from ..definition.create import FOLDERS, freeze, record_of
from ..definition.imported_modules import copy_module
from ..definition.load import (
    Secrets,
    decode_definition,
    in_words,
    load_secrets,
    read_definition,
    save_secrets,
)
from ..definition.trust import policy, require_own
from ..jobs.factory import Jobs
from ..journal.lease import BEAT, Lease, Owner, latest, newest, owner
from .journal_recovery import Salvage, index_of, survey

#: beats that a living holder is waited for, where its lease is lost: its next one writes it again
_BEATS = 3


class Repaired(msgspec.Struct, kw_only=True):
    """What became of one run.

    Attributes
    ----------
    run_id, directory : str
        The run, and its own directory.
    done : list of str
        What was wrong, and is mended.
    problems : list of str
        What is wrong, and stays so.
    backups : list of str
        Where damaged files are now that were replaced.
    """

    run_id: str
    directory: str
    done: list[str] = []
    problems: list[str] = []
    backups: list[str] = []


def roots(ref: str, store_path: str | os.PathLike[str] | None = None) -> list[str]:
    """The run, or all runs of a run directory, that are to be repaired; their files need not be readable.

    Raises
    ------
    RunNotFound
        There is none.
    """
    path = os.path.abspath(os.path.expanduser(ref))
    if os.sep in ref or os.path.isdir(os.path.join(path, ".reflow")):
        if os.path.basename(os.path.dirname(path)) == ".reflow" and os.path.isdir(path):
            return [path]
        found = list(_runs_of(path))
        if not found:
            raise RunNotFound(f"there is no run in {path}", hint="name a run directory, or a run by its id")
        return found
    record = Registry(find_store(override=store_path), policy).find(ref)
    if record.gone:
        raise RunNotFound(f"run {record.run_id} is gone: there is no {layout.root(record.run_dir, record.run_id)}")
    return [layout.root(record.run_dir, record.run_id)]


def _runs_of(run_dir: str) -> Iterator[str]:
    home = os.path.join(run_dir, ".reflow")
    try:
        names = sorted(os.listdir(home))
    except OSError:
        return
    for name in names:
        root = os.path.join(home, name)
        if name[0] != "." and any(os.path.exists(f"{root}/{part}") for part in ("run.json", "code", "events")):
            yield root


def repair(root: str, say: Callable[[str], None] = lambda _: None) -> Repaired:
    """Put one run in order.

    Parameters
    ----------
    root : str
        The run's own directory, ``RUN_DIR/.reflow/RUN_ID``.
    say : callable
        Told what is waited for.

    Raises
    ------
    LeaseLost
        Another process advances the run now.
    DataError
        It was written by a newer version; or what it is made of is lost.
    """
    return _Repair(root, say).run()


class _Repair:
    def __init__(self, root: str, say: Callable[[str], None]) -> None:
        self.root = root
        self.report = Repaired(run_id=os.path.basename(root), directory=root)
        self._say = say

    def run(self) -> Repaired:
        require_own(self.root)
        trusted = policy()
        _require_all(self.root, trusted)
        self._known()
        self._lease_file()
        lease = Lease.acquire(self.root, say=self._say, trusted=trusted)
        if lease is None:
            holder = owner(self.root, latest(self.root), trusted)
            raise LeaseLost(
                f"process {holder.pid} on {holder.host} advances run {self.report.run_id} now; nothing was changed",
                hint="cancel the run, or wait until that process has ended",
            )
        try:
            self._folders()
            definition = self._definitions()
            salvage = Salvage(self.root, definition, lease.epoch)
            salvage.events()
            salvage.mail()
            self._tags()
            self._indices(salvage)
            salvage.inputs(pooled=bool(salvage.state.pools) or definition.executor in ("local", "inline"))
            self._secrets(salvage.state)
            self._jobs(definition, salvage)
            self._code(salvage.state)
            self._modules(salvage.state)
            lease.check()
            length = salvage.finish()
            lease.follow(lambda: length)
            self.report.done += salvage.done
            self._register(definition)
            if self.report.done and not salvage.state.run.ended and salvage.state.run is not RunState.PENDING:
                self._say(f"run {self.report.run_id} is not finished; `reflow drive {self.report.run_id}` goes on")
        finally:
            lease.release()
        return self.report

    def _done(self, what: str) -> None:
        self.report.done.append(what)

    def _keep(self, path: str) -> None:
        """Move a damaged file aside."""
        self.report.backups.append(keep(path))

    # --- one thing after another ---------------------------------------------

    def _known(self) -> None:
        """Leave what a newer version has written as it is, before anything is."""
        for place in (layout.definition(self.root), layout.definition_copy(self.root)):
            _whole_definition(place)
        survey(self.root)

    def _lease_file(self) -> None:
        """Write the newest epoch's lease again, where it is lost or damaged; unless its holder does, who is alive."""
        epoch = max(newest(f"{self.root}/events", ".log"), latest(self.root))
        path = layout.lease(self.root, epoch)
        damage = self._damage_of_lease(epoch)
        if not damage:
            return
        deadline = time.monotonic() + _BEATS * BEAT
        if not self._dead(epoch):
            self._say(f"the lease is {damage}; waiting {_BEATS * BEAT:.0f} s for a process that may hold it")
            while time.monotonic() < deadline and self._damage_of_lease(epoch):
                time.sleep(0.2)
        damage = self._damage_of_lease(epoch)
        if damage == "damaged":
            self._keep(path)
        make_directories(os.path.dirname(path))
        gone = Owner(epoch=epoch, host="", pid=0, released=True)
        if damage and claim(path, msgspec.json.encode(gone) + b"\n"):
            self._done(f"{path} is {damage}; nobody holds it, and it was written anew")

    def _damage_of_lease(self, epoch: int) -> str:
        """What is wrong with the newest epoch's lease: "lost", "damaged", or nothing."""
        if latest(self.root) < epoch:
            return "lost"
        try:
            return "damaged" if epoch and owner(self.root, epoch).counter < 0 else ""
        except FileNotFoundError:
            return "lost"
        except OSError:
            return "damaged"

    def _dead(self, epoch: int) -> bool:
        """Whether the writer of an epoch is known to be gone."""
        from ..journal.log import header

        try:
            first = header(self.root, epoch)
        except DataError:
            return False
        return first is not None and Owner(epoch=epoch, host=first.host, pid=first.pid).dead()

    def _folders(self) -> None:
        for name in FOLDERS:
            if not os.path.isdir(f"{self.root}/{name}"):
                make_directories(f"{self.root}/{name}")
                if name != "lease":
                    self._done(f"{self.root}/{name} is lost; an empty one was made")

    def _definitions(self) -> Definition:
        """The frozen definitions: each has a copy, and each of the two mends the other."""
        generations = [1]
        with suppress(OSError):
            generations = sorted({1, *(int(name) for name in os.listdir(f"{self.root}/code") if name.isdigit())})
        found: dict[int, bytes] = {}
        for generation in generations:
            places = (layout.definition(self.root, generation), layout.definition_copy(self.root, generation))
            whole = [raw for raw in map(_whole_definition, places) if raw]
            if len(set(whole)) > 1:
                self.report.problems.append(
                    f"{places[0]} and {places[1]} differ, and each could be right:"
                    " compare them, move the wrong one away, and repair again"
                )
            if whole:
                found[generation] = whole[0]
                for place in places:
                    self._mend(place, whole[0])
        if 1 not in found:
            for generation in generations:
                if generation in found:  # what it was made from; its code is what the run uses today
                    first = decode_definition(found[generation], layout.definition(self.root, generation))
                    text = msgspec.json.encode(msgspec.structs.replace(first, generation=1))
                    for place in (layout.definition(self.root), layout.definition_copy(self.root)):
                        self._mend(place, text)
                    break
            else:
                raise DataError(
                    f"{layout.definition(self.root)} and its copy are lost or damaged: nothing else tells what this"
                    " run is",
                    hint="submit the workflow again: what was computed is taken from the cache",
                )
        self.report.problems += [
            f"{layout.definition(self.root, generation)} and its copy are damaged; `reflow retry` makes a new one"
            for generation in generations
            if generation not in found and generation != 1
        ]
        return read_definition(self.root)

    def _mend(self, place: str, text: bytes) -> None:
        if _whole_definition(place):
            return
        if os.path.lexists(place):
            self._keep(place)
        make_directories(os.path.dirname(place))
        write_new(place, text)
        self._done(f"{place} is lost or damaged; it was written anew from its copy")

    def _tags(self) -> None:
        """Submissions that were given up must stay so."""
        for chapter in survey(self.root):
            for _, payload in chapter.frames:
                if b'"k":"voided"' in payload:
                    with suppress(msgspec.MsgspecError):
                        tag = msgspec.json.decode(payload, type=_Tagged).tag
                        path = layout.tag(self.root, tag)
                        if not os.path.exists(path) and void(path) is None:
                            self._done(f"{path} is lost; it says again that this submission is void")

    def _indices(self, salvage: Salvage) -> None:
        for (task, part), (size, pending) in salvage.parts.items():
            path = layout.inputs(self.root, task, part)
            index = index_of(path, size, pending)
            if index is None:
                continue
            try:
                if read_regular(f"{path}.idx", most=WHOLE) == index:
                    continue
                self._keep(f"{path}.idx")
            except FileNotFoundError:
                pass
            except OSError:
                self._keep(f"{path}.idx")
            write_new(f"{path}.idx", index)
            self._done(f"{path}.idx is lost or damaged; it was made again from {path}")

    def _secrets(self, state: State) -> None:
        definition = read_definition(self.root, state.generation)
        path = layout.secrets(self.root, definition.generation)
        told = [] if definition.generation > 1 else _secret_keys(definition)
        mine = [spec for spec in self._specs() if spec.env and spec.generation == definition.generation]
        known = {spec.task: dict(spec.env) for spec in mine}
        with suppress(DataError):
            load_secrets(self.root, definition)
            if os.path.exists(path) or not (told or known):
                return
        if os.path.lexists(path):
            self._keep(path)
        made = Secrets(env=known)
        lost = tuple(part for part in definition.private if part not in made.parts)
        save_secrets(self.root, definition.generation, msgspec.structs.replace(made, lost=lost))
        of = f", with the variables of {', '.join(sorted(known))}" if known else ""
        self._done(f"{path} is lost or damaged; it was written anew{of}")
        if told:
            self.report.problems.append(f"secret configuration of this run is lost: {', '.join(told)}")
        if gone := in_words(lost):
            self.report.problems.append(
                f"{', '.join(gone)} are lost with {path}: `reflow retry {definition.run_id}` takes them from today's"
                " script and environment; no job starts without them"
            )

    def _specs(self) -> Iterator[JobSpec]:
        for name in sorted(os.listdir(f"{self.root}/jobs")):
            if name.endswith(".json"):
                spec = _whole_spec(f"{self.root}/jobs/{name}")
                if spec is not None:
                    yield spec

    def _jobs(self, definition: Definition, salvage: Salvage) -> None:
        """What jobs in flight need to know."""
        state = salvage.state
        inherited = load_secrets(self.root, read_definition(self.root, state.generation)).inherited
        for tag in state.open_flights:
            intent = salvage.intents.get(tag)
            if intent is None:
                continue
            path = layout.job(self.root, tag)
            spec = _whole_spec(path)
            if spec is None:
                spec = self._spec(definition, intent)
                if os.path.lexists(path):
                    self._keep(path)
                write_new(path, msgspec.json.encode(spec), 0o600)
                self._done(f"{path} is lost or damaged; it was written anew")
            script = layout.script(self.root, intent.task, tag)
            env = f"{self.root}/scripts/{tag}.env"
            if not state.pools and not os.path.exists(env):
                text = environment(Jobs.variables(spec, inherited))
                write_new(env, text.encode("utf-8", "surrogateescape"), 0o600)
                self._done(f"{env}, which {script} reads, is lost; it was written anew")
        path = f"{self.root}/scripts/inherited.env"
        if inherited and state.open_flights and not os.path.exists(path):
            write_new(path, environment(inherited).encode("utf-8", "surrogateescape"), 0o600)
            self._done(f"{path} is lost; it was written anew")

    def _spec(self, definition: Definition, intent: Intent) -> JobSpec:
        from ...config import Config
        from ...model.ranges import from_ranges

        if intent.generation > 1:
            definition = read_definition(self.root, intent.generation)
        secrets = load_secrets(self.root, definition)
        jobs = Jobs(self.root, definition, Config.from_json(definition.config, secrets.config), secrets.inherited)
        action = Submit(intent.task, from_ranges(intent.elements), intent.attempt, intent.part, intent.resources)
        task = definition.task(intent.task)
        return jobs.spec(action, intent.tag, task, secrets.env.get(intent.task, {}), intent.generation)

    def _code(self, state: State) -> None:
        """The frozen script, from where it was, if that still says the same to every task."""
        definition = read_definition(self.root, state.generation)
        entry = definition.entry
        if not entry.variable:
            return
        frozen = layout.frozen(self.root, state.generation, entry.file)
        damage = _damage(frozen, entry.digest)
        if not damage:
            return
        problem = f"{frozen} is {damage}"
        try:
            same = _damage(entry.file, entry.digest or "-") == "" or _same_code(definition)
        except Exception as error:  # the script is the user's
            problem += f", and {entry.file} cannot be imported: {error!r}"
        else:
            if same:
                if damage == "damaged":
                    self._keep(frozen)
                make_directories(os.path.dirname(frozen))
                unread = msgspec.structs.replace(entry, digest="")
                freeze(self.root, msgspec.structs.replace(definition, entry=unread), entry.file)
                self._done(f"{problem}; {entry.file} says the same to all tasks, and was copied")
                return
            problem += f", and {entry.file} has changed since"
        self.report.problems.append(f"{problem}; `reflow retry {definition.run_id}` goes on with today's script")

    def _modules(self, state: State) -> None:
        """The frozen copies of the user's own modules, from where they were, if those are the same."""
        definition = read_definition(self.root, state.generation)
        for name, module in definition.modules.items():
            copy = layout.frozen_module(self.root, definition.generation, name)
            damage = _damage(copy, module.digest) if module.file.endswith(".py") else ""
            if not damage:
                continue
            if _damage(module.file, module.digest):
                self.report.problems.append(
                    f"{copy} is {damage}, and {module.file} has changed since;"
                    f" `reflow retry {definition.run_id}` goes on with today's code"
                )
                continue
            if damage == "damaged":
                self._keep(copy)
            make_directories(os.path.dirname(copy))
            copy_module(module, copy)
            self._done(f"{copy} was {damage}; {module.file} is the same, and was copied")

    def _register(self, definition: Definition) -> None:
        """A run that the registry does not know is entered; a registry that cannot be written is passed over."""
        run_dir = os.path.dirname(os.path.dirname(self.root))
        registry = Registry(definition.store, policy)
        with suppress(OSError, ReflowError):
            if not registry.has(definition.run_id):
                registry.add(record_of(definition, run_dir))
                self._done(f"the run was entered in the registry {registry.directory}")


_job_spec = msgspec.json.Decoder(JobSpec)


class _Tagged(msgspec.Struct):
    tag: str


def _require_all(root: str, trusted: Trust) -> None:
    """Refuse a run of which somebody else has made a file, or could have: what is mended would be its owner's.

    Raises
    ------
    Untrusted
        There is one. Logs are nobody's evidence, and left out.
    """
    for top, folders, names in os.walk(root):
        if top == root and "logs" in folders:
            folders.remove("logs")
        for name in (*folders, *names):
            path = os.path.join(top, name)
            with suppress(FileNotFoundError):
                why, hint = doubt(path, os.lstat(path), trusted)
                if why:
                    raise Untrusted(why, hint=hint)


def _whole_definition(path: str) -> bytes:
    """What a definition's file holds, if it is one; nothing otherwise.

    Raises
    ------
    DataError
        It was written by a newer version.
    """
    try:
        raw = read_regular(path, most=WHOLE)
        decode_definition(raw, path)
    except (OSError, msgspec.MsgspecError):
        return b""
    return raw


def _damage(script: str, digest: str) -> str:
    """What is wrong with a script that was frozen: "lost", "damaged", or nothing as far as is known."""
    try:
        whole = not digest or sha256(read_regular(script, follow=True)).hexdigest() == digest
    except OSError:
        return "lost"
    return "" if whole else "damaged"


def _whole_spec(path: str) -> JobSpec | None:
    try:
        return decoded(_job_spec.decode, read_regular(path))
    except (OSError, msgspec.MsgspecError):
        return None


def _secret_keys(definition: Definition) -> list[str]:
    """Names of secret configuration that was given at submit."""
    meta = definition.config.get("meta")
    items = meta.get("items", {}) if isinstance(meta, dict) else {}
    return sorted(
        key
        for key, item in items.items()
        if item.get("secret") and item["origin"]["layer"] != "built-in" and item.get("type") != "table"
    )


def _same_code(definition: Definition) -> bool:
    """Whether today's script has the very code that was frozen, of every task."""
    from ...worker.isolated import Isolated, same_code

    with Isolated(definition.entry) as flow:
        return bool(definition.tasks) and same_code(flow, definition)


# --- registry and cache -------------------------------------------------------


class Rebuilt(msgspec.Struct, kw_only=True):
    """What became of a store.

    Attributes
    ----------
    store : str
        Its directory.
    runs : list of str
        Runs that were found.
    done, problems, backups : list of str
        As of `Repaired`.
    """

    store: str
    runs: list[str] = []
    done: list[str] = []
    problems: list[str] = []
    backups: list[str] = []


def rebuild(directories: Sequence[str], store_path: str | os.PathLike[str] | None = None) -> Rebuilt:
    """Enter all runs below some directories in the registry, and their results in the cache.

    Raises
    ------
    RunNotFound
        A directory is none.
    """
    from ...store.segments import mend
    from ...store.sqlite import SqliteCache

    store = find_store(override=store_path)
    report = Rebuilt(store=store)
    for directory in directories:
        if not os.path.isdir(os.path.expanduser(directory)):
            raise RunNotFound(f"{directory} is no directory")
    for path, backup in mend(store):
        report.done.append(f"{path} is damaged; what can be read of it was written anew")
        report.backups.append(backup)
    database = SqliteCache(os.path.join(store, "cache", "cache.sqlite"))
    wrong = database.damaged()
    if wrong:
        report.backups.append(keep(database.path))
        report.done.append(f"{database.path} is damaged ({wrong}); a new one is made")
    registry = Registry(store, policy)
    for directory in directories:
        for root in _below(os.path.abspath(os.path.expanduser(directory))):
            try:
                _enter(root, registry, report)
            except (ReflowError, OSError, msgspec.MsgspecError) as error:
                text = error.message if isinstance(error, ReflowError) else str(error)
                report.problems.append(f"{root}: {text}; `reflow repair {root}` may mend it")
    return report


def _below(directory: str) -> Iterator[str]:
    """All runs in and below a directory; other hidden directories are passed over."""
    if os.path.basename(os.path.dirname(directory)) == ".reflow":
        yield directory
        return
    for top, folders, _ in os.walk(directory):
        if ".reflow" in folders:
            yield from _runs_of(top)
        folders[:] = sorted(name for name in folders if name[0] != ".")


def _enter(root: str, registry: Registry, report: Rebuilt) -> None:
    from ..engine.publish import publish

    definition = read_definition(root)
    report.runs.append(definition.run_id)
    record = record_of(definition, os.path.dirname(os.path.dirname(root)))
    try:
        known = registry.find(definition.run_id) if registry.has(definition.run_id) else None
    except DataError:
        report.backups.append(keep(registry.path(definition.run_id)))
        known = None
    if known != record:
        registry.add(record, replace=True)
        report.done.append(f"run {definition.run_id} was entered in {registry.directory}")
    count = publish(root, registry.store, everything=True)
    if count is None:
        report.problems.append(f"run {definition.run_id} is advanced by another process now: its results were left out")
    elif count:
        report.done.append(f"{count} results of run {definition.run_id} were kept in the cache again")
    sync_directory(registry.directory)
