"""The user's own modules as they were frozen: imports find them where they are, and execute the frozen source.

Specs come from the ordinary finders, so that ``__file__``, packages, relative imports and data files beside modules
are as ever. Source and compiled code come from ``code/G/modules``; live ones are neither read nor written.
"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from types import CodeType, ModuleType
from typing import Any

import msgspec

from ..errors import DataError
from ..model import layout
from ..model.definition import Definition, Module
from ..model.digest import sha256
from .opener import read_regular
from .trust import Trust

_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


class Frozen:
    """A finder of the own modules of one code generation, in front of the ordinary ones while it is in use.

    Parameters
    ----------
    root : str
        The run's root directory.
    definition : Definition
        Of the code generation.
    trusted : Trust, optional
        Who may have written the frozen files; None: whoever.
    """

    def __init__(self, root: str, definition: Definition, trusted: Trust | None = None) -> None:
        entry = definition.entry
        self._root, self._generation, self._trusted = root, definition.generation, trusted
        self._script = layout.frozen(root, definition.generation, entry.file)
        script = Module(file=entry.file, digest=entry.digest, compiled=entry.compiled)
        self.entry = entry
        self.modules = {**definition.modules, entry.module: script}
        self._loaded: dict[str, ModuleType] = {}
        self._own = tuple(os.path.join(top, "") for top in definition.own)
        self._seen: set[str] = set()
        self._count = 0
        self._note = b""

    def enter(self) -> None:
        """Come first among the finders, with the modules that were loaded before."""
        sys.meta_path.insert(0, self)
        sys.modules.update(self._loaded)

    def leave(self) -> None:
        """Make room for another generation: its modules have the same names."""
        sys.meta_path.remove(self)
        self._loaded = {name: sys.modules.pop(name) for name in self.modules if name in sys.modules}

    # --- importing -----------------------------------------------------------

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a frozen module, which says where it is, with a loader that has the frozen code."""
        module = self.modules.get(name)
        if module is None or not module.file.endswith(".py"):
            return None
        found: ModuleSpec | None = None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            found = finder.find_spec(name, path, target)
            if found is not None:
                break
        file, places = module.file, [os.path.dirname(module.file)] if module.package else None
        if found is not None and found.has_location and found.origin:
            if _is_same_file(found.origin, module.file):
                file, places = found.origin, found.submodule_search_locations
            elif os.path.exists(module.file):
                return None  # a task has changed where modules are found: this one is another, of the same name
        return spec_from_file_location(name, file, loader=self.loader(name, file), submodule_search_locations=places)

    def loader(self, name: str, file: str) -> SourceFileLoader:
        """Return what loads a frozen module as if from `file`."""
        return _Loader(name, file, self)

    def code(self) -> CodeType:
        """Return the script's own code."""
        code = self.loader(self.entry.module, self.entry.file).get_code(self.entry.module)
        assert code is not None  # of a source
        return code

    def source(self, name: str) -> bytes:
        """Return the source of a frozen module.

        Raises
        ------
        OSError
            It cannot be read.
        DataError
            It is not what was frozen.
        """
        script = name == self.entry.module
        path = self._script if script else layout.frozen_module(self._root, self._generation, name)
        source = read_regular(path, self._trusted)
        if self.modules[name].digest and sha256(source).hexdigest() != self.modules[name].digest:
            raise DataError(f"{path} is damaged: it is not what was submitted", hint="`reflow repair` puts it in order")
        return source

    def compiled(self, name: str) -> bytes:
        """Return the compiled code of a frozen module, for the interpreter that submitted.

        Raises
        ------
        OSError
            There is none for this interpreter, or it is not what was written.
        """
        path = layout.compiled(self._root, self._generation, name, sys.implementation.cache_tag or "")
        raw = read_regular(path, self._trusted)
        if sha256(raw).hexdigest() != self.modules[name].compiled:
            raise OSError(f"{path} is not what was written")
        return raw

    # --- comparing -----------------------------------------------------------

    def known(self) -> None:
        """Take what is imported now for what was frozen: in the process that has frozen it."""
        self._seen = set(sys.modules)
        self._count = len(sys.modules)

    def note(self) -> bytes:
        """Return why results must not be kept, as a field of their record; empty where they may be."""
        if len(sys.modules) != self._count:
            self._count = len(sys.modules)
            for name in sys.modules.keys() - self._seen:
                self._seen.add(name)
                why = self._difference(name, sys.modules.get(name))
                if why and not self._note:
                    self._note = b',"w":' + msgspec.json.encode(why)
        return self._note

    def _difference(self, name: str, module: Any) -> str:
        try:
            loader, file = getattr(module, "__loader__", None), getattr(module, "__file__", None)
        except Exception:  # an object in place of a module does as it likes
            return ""
        if isinstance(loader, _Loader) or not isinstance(file, str) or name in ("__main__", "__mp_main__"):
            return ""
        known = self.modules.get(name)
        if known is None:
            own = self.is_own(name, file)
            return (
                f"{name} ({file}) was imported in its process, and was not known when the code was frozen"
                if own
                else ""
            )
        if name == self.entry.module:
            return ""
        try:
            same = sha256(read_regular(file, follow=True)).hexdigest() == known.digest
        except OSError:
            same = False
        return "" if same else f"{name} ({file}) was imported in its process, and has changed since the code was frozen"

    def named(self, name: str) -> bool | None:
        """Return whether the configuration names a module, or a package around it, as own; None where it is silent."""
        named = {**dict.fromkeys(self.entry.own, True), **dict.fromkeys(self.entry.foreign, False)}
        for around in (name[:end] for end in range(len(name), 0, -1) if name[end : end + 1] in ("", ".")):
            if around in named:
                return named[around]
        return None

    def is_own(self, name: str, file: str) -> bool:
        """Return whether a module of this file is the user's own."""
        named = self.named(name)
        if named is not None:
            return named
        if not file.startswith(self._own) or any(part in file for part in _INSTALLED):
            return False
        inside = [os.path.join(top, "") for top in {sys.prefix, sys.base_prefix}]
        installed = any(file.startswith(top) and not self._own[0].startswith(top) for top in inside)
        return not installed and name.partition(".")[0] != "reflow"


def _is_same_file(one: str, other: str) -> bool:
    return one == other or os.path.realpath(one) == os.path.realpath(other)


class _Loader(SourceFileLoader):
    """Loads a module from its frozen source, or from what that was compiled to; all else is read where it is."""

    def __init__(self, name: str, path: str, frozen: Frozen) -> None:
        super().__init__(name, path)
        self._frozen = frozen
        self._source: bytes | None = None

    def get_data(self, path: Any) -> bytes:
        """Return the frozen source for the module's file, and its compiled code for the cached one."""
        if path == self.path:
            if self._source is None:
                self._source = self._frozen.source(self.name)
            return self._source
        if str(path).endswith(".pyc"):
            if ".opt-" in os.path.basename(path):
                raise OSError("code is compiled without optimisation")
            return self._frozen.compiled(self.name)
        return super().get_data(path)

    def path_stats(self, path: Any) -> dict[str, Any]:
        """Return what is compared with the header of compiled code; what is frozen needs no comparison."""
        return {"mtime": 0, "size": None}

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        """Write nothing."""

    def get_code(self, fullname: str) -> Any:
        """Return the module's code; its source is read too: it is compared with its digest, and tracebacks show it."""
        source = self.get_data(self.path)
        linecache.cache[str(self.path)] = (len(source), None, _Lines(source), str(self.path))  # type: ignore[assignment]
        return super().get_code(fullname)


class _Lines(Sequence[str]):
    """Lines of a source, split when somebody looks."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._lines: list[str] | None = None

    def _split(self) -> list[str]:
        if self._lines is None:
            import tokenize
            from io import BytesIO

            try:
                encoding, _ = tokenize.detect_encoding(BytesIO(self._source).readline)
            except SyntaxError:
                encoding = "utf-8"
            text = self._source.decode(encoding, "replace").removeprefix("\ufeff")
            self._lines = text.replace("\r\n", "\n").replace("\r", "\n").splitlines(keepends=True)
        return self._lines

    def __len__(self) -> int:
        return len(self._split())

    def __getitem__(self, index: Any) -> Any:
        return self._split()[index]
