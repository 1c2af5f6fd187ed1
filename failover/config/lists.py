"""Values of which a key takes one or several: names, networks, ranges of numbers."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Final, TypeVar

from failover.config.rules import Range
from failover.config.values import WrongValueError, parse_name, quoted
from failover.config.yaml_reading import Place, Reader, attempt, items, label, text
from failover.config.yaml_tree import Items

LISTED_MAX: Final = 32
"""Values of one key."""
LIST_BOUNDS: Final = f"at most {LISTED_MAX}"

T = TypeVar("T")


def each(place: Place) -> list[Place]:
    """The places of a list, or the one value."""
    return items(place, LISTED_MAX) if isinstance(place.value, Items) else [place]


def some(read: Reader[T]) -> Reader[tuple[T, ...]]:
    """One value, or a list of them; what comes twice makes no difference."""

    def reader(place: Place) -> tuple[T, ...]:
        listed = each(place)
        if not listed:
            raise WrongValueError("an empty list", "name something, or remove the line")
        return tuple(dict.fromkeys(value for item in listed for value in attempt(read, item)))

    return reader


def _network(written: str) -> str:
    """A network, or an address as a network of its own."""
    try:
        network = ip_network(written, strict=False)
    except ValueError:
        raise WrongValueError(f"{quoted(written)} is not a network", "as 198.51.100.0/24, or an address") from None
    if ip_address(written.partition("/")[0]) != network.network_address:
        raise WrongValueError(f"{quoted(written)} is an address within a network", f"write {network}")
    if "%" in written:
        raise WrongValueError(f"{quoted(written)} has a zone", "leave it out")
    if network.prefixlen == 0:
        raise WrongValueError(f"{quoted(written)} is every address", "leave the key out")
    return str(network)


def _range(parse: Callable[[str], int], written: str) -> Range:
    """`443` or `5000-5100`."""
    first, dash, last = written.partition("-")
    low = parse(first)
    high = parse(last) if dash else low
    if low > high:
        raise WrongValueError(f"{quoted(written)} ends before it begins", f"write {last}-{first}")
    return low, high


def some_ranges(what: str, example: str, parse: Callable[[str], int]) -> Reader[tuple[Range, ...]]:
    """`443`, `5000-5100`, or a list of such."""

    def one(place: Place) -> Range:
        return _range(parse, text(what, example)(place))

    return some(one)


def some_networks() -> Reader[tuple[str, ...]]:
    """Of either family; an address is a network of its own."""
    return some(lambda place: _network(text("a network", "198.51.100.0/24")(place)))


def some_names(example: str, parse: Callable[[str], str] = parse_name) -> Reader[tuple[str, ...]]:
    """Of uplinks, or what `parse` takes."""
    return some(label("a name", example, parse))
