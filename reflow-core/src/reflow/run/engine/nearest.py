"""Naming why a result is not in the cache, by the earlier result that shares most with it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from ...authoring.code.packages import difference
from ...model.cache import CacheEntry

NEW = "no earlier result"

#: characters of a digest, and of a value's text, in a part of an entry
SHORT = 16
_SHOWN = 60

#: of this many results all are compared, part by part; of more, the newest, and the newest with each own value
_ALL, _NEWEST = 200, 16

#: how many reasons of one task may name values: a larger array's elements are not told apart by them
_MOST = 100

#: parts that are no values
_LOOSE = "loose"
PACKAGES = "packages"


def kept_part(digest: bytes, raw: bytes) -> str:
    """Return a value as an entry keeps it: a short digest, and the beginning and end of its text, for people."""
    text = raw.decode("utf-8", "replace") if len(raw) <= _SHOWN else ""
    if not text:
        half = _SHOWN // 2
        text = f"{raw[:half].decode('utf-8', 'ignore')}…{raw[-half + 1 :].decode('utf-8', 'ignore')}"
    return f"{digest.hex()[:SHORT]}={text}"


def _text(kept: str | None) -> str:
    """The text of a value as it is kept; "" where there is none."""
    return kept[SHORT + 1 :] if kept is not None and kept[SHORT : SHORT + 1] == "=" else ""


class Nearest:
    """Earlier results of a task, and how an element differs from that which shares most with it.

    A result that an element of this run has taken is nobody else's: what shares
    all but one value with it is new, and no changed one.

    Parameters
    ----------
    history : sequence of CacheEntry
        Earlier results, newest first.
    own : collection of str
        Parameters of which each element has a value of its own.
    recoded : callable
        Names what of the code has changed since a result was computed; "" where nobody knows.
    """

    def __init__(
        self,
        history: Sequence[CacheEntry],
        own: Collection[str],
        recoded: Callable[[CacheEntry], str] = lambda _: "",
    ) -> None:
        self._recoded = recoded
        self._history = history
        self._own = own
        self._taken: set[str] = set()
        #: (part, hash of all the others) -> positions of results, newest last
        self._near: dict[tuple[str, int], list[int]] = {}
        #: (own part, what it says) -> positions of the newest results
        self._with: dict[tuple[str, str], list[int]] = {}
        for position, entry in enumerate(history):
            for name in own:
                held = self._with.setdefault((name, entry.parts.get(name, "")), [])
                if len(held) < _NEWEST:
                    held.append(position)
        for position in reversed(range(len(history))):
            for key in _leave_one_out(history[position].parts):
                self._near.setdefault(key, []).append(position)
        self._said: set[str] = set()

    def take(self, keys: Iterable[str]) -> None:
        """Note that elements of this run have taken these results."""
        self._taken.update(keys)

    def why(self, parts: Mapping[str, str]) -> str:
        """Name what differs between an element, of which there is no result, and the nearest result."""
        one = next((key[0] for key in sorted(_leave_one_out(parts), key=self._last) if self._free(key)), None)
        alike = self._free((one, _without(parts, one))) if one is not None else self._closest(parts)
        if not alike:
            return self._new(parts)
        said = self._differs(parts, [self._history[position] for position in alike])
        if len(self._said) >= _MOST and said not in self._said:
            return self._differs(parts, [self._history[alike[0]]], values=False)
        self._said.add(said)
        return said

    def _last(self, key: tuple[str, int]) -> bool:
        """Whether a part is looked at last: one's own value tells least."""
        return key[0] in self._own

    def _free(self, key: tuple[str, int]) -> list[int]:
        """The newest results that have all but one part of these, and are nobody's; two tell that there are several."""
        among = self._near.get(key, [])
        found: list[int] = []
        while among and len(found) < 2:
            at = among.pop()  # what is taken stays so, and is not looked at again
            if self._history[at].key not in self._taken:
                found.append(at)
        among.extend(reversed(found))
        return found

    def _closest(self, parts: Mapping[str, str]) -> list[int]:
        """Positions of the results that share most parts, newest first."""
        among: Collection[int] = range(len(self._history))
        if len(among) > _ALL:
            found = {at for name in self._own for at in self._with.get((name, parts.get(name, "")), ())}
            among = sorted({*range(_NEWEST), *found})
        best: list[int] = []
        most = -1
        for at in among:
            entry = self._history[at]
            if entry.key in self._taken:
                continue
            shared = sum(parts.get(name) == kept for name, kept in entry.parts.items() if name != _LOOSE)
            if shared > most:
                best, most = [], shared
            if shared == most:
                best.append(at)
        return best

    def _differs(self, parts: Mapping[str, str], entries: Sequence[CacheEntry], *, values: bool = True) -> str:
        """What an element has that the newest of some entries, all as near to it, has not."""
        newest = entries[0].parts
        names = sorted(({*parts, *newest}) - {_LOOSE})
        changed: list[str] = []
        told: list[str] = []
        for name in names:
            then, now = newest.get(name), parts.get(name)
            if then == now:
                continue
            texts = (then or "", now or "") if name == "version" else (_text(then), _text(now))
            if name == PACKAGES and (versions := difference(*texts)):
                told.append(f"computed with {versions}")
            elif name in self._own and len({entry.parts.get(name) for entry in entries}) > 1:
                told.append(f"no earlier result with {name} = {texts[1]}" if values and texts[1] else f"{name} is new")
            elif name != PACKAGES and values and all(texts) and texts[0] != texts[1]:
                told.append(f"{name}: {texts[0]} → {texts[1]}")
            elif name == "code" and (what := self._recoded(entries[0])):
                changed.append(f"code ({what})")
            else:
                changed.append(name)
        return ", ".join([*([f"{', '.join(changed)} changed"] if changed else []), *told]) or NEW

    def _new(self, parts: Mapping[str, str]) -> str:
        shown = [f"{name} = {text}" for name in sorted(self._own) if (text := _text(parts.get(name)))]
        if not (shown and self._history) or len(self._said) >= _MOST:
            return NEW
        said = f"{NEW} with {', '.join(shown)}"
        self._said.add(said)
        return said


def _leave_one_out(parts: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Each component's name, with a hash of all the other components."""
    # Of text, since hashes of tuples add up alike where two components have swapped their values.
    hashes = {name: hash(f"{name}={value}") for name, value in parts.items() if name != _LOOSE}
    whole = sum(hashes.values())
    for name, one in hashes.items():
        yield name, whole - one


def _without(parts: Mapping[str, str], name: str) -> int:
    """The hash of all components but one."""
    return dict(_leave_one_out(parts))[name]
