"""Making a run: its id, its directory, its frozen definition."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from ...errors import ReflowError, UsageError
from ...model import layout
from ...model.definition import Definition
from ...store.registry import Registry, RunRecord
from ...store.trust import require
from ...worker.durable import DIRECTORY, beside, make_directories, shared, sync_directory, write_new
from ...worker.durable import create as create_file
from ...worker.frozen import Frozen
from ...worker.trust import Trust
from .compiled import compile_frozen
from .imported_modules import copy_source, freeze_modules
from .load import Secrets, save_secrets
from .trust import policy

#: directories of every run
FOLDERS = ("events", "lease", "inputs", "mailbox", "scripts", "jobs", "logs", "tags")


def new_run_id(workflow: str, now: float) -> str:
    """``climate-20250301-a1b2``: the workflow's name made safe, the day, and four random digits."""
    return f"{run_id_beginning(workflow)}{time.strftime('%Y%m%d', time.localtime(now))}-{os.urandom(2).hex()}"


def run_id_beginning(workflow: str) -> str:
    """What the ids of a workflow's runs begin with."""
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", workflow).strip("-.")[:40] or "run"
    return f"{safe}-"


def prepare(run_dir: str, trusted: Trust) -> None:
    """Make a run directory, or make sure that it can be used.

    Parameters
    ----------
    run_dir : str
        Absolute path.
    trusted : Trust
        Whose directories are used.

    Raises
    ------
    UsageError
        It is a file, or cannot be made or written, or is another user's, or others may write it.
    """
    home = os.path.join(run_dir, ".reflow")
    require((run_dir,), "the run directory", trusted, sticky=True)
    require((home,), "the run directory", trusted)
    if os.path.lexists(run_dir) and not os.path.isdir(run_dir):
        raise UsageError(f"the run directory {run_dir} is a file", hint="name a directory with --run-dir")
    try:
        for directory in (run_dir, home):
            make_directories(directory)
        probe = os.path.join(home, f".probe-{os.getpid()}-{os.urandom(4).hex()}")
        try:
            with open(create_file(probe), "wb") as stream:
                stream.write(b"x" * 4096)
                stream.flush()
                os.fsync(stream.fileno())
        finally:
            with suppress(FileNotFoundError):
                os.unlink(probe)
    except OSError as error:
        raise UsageError(
            f"the run directory {run_dir} cannot be used: {error.strerror or error}",
            hint="name a directory that you may write, on a file system with room",
        ) from None


def create(
    definition: Definition, secrets: Secrets, source: str, registry: Registry, say: Callable[[str], None]
) -> tuple[Definition, str]:
    """Make the run's own directory and write its definition, durably.

    Parameters
    ----------
    definition : Definition
        Its `run_id` is replaced where another run has it.
    secrets : Secrets
        Goes to a file that only the owner may read.
    source : str
        The script to be frozen; "" where there is none.
    registry : Registry
        Where the run is entered.
    say : callable
        Told where it could not be.

    Returns
    -------
    definition, root
        As written, and the run's root directory.
    """
    while True:
        root = layout.root(definition.run_dir, definition.run_id)
        try:
            os.mkdir(root, DIRECTORY)
            shared(root, mode=DIRECTORY)
        except FileExistsError:
            definition = msgspec.structs.replace(definition, run_id=new_run_id(definition.workflow, time.time()))
            continue
        try:
            registry.add(record_of(definition, definition.run_dir))
        except (OSError, ReflowError) as error:
            if registry.has(definition.run_id):
                os.rmdir(root)
                definition = msgspec.structs.replace(definition, run_id=new_run_id(definition.workflow, time.time()))
                continue
            # A home that cannot be written, say: the run is found by its directory.
            why = getattr(error, "strerror", None) or error
            say(
                f"run {definition.run_id} is not in the registry {registry.directory}: {why};"
                f" `reflow repair --registry {shlex.quote(definition.run_dir)}` enters it,"
                " and its run directory names it meanwhile"
            )
        break
    try:
        for name in FOLDERS:
            make_directories(f"{root}/{name}")
        definition = write_generation(root, definition, secrets, source)  # who sees the definition may rely on the rest
        _link_logs(definition)
        sync_directory(os.path.dirname(root))
    except (OSError, ReflowError) as error:
        # Nothing is left half-written: neither a directory that holds no run, nor an entry that leads to it.
        shutil.rmtree(root, ignore_errors=True)
        with suppress(OSError):
            registry.drop(definition.run_id)
        if isinstance(error, ReflowError):
            raise
        raise UsageError(
            f"the run directory {definition.run_dir} cannot be written: {error.strerror or error}",
            hint="name a directory that you may write, on a file system with room",
        ) from None
    return definition, root


def record_of(definition: Definition, run_dir: str) -> RunRecord:
    """What the registry keeps of a run, which lies in `run_dir` now."""
    return RunRecord(
        run_id=definition.run_id,
        workflow=definition.workflow,
        run_dir=run_dir,
        created=definition.created,
        user=definition.user,
        host=definition.host,
        script=definition.entry.file,
    )


def enter(definition: Definition, root: str) -> None:
    """Enter a run in the registry, where that could not be done when it was made; nothing fails for it."""
    registry = Registry(definition.store, policy)
    with suppress(ReflowError, OSError):
        moved = registry.has(definition.run_id) and registry.find(definition.run_id).gone
        if moved or not registry.has(definition.run_id):
            registry.add(record_of(definition, layout.run_dir(root)), replace=moved)


def write_generation(
    root: str, definition: Definition, secrets: Secrets, source: str, earlier: Definition | None = None
) -> Definition:
    """Freeze one generation of the code, and its definition last: who sees that may rely on the rest.

    Parameters
    ----------
    root : str
        The run's root directory.
    definition : Definition
        To be written; its entry has the digest of the script as it was analysed, or "".
    secrets : Secrets
        Goes to a file that only the owner may read.
    source : str
        The script to be frozen; "" where there is none.
    earlier : Definition, optional
        Of the generation before, whose compiled code is used again.

    Returns
    -------
    Definition
        As written: it tells what the rest is.
    """
    directory = layout.code(root, definition.generation)
    make_directories(directory)
    save_secrets(root, definition.generation, secrets)
    definition = freeze_modules(root, msgspec.structs.replace(definition, private=secrets.parts), earlier)
    return freeze(root, definition, source, earlier)


def freeze(root: str, definition: Definition, source: str, earlier: Definition | None = None) -> Definition:
    """Write a generation's copy of the script, where there is one, and the definition, which knows its digest."""
    if source:
        copy = layout.frozen(root, definition.generation, definition.entry.file)
        digest = copy_source(source, definition.entry.digest, copy, durable=True)
        entry = msgspec.structs.replace(definition.entry, digest=digest)
        make_directories(os.path.dirname(layout.frozen_module(root, definition.generation, "")))
        before = None if earlier is None else Frozen(root, earlier)
        compiled = compile_frozen(root, definition.generation, entry.module, copy, entry.file, before)
        entry = msgspec.structs.replace(entry, compiled=compiled)
        definition = msgspec.structs.replace(definition, entry=entry)
    text = msgspec.json.encode(definition)
    write_new(layout.definition_copy(root, definition.generation), text)
    write_new(layout.definition(root, definition.generation), text)
    return definition


def _link_logs(definition: Definition) -> None:
    """``RUN_DIR/logs/latest`` leads to the newest run's logs; a convenience, so nothing fails for it."""
    directory = os.path.join(definition.run_dir, "logs")
    temporary = beside("latest")
    try:
        make_directories(directory)
        # Of a name that is a link itself, and leads anywhere, nothing is made there.
        inside = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            os.symlink(os.path.join("..", ".reflow", definition.run_id, "logs"), temporary, dir_fd=inside)
            os.replace(temporary, "latest", src_dir_fd=inside, dst_dir_fd=inside)
        finally:
            os.close(inside)
    except OSError:
        pass
