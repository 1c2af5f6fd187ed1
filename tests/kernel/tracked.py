"""Entries of connection tracking that no packet made: many at once, of any mark, status and zone."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from contextlib import closing
from itertools import count, islice

import pytest

from failover.kernel import conntrack
from failover.kernel.conntrack import HEAD, IPCTNL_MSG_CT_NEW, IPS_SEEN_REPLY, NLA_F_NESTED, Flow
from failover.kernel.counters import NETLINK_NETFILTER
from failover.kernel.wire import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, attribute, message
from failover.model import Family

from .box import AF

IPS_CONFIRMED = 8
SECONDS = 600
"""That they stay."""
AT_ONCE = 400
"""Messages in a datagram."""
_numbers = count()


def flows(family: Family, number: int, protocol: int = socket.IPPROTO_UDP) -> list[Flow]:
    """So many that nobody had before; of addresses nobody has."""
    form = "192.0.2.{}" if family is Family.IPV4 else "2001:db8::{}"
    return [
        Flow(form.format(1 + n // 60000 % 250), 1024 + n % 60000, form.format(254), 53, protocol)
        for n in islice(_numbers, number)
    ]


def track(wanted: Iterable[Flow], mark: int = 0, *, answered: bool = True, zone: int = 0) -> None:
    """Make an entry for each, in this thread's namespace; the test fails unless all are new."""
    messages = (_message(_new(flow, mark, answered, zone)) for flow in wanted)
    with closing(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)) as netlink:
        while some := b"".join(islice(messages, AT_ONCE)):
            netlink.send(some)
        with pytest.raises(BlockingIOError):  # only a refusal is answered
            netlink.recv(4096, socket.MSG_DONTWAIT)


def _message(body: bytes) -> bytes:
    return message(IPCTNL_MSG_CT_NEW, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL, 0, body)


def _new(flow: Flow, mark: int, answered: bool, zone: int) -> bytes:
    back = Flow(flow.destination, flow.destination_port, flow.source, flow.source_port, flow.protocol)
    status = IPS_CONFIRMED | (IPS_SEEN_REPLY if answered else 0)
    numbers = ((conntrack.CTA_STATUS, status), (conntrack.CTA_TIMEOUT, SECONDS), (conntrack.CTA_MARK, mark))
    return b"".join(
        (
            HEAD.pack(AF[Family.of(flow.source)], 0, 0),
            attribute(NLA_F_NESTED | conntrack.CTA_TUPLE_ORIG, conntrack.of_flow(flow)),
            attribute(NLA_F_NESTED | conntrack.CTA_TUPLE_REPLY, conntrack.of_flow(back)),
            attribute(conntrack.CTA_ZONE, struct.pack("!H", zone)),
            *(attribute(kind, struct.pack("!I", number)) for kind, number in numbers),
        )
    )
