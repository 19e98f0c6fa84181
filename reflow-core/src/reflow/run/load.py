"""Reading what was frozen at submit: a run's definition, and its secrets."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..errors import DataError
from ..model import layout
from ..model.definition import Definition
from ..model.record import SCHEMA
from ..model.task import JSON


def damaged(root: str, what: str) -> DataError:
    """An error that says what is wrong with a run's files, and who can mend them."""
    return DataError(what, hint=f"`reflow repair {root}` rebuilds what can be rebuilt")


def newer(path: str, version: str) -> DataError:
    """An error about a file that this version does not read, and leaves as it is."""
    by = f" ({version})" if version else ""
    return DataError(
        f"{path} was written by a newer version of reflow{by}",
        hint="use that version, or a later one, for this run",
    )


def load_definition(root: str, generation: int = 1) -> Definition:
    """Read a run's frozen definition.

    Raises
    ------
    DataError
        It is damaged, or was written by a newer version.
    """
    path = layout.definition(root, generation)
    with open(path, "rb") as stream:
        raw = stream.read()
    try:
        definition = msgspec.json.decode(raw, type=Definition)
    except msgspec.MsgspecError as error:
        raise damaged(root, f"{path} is damaged: {error}") from None
    if definition.schema > SCHEMA:
        raise newer(path, definition.version)
    return definition


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """What only the run's owner may read: ``secrets.json``, mode 0600.

    ``env`` holds the tasks' environment variables, ``config`` secret configuration, ``overrides`` what was given of
    variables with ``--set``, beside each of the definition's,
    ``inherited`` what ``[executor] inherit_env`` adds to the variables that every job is given.
    """

    env: Mapping[str, Mapping[str, str]] = {}
    config: Mapping[str, JSON] = {}
    inherited: Mapping[str, str] = {}
    overrides: tuple[JSON, ...] = ()


def load_secrets(root: str, generation: int = 1) -> Secrets:
    """Read those of a code generation; empty where there are none."""
    try:
        with open(layout.secrets(root, generation), "rb") as stream:
            return msgspec.json.decode(stream.read(), type=Secrets)
    except FileNotFoundError:
        return Secrets()
