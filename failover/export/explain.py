"""Why traffic goes as it goes, as the document that `failover explain --json` prints: names and units are a contract.

Ages and spans in seconds, ratios 0-1. No I/O; words for people are made by the command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any

from failover.config.rules import PROTOCOLS
from failover.config.values import WrongValueError, parse_port
from failover.export.numbers import age, number
from failover.model import ControlError, Family, clean
from failover.picture import CandidateView, Explanation, Packet, Prospect, Snapshot


def document(explanations: Iterable[Explanation], now: float) -> dict[str, object]:
    """`explanations` as plain JSON values; `now` is the monotonic time of their stamps."""
    return {"families": {one.family.value: _family(one, now) for one in explanations}}


def names(snapshot: Snapshot, about: Mapping[str, Any]) -> dict[str, object]:
    """Whom the box is told to ask for names, and over which uplinks; `about`: by which way, and what is amiss with
    that."""
    used = {decision.active for decision in snapshot.decisions.values()}
    asked = [uplink for uplink in snapshot.uplinks if uplink.name in used and uplink.name_servers]
    return {
        "way": about["way"],
        "text": about["text"] or next(iter(about["trouble"]), ""),
        "asked": [{"uplink": uplink.name, "name_servers": list(uplink.name_servers)} for uplink in asked],
    }


def passage(explanations: Iterable[Explanation], arguments: Mapping[str, Any]) -> dict[str, object]:
    """The way of the packet that the arguments name, as plain JSON values. Raises ControlError where they name none."""
    packet = _packet(arguments)
    way = next((one.way for one in explanations if one.family is packet.family and one.way is not None), None)
    if way is None:
        raise ControlError("nothing is decided yet", "ask again")
    found = way(packet)
    return {
        "packet": {
            "to": packet.to,
            "protocol": packet.protocol or None,
            "port": packet.port or None,
            "uid": None if packet.source else packet.uid,
            "from": packet.source,
        },
        "uplink": found.uplink,
        "refused": found.refused,
        "held": found.held,
        "rule": found.rule,
        "text": found.text,
        "allowed": [{"name": name, "verdict": verdict.value} for name, verdict in found.allowed.items()],
    }


def _packet(arguments: Mapping[str, Any]) -> Packet:
    if "to" not in arguments:
        raise ControlError("explain: where does the packet go?", "add --to, as --to 198.51.100.1:443")
    try:
        to, port = _place(arguments["to"])
        protocol = arguments.get("protocol", "tcp" if port else "")
        if protocol and protocol not in PROTOCOLS:
            raise ControlError(f"unknown protocol {clean(protocol)!r}", f"known: {', '.join(PROTOCOLS)}")
    except ValueError as error:
        raise ControlError(
            f"explain: {clean(str(error))}", "as --to 198.51.100.1:443, or --to [2001:db8::1]:443"
        ) from None
    source = _source(arguments["from"]) if "from" in arguments else None
    if source is not None and "uid" in arguments:
        raise ControlError("explain: 'uid' is of a sender on this box, 'from' of one in the LAN", "name one of them")
    if source is not None and Family.of(source) is not Family.of(to):
        raise ControlError("explain: 'to' and 'from' are of different families", "name two addresses of one")
    return Packet(to, protocol, port, uid=arguments.get("uid", 0), source=source)


def _source(written: str) -> str:
    try:
        return str(ip_address(written))
    except ValueError as error:
        raise ControlError(f"explain: {clean(str(error))}", "as --from 192.168.8.20, the address of a client") from None


def _place(written: str) -> tuple[str, int]:
    """Address and port, 0 where there is none."""
    host, colon, port = written.rpartition(":")
    bare = (written.count(":") > 1 and not host.endswith("]")) or not colon
    try:
        return (
            (str(ip_address(written.strip("[]"))), 0) if bare else (str(ip_address(host.strip("[]"))), parse_port(port))
        )
    except WrongValueError as error:
        raise ControlError(f"explain: {error}", error.hint) from None


def _family(explanation: Explanation, now: float) -> dict[str, object]:
    decision = explanation.decision
    return {
        "active": decision.active,
        "settled": decision.settled,
        "rule": explanation.rule,
        "text": explanation.text,
        "reason": decision.reason.value,
        "decision_text": decision.text,
        "since_seconds": age(decision.at, now),
        "numbers": _numbers(decision.numbers),
        "candidates": [_candidate(candidate) for candidate in explanation.candidates],
        "prospects": [_prospect(prospect) for prospect in explanation.prospects],
    }


def _candidate(candidate: CandidateView) -> dict[str, object]:
    return {
        "name": candidate.name,
        "preference": candidate.preference,
        "verdict": candidate.verdict.value,
        "text": candidate.text,
        "active": candidate.active,
        "settled": candidate.settled,
        "drained": candidate.drained,
        "proven": candidate.proven,
        "owed_seconds": number(candidate.owed_seconds),
        "relapses": number(candidate.relapses),
        "forgiven_seconds": number(candidate.forgiven_seconds),
        "counted": candidate.counted,
        "last_silence": candidate.last_silence,
        "numbers": _numbers(candidate.numbers),
        "objection": candidate.objection,
    }


def _prospect(prospect: Prospect) -> dict[str, object]:
    return {"text": prospect.text, "after_seconds": number(prospect.after_seconds)}


def _numbers(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: short for name, value in numbers.items() if (short := number(value)) is not None}
