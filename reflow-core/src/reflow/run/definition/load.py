"""Reading what was frozen at submit: a run's definition, and its secrets."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from ...errors import DataError
from ...model import layout
from ...model.definition import Definition
from ...model.digest import sha256
from ...model.task import JSON
from ...model.versions import require_schema
from ...worker.durable import write_new
from ...worker.opener import WHOLE, decoded, read_regular
from ...worker.trust import Trust

_definition = msgspec.json.Decoder(Definition)


def damaged(root: str, what: str) -> DataError:
    """An error that says what is wrong with a run's files, and who can mend them."""
    return DataError(what, hint=f"`reflow repair {root}` rebuilds what can be rebuilt")


def load_definition(root: str, generation: int = 1, trusted: Trust | None = None) -> Definition:
    """Read a run's frozen definition, which somebody of `trusted` has written; None: whoever.

    Raises
    ------
    DataError
        It is damaged, of another run, or was written by a version that this one does not read.
    Untrusted
        Somebody else has written it, or could have.
    """
    definition = read_definition(root, generation, trusted)
    copy = layout.definition_copy(root, generation)
    with suppress(OSError, msgspec.MsgspecError):
        if decode_definition(read_regular(copy, trusted, most=WHOLE), copy) != definition:
            raise damaged(root, f"{layout.definition(root, generation)} and {copy} differ")
    return definition


def read_definition(root: str, generation: int = 1, trusted: Trust | None = None) -> Definition:
    """The same, whatever its copy says."""
    path = layout.definition(root, generation)
    raw = read_regular(path, trusted, most=WHOLE)
    try:
        definition = decode_definition(raw, path)
    except msgspec.MsgspecError as error:
        raise damaged(root, f"{path} is damaged: {error}") from None
    if definition.run_id != os.path.basename(root):
        raise damaged(root, f"{path} is of run {definition.run_id}")
    return definition


def decode_definition(raw: bytes, path: str) -> Definition:
    """Read a definition; `path` is for the message.

    Raises
    ------
    DataError
        It was written by a version that this one does not read.
    msgspec.MsgspecError
        It is damaged.
    """
    require_schema(path, raw)
    return decoded(_definition.decode, raw)


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """What only the run's owner may read: ``secrets.json``, mode 0600.

    ``env`` holds the tasks' environment variables, ``config`` secret configuration, ``overrides`` what was given of
    variables with ``--set``, beside each of the definition's,
    ``inherited`` what ``[executor] inherit_env`` adds to the variables that every job is given.
    ``lost`` names what of it could not be restored after damage, and ``seal`` is a digest of all the rest.
    """

    env: Mapping[str, Mapping[str, str]] = {}
    config: Mapping[str, JSON] = {}
    inherited: Mapping[str, str] = {}
    overrides: tuple[JSON, ...] = ()
    lost: tuple[str, ...] = ()
    seal: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """What there is of it, by name: see `Definition.private`."""
        whole = [name for name in ("config", "inherited", "overrides") if getattr(self, name)]
        return (*whole, *(f"env.{task}" for task in self.env))

    def missing(self, task: str) -> str:
        """Of what a task's jobs are given, that which is lost, in words; "" for nothing."""
        return " and ".join(in_words([part for part in self.lost if part in (f"env.{task}", "inherited")]))


def in_words(parts: Sequence[str]) -> list[str]:
    """Of parts of secrets, see `Definition.private`, those that jobs are given."""
    said = [f"the variables of {part.removeprefix('env.')}" for part in parts if part.startswith("env.")]
    return [*said, *(["what jobs inherit of the submission"] if "inherited" in parts else [])]


def load_secrets(root: str, definition: Definition, trusted: Trust | None = None) -> Secrets:
    """Read those of a code generation, which somebody of `trusted` has written; empty where there are none.

    Raises
    ------
    DataError
        They are damaged, or lost.
    Untrusted
        Somebody else has written them, or could have; `trusted` is None: whoever.
    """
    path = layout.secrets(root, definition.generation)
    try:
        secrets = decoded(_secrets.decode, read_regular(path, trusted))
    except FileNotFoundError:
        if definition.private:
            raise damaged(root, f"{path} is lost") from None
        return Secrets()
    except msgspec.MsgspecError as error:
        raise damaged(root, f"{path} is damaged: {error}") from None
    if secrets.seal and secrets.seal != _seal(secrets):
        raise damaged(root, f"{path} is damaged: it is not what was written")
    return secrets


def save_secrets(root: str, generation: int, secrets: Secrets) -> None:
    """Write those of a code generation, if there are any, where only their owner can read them."""
    if secrets != Secrets():
        sealed = msgspec.structs.replace(secrets, seal=_seal(secrets))
        write_new(layout.secrets(root, generation), msgspec.json.encode(sealed), 0o600)


_secrets = msgspec.json.Decoder(Secrets)


def _seal(secrets: Secrets) -> str:
    """Of what is there: what another version has besides, and does not use, changes nothing."""
    there = {name: value for name in secrets.__struct_fields__ if name != "seal" and (value := getattr(secrets, name))}
    return sha256(msgspec.json.encode(there)).hexdigest()
