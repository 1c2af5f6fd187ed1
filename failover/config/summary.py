"""What a config comes to: as a document, and in words for people.

`summary` knows the config alone; forecast.py adds what the machine has of it, and `lines` tells both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from failover.config import PROFILES, SECONDS, Config, Detection, Flows, Metered, Policy
from failover.config.modems import Matter, Messages, Modem, Repair, describe_modem
from failover.config.rules import describe_aim, describe_match
from failover.config.values import format_duration, format_size
from failover.facts import Gateway
from failover.model import FAMILIES, Target
from failover.modem import masked

_NUMBERS: Final = (*SECONDS, "conviction_sends", "rtt_factor")


def summary(config: Config) -> dict[str, Any]:
    """The uplinks in order, the targets of each family, the numbers in force, and where metrics are served."""
    uplinks = [
        {
            "name": uplink.name,
            "interface": uplink.interface,
            "modem": modem(uplink.modem),
            "carrier": uplink.carrier,
            "metered": uplink.metered is not None,
            "budget": budget(uplink.metered),
            "targets": urls(config.targets_of(uplink)),
            "dns": None if uplink.dns is None else list(uplink.dns),
        }
        for uplink in config.uplinks
    ]
    return {
        "discovered": not config.uplinks,
        "uplinks": uplinks,
        "targets": urls(config.targets),
        "detection": _detection(config.detection),
        "policy": _policy(config.policy),
        "flows": _flows(config.flows),
        "rules": [
            {"name": rule.name, "match": describe_match(rule.match), "uplinks": describe_aim(rule.aim)}
            for rule in config.rules
        ],
        "gateway": _gateway(config.gateway),
        "mptcp": "auto" if config.mptcp else "off",
        "dns": {"way": config.dns.way.value, "servers": list(config.dns.servers)},
        "repair": _repair(config.repair),
        "sms": _messages(config.messages),
        "carriers": dict(config.networks),
        "metrics": config.metrics.listen,
        "fwmark_mask": f"{config.fwmark_mask:#010x}",
    }


def budget(metered: Metered | None) -> dict[str, int] | None:
    """What its probes may come to, named as what they will come to."""
    if metered is None:
        return None
    return {"active_bytes_per_month": metered.budget, "standby_bytes_per_month": metered.standby}


def modem(told: Modem | None) -> dict[str, Any] | None:
    """As everybody may see it."""
    if told is None:
        return None
    return {
        "described": describe_modem(told),
        "imei": masked(told.imei),
        "device": told.device,
        "serial": masked(told.serial),
        "slot": told.slot,
        "iccid": masked(told.iccid),
        "apn": told.dial.apn,
        "pin": bool(told.pin),
        "families": [family.value for family in told.dial.families],
        "roaming": told.roaming.value,
        "connect": told.connect.value,
    }


def urls(targets: Sequence[Target]) -> dict[str, list[str]]:
    """The targets of each family."""
    return {family.value: [target.url for target in targets if target.family in (None, family)] for family in FAMILIES}


def _detection(detection: Detection) -> dict[str, Any]:
    profile = PROFILES[detection.profile]
    numbers = {name: getattr(detection, name) for name in _NUMBERS}
    usual = {name: getattr(profile, name) for name in numbers if getattr(profile, name) != numbers[name]}
    return {"profile": detection.profile, **_keyed(numbers), "overridden": _keyed(usual)}  # as the profile has them


def _keyed(numbers: Mapping[str, float]) -> dict[str, float]:
    return {_key(name): number for name, number in numbers.items()}


def _policy(policy: Policy) -> dict[str, Any]:
    return {"failback_after_seconds": policy.failback_after, "failback_moves_flows": policy.failback_moves_flows}


def _flows(flows: Flows) -> dict[str, Any]:
    return {"keep": {"ports": sorted(flows.keep.ports), "uids": sorted(flows.keep.uids)}}


def _repair(repair: Repair) -> dict[str, Any]:
    return {
        "steps": [step.value for step in repair.steps],
        "reset_interval_seconds": repair.reset_interval,
        "resets_per_day": repair.resets_per_day,
        "switches_per_hour": repair.switches_per_hour,
    }


def _messages(messages: Messages) -> dict[str, Any]:
    own = {matter.value: list(messages.patterns.get(matter, ())) for matter in Matter}
    return {"keep_seconds": messages.keep, "text": messages.text, "patterns": own}


def _gateway(gateway: Gateway | None) -> dict[str, Any] | None:
    return None if gateway is None else {"lan": list(gateway.lan), "masquerade": gateway.masquerade}


# --- in words --------------------------------------------------------------------------------------------------------


def lines(document: Mapping[str, Any]) -> Iterator[str]:
    """What forecast.py makes of a summary, in words."""
    if document["discovered"]:
        yield "uplinks: discovered from the default routes of table main, in metric order"
        if not document["uplinks"] and document["kernel_error"] is None:
            yield "  there is no default route now"
    for rank, uplink in enumerate(document["uplinks"], 1):
        extras = [uplink["carrier"], "metered" if uplink["metered"] else ""]
        yield ", ".join(filter(None, [f"uplink {rank}: {uplink['name']} on {_place(uplink)}", *extras]))
        yield from _presence(uplink)
        if uplink["targets"] != document["targets"]:
            for family, own in uplink["targets"].items():
                yield f"  {family} targets of its own: {', '.join(own) or 'none'}"
        if uplink["dns"] is not None:
            yield f"  name servers as told here: {', '.join(uplink['dns']) or 'none'}"
        yield _cost(uplink["at_rest"], uplink["budget"])
    for family, common in document["targets"].items():
        yield f"{family} targets: {', '.join(common) or 'none'}"
    yield _detection_line(document["detection"])
    yield _policy_line(document["policy"])
    yield _flows_line(document["flows"]["keep"])
    for number, rule in enumerate(document["rules"], 1):
        yield f"rule {number}: {rule['name']}: {rule['match']}: {rule['uplinks']}"
    if gateway := document["gateway"]:
        translated = "masqueraded" if gateway["masquerade"] else "not translated"
        yield f"gateway of {', '.join(gateway['lan'])}: clients are {translated}, each flow keeps its uplink"
    yield f"mptcp: {document['mptcp']}"
    yield _names_line(document["dns"])
    if any(uplink["modem"] for uplink in document["uplinks"]):
        yield _repair_line(document["repair"])
        yield _messages_line(document["sms"])
    for carrier, network in document["carriers"].items():
        yield f"carrier {carrier}: on the network of {network}"
    yield f"metrics: {document['metrics'] or 'not served'}"
    if document["kernel_error"] is not None:
        yield f"caution: the kernel cannot be read, so nothing is said of interfaces: {document['kernel_error']}"
    for text in document["cautions"]:
        yield f"caution: {text}"


def _place(uplink: Mapping[str, Any]) -> str:
    if (told := uplink["modem"]) is None:
        return str(uplink["interface"])
    interface = f", at {uplink['interface']} unless told otherwise" if uplink["interface"] else ""
    sim = f", SIM {told['iccid']}" if told["iccid"] else ""
    return f"{told['described']}{sim}{interface}"


def _presence(uplink: Mapping[str, Any]) -> Iterator[str]:
    """What the kernel has of it now."""
    if uplink["modem"] and not uplink["interface"]:
        yield "  its interface is known once the agent has found the modem"
        return
    if uplink["present"] is False:
        yield f"  there is no interface {uplink['interface']} now"
        return
    for family, way in (uplink["families"] or {}).items():
        if way["fault"]:
            yield f"  {family}: {way['fault']}"
        else:
            gateway = f"by {way['gateway']}" if way["gateway"] else "without a gateway"
            yield f"  {family}: {', '.join(way['addresses'])} {gateway}, metric {way['metric']}"


def _cost(rest: Mapping[str, Any], allowed: Mapping[str, int] | None) -> str:
    """What its probes will come to, and what they may."""
    active, standby = (megabytes(rest[f"{pace}_bytes_per_month"]) for pace in ("active", "standby"))
    families = " and ".join(rest["families"]) or "no target"
    said = f"  probes at rest: {active} a month while active, {standby} as a standby ({families})"
    return (
        f"{said}; budget {' and '.join(f'{format_size(size)}/month' for size in allowed.values())}" if allowed else said
    )


def megabytes(size: int) -> str:
    """For people."""
    return f"{size / 1e6:.0f} MB" if size >= 1e7 else f"{size / 1e6:.1f} MB"


def _detection_line(detection: Mapping[str, Any]) -> str:
    shown = {name: _shown(name, detection) for name in _NUMBERS}
    overridden = detection["overridden"]
    usual = [f"{name} of {_shown(name, overridden)}" for name in shown if _key(name) in overridden]
    return (
        f"detection: {detection['profile']}{', overriding its ' + ', '.join(usual) if usual else ''}: "
        f"suspicion {shown['suspicion']}, doubt {shown['doubt']} or {shown['rtt_factor']} round trips, "
        f"conviction {shown['conviction']} and {shown['conviction_sends']} sends, return after {shown['return_after']}"
    )


def _key(name: str) -> str:
    return f"{name}_seconds" if name in SECONDS else name


def _shown(name: str, numbers: Mapping[str, float]) -> str:
    number = numbers[_key(name)]
    return format_duration(number) if name in SECONDS else f"{number:g}"


def _flows_line(keep: Mapping[str, Sequence[int]]) -> str:
    kept = [f"{what} {', '.join(map(str, numbers))}" for what, numbers in keep.items() if numbers]
    return f"flows: broken when their uplink is lost, but for {' and '.join(kept) or 'none'}"


def _names_line(dns: Mapping[str, Any]) -> str:
    public = f"; where an uplink's own do not answer, {', '.join(dns['servers'])}" if dns["servers"] else ""
    return f"dns: {dns['way']}{public}"


def _repair_line(repair: Mapping[str, Any]) -> str:
    if not repair["steps"]:
        return "repair: off"
    interval = format_duration(repair["reset_interval_seconds"])
    return (
        f"repair: {', '.join(repair['steps'])}; a reset each {interval} and {repair['resets_per_day']} a day at most, "
        f"{repair['switches_per_hour']} slot switches an hour"
    )


def _messages_line(messages: Mapping[str, Any]) -> str:
    if not messages["keep_seconds"]:
        return "sms: not kept"
    own = sum(map(len, messages["patterns"].values()))
    days = f"{messages['keep_seconds'] / 86400:g} days, {'with' if messages['text'] else 'without'} their text"
    return f"sms: kept for {days}{f'; own patterns: {own}' if own else ''}"


def _policy_line(policy: Mapping[str, Any]) -> str:
    moved = "along" if policy["failback_moves_flows"] else "not along"
    return f"policy: failback after {format_duration(policy['failback_after_seconds'])}, forwarded traffic {moved}"
