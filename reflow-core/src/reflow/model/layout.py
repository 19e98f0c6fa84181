"""Where things lie inside a run: ``RUN_DIR/.reflow/RUN_ID`` (the *root*).

Paths are plain strings, so that a worker need not import pathlib. No directory
below ``mailbox`` or ``logs`` holds more than `FANOUT` entries of elements.
"""

from __future__ import annotations

FANOUT = 1000


def root(run_dir: str, run_id: str) -> str:
    """The directory that holds everything of one run."""
    return f"{run_dir}/.reflow/{run_id}"


def run_dir(root: str) -> str:
    """The run directory in which a run lies."""
    return root.rsplit("/", 2)[0] or "/"


def definition(root: str, generation: int = 1) -> str:
    """The frozen definition; a later code generation has one of its own."""
    return f"{root}/run.json" if generation == 1 else f"{root}/code/{generation}/run.json"


def definition_copy(root: str, generation: int = 1) -> str:
    """The same once more, should that file be lost."""
    return f"{root}/code/{generation}/copy.json"


def secrets(root: str, generation: int = 1) -> str:
    """Environment variables of tasks and secret configuration; only its owner may read it."""
    return f"{root}/secrets.json" if generation == 1 else f"{root}/code/{generation}/secrets.json"


def unpublished(root: str) -> str:
    """There as long as results wait for a cache that could not be written."""
    return f"{root}/unpublished"


def code(root: str, generation: int) -> str:
    """Directory of the entry script as submitted."""
    return f"{root}/code/{generation}"


def frozen(root: str, generation: int, file: str) -> str:
    """The entry script as submitted; `file` is the user's own."""
    return f"{code(root, generation)}/{file.rpartition('/')[2]}"


def frozen_module(root: str, generation: int, name: str) -> str:
    """One of the user's own modules as submitted, by its full name."""
    return f"{code(root, generation)}/modules/{name}.py"


def compiled(root: str, generation: int, name: str, interpreter: str) -> str:
    """The same, or the script, compiled for an interpreter, such as ``cpython-311``."""
    return f"{code(root, generation)}/modules/{name}.{interpreter}.pyc"


def events(root: str, epoch: int) -> str:
    """Log of what one lease holder decided."""
    return f"{root}/events/{epoch // FANOUT}/{epoch:06d}.log"


def lease(root: str, epoch: int) -> str:
    """Claim of one epoch, and its owner's heartbeat."""
    return f"{root}/lease/{epoch // FANOUT}/{epoch:06d}"


def box(root: str, tag: str, slot: int, start: int = 1) -> str:
    """What one start of one slot reports."""
    return f"{mailbox(root, tag)}/{slot // FANOUT}/{slot}.{start}"


def exits(root: str, tag: str) -> str:
    """Where the shells of a submission's jobs leave exit codes that their scheduler would forget, a file a slot."""
    return f"{root}/exits/{tag[:2]}/{tag}"


def mailbox(root: str, tag: str) -> str:
    """What the slots of one submission, or the lanes of one pool, report."""
    return f"{root}/mailbox/{tag[:2]}/{tag}"


def announcements(root: str, tag: str) -> str:
    """The file in which a pool tells its lanes of jobs: a line of JSON (`Announced`) each, written before any token."""
    return f"{mailbox(root, tag)}/jobs"


def commands(root: str) -> str:
    """Directory of commands (cancel, retry) mailed to the run."""
    return f"{root}/mailbox/commands"


def job(root: str, tag: str) -> str:
    """What a worker needs to know of the job it runs in."""
    return f"{root}/jobs/{tag}.json"


def wakes(root: str, tag: str) -> str:
    """Which wake-ups wait for a job, for its workers."""
    return f"{root}/jobs/{tag}.wakes"


def relay(root: str, tag: str) -> str:
    """Where the slots of a job, or the jobs that a wake-up waits for, find out which of them is the last."""
    return f"{root}/relay/{tag[:2]}/{tag}"


def script(root: str, task: str, tag: str) -> str:
    """A script as it was submitted."""
    return f"{root}/scripts/{task}.{tag}.sh"


def job_log(root: str, tag: str) -> str:
    """What a job says before its worker redirects it to an element's log."""
    return f"{root}/logs/.jobs/{tag[:2]}/{tag}.log"


def tag(root: str, tag: str) -> str:
    """Claimed by the job's worker, or void: whoever creates it decides."""
    return f"{root}/tags/{tag}"


def inputs(root: str, task: str, part: int) -> str:
    """Inputs of a task's elements; ``.idx`` beside it holds their offsets."""
    return f"{root}/inputs/{task}.{part}"


def log(root: str, task: str, array: bool, index: int) -> str:
    """Output of one element, all its attempts."""
    if not array:
        return f"{root}/logs/{task}/{task}.log"
    return f"{root}/logs/{task}/{index // FANOUT}/{index}.log"


def log_dirs(root: str, task: str, array: bool, indices: list[int]) -> list[str]:
    """Directories that must exist before these elements can write."""
    if not array:
        return [f"{root}/logs/{task}"]
    return [f"{root}/logs/{task}/{shard}" for shard in sorted({index // FANOUT for index in indices})]


def scratch(root: str, task: str, index: int) -> str:
    """Scratch directory of one element, stable across its attempts."""
    return f"{root}/scratch/{task}/{index // FANOUT}/{index}"


def checkpoint(root: str, task: str, index: int, mark: str) -> str:
    """Checkpoint directory of one element, stable while its values, of which `mark` is a digest, are the same."""
    return f"{root}/checkpoints/{task}/{index // FANOUT}/{index}.{mark}"
