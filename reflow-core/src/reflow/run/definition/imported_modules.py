"""The user's own modules that a script reaches: found, and frozen with it."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import EXTENSION_SUFFIXES
from typing import TYPE_CHECKING

import msgspec

from ...authoring.code.own import Own, editable_roots
from ...errors import UsageError
from ...model import layout
from ...model.definition import Definition, Entry, Module
from ...model.digest import sha256
from ...worker.durable import FILE, make_directories, write_new
from ...worker.frozen import Frozen
from ...worker.opener import read_regular
from .compiled import compile_frozen

if TYPE_CHECKING:
    from ...authoring.code.reach import Analysis

#: what the end of an element puts back in any case, or replaces
_STREAMS = ("sys:stdin", "sys:stdout", "sys:stderr")

_INSTALLED = ("site-packages", "dist-packages")

#: every line that may be an import, those inside functions too, and some that are none, which does no harm
_IMPORT = re.compile(
    r"(?:^|[;:])[ \t]*(?:from[ \t]+([.\w]+)[ \t]+import[ \t]+(\([^)]*\)|(?:[^\n#;\\]|\\\n)+)"
    r"|import[ \t]+((?:[^\n#;\\]|\\\n)+))",
    re.MULTILINE,
)
_NAME = re.compile(r"[\w.]+")
_COMMENT = re.compile(r"#[^\n]*")


class Code(msgspec.Struct, frozen=True):
    """A script's own modules.

    Attributes
    ----------
    modules : mapping of str to Module
        By name, the script itself left out.
    own : tuple of str
        Directories in which modules are the user's own.
    script : str
        SHA-256 of the script; "" for one that cannot be imported.
    written : tuple of str
        Names that own code rebinds or changes, of other modules too, as ``module:name``.
    """

    modules: Mapping[str, Module] = {}
    own: tuple[str, ...] = ()
    script: str = ""
    written: tuple[str, ...] = ()

    @property
    def digests(self) -> dict[str, str]:
        """What tells whether they are the same."""
        return {name: module.digest for name, module in self.modules.items()}


def own_modules(entry: Entry, analysis: Analysis | None = None) -> Code:
    """Find all own modules that tasks reach, or that are loaded, and all that those and the script import anywhere.

    Parameters
    ----------
    entry : Entry
        The script; nothing is found for one that cannot be imported.
    analysis : Analysis, optional
        What the tasks' code is, with the modules that it reaches.

    Raises
    ------
    UsageError
        A source is not what the analysis read.
    """
    if not entry.importable:
        return Code()
    own = Own(entry)
    reached, digests = (analysis.modules, analysis.digests) if analysis else ({}, {})
    todo = [entry.module, *reached, *_loaded(own)]
    found: dict[str, Module] = {}
    script = ""
    seen = set(todo)
    while todo:
        name = todo.pop()
        file = entry.file if name == entry.module else own.file(name)
        if not file:
            continue
        try:
            source = read_regular(file, follow=True)
        except OSError:
            if file in digests:
                raise _edited(file) from None
            continue  # what is imported from it is told by who imports it
        digest = sha256(source).hexdigest()
        if digests.get(file, digest) != digest:
            raise _edited(file)
        package = os.path.basename(file) == "__init__.py"
        if name == entry.module:
            script = digest
        else:
            found[name] = Module(file=file, digest=digest, package=package)
        for one in _imports(source.decode("utf-8", "replace"), name, package=package):
            if one not in seen:
                seen.add(one)
                if own.file(one.partition(".")[0]) is not None and own.file(one) is not None:
                    todo.append(one)
    roots = dict.fromkeys(
        top for root in (*entry.path[:1], *editable_roots()) for top in (os.path.abspath(root), os.path.realpath(root))
    )
    found |= _extensions(tuple(f"{root}{os.sep}" for root in roots))
    written = tuple(one for one in analysis.written if one not in _STREAMS) if analysis else ()
    return Code(dict(sorted(found.items())), tuple(roots), script, written)


def freeze_modules(root: str, definition: Definition, earlier: Definition | None = None) -> Definition:
    """Write a generation's own modules, and what they compile to, and return the definition with its digests.

    Parameters
    ----------
    root : str
        The run's root directory.
    definition : Definition
        Of the generation.
    earlier : Definition, optional
        Of the generation before, whose compiled code is used again.

    Raises
    ------
    UsageError
        A module is not what it was when it was found.
    """
    generation = definition.generation
    if definition.modules:
        make_directories(os.path.dirname(layout.frozen_module(root, generation, "")))
    modules = {}
    before = None if earlier is None else Frozen(root, earlier)
    for name, module in definition.modules.items():
        if module.file.endswith(".py"):
            copy = layout.frozen_module(root, generation, name)
            copy_module(module, copy)
            compiled = compile_frozen(root, generation, name, copy, module.file, before)
            module = msgspec.structs.replace(module, compiled=compiled)
        modules[name] = module
    return msgspec.structs.replace(definition, modules=modules)


def copy_module(module: Module, copy: str) -> None:
    """Write the frozen copy of a module."""
    copy_source(module.file, module.digest, copy)


def copy_source(file: str, digest: str, copy: str, *, durable: bool = False) -> str:
    """Write the frozen copy of a source, as private as the source, and return its digest.

    Parameters
    ----------
    file : str
        The source.
    digest : str
        SHA-256 of what it was when it was analysed; "" where it was not.
    copy : str
        File to be written.
    durable : bool
        Whether it has to outlive the machine.

    Raises
    ------
    UsageError
        The source is not what it was.
    """
    try:
        source, mode = read_regular(file, follow=True), stat.S_IMODE(os.stat(file).st_mode)
    except FileNotFoundError:
        raise _edited(file) from None
    found = sha256(source).hexdigest()
    if digest and found != digest:
        raise _edited(file)
    # Who may not read the source, which may hold what is not for everybody's eyes, may not read its copy.
    write_new(copy, source, mode & FILE | 0o600, durable=durable)
    return found


def _edited(file: str) -> UsageError:
    return UsageError(
        f"{file} was edited while its code was being frozen",
        hint="repeat the command: what runs is the code that results are identified by",
    )


def unchanged(definition: Definition) -> bool:
    """Whether all own modules of a generation are today what was frozen."""
    try:
        return all(
            sha256(read_regular(module.file, follow=True)).hexdigest() == module.digest
            for module in definition.modules.values()
        )
    except OSError:
        return False


def _loaded(own: Own) -> Iterator[str]:
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in sys.stdlib_module_names or name in ("__main__", "__mp_main__"):
            continue
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and not any(part in file for part in _INSTALLED) and own.file(name):
            yield name


def _extensions(roots: tuple[str, ...]) -> dict[str, Module]:
    found = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if (
            isinstance(file, str)
            and file.endswith(tuple(EXTENSION_SUFFIXES))
            and file.startswith(roots)
            and not any(part in file for part in _INSTALLED)
            and not file.startswith((os.path.join(sys.prefix, ""), os.path.join(sys.base_prefix, "")))
        ):
            found[name] = Module(file=file, digest=sha256(read_regular(file, follow=True)).hexdigest())
    return found


def _imports(text: str, module: str, *, package: bool) -> Iterator[str]:
    """Names of modules that a source may import, with the packages around them."""
    for match in _IMPORT.finditer(text):
        start, names, modules = match.groups()
        if modules:
            for one in modules.replace("\\\n", " ").split(","):
                yield from _around((_NAME.match(one.strip()) or [""])[0])
        elif start:
            base = start.lstrip(".")
            dots = len(start) - len(base)
            if dots:
                around = module.split(".")[: len(module.split(".")) - dots + package]
                base = ".".join([*around, *([base] if base else [])])
            yield from _around(base)
            for one in _COMMENT.sub("", names or "").strip("() \t\n").replace("\\\n", " ").split(","):
                found = _NAME.match(one.strip())
                if found:
                    yield f"{base}.{found[0]}"


def _around(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition(".")[0]
