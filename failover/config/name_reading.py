"""`dns` of the config: by which way names follow the uplink, and name servers. What is known of these keys."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, Final

from failover.config import Names
from failover.config.keys import Key, Keys
from failover.config.values import WrongValueError, quoted
from failover.config.yaml_reading import Place, Reader, attempt, choice, items, text
from failover.config.yaml_tree import Scalar
from failover.resolvers import Way

SERVERS_MAX: Final = 6
"""Three of each family: more the C library does not ask (MAXNS of resolv.h)."""
_WAYS: Final = tuple(way.value for way in Way)


def read_way(place: Place) -> Way:
    """One of the words."""
    return Way(choice("a way to tell the resolver", _WAYS)(place))


def read_names(place: Place, mapping: Reader[Mapping[str, Any]]) -> Names:
    """A word, or a `mapping` of the keys."""
    if isinstance(place.value, Scalar):
        return Names(read_way(place))
    return Names(**mapping(place))


def read_servers(place: Place) -> tuple[str, ...]:
    """Addresses, each once."""
    first: dict[str, Place] = {}
    for item in items(place, SERVERS_MAX):
        for address in attempt(_server, item):
            before = first.setdefault(address, item)
            if before is not item:
                item.problem(f"the same server as {before.path} in line {before.value.line}", "remove one")
    return tuple(first)


def _server(place: Place) -> str:
    """Of somebody else, and reachable over any uplink."""
    written = text("an address", "9.9.9.9")(place)
    try:
        address = ipaddress.ip_address(written.replace("%", "?"))  # a zone may be anything
    except ValueError:
        mend = "write it plainly, as 9.9.9.9 or 2620:fe::fe, without port or zone"
        raise WrongValueError(f"{quoted(written)} is not an address", mend) from None
    address = getattr(address, "ipv4_mapped", None) or address
    if (
        address.is_loopback
        or address.is_reserved
        or address.is_unspecified
        or address.is_multicast
        or address.is_link_local
    ):
        raise WrongValueError(
            f"{quoted(written)} is no uplink's name server", "name one that is reached over an uplink"
        )
    return str(address)


NAME_KEYS: Final[Keys] = {
    "way": Key(
        read_way,
        " ".join(f"`{way}`" for way in _WAYS),
        f"`{Names().way.value}`",
        "how the box's resolver is told: `auto` finds systemd-resolved, openresolv, or a file that was handed over; "
        "`none`: not at all",
    ),
    "servers": Key(
        read_servers,
        "list of addresses",
        "none",
        "public ones, asked over an uplink whose own do not answer, or are not known",
        f"at most {SERVERS_MAX}",
    ),
}
UPLINK_KEY: Final = Key(
    read_servers,
    "list of addresses",
    "as its network tells",
    "its name servers, instead of those of lease, router advertisement or bearer",
    f"at most {SERVERS_MAX}",
)
