"""What a probe weighs on the wire: IP bytes per kind, family and outcome, counted from the formats.

Counts only; the real adapters report what they sent, and `probes/README.md` has their figures.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from failover.model import Family, Outcome, ProbeKind, Target

IP: Final = {Family.IPV4: 20, Family.IPV6: 40}
ICMP: Final = 8
UDP: Final = 8
TCP: Final = 20
SYN_OPTIONS: Final = 20
TIMESTAMPS: Final = 12
DNS_HEADER: Final = 12
DNS_QUESTION: Final = 6
"""Length byte of the first label, root label, type and class."""
DNS_ANSWER: Final = {Family.IPV4: 16, Family.IPV6: 28}
HTTP_REQUEST: Final = 120
HTTP_REPLY: Final = 180
TLS: Final = (700, 4500)
"""A TLS 1.3 handshake with a chain of two certificates: bytes sent and received."""
SYN_TRIES: Final = 4
"""SYNs that leave in 15 s without an answer: at 0, 1, 3 and 7 s."""


@lru_cache(maxsize=1024)
def wire_bytes(target: Target, family: Family, outcome: Outcome) -> tuple[int, int]:
    """(sent, received) IP bytes of one probe."""
    if outcome is Outcome.LOCAL:
        return 0, 0
    heard = outcome is not Outcome.SILENT
    match target.kind:
        case ProbeKind.ICMP:
            size = IP[family] + ICMP
            return size, size if heard else 0
        case ProbeKind.DNS:
            return _dns(target.path, family, heard)
        case ProbeKind.TCP:
            return _connection(family, 0, 0, heard)
        case ProbeKind.HTTP:
            return _web(target, family, HTTP_REQUEST, HTTP_REPLY, heard)
        case ProbeKind.HTTPS:
            return _web(target, family, TLS[0] + HTTP_REQUEST, TLS[1] + HTTP_REPLY, heard)


def _dns(name: str, family: Family, heard: bool) -> tuple[int, int]:
    question = IP[family] + UDP + DNS_HEADER + len(name) + DNS_QUESTION
    return question, question + DNS_ANSWER[family] if heard else 0


def _connection(family: Family, up: int, down: int, heard: bool) -> tuple[int, int]:
    """Handshake, payload of `up` and `down` bytes in one segment each, and the end of it."""
    syn, segment = IP[family] + TCP + SYN_OPTIONS, IP[family] + TCP + TIMESTAMPS
    if not heard:
        return SYN_TRIES * syn, 0
    data = (segment + up, 2 * segment + down) if up else (0, 0)
    return syn + 2 * segment + data[0], syn + segment + data[1]


def _web(target: Target, family: Family, up: int, down: int, heard: bool) -> tuple[int, int]:
    asked = _dns(target.host, family, heard) if target.family is None else (0, 0)
    talk = _connection(family, up, down, heard) if heard or target.family is not None else (0, 0)
    return asked[0] + talk[0], asked[1] + talk[1]
