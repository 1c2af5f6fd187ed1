"""How things are put into words: what was meant, and what an object of the kernel is called.

Pure. Only what more than one room says in the same way.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from failover.facts import Item

_WORD_MAX: Final = 64
"""Characters of a mistyped word that are compared."""


def suggest(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, in any case of letters; nothing when no known word is near."""
    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word[:_WORD_MAX].lower(), names, n=1)
    return f"did you mean '{names[near[0]]}'?" if near else ""


def describe(item: Item) -> str:
    """What an operation is about, as `ipv4 default route, metric 1, table 15500`."""
    from failover import facts  # takes 9 ms, and the command line only wants `suggest`

    match item:
        case facts.Route():
            kind = "" if item.kind is facts.RouteKind.UNICAST else f"{item.kind.name.lower()} "
            return f"{item.family} {kind}default route, metric {item.metric}, table {item.table}"
        case facts.Rule():
            return f"{item.family} rule {item.priority}"
        case facts.Address():
            return f"address {item.address}/{item.prefix_length}"
        case facts.Link():
            return f"link {item.name}"
        case facts.Sysctl():
            return f"sysctl {item.path} = {item.value}"
        case facts.Table():
            return f"nftables table {item.family} {item.name}"
        case facts.Endpoint():
            return f"MPTCP endpoint {item.address}"
        case facts.SubflowLimits():
            return f"MPTCP limits of {item.subflows} subflows and {item.add_addr_accepted} addresses of the peer's"
