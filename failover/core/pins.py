"""Host routes of main that lead to the internet by one uplink, as VPN clients write them for their server.

Pure. They come before all that the agent decides, and would keep a tunnel on an uplink that is dead. So a rule in front
of main sends what is for such a host past main as long as that uplink is not to be trusted; at other times only what
has another uplink's address, so that a tunnel which was moved stays where it is. The route itself is never touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Final

from failover.core.steering import aimed
from failover.core.uplinks import Uplink
from failover.facts import PINS_MAX, Facts, Pin, Rule
from failover.model import Family, is_private

PREF_FREED: Final = 15501
PREF_MOVED: Final = 15502
"""Two prefs: the kernel takes a rule that says less than another one of its pref for a double of that."""
RULES_MAX: Final = 64
"""Of one family: every packet is compared with each of them."""

Shunned = Collection[tuple[Family, str]]
"""Uplinks that are lost, or were and still owe their hold-down, while new flows of the family go elsewhere."""


def overriding(
    family: Family,
    facts: Facts,
    uplinks: Iterable[Uplink],
    shunned: Shunned,
    addresses: Sequence[tuple[str, int]],
    landing: int,
) -> list[Rule]:
    """Jumps past main, to the pref `landing`. `addresses`: (address, slot) of the uplinks in this family."""
    freed, moved = [], []
    for pin, uplink in pinned(family, facts, uplinks):
        rule = aimed(Rule(family, PREF_MOVED, destination=f"{pin.destination}/{family.bits}"), landing)
        others = (address for address, slot in addresses if slot != uplink.slot)
        moved += [replace(rule, source=f"{address}/{family.bits}") for address in others]
        if (family, uplink.name) in shunned:
            freed.append(replace(rule, priority=PREF_FREED))
    return list(dict.fromkeys([*freed, *moved]))[:RULES_MAX]


def pinned(family: Family, facts: Facts, uplinks: Iterable[Uplink]) -> list[tuple[Pin, Uplink]]:
    """The host routes to the internet, each once, and the uplink by which it leads."""
    by_index = {uplink.index: uplink for uplink in uplinks if uplink.index is not None}
    return [
        (pin, by_index[pin.interface])
        for pin in dict.fromkeys(facts.pins)
        if pin.family is family and pin.interface in by_index and _is_beyond(pin, facts)
    ]


def _is_beyond(pin: Pin, facts: Facts) -> bool:
    """Whether it is a host of the internet, not one on the wire or of the carrier."""
    nets = (f"{one.address}/{one.prefix_length}" for one in facts.addresses if one.index == pin.interface)
    near = (ip_network(net, strict=False) for net in nets if Family.of(net) is pin.family)
    return not is_private(pin.destination) and not any(ip_address(pin.destination) in net for net in near)


def too_many(served: Iterable[Family], rules: Collection[Rule], facts: Facts) -> list[str]:
    """Of host routes that are not looked at, or have no rule."""
    held = Counter(rule.family for rule in rules if rule.priority in (PREF_FREED, PREF_MOVED))
    full = [family for family in served if held[family] >= RULES_MAX]
    text = f"{RULES_MAX} rules are in front of the host routes of main: those of more, as of VPNs, stay on lost uplinks"
    unread = f"table main has more than {PINS_MAX} host routes: the others, as of VPNs, stay on uplinks that are lost"
    return [*(f"{family}: {text}" for family in full), *([unread] if len(facts.pins) > PINS_MAX else [])]
