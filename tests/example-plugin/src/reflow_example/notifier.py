"""A notifier: appends each message to a file."""

from __future__ import annotations

import os
from collections.abc import Mapping

from reflow.plugin import JSON, Context, Notice, ReflowError


class Journal:
    """Writes messages to a file.

    Parameters
    ----------
    file : str
        Absolute path of a file in a directory that exists.
    """

    def __init__(self, file: str) -> None:
        self.file = file

    @classmethod
    def create(cls, settings: Mapping[str, JSON], context: Context) -> Journal:
        """Build it from ``[notifications.journal]``."""
        return cls(settings.get("file") or os.path.join(context.store, "journal.txt"))

    def notify(self, message: Notice) -> None:
        """Append one message."""
        try:
            with open(self.file, "a", encoding="utf-8") as stream:
                stream.write(f"{message.text()}\n")
        except OSError as error:
            raise ReflowError(f"the journal cannot be written: {error}") from error
