"""The words of name servers: by which way the box's resolver is told of them, and what is wanted of a link's.

Immutable values only. No behaviour beyond reading a value; no I/O.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from failover.model import Family


class Way(enum.StrEnum):
    """How the box's resolver is told: `dns:` of the config."""

    AUTO = "auto"
    """Whichever of the others this box uses."""
    RESOLVED = "resolved"
    """systemd-resolved, over D-Bus."""
    RESOLVCONF = "resolvconf"
    """openresolv."""
    FILE = "file"
    """A file like resolv.conf(5) that is ours."""
    NONE = "none"
    """Not at all."""


@dataclass(frozen=True, slots=True)
class Resolvers:
    """What is wanted of one link's name servers."""

    interface: str
    servers: tuple[str, ...] = ()
    """Addresses, best first. None: those that its network told, which only systemd-resolved knows: left as they are, or
    put back."""
    families: tuple[Family, ...] = ()
    """In which new flows leave by this link. With any, names in general are asked there, and not just those of the
    link's own domains; by a flat file, of its servers in these families."""
    lost: bool = False
    """Questions under way there will not be answered: when names are asked elsewhere now, those end, and whoever waits
    asks anew."""
