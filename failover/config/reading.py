"""`failover.yaml` -> `Config`: every key, its reader, its bounds, and what must hold between keys.

The only file that knows the config's shape on disk. `SECTIONS` is that shape, and what people need to know of it, from
which manual.py makes the table of config/README.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Final

from failover.config import (
    Config,
    ConfigError,
    Flows,
    Metered,
    Metrics,
    Policy,
    Problem,
    Uplink,
)
from failover.config.detection_reading import DETECTION_KEYS, read_detection
from failover.config.keys import Key, Keys, switch, timed
from failover.config.lists import LIST_BOUNDS, some_names, some_networks
from failover.config.modem_reading import check_modems, mend_of_interface, modem_sections, read_modem
from failover.config.modems import Modem
from failover.config.name_reading import NAME_KEYS, UPLINK_KEY, read_names
from failover.config.rule_reading import RULE_KEYS, check_rules, read_rules
from failover.config.rules import RULES_MAX, TrafficRule
from failover.config.targets import parse_target
from failover.config.values import (
    MASK_BITS_MIN,
    SIZE_UNITS,
    WrongValueError,
    format_size,
    mask_room,
    parse_budget,
    parse_carrier,
    parse_interface,
    parse_listen,
    parse_mask,
    parse_name,
    parse_port,
    parse_uid,
)
from failover.config.yaml_reading import (
    Notes,
    Place,
    attempt,
    boolean,
    bounded,
    choice,
    describe,
    find,
    items,
    label,
    numbers,
    read_keys,
    text,
    unique,
)
from failover.config.yaml_tree import Entries, Opener, Scalar, compose, read_text
from failover.facts import SLOTS_MAX, Gateway
from failover.model import FAMILIES, Keep, Target, clean

TARGETS_MAX: Final = 32
KEPT_MAX: Final = 64
"""Ports, and users, whose flows are kept."""
FIELDS: Final = {"sms": "messages", "carriers": "networks"}
"""Of Config, where they have other names than the keys."""


def load(path: str | os.PathLike[str]) -> Config:
    """The config in a file. Raises ConfigError with every problem."""
    return load_with_warnings(path)[0]


def load_with_warnings(
    path: str | os.PathLike[str], opener: Opener | None = None
) -> tuple[Config, tuple[Problem, ...]]:
    """As `load`, and what is allowed but doubtful."""
    return parse(read_text(path, opener), clean(os.fspath(path), 200))


def parse(content: str, source: str) -> tuple[Config, tuple[Problem, ...]]:
    """The config in a text (an empty one is `Config()`), and warnings. Raises ConfigError with every problem."""
    value = compose(content, source)
    if value is None or (isinstance(value, Scalar) and value.kind == "null"):
        return Config(), ()
    notes = Notes(source)
    read = attempt(_config, Place(value, "", notes))
    if notes.problems or not read:
        raise ConfigError(tuple(notes.problems))
    return read[0], tuple(sorted(notes.warnings))


def _config(place: Place) -> Config:
    values = _read(place, "")
    elsewhere = values.pop("probes", {}) | values.pop("kernel", {})
    config = Config(**{FIELDS.get(key, key): value for key, value in values.items()}, **elsewhere)
    room = mask_room(config.fwmark_mask)
    uplinks = find(place, "uplinks")
    if uplinks is not None and len(config.uplinks) > room:
        message = f"{len(config.uplinks)} uplinks, and fwmark mask {config.fwmark_mask:#010x} tells {room} apart"
        uplinks.problem(message, "widen kernel.fwmark_mask")
    if config.gateway is not None and not place.notes.problems:
        _check_gateway(place, config.gateway)
    rules = find(place, "rules")
    if rules is not None and not place.notes.problems:
        check_rules(rules, config)
    return config


def _read(place: Place, section: str) -> dict[str, Any]:
    """What could be read of a mapping."""
    return read_keys(place, {name: key.read for name, key in SECTIONS[section].items()}, HOMES)


def _probes(place: Place) -> dict[str, Any]:
    return _read(place, "probes")


def _kernel(place: Place) -> dict[str, Any]:
    return _read(place, "kernel")


def _policy(place: Place) -> Policy:
    return Policy(**_read(place, "policy"))


def _flows(place: Place) -> Flows:
    return Flows(**_read(place, "flows"))


def _keep(place: Place) -> Keep:
    return Keep(**_read(place, "flows.keep"))


def _rules(place: Place) -> tuple[TrafficRule, ...]:
    return read_rules(place, lambda item: _read(item, "rules[]"))


def _gateway(place: Place) -> Gateway:
    values = _read(place, "gateway")
    if find(place, "lan") is None:
        place.problem("no LAN", "name the interfaces behind which the clients are, as 'lan: [br-lan]'")
    return Gateway(**{"lan": ()} | values)


def _check_gateway(place: Place, gateway: Gateway) -> None:
    """Notes what is on both sides of the box."""
    uplinks = find(place, "uplinks")
    for item in items(uplinks, SLOTS_MAX) if uplinks is not None else ():
        at = find(item, "interface")
        if at is not None and _interface(at) in gateway.lan:
            at.problem("it is in gateway.lan, too", "an interface leads to the clients or to a carrier")


def _metrics(place: Place) -> Metrics:
    return Metrics(**_read(place, "metrics"))


_interface: Final = label("an interface", "wwan0", parse_interface)


# --- uplinks ---------------------------------------------------------------------------------------------------------


def _uplinks(place: Place) -> tuple[Uplink, ...]:
    places = items(place, SLOTS_MAX)
    unique("name", places)
    unique("interface", places, mend_of_interface)
    before = len(place.notes.problems)
    uplinks = tuple(uplink for item in places for uplink in attempt(_uplink, item))
    if len(place.notes.problems) == before:
        check_modems(places, [uplink.modem for uplink in uplinks])
    return uplinks


def _uplink(place: Place) -> Uplink:
    values = _read(place, "uplinks[]")
    if find(place, "name") is None:
        place.problem("no name", "add one, as 'name: au'")
    if find(place, "interface") is None and find(place, "modem") is None:
        place.problem("no interface", "add it, as 'interface: wwan0', or name a modem")
    return Uplink(**{"name": ""} | values, costless=values.get("metered", ...) is None)


def _modem(place: Place) -> Modem:
    return read_modem(place, _read)


def _metered(place: Place) -> Metered | None:
    if isinstance(place.value, Entries):
        return _budgets(place)
    try:
        return Metered() if boolean(place) else None
    except WrongValueError:
        raise WrongValueError(
            f"{describe(place)} says nothing about metering", "write true, false or {budget: 30MB/month}"
        ) from None


def _budgets(place: Place) -> Metered:
    """A standby's budget that the file does not name is the usual one, or the active one's where that is less."""
    before = len(place.notes.problems)
    values = _read(place, "uplinks[].metered")
    budget = values.get("budget", _METERED.budget)
    standby = values.get("standby", min(_METERED.standby, budget))
    if standby > budget and len(place.notes.problems) == before:
        message = f"standby ({format_size(standby)}/month) is above budget ({format_size(budget)}/month)"
        (find(place, "standby") or place).problem(message, "a standby may cost as much as an active one, not more")
    return Metered(budget, standby)


# --- targets ---------------------------------------------------------------------------------------------------------


def _targets(place: Place) -> tuple[Target, ...]:
    first: dict[str, Place] = {}
    targets = []
    for item in items(place, TARGETS_MAX):
        for target in attempt(_target, item):
            targets.append(target)
            before = first.setdefault(target.url, item)
            if before is not item:
                item.problem(f"the same target as {before.path} in line {before.value.line}", "remove one")
    _warn_of_few(place, targets)
    return tuple(targets)


def _target(place: Place) -> Target:
    return parse_target(text("a URL", "icmp://1.1.1.1")(place))


def _warn_of_few(place: Place, targets: Iterable[Target]) -> None:
    for family in FAMILIES:
        shown = family.value.replace("ip", "IP")
        hosts = {target.host for target in targets if target.family in (None, family)}
        if not hosts:
            place.warning(f"no {shown} target", "that family is judged by kernel facts only")
        elif len(hosts) == 1:
            place.warning(f"one {shown} host", "a dead target cannot be told from a dead link; name a second host")


# --- the shape -------------------------------------------------------------------------------------------------------

_DEFAULT: Final = Config()
_METERED: Final = Metered()


def _monthly(default: int, otherwise: str, meaning: str) -> Key:
    return Key(
        bounded("a budget", parse_budget, 10**6, 10**12, lambda size: f"{format_size(size)}/month"),
        "size per month",
        f"`{format_size(default)}/month`{otherwise}",
        meaning,
        "1MB/month to 1000GB/month",
        " ".join(f"`{unit}/month`" for unit in SIZE_UNITS),
    )


_MODEMS: Final = modem_sections(_read)

SECTIONS: Final[Mapping[str, Keys]] = {
    "": {
        "uplinks": Key(
            _uplinks,
            "list",
            "discovered",
            "in order of preference; discovered are those of the default routes of table main, in metric order",
            f"at most {SLOTS_MAX}",
        ),
        "probes": Key(_probes, "mapping", "", "what tells a live uplink from a dead one"),
        "detection": Key(
            lambda place: read_detection(place, lambda inner: _read(inner, "detection")),
            "profile or mapping",
            f"`{_DEFAULT.detection.profile}`",
            "how soon silence counts: `fast`, `balanced` or `frugal`, or the keys below",
        ),
        "policy": Key(_policy, "mapping", "", "when traffic comes back"),
        "flows": Key(_flows, "mapping", "", "what becomes of open flows when their uplink is lost"),
        "rules": Key(
            _rules,
            "list",
            "none",
            "which uplinks certain traffic takes: the first that matches",
            f"at most {RULES_MAX}",
        ),
        "gateway": Key(_gateway, "mapping", "none", "the box forwards for the clients of a LAN"),
        "mptcp": Key(
            lambda place: choice("a way to treat MPTCP", ("auto", "off"))(place) == "auto",
            "`auto` or `off`",
            "`auto`",
            "where the kernel has MPTCP, its connections are offered every uplink's address",
        ),
        "dns": Key(
            lambda place: read_names(place, lambda mapping: _read(mapping, "dns")),
            "word or mapping",
            "`auto`",
            "names are asked over the active uplink, of its own name servers: `way` alone, or the keys below",
        ),
        **_MODEMS[""],
        "metrics": Key(_metrics, "mapping", "", "what Prometheus reads"),
        "kernel": Key(_kernel, "mapping", "", "what is ours in the kernel"),
    },
    "probes": {
        "targets": Key(
            _targets,
            "list of targets",
            "seven, see failover.yaml",
            "probed through every uplink that has no targets of its own",
            f"at most {TARGETS_MAX}",
        )
    },
    "uplinks[]": {
        "name": Key(
            label("a name", "au", parse_name),
            "name",
            "required",
            "unique; what status, metrics and commands call it",
            "1 to 32 of `A-Z a-z 0-9 _ . -`",
        ),
        "interface": Key(
            _interface,
            "interface name",
            "required without `modem`",
            "unique; it may be absent for now; of a modem, where it is while nobody tells of modems",
            "1 to 15 bytes",
        ),
        "carrier": Key(
            label("a label", "au", parse_carrier), "text", "", "a label for people", "at most 64 printable characters"
        ),
        "metered": Key(
            _metered,
            "`true`, `false` or mapping",
            "`false`",
            "probes cost money: fewer of them, and a budget for them; `true`: the usual one; "
            "`check` cautions of a modem of which nothing is said",
        ),
        "targets": Key(
            _targets,
            "list of targets",
            "those of `probes.targets`",
            "probed through this uplink instead of the common ones, as in a private APN",
            f"at most {TARGETS_MAX}",
        ),
        "delegated": Key(
            some_networks(),
            "network, or list",
            "none",
            "prefixes that its carrier gives the LAN, or all of the carrier's: they leave by it untranslated",
            LIST_BOUNDS,
        ),
        "dns": UPLINK_KEY,
        "modem": Key(_modem, "mapping", "none", "which modem and SIM it is; its interface is found by that"),
    },
    "uplinks[].metered": {
        "budget": _monthly(
            _METERED.budget,
            "",
            "what probes may come to while it carries traffic: IP bytes of both directions in 30 days",
        ),
        "standby": _monthly(_METERED.standby, "; `budget` if that is less", "the same while it carries none"),
    },
    **{section: keys for section, keys in _MODEMS.items() if section},
    "detection": DETECTION_KEYS,
    "policy": {
        "failback_after": timed(
            "1s",
            "1h",
            _DEFAULT.policy.failback_after,
            "proven health after a conviction before traffic comes back; doubles per relapse",
        ),
        "failback_moves_flows": switch(
            _DEFAULT.policy.failback_moves_flows,
            "a failback takes open flows along, which breaks them: this box's own and a gateway's after 10 s, other "
            "forwarded traffic (containers) at once",
        ),
    },
    "flows": {
        "keep": Key(
            _keep, "mapping", "", "open flows of this box that are never broken: they wait for their uplink to return"
        ),
    },
    "flows.keep": {
        "ports": Key(
            numbers("a port", "22", parse_port, KEPT_MAX),
            "list of ports",
            "none",
            "TCP and UDP, at either end",
            f"at most {KEPT_MAX}; 1 to 65535",
        ),
        "uids": Key(
            numbers("a user id", "1000", parse_uid, KEPT_MAX),
            "list of user ids",
            "none",
            "numbers, as `id -u NAME` tells them",
            f"at most {KEPT_MAX}; 0 to 4294967294",
        ),
    },
    "gateway": {
        "lan": Key(
            some_names("br-lan", parse_interface),
            "interface name, or list",
            "required",
            "behind these are the clients; it may be absent for now",
            LIST_BOUNDS,
        ),
        "masquerade": switch(
            Gateway(()).masquerade, "clients leave with the uplink's address, in both families; else untranslated"
        ),
    },
    "rules[]": RULE_KEYS,
    "dns": NAME_KEYS,
    "metrics": {
        "listen": Key(
            lambda place: parse_listen(text("ADDRESS:PORT", "127.0.0.1:9109")(place)),
            "`ADDRESS:PORT` or `none`",
            f"`{_DEFAULT.metrics.listen}`",
            "where Prometheus reads; a literal address, IPv6 in brackets",
            "ports 1 to 65535",
        ),
    },
    "kernel": {
        "fwmark_mask": Key(
            lambda place: parse_mask(text("a mask", "0x3f000000")(place)),
            "hexadecimal",
            f"`{_DEFAULT.fwmark_mask:#010x}`",
            "the mark bits that are ours; n bits hold 2^n - 2 uplinks",
            f"one run of {MASK_BITS_MIN} to 32 bits",
        ),
    },
}
"""Section -> key -> what is known of it. `[]` stands for each item of a list."""

HOMES: Final = {
    key: f"in '{section}'" if section else "at the top level"
    for section in reversed(tuple(SECTIONS))
    for key in SECTIONS[section]
}
"""Key -> where it belongs, the outermost place where there are two."""
