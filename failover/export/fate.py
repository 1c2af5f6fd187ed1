"""What uplinks share, as the status document has it, and the same put together for people. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line shows what is written here, and has no picture
    from failover.picture import Shared


@dataclass(frozen=True, slots=True)
class Group:
    """Uplinks that share one thing."""

    why: str
    """A word of `Sharing`."""
    what: str
    """As `the network au`."""
    names: tuple[str, ...]
    """In order of preference."""

    def sentence(self) -> str:
        """As `au, UQ and povo share the network au`."""
        return f"{', '.join(self.names[:-1])} and {self.names[-1]} share {self.what}"


def section(fate: Iterable[Shared]) -> list[dict[str, str]]:
    """What one uplink shares, as plain JSON values."""
    return [{"uplink": one.other, "why": one.why.value, "text": one.what} for one in fate]


def groups(uplinks: Sequence[Mapping[str, Any]]) -> Iterator[Group]:
    """`uplinks` as the status document has them; each thing that is shared is told once. What two pairs share by the
    same words need not be one thing: two modems are both `a modem`."""
    peers: dict[tuple[str, str], dict[str, set[str]]] = {}
    for uplink in uplinks:
        for one in uplink.get("shared_fate", ()):  # an older agent tells none
            found, pair = peers.setdefault((str(one["why"]), str(one["text"])), {}), (uplink["name"], one["uplink"])
            for name, other in permutations(map(str, pair)):
                found.setdefault(name, set()).add(other)
    order = {str(uplink["name"]): place for place, uplink in enumerate(uplinks)}
    for (why, what), found in peers.items():
        left = dict.fromkeys(found)
        while left:
            together = _reached(found, next(iter(left)))
            left = dict.fromkeys(name for name in left if name not in together)
            yield Group(why, what, tuple(sorted(together, key=lambda name: order.get(name, len(order)))))


def _reached(peers: Mapping[str, set[str]], name: str) -> set[str]:
    """That one and all that hang on it, directly or by others."""
    reached, beyond = {name}, peers[name]
    while beyond := beyond - reached:
        reached |= beyond
        beyond = set().union(*(peers[one] for one in beyond))
    return reached
