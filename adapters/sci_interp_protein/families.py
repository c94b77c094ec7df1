"""Connected components: which names belong together."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["DisjointSets", "name_families"]


def name_families(records: list[str], pairs: Iterable[tuple[int, int]]) -> dict[str, str]:
    """Return connected components of pairs of record numbers, named by their first record."""
    joined = DisjointSets()
    width = len(str(len(records)))
    for a, b in pairs:
        joined.join(f"{a:0{width}}", f"{b:0{width}}")
    return {
        record: records[int(joined.root(f"{at:0{width}}"))] for at, record in enumerate(records)
    }


class DisjointSets:
    """Names joined into sets; a set is called by its smallest name."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def root(self, name: str) -> str:
        """Return the name of the set that holds ``name``."""
        while (above := self._above.get(name, name)) != name:
            self._above[name] = self._above.get(above, above)
            name = above
        return name

    def join(self, one: str, other: str) -> None:
        """Make one set of the sets of two names."""
        low, high = sorted((self.root(one), self.root(other)))
        self._above[high] = low
