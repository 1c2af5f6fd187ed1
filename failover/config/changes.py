"""What a new config changes, in words, and whether open flows end by it.

Every key takes effect in a running agent without a restart. Open flows end only with the uplink that carries them: its
table and its rules go, and what still has its address leaves by another uplink, where it is foreign.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from failover.config import SECONDS, Config, Uplink
from failover.config.modems import Modem, describe_modem
from failover.config.rules import TrafficRule
from failover.config.values import format_duration
from failover.facts import Gateway
from failover.modem import Dial

DETAILS: Final = ("carrier", "metered", "targets", "delegated", "dns")
MODEM_DETAILS: Final = ("imei", "device", "serial", "iccid", "pin", "roaming", "connect")
DIAL_DETAILS: Final = {"apn": "apn", "user": "user", "password": "password", "ip": "families"}
"""Key -> field."""


def changes(before: Config, after: Config) -> Iterator[str]:
    """One line for each thing that differs, as `detection.doubt: 300ms, was 350ms`; what ends open flows says so."""
    yield from _uplinks(before.uplinks, after.uplinks)
    if before.targets != after.targets:
        added = sum(target not in before.targets for target in after.targets)
        yield f"probes.targets: {len(after.targets)}, {added} of them new; were {len(before.targets)}"
    if before.rules != after.rules:
        yield f"rules: {_rules(before.rules, after.rules)}"
    if before.gateway != after.gateway:
        yield f"gateway: {_gateway(after.gateway)}"
    if before.messages.patterns != after.messages.patterns:
        yield f"sms.patterns: {_counted(after.messages.patterns) or 'the usual ones alone'}"
    if before.networks != after.networks:
        yield f"carriers: {', '.join(f'{key} on {network}' for key, network in after.networks.items()) or 'none'}"
    old, new = _written(before), _written(after)
    yield from (f"{path}: {value}, was {old[path]}" for path, value in new.items() if value != old[path])


def _uplinks(before: tuple[Uplink, ...], after: tuple[Uplink, ...]) -> Iterator[str]:
    if not (before and after):
        if before or after:
            yield f"uplinks: {'as listed' if after else 'discovered'}; open flows of what is no uplink any more end"
        return
    old, new = ({_means(uplink): uplink for uplink in uplinks} for uplinks in (before, after))
    for means, uplink in old.items():
        if means not in new:
            yield f"uplinks: {uplink.name} on {_place(uplink)} is gone; its open flows end"
    for means, uplink in new.items():
        if means not in old:
            yield f"uplinks: {uplink.name} on {_place(uplink)} is new"
        else:
            yield from _uplink(old[means], uplink)
    if [means for means in old if means in new] != [means for means in new if means in old]:
        yield f"uplinks: preferred in the order {', '.join(uplink.name for uplink in after)}"


def _means(uplink: Uplink) -> tuple[object, ...]:
    """What it leaves by: the interface of a modem may be another one each day."""
    modem = uplink.modem
    return (uplink.interface,) if modem is None else (modem.key, modem.slot)


def _place(uplink: Uplink) -> str:
    return uplink.interface if uplink.modem is None else describe_modem(uplink.modem)


def _uplink(before: Uplink, after: Uplink) -> Iterator[str]:
    """Of one that stays on its interface, or modem and slot."""
    if before.name != after.name:
        yield f"uplinks: {after.name}, was {before.name}"
    rest = [name for name in DETAILS if getattr(before, name) != getattr(after, name)]
    rest += _modem(before.modem, after.modem) if before.modem and after.modem else []
    if rest:
        yield f"uplinks: {after.name}: other {', '.join(rest)}"


def _modem(before: Modem, after: Modem) -> list[str]:
    """The keys that differ, without their values: some are secret."""
    of_modem = [name for name in MODEM_DETAILS if getattr(before, name) != getattr(after, name)]
    return of_modem + dial_changes(before.dial, after.dial)


def dial_changes(before: Dial, after: Dial) -> list[str]:
    """The keys that differ, of those that a connection is asked for by. One that stands may roam or not as it is."""
    return [key for key, name in DIAL_DETAILS.items() if getattr(before, name) != getattr(after, name)]


def _rules(before: tuple[TrafficRule, ...], after: tuple[TrafficRule, ...]) -> str:
    old, new = (", ".join(rule.name for rule in rules) for rules in (before, after))
    if not after:
        return f"none, were {old}"
    return f"{new}; what they forbid is refused now" if any(rule.aim.restricts for rule in after) else new


def _gateway(gateway: Gateway | None) -> str:
    if gateway is None:
        return "none; clients leave untranslated, and forwarding stays on until `failover cleanup`"
    return f"{', '.join(gateway.lan)}, {'masqueraded' if gateway.masquerade else 'untranslated'}"


def _written(config: Config) -> dict[str, str]:
    """Every single value as it would stand in the file."""
    detection, policy = config.detection, config.policy
    return {
        **{f"detection.{name}": format_duration(getattr(detection, name)) for name in SECONDS},
        "detection.conviction_sends": str(detection.conviction_sends),
        "detection.rtt_factor": f"{detection.rtt_factor:g}",
        "policy.failback_after": format_duration(policy.failback_after),
        "policy.failback_moves_flows": str(policy.failback_moves_flows).lower(),
        "flows.keep.ports": _listed(config.flows.keep.ports),
        "flows.keep.uids": _listed(config.flows.keep.uids),
        "mptcp": "auto" if config.mptcp else "off",
        "dns.way": config.dns.way.value,
        "dns.servers": ", ".join(config.dns.servers) or "none",
        "repair.steps": ", ".join(config.repair.steps) or "none",
        "repair.reset_interval": format_duration(config.repair.reset_interval),
        "repair.resets_per_day": str(config.repair.resets_per_day),
        "repair.switches_per_hour": str(config.repair.switches_per_hour),
        "sms.keep": f"{config.messages.keep / 86400:g}d" if config.messages.keep else "none",
        "sms.text": str(config.messages.text).lower(),
        "metrics.listen": config.metrics.listen or "none",
        "kernel.fwmark_mask": f"{config.fwmark_mask:#010x}",
    }


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers))) or "none"


def _counted(patterns: Mapping[str, tuple[str, ...]]) -> str:
    return ", ".join(f"{len(those)} of {matter}" for matter, those in patterns.items())
