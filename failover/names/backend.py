"""What every way to tell the box's resolver has in common, and what name servers' addresses are. No way itself."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from failover.model import FailoverError, Family
from failover.resolvers import Resolvers

SERVERS_MAX: Final = 3
"""More are not asked (MAXNS of resolv.h)."""


class NamesError(FailoverError):
    """The box's resolver cannot be told."""


class Backend(Protocol):
    """One way. Each call ends within a few seconds, whatever becomes of the other side, and never holds up the loop;
    one at a time."""

    async def told(self, interfaces: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """The name servers that these links' networks told, as far as this way knows; ours are not among them.
        NamesError."""
        ...

    async def follow(self, wanted: Sequence[Resolvers]) -> tuple[str, ...]:
        """Make it so, all of it; what was changed, a sentence each. What is so is not touched. NamesError when
        something could not be done; the rest is."""
        ...

    async def restore(self) -> tuple[str, ...]:
        """Put back what was there before the first `follow`, where it is still ours; what was changed. NamesError."""
        ...

    async def close(self) -> None:
        """Let go of the other side; what is set stays."""
        ...


def usable(servers: Iterable[str]) -> tuple[str, ...]:
    """Those that are addresses of somebody else, each once, in their order; a zone is left out."""
    return tuple(dict.fromkeys(plain for text in servers if (plain := _address(text))))


def _address(text: str) -> str:
    """Empty when it is none."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        return ""
    return str(address)


def lines(wanted: Sequence[Resolvers]) -> tuple[str, ...]:
    """The servers of a flat resolv.conf(5), as they are written there: of each link those that are asked by way of it;
    where nobody has such ones, any of theirs."""
    active = [(one, server) for one in wanted if one.families for server in usable(one.servers)]
    by_their_link = [(one, server) for one, server in active if Family.of(server) in one.families]
    found = (_zoned(server, one.interface) for one, server in by_their_link or active)
    return tuple(dict.fromkeys(found))[:SERVERS_MAX]


def _zoned(server: str, interface: str) -> str:
    """A link-local address is of its link."""
    return f"{server}%{interface}" if ipaddress.ip_address(server).is_link_local and ":" in server else server
