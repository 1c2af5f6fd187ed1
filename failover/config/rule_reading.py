"""`rules:` of the config file -> TrafficRules: every key, its bounds, and what must hold between them.

What the keys are called and what they mean is here alone; `reading.py` puts them among the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_network
from typing import Any, Final

from failover.config import Config
from failover.config.keys import Key, Keys
from failover.config.lists import LIST_BOUNDS, each, some, some_names, some_networks, some_ranges
from failover.config.rules import (
    AIMS_MAX,
    METERED,
    PROTOCOLS,
    RULES_MAX,
    SELECTORS_MAX,
    WITH_PORTS,
    Aim,
    Match,
    Range,
    TrafficRule,
    aims,
)
from failover.config.values import (
    parse_interface,
    parse_name,
    parse_port,
    parse_uid,
    parse_whole,
    quoted,
)
from failover.config.yaml_reading import Place, attempt, bounded, choice, find, items, label, text, unique
from failover.model import FAMILIES
from failover.wording import suggest

LEADING: Final = ("only", "prefer", "never")
OTHERWISE: Final = ("refuse", "hold")


def read_rules(place: Place, read: Callable[[Place], dict[str, Any]]) -> tuple[TrafficRule, ...]:
    """`read` reads the keys of one."""
    places = items(place, RULES_MAX)
    unique("name", places)
    rules = tuple(rule for item in places for rule in attempt(partial(_rule, read=read), item))
    if len(aims(rules)) > AIMS_MAX:
        message = f"{len(aims(rules))} different ways to go"
        place.problem(message, f"at most {AIMS_MAX}: rules with the same only, prefer, never and otherwise count once")
    return rules


def _rule(place: Place, read: Callable[[Place], dict[str, Any]]) -> TrafficRule:
    before = len(place.notes.problems)
    values = read(place)
    only, prefer, never = (frozenset(values.get(key, ())) for key in LEADING)
    rule = TrafficRule(
        values.get("name", ""),
        Match(
            to=values.get("to", ()),
            ports=values.get("port", ()),
            protocols=values.get("protocol", ()),
            dscp=values.get("dscp"),
            uids=values.get("uid", ()),
            sources=values.get("from", ()),
            lan=values.get("lan", ()),
        ),
        Aim(only, prefer, never, values.get("otherwise") == "hold"),
    )
    if len(place.notes.problems) == before:
        for message, mend in _faults(rule, values):
            place.problem(message, mend)
    return rule


def _faults(rule: TrafficRule, values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong between the keys of one rule, each with its mend."""
    match, aim = rule.match, rule.aim
    if not rule.name:
        yield "no name", "add one, as 'name: video'"
    if not any(values.get(key) for key in LEADING):
        yield "it names no uplink", f"add {', '.join(LEADING[:-1])} or {LEADING[-1]}"
    if match.ports and not (match.protocols and set(match.protocols) <= set(WITH_PORTS)):
        yield "a port, and not of which protocol", "add 'protocol: [tcp, udp]', or one of them"
    if match.uids and (match.sources or match.lan):
        yield "traffic of the LAN has no uid here", "make it two rules"
    if "otherwise" in values and not aim.restricts:
        yield "'otherwise' is for only and never", "remove it: what it prefers is not all that it may use"
    if not match.families:
        yield "'to' and 'from' are of different families", "name networks of the same one in both"
    elif (weight := max(match.weight(family) for family in FAMILIES)) > SELECTORS_MAX:
        yield f"it comes to {weight} kernel rules", f"at most {SELECTORS_MAX}: name fewer things, or wider ones"


def check_rules(place: Place, config: Config) -> None:
    """Notes what is wrong, or doubtful, between the rules and all else."""
    places = items(place, RULES_MAX)
    if not config.uplinks:
        place.problem("rules, and no uplinks are listed", "list them under uplinks: rules go by their names")
        return
    for number, (item, rule) in enumerate(zip(places, config.rules, strict=True)):
        _check_names(item, config)
        _check_aim(item, rule.aim, config)
        wider = next((other for other in config.rules[:number] if _covers(other.match, rule.match)), None)
        if wider is not None:
            item.warning(f"it is never asked: {wider.name}, before it, matches all of that", "put it before that one")


def _check_names(item: Place, config: Config) -> None:
    names = [uplink.name for uplink in config.uplinks]
    for key in LEADING:
        known = [*names, METERED] if key == "never" else names
        for at in each(place) if (place := find(item, key)) is not None else ():
            name = text("a name", names[0])(at)
            if name not in known:
                at.problem(f"no uplink is named {quoted(name)}", suggest(name, known) or f"known: {', '.join(known)}")


def _check_aim(item: Place, aim: Aim, config: Config) -> None:
    if METERED in aim.never and not any(uplink.metered for uplink in config.uplinks):
        item.warning("no uplink is metered", "say which are, as 'metered: true'")
    names = {uplink.name for uplink in config.uplinks}
    allowed = {uplink.name for uplink in config.uplinks if aim.allows(uplink.name, metered=uplink.metered is not None)}
    if not allowed and aim.only <= names:
        item.problem("no uplink is left for it", "allow one")
    elif aim.prefer and aim.prefer <= names - allowed:
        item.problem("none of what it prefers is allowed", "prefer one that only and never leave")


def _covers(wide: Match, narrow: Match) -> bool:
    """Whether all that `narrow` means is meant by `wide`."""
    return (
        _nets_cover(wide.to, narrow.to)
        and _nets_cover(wide.sources, narrow.sources)
        and _ranges_cover(wide.ports, narrow.ports)
        and _ranges_cover(wide.uids, narrow.uids)
        and wide.dscp in (None, narrow.dscp)
        and all(not w or (n and set(n) <= set(w)) for w, n in _words(wide, narrow))
    )


def _words(wide: Match, narrow: Match) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    return (wide.protocols, narrow.protocols), (wide.lan, narrow.lan)


def _nets_cover(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    return not wide or (bool(narrow) and all(any(_inside(one, around) for around in wide) for one in narrow))


def _inside(network: str, around: str) -> bool:
    """Families apart, one holds nothing of the other."""
    inner, outer = ip_network(network), ip_network(around)
    return inner.version == outer.version and inner.network_address in outer and inner.prefixlen >= outer.prefixlen


def _ranges_cover(wide: tuple[Range, ...], narrow: tuple[Range, ...]) -> bool:
    return not wide or (bool(narrow) and all(any(w[0] <= n[0] and n[1] <= w[1] for w in wide) for n in narrow))


# --- the shape -------------------------------------------------------------------------------------------------------

RULE_KEYS: Final[Keys] = {
    "name": Key(label("a name", "video", parse_name), "name", "required", "unique; what explain and the log call it"),
    "to": Key(some_networks(), "network, or list", "any", "where it goes: networks or addresses", LIST_BOUNDS),
    "port": Key(
        some_ranges("a port", "443", parse_port),
        "port, range, or list",
        "any",
        "at the destination, as `443` or `5000-5100`; needs `protocol`",
        f"{LIST_BOUNDS}; 1 to 65535",
    ),
    "protocol": Key(
        some(choice("a protocol", tuple(PROTOCOLS))),
        " ".join(f"`{name}`" for name in PROTOCOLS) + ", or list",
        "any",
        "what it speaks; `icmp` is ICMPv6 in IPv6",
    ),
    "dscp": Key(
        bounded("a DSCP", parse_whole, 0, 63, str),
        "whole number",
        "any",
        "the differentiated services code point; needs Linux 6.13",
        "from 0 to 63",
    ),
    "uid": Key(
        some_ranges("a user id", "1000", parse_uid),
        "user id, range, or list",
        "any",
        "the owner of the socket: traffic of this box alone",
        f"{LIST_BOUNDS}; 0 to 4294967294",
    ),
    "from": Key(
        some_networks(), "network, or list", "any", "where it comes from, as a network of the LAN", LIST_BOUNDS
    ),
    "lan": Key(
        some_names("br-lan", parse_interface), "interface name, or list", "any", "where it comes in", LIST_BOUNDS
    ),
    "only": Key(some_names("depot"), "uplink, or list", "all", "nothing else carries it", LIST_BOUNDS),
    "prefer": Key(some_names("depot"), "uplink, or list", "", "these before all others that may carry it", LIST_BOUNDS),
    "never": Key(
        some_names("metered"), "uplink, or list", "", "these do not carry it; `metered`: none that is", LIST_BOUNDS
    ),
    "otherwise": Key(
        choice("what may happen", OTHERWISE),
        "`refuse` or `hold`",
        "to `refuse`",
        "when nothing that may carry it is up: refused at once, or waiting on the uplink that was left last",
    ),
}
