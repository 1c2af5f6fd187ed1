"""`failover.yaml` -> `Config`: every key, its reader, its bounds, and what must hold between keys.

The only file that knows the config's shape on disk. `SECTIONS` is that shape; config/README.md says it for people.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from failover.config import PROFILES, Config, ConfigError, Detection, Metered, Metrics, Policy, Problem, Uplink
from failover.config.targets import parse_target
from failover.config.values import (
    WrongValueError,
    format_duration,
    format_size,
    mask_room,
    parse_budget,
    parse_carrier,
    parse_interface,
    parse_listen,
    parse_mask,
    parse_name,
    parse_number,
    parse_whole,
)
from failover.config.yaml_reading import (
    Notes,
    Place,
    Reader,
    attempt,
    boolean,
    bounded,
    choice,
    describe,
    duration,
    find,
    items,
    label,
    read_keys,
    text,
)
from failover.config.yaml_tree import Entries, Opener, Scalar, compose, read_text
from failover.facts import SLOTS_MAX
from failover.model import FAMILIES, Target, clean

TARGETS_MAX: Final = 32

Keys = Mapping[str, Reader[Any]]


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
    values = read_keys(place, SECTIONS[""], HOMES)
    elsewhere = values.pop("probes", {}) | values.pop("kernel", {})
    config = Config(**values, **elsewhere)
    room = mask_room(config.fwmark_mask)
    uplinks = find(place, "uplinks")
    if uplinks is not None and len(config.uplinks) > room:
        message = f"{len(config.uplinks)} uplinks, and fwmark mask {config.fwmark_mask:#010x} tells {room} apart"
        uplinks.problem(message, "widen kernel.fwmark_mask")
    return config


def _probes(place: Place) -> dict[str, Any]:
    return read_keys(place, SECTIONS["probes"], HOMES)


def _kernel(place: Place) -> dict[str, Any]:
    return read_keys(place, SECTIONS["kernel"], HOMES)


def _policy(place: Place) -> Policy:
    return Policy(**read_keys(place, SECTIONS["policy"], HOMES))


def _metrics(place: Place) -> Metrics:
    return Metrics(**read_keys(place, SECTIONS["metrics"], HOMES))


# --- uplinks ---------------------------------------------------------------------------------------------------------


def _uplinks(place: Place) -> tuple[Uplink, ...]:
    places = items(place, SLOTS_MAX)
    for key in ("name", "interface"):
        _unique(key, (child for item in places if (child := find(item, key)) is not None))
    return tuple(uplink for item in places for uplink in attempt(_uplink, item))


def _uplink(place: Place) -> Uplink:
    values = read_keys(place, SECTIONS["uplinks[]"], HOMES)
    if find(place, "name") is None:
        place.problem("no name", "add one, as 'name: au'")
    if find(place, "interface") is None and find(place, "modem") is None:
        place.problem("no interface", "add it, as 'interface: wwan0'")
    whole = {"name": "", "interface": ""} | values
    return Uplink(**whole)


def _modem(_: Place) -> None:
    raise WrongValueError("modems are not supported", "name the modem's interface instead, as 'interface: wwan0'")


def _metered(place: Place) -> Metered | None:
    if isinstance(place.value, Entries):
        budget = find(place, "budget")
        if budget is not None:
            budget.warning("no budget is kept", "a metered uplink is probed five times less, whatever that comes to")
        return Metered(**read_keys(place, SECTIONS["uplinks[].metered"], HOMES))
    try:
        return Metered() if boolean(place) else None
    except WrongValueError:
        raise WrongValueError(
            f"{describe(place)} says nothing about metering", "write true, false or {budget: 30MB/month}"
        ) from None


def _unique(what: str, places: Iterable[Place]) -> None:
    """Notes each scalar that was there before."""
    first: dict[str, Place] = {}
    for place in places:
        if isinstance(place.value, Scalar) and place.value.kind != "null":
            before = first.setdefault(place.value.text, place)
            if before is not place:
                place.problem(
                    f"the same {what} as {before.path} in line {before.value.line}", f"each {what} is there once"
                )


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


# --- detection -------------------------------------------------------------------------------------------------------

_profile = choice("a detection profile", tuple(PROFILES))


def _detection(place: Place) -> Detection:
    if isinstance(place.value, Scalar):
        return PROFILES[_profile(place)]
    before = len(place.notes.problems)
    values = read_keys(place, SECTIONS["detection"], HOMES)
    detection = replace(PROFILES[values.pop("profile", "balanced")], **values)
    if len(place.notes.problems) == before:
        _ascending(place, detection, "suspicion", "doubt")
        _ascending(place, detection, "doubt", "conviction")
    return detection


def _ascending(place: Place, detection: Detection, lower: str, upper: str) -> None:
    """Notes two thresholds that stand the wrong way round, at the one that the file names."""
    low, high = getattr(detection, lower), getattr(detection, upper)
    at = find(place, upper) or find(place, lower) or place
    if low >= high:
        message = f"{lower} ({format_duration(low)}) is not below {upper} ({format_duration(high)})"
        at.problem(message, "suspicion < doubt < conviction")


# --- the shape -------------------------------------------------------------------------------------------------------

SECTIONS: Final[Mapping[str, Keys]] = {
    "": {
        "uplinks": _uplinks,
        "probes": _probes,
        "detection": _detection,
        "policy": _policy,
        "metrics": _metrics,
        "kernel": _kernel,
    },
    "probes": {"targets": _targets},
    "uplinks[]": {
        "name": label("a name", "au", parse_name),
        "interface": label("an interface", "wwan0", parse_interface),
        "carrier": label("a label", "au", parse_carrier),
        "metered": _metered,
        "targets": _targets,
        "modem": _modem,
    },
    "uplinks[].metered": {
        "budget": bounded("a budget", parse_budget, 10**6, 10**12, lambda size: f"{format_size(size)}/month"),
    },
    "detection": {
        "profile": _profile,
        "suspicion": duration("50ms", "10s"),
        "doubt": duration("100ms", "30s"),
        "conviction": duration("500ms", "2m"),
        "return_after": duration("1s", "1h"),
        "conviction_sends": bounded("a number", parse_whole, 2, 100, str),
        "rtt_factor": bounded("a number", parse_number, 1.0, 10.0, lambda factor: f"{factor:g}"),
    },
    "policy": {
        "failback_after": duration("1s", "1h"),
        "failback_moves_flows": boolean,
    },
    "metrics": {"listen": lambda place: parse_listen(text("ADDRESS:PORT", "127.0.0.1:9109")(place))},
    "kernel": {"fwmark_mask": lambda place: parse_mask(text("a mask", "0x3f000000")(place))},
}
"""Section -> key -> reader. `[]` stands for each item of a list."""

HOMES: Final = {
    key: f"in '{section}'" if section else "at the top level"
    for section in reversed(tuple(SECTIONS))
    for key in SECTIONS[section]
}
"""Key -> where it belongs, the outermost place where there are two."""
