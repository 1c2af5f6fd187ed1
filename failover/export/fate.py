"""What uplinks share, as the status document has it, and the same put together for people. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
    """`uplinks` as the status document has them; each thing that is shared is told once."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for uplink in uplinks:
        for one in uplink.get("shared_fate", ()):  # an older agent tells none
            members = found.setdefault((str(one["why"]), str(one["text"])), {})
            members.update(dict.fromkeys((str(uplink["name"]), str(one["uplink"]))))
    order = {str(uplink["name"]): place for place, uplink in enumerate(uplinks)}
    for (why, what), names in found.items():
        yield Group(why, what, tuple(sorted(names, key=lambda name: order.get(name, len(order)))))
