"""`uplinks[].modem`, `repair`, `sms` and `carriers` of the config file: what is known of these keys, and how they are
read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any, Final

from failover.carriers import plain
from failover.config.keys import Key, Keys, switch, timed
from failover.config.lists import each
from failover.config.modem_values import (
    PATTERN_MAX,
    checks,
    parse_apn,
    parse_credential,
    parse_device,
    parse_iccid,
    parse_imei,
    parse_pattern,
    parse_pin,
    parse_serial,
)
from failover.config.modems import Dialer, Matter, Messages, Modem, Repair, Roaming, Rung
from failover.config.values import (
    DURATION_UNITS,
    WrongValueError,
    parse_carrier,
    parse_duration,
    parse_whole,
    quoted,
    shown,
)
from failover.config.yaml_reading import Place, Reader, attempt, bounded, choice, describe, find, items, label, text
from failover.config.yaml_tree import Entries, Scalar
from failover.model import FAMILIES, Family
from failover.modem import Dial

IDENTITIES: Final = ("imei", "device", "serial")
DIALLED: Final = ("apn", "user", "password")
IP: Final[Mapping[str, tuple[Family, ...]]] = {
    "ipv4v6": FAMILIES,
    "ipv4": (Family.IPV4,),
    "ipv6": (Family.IPV6,),
}
SLOT_MAX: Final = 8
PATTERNS_MAX: Final = 16
"""Of one matter."""
CARRIERS_MAX: Final = 64
DAY: Final = 86400.0

Read = Callable[[Place, str], dict[str, Any]]
"""What could be read of the mapping at a place, which is a section of the file."""
_GLUED: Final = re.compile(
    r"(pin|password).|(imei|iccid|serial|device|slot|apn|user|roaming|ip|connect)[\s:='\"0-9]",
    re.IGNORECASE | re.DOTALL,
)
"""A key that may hold the value, too."""

# --- a modem ---------------------------------------------------------------------------------------------------------


def read_modem(place: Place, read: Read) -> Modem:
    """Of a mapping. What is no mapping, or no key, is not quoted: there may be a PIN in it."""
    before = len(place.notes.problems)
    _check_shape(place)
    values = read(place, "uplinks[].modem")
    dial = Dial(
        **{key: values.pop(key) for key in DIALLED if key in values},
        families=values.pop("ip", FAMILIES),
        roaming=values.get("roaming") is not Roaming.DENY,
    )
    if len(place.notes.problems) == before:
        named = [key for key in IDENTITIES if key in values]
        if len(named) != 1:
            message = f"{' and '.join(named)} beside each other" if named else "nothing tells which it is"
            place.problem(message, f"name one of {', '.join(IDENTITIES)}; `failover modems` lists what is there")
        at = find(place, "user") or find(place, "password")
        if at is not None and not dial.apn:
            at.warning("no apn beside it", "a user and a password are for an access point: name it, as 'apn: internet'")
    return Modem(dial=dial, **values)


def _check_shape(place: Place) -> None:
    if not isinstance(place.value, Entries):
        what = "a text" if isinstance(place.value, Scalar) else describe(place)
        raise WrongValueError(f"{what} where a mapping should be", 'write it as {imei: "490154203237518"}')
    for key, _ in place.value.pairs:
        if isinstance(key, Scalar) and (glued := _GLUED.match(key.text)):
            name = glued[1] or glued[2]
            raise WrongValueError(f"no ': ' after '{name}'", f"write '{name.lower()}: ...', with the blank")


def check_modems(places: Sequence[Place], modems: Sequence[Modem | None]) -> None:
    """Notes what stands for the same slot of the same modem, or for the same SIM, of items that could all be read."""
    told = [(place, modem) for place, modem in zip(places, modems, strict=True) if modem is not None]
    for (first, one), (second, other) in combinations(told, 2):
        if one.slot == other.slot and _same(one, other):
            before, at = find(first, "modem") or first, find(second, "modem") or second
            at.problem(
                f"the same slot of the same modem as {before.path} in line {before.value.line}",
                "an uplink is one slot: name another, or another modem",
            )
        elif one.iccid and one.iccid == other.iccid:
            held, again = (find(find(place, "modem") or place, "iccid") or place for place in (first, second))
            again.problem(
                f"the same SIM as {held.path} in line {held.value.line}",
                "a SIM is in one slot: `failover modems` shows which one is where",
            )


def mend_of_interface(one: Place, other: Place) -> str:
    """Of two uplinks that have the same one; empty: they are not SIMs of the same modem."""
    first, second = _identities(one), _identities(other)
    return "leave it out: the modem tells it" if first and first == second else ""


def _identities(uplink: Place) -> dict[str, str]:
    """As they are written."""
    modem = find(uplink, "modem")
    found = {key: find(modem, key) for key in IDENTITIES} if modem is not None else {}
    return {key: at.value.text for key, at in found.items() if at is not None and isinstance(at.value, Scalar)}


def _same(one: Modem, other: Modem) -> bool:
    """As far as it can be told: an IMEI says nothing of a device."""
    long, short = sorted((one.device, other.device), key=len, reverse=True)
    within = bool(short) and f"/{long}".endswith(f"/{short.lstrip('/')}")
    return within or (not long and one.key == other.key)


def _imei(place: Place) -> str:
    imei = parse_imei(text("an IMEI", "'490154203237518'")(place))
    if not checks(imei):
        place.warning("its last digit does not fit the others", "see whether it is a slip; `failover modems` shows it")
    return imei


def _written(what: str, example: str, parse: Callable[[str], str]) -> Reader[str]:
    """Of a scalar as it is written, whatever YAML takes it for."""
    return lambda place: parse(text(what, example)(place))


# --- repair ----------------------------------------------------------------------------------------------------------


def read_repair(place: Place, read: Read) -> Repair:
    """`off`, or a mapping."""
    if isinstance(place.value, Scalar):
        choice("a way to repair", ("off",))(place)
        return Repair(steps=())
    return Repair(**read(place, "repair"))


def _steps(place: Place) -> tuple[Rung, ...]:
    first: dict[Rung, Place] = {}
    for item in items(place, len(Rung)):
        for word in attempt(choice("a step", tuple(Rung)), item):
            before = first.setdefault(Rung(word), item)
            if before is not item:
                item.problem(f"the same step as {before.path} in line {before.value.line}", "name it once")
    return tuple(first)


# --- messages --------------------------------------------------------------------------------------------------------


def read_messages(place: Place, read: Read) -> Messages:
    """Of a mapping."""
    return Messages(**read(place, "sms"))


def _keep(place: Place) -> float:
    """Seconds; 0 of `none`."""
    written = text("a duration or none", "90d")(place)
    if written == "none":
        return 0.0
    if written.isdigit():  # few mean hours, which would be the first unit that fits
        raise WrongValueError(f"{quoted(written)} has no unit", f"write {shown(written)}d")
    parse = partial(parse_duration, low=DAY, high=366 * DAY)
    return bounded("a duration", parse, DAY, 366 * DAY, lambda seconds: f"{seconds / DAY:g}d")(place)


def _patterns(place: Place, read: Read) -> Mapping[str, tuple[str, ...]]:
    found = read(place, "sms.patterns")
    return {matter: patterns for matter, patterns in found.items() if patterns}


def _matter(place: Place) -> tuple[str, ...]:
    """Each once."""
    listed = each(place)
    if len(listed) > PATTERNS_MAX:
        raise WrongValueError(f"a list of {len(listed)}", f"at most {PATTERNS_MAX} are read")
    read = label("a pattern", "'suspended'", parse_pattern)
    return tuple(dict.fromkeys(pattern for item in listed for pattern in attempt(read, item)))


# --- carriers --------------------------------------------------------------------------------------------------------


def read_networks(place: Place) -> Mapping[str, str]:
    """Label, or MCC and MNC -> network."""
    if not isinstance(place.value, Entries):
        raise WrongValueError(f"{describe(place)} where a mapping should be", "write it as {povo: au}")
    if len(place.value.pairs) > CARRIERS_MAX:
        raise WrongValueError(f"{len(place.value.pairs)} carriers", f"at most {CARRIERS_MAX} are read")
    networks: dict[str, str] = {}
    first: dict[str, Place] = {}
    for key, value in place.value.pairs:
        at_key, at = (place.child(f".{shown(key.text) if isinstance(key, Scalar) else '?'}", v) for v in (key, value))
        for carrier in attempt(_carrier, at_key):
            before = first.setdefault(plain(carrier), at_key)
            if before is not at_key:
                at_key.problem(f"the same carrier as {before.path} in line {before.value.line}", "keep one")
            for network in attempt(label("a network", "au", _network), at):
                networks[carrier] = network
    return networks


def _carrier(place: Place) -> str:
    """A label, or five or six digits, which YAML may take for a number."""
    written = text("a carrier", "povo")(place)
    if re.fullmatch("[0-9]+", written):
        if len(written) not in (5, 6):
            raise WrongValueError(f"{quoted(written)} is not MCC and MNC", "five or six digits, as 44051")
        return written
    return label("a carrier", "povo", _network)(place)


def _network(written: str) -> str:
    if not plain(written):
        raise WrongValueError("no name", "write letters or digits, as au")
    return parse_carrier(written)


# --- the shape -------------------------------------------------------------------------------------------------------

_MODEM: Final = Modem()
_REPAIR: Final = Repair()
_MESSAGES: Final = Messages()


def modem_sections(read: Read) -> Mapping[str, Keys]:
    """By the section that holds them."""
    return {
        "": {
            "repair": Key(
                lambda place: read_repair(place, read),
                "`off` or mapping",
                "",
                "what is done to an uplink's modem while the uplink is convicted and another one carries the traffic",
            ),
            "sms": Key(lambda place: read_messages(place, read), "mapping", "", "what becomes of SMS from carriers"),
            "carriers": Key(
                read_networks,
                "mapping",
                "none",
                "carrier, by its label or as MCC and MNC: the network that it rides on, besides those that are known",
                f"at most {CARRIERS_MAX}",
            ),
        },
        "uplinks[].modem": MODEM_KEYS,
        "repair": REPAIR_KEYS,
        "sms": {
            "keep": Key(
                _keep,
                "duration or `none`",
                f"`{_MESSAGES.keep / DAY:g}d`",
                "how long they are kept on disk, once they are deleted from the SIM; `none`: they stay on it",
                "1d to 366d",
                " ".join(f"`{unit}`" for unit in DURATION_UNITS),
            ),
            "text": switch(_MESSAGES.text, "with their text; else only who sent them when, and what they are about"),
            "patterns": Key(
                lambda place: _patterns(place, read),
                "mapping",
                "",
                "what messages are about, told by regular expressions besides the usual ones, letters' case ignored",
            ),
        },
        "sms.patterns": {matter.value: _pattern_key(meaning) for matter, meaning in _MATTERS.items()},
    }


def _pattern_key(meaning: str) -> Key:
    return Key(
        _matter,
        "regular expression, or list",
        "none",
        meaning,
        f"at most {PATTERNS_MAX} of {PATTERN_MAX} characters",
    )


_MATTERS: Final = {
    Matter.SUSPENSION: "the line is, or will be, suspended",
    Matter.CAP: "an allowance is used up, or nearly",
    Matter.ROAMING: "it is abroad, and what that costs",
    Matter.PAYMENT: "something is to be paid",
}

MODEM_KEYS: Final[Keys] = {
    "imei": Key(
        _imei,
        "digits",
        "one of `imei`, `device` and `serial` is required",
        "which modem it is, wherever it is plugged in",
        "15 digits",
    ),
    "device": Key(
        _written("a device", "usb1/1-1", parse_device),
        "path",
        "",
        "or whichever is plugged in there: its path in /sys/devices, or the end of that",
        "at most 256 characters",
    ),
    "serial": Key(
        _written("a serial number", "'0123456789ABCDEF'", parse_serial),
        "text",
        "",
        "or by the serial number of its USB device",
        "at most 64 characters",
    ),
    "slot": Key(
        bounded("a slot", parse_whole, 1, SLOT_MAX, str),
        "whole number",
        f"`{_MODEM.slot}`",
        "where its SIM is; uplinks on other slots of the same modem wait for their turn",
        f"1 to {SLOT_MAX}",
    ),
    "iccid": Key(
        _written("an ICCID", "'8981100000000000018'", parse_iccid),
        "digits",
        "any SIM",
        "the SIM that must be there; another one is not used",
        "18 to 20 digits; F after them is left out",
    ),
    "apn": Key(
        _written("an APN", "internet", parse_apn),
        "text",
        "none; most SIMs need one",
        "access point that the agent dials; NetworkManager has it in a connection of its own",
        "at most 100 characters",
    ),
    "user": Key(
        _written("a user", "au@au-net.ne.jp", parse_credential),
        "text",
        "none",
        "of the access point",
        "at most 64 characters",
    ),
    "password": Key(
        _written("a password", "au", parse_credential),
        "text",
        "none",
        "of the access point; never shown",
        "at most 64 characters",
    ),
    "pin": Key(
        _written("a PIN", "'0123'", parse_pin),
        "digits",
        "none",
        "of the SIM; never shown, and never tried again once it was wrong",
        "4 to 8 digits",
    ),
    "roaming": Key(
        lambda place: Roaming(choice("a way to take roaming", tuple(Roaming))(place)),
        " ".join(f"`{word}`" for word in Roaming),
        f"`{_MODEM.roaming}`",
        "in a foreign network it is metered and the last choice, or as at home, or not used",
    ),
    "ip": Key(
        lambda place: IP[choice("a kind of bearer", tuple(IP))(place)],
        " ".join(f"`{word}`" for word in IP),
        "`ipv4v6`",
        "what the bearer is asked to carry",
    ),
    "connect": Key(
        lambda place: Dialer(choice("who connects", tuple(Dialer))(place)),
        " ".join(f"`{word}`" for word in Dialer),
        f"`{_MODEM.connect}`",
        "who connects it: `auto` is NetworkManager where it manages the modem, else `self`, the agent; `none`: others",
    ),
}

REPAIR_KEYS: Final[Keys] = {
    "steps": Key(
        _steps,
        "list of " + " ".join(f"`{rung}`" for rung in Rung),
        f"`[{','.join(_REPAIR.steps)}]`",
        "what is tried in turn: to connect anew, register anew, reset, `failover-power@NAME.service`, the other SIM",
        "each once",
    ),
    "reset_interval": timed(
        "1m", "24h", _REPAIR.reset_interval, "between two resets of one modem at least; power cycles count as resets"
    ),
    "resets_per_day": Key(
        bounded("a number", parse_whole, 0, 48, str),
        "whole number",
        f"`{_REPAIR.resets_per_day}`",
        "of one modem at most, power cycles too",
        "from 0 to 48",
        "resets",
    ),
    "switches_per_hour": Key(
        bounded("a number", parse_whole, 0, 12, str),
        "whole number",
        f"`{_REPAIR.switches_per_hour}`",
        "from one SIM slot of a modem to another at most",
        "from 0 to 12",
        "switches",
    ),
}
