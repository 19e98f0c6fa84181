"""Which modules are the user's own, and where their source is."""

from __future__ import annotations

import os
import sys
import sysconfig
from functools import lru_cache
from typing import TYPE_CHECKING

from ...model.definition import Entry

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

#: modules of reflow itself
_SELF = "reflow"
#: what tells a directory with installed packages
_INSTALLED = ("site-packages", "dist-packages")
_ENVIRONMENT = ("pyvenv.cfg", "conda-meta")


class Own:
    """Tells the user's own modules from installed ones.

    Own is what lies below the script's top directory, in an editable install, or is named.

    Parameters
    ----------
    entry : Entry
        The script, with the modules that are named own or foreign; the longer name decides.
    """

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self._named = {**dict.fromkeys(entry.own, True), **dict.fromkeys(entry.foreign, False)}
        self._top = os.path.join(os.path.realpath(entry.path[0] if entry.path else os.getcwd()), "")
        self._files: dict[str, str | None] = {}
        self._found: dict[str, tuple[str | None, tuple[str, ...]]] = {}
        self._directories: dict[str, bool] = {}

    def file(self, module: str) -> str | None:
        """Return the source file of an own module; "" for a namespace package, None for what is foreign or nowhere."""
        if module not in self._files:
            self._files[module] = self._file(module)
        return self._files[module]

    def _file(self, module: str) -> str | None:
        if module == self.entry.module and self.entry.file:
            return self.entry.file
        named = self._word(module)
        top = module.partition(".")[0]
        if named is False or top == _SELF or (named is None and top in sys.stdlib_module_names):
            return None
        parent = module.rpartition(".")[0]
        if named is None and parent and self.file(parent) is None:
            return None
        file, directories = self._find(module)
        places = [file] if file else list(directories)
        if not places or (file and not file.endswith(".py")):
            return None
        if named or any(self._is_own(place) for place in places):
            return file or ""
        return None

    def _word(self, module: str) -> bool | None:
        """Whether configuration names a module, or a package around it."""
        while module:
            if module in self._named:
                return self._named[module]
            module = module.rpartition(".")[0]
        return None

    def _find(self, module: str) -> tuple[str | None, tuple[str, ...]]:
        """Return a module's file, and the directories of a package's modules; imports nothing."""
        if module not in self._found:
            self._found[module] = self._search(module)
        return self._found[module]

    def _search(self, module: str) -> tuple[str | None, tuple[str, ...]]:
        loaded = sys.modules.get(module)
        if loaded is not None:
            names = getattr(loaded, "__dict__", {})  # a module may answer for any attribute
            file, paths = names.get("__file__"), names.get("__path__")
            if file or paths:
                return (os.path.abspath(file) if file else None), tuple(paths or ())
        from importlib.machinery import PathFinder

        parent, _, _ = module.rpartition(".")
        try:
            if parent:
                _, directories = self._find(parent)
                spec = PathFinder.find_spec(module, list(directories)) if directories else None
            else:
                spec = PathFinder.find_spec(module, [*self.entry.path, *sys.path]) or _ask_finders(module)
        except (ImportError, ValueError, OSError):
            spec = None
        if spec is None:
            return None, ()
        file = spec.origin if spec.has_location else None
        return (os.path.abspath(file) if file else None), tuple(spec.submodule_search_locations or ())

    def _is_own(self, path: str) -> bool:
        path = os.path.realpath(path)
        if _is_installed(path):
            return False
        if path.startswith(self._top):
            return not self._in_environment(os.path.dirname(path))
        return any(path.startswith(root) for root in editable_roots())

    def _in_environment(self, directory: str) -> bool:
        """Whether a virtual environment lies between the top directory and this one."""
        if not os.path.join(directory, "").startswith(self._top) or len(directory) < len(self._top):
            return False
        if directory not in self._directories:
            here = any(os.path.exists(os.path.join(directory, name)) for name in _ENVIRONMENT)
            self._directories[directory] = here or self._in_environment(os.path.dirname(directory))
        return self._directories[directory]


def _is_installed(path: str) -> bool:
    parts = path.split(os.sep)
    return any(name in parts for name in _INSTALLED) or path.startswith(_library())


@lru_cache(maxsize=1)
def _library() -> str:
    return os.path.join(os.path.realpath(sysconfig.get_path("stdlib")), "")


def _ask_finders(module: str) -> ModuleSpec | None:
    """Return the spec that finders of editable installs give."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        if find is not None and "editable" in f"{getattr(finder, '__module__', '')}{finder!r}".lower():
            spec: ModuleSpec | None = find(module, None)
            if spec is not None:
                return spec
    return None


@lru_cache(maxsize=1)
def editable_roots() -> tuple[str, ...]:
    """Return the directories of projects that are installed editable; reflow and its plugins are left out."""
    roots: set[str] = set()
    for directory in dict.fromkeys(sys.path):
        try:
            names = os.listdir(directory) if any(part in directory for part in _INSTALLED) else ()
        except OSError:
            continue
        for name in names:
            root = ""
            if name.endswith(".dist-info"):
                root = _editable(os.path.join(directory, name))
            elif name.endswith(".egg-link"):
                root = _read(os.path.join(directory, name)).partition("\n")[0].strip()
            if root:
                roots.add(os.path.join(os.path.realpath(root), ""))
    return tuple(sorted(roots))


def _editable(info: str) -> str:
    """Return the project directory of a distribution that is installed editable; "" for others."""
    text = _read(os.path.join(info, "direct_url.json"))
    if '"editable"' not in text:
        return ""
    import json
    from urllib.parse import unquote, urlsplit

    try:
        url = json.loads(text)
        editable = url["dir_info"]["editable"]
        root = unquote(urlsplit(url["url"]).path)
    except (ValueError, KeyError, TypeError):
        return ""
    name = os.path.basename(info).partition("-")[0].replace("_", "-").lower()
    is_reflow = name == "reflow" or name.startswith("reflow-core") or "[reflow" in _read(f"{info}/entry_points.txt")
    return root if editable is True and not is_reflow else ""


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""
