"""Looking at the lab from the van with plain sockets: ping, TCP, HTTP, DNS. No sleeps: sockets with deadlines."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import TypeVar

import dns.message
import dns.rcode

from failover.lab.frames import checksum
from failover.lab.namespaces import Namespace
from failover.lab.places import APP, ECHO_PORT, NAMES
from failover.lab.reach import bound_socket
from failover.lab.user import Seen, User
from failover.model import Family

WEB = NAMES["connectivitycheck.gstatic.com"]
TRIES = 5
T = TypeVar("T")


def once(look: Callable[[], T], right: Callable[[T], object]) -> T:
    """What is seen, as soon as it is right; at last, whatever it is. The machine may be busy."""
    for _ in range(TRIES - 1):
        if right(found := look()):
            return found
    return look()


def undisturbed(user: User) -> dict[tuple[Family, str], Seen]:
    """What it sees from now on, once all its flows are served lastingly."""
    began = time.monotonic()
    assert user.wait(began, timeout=10.0)
    return user.seen(began)


def answer_to_ping(
    van: Namespace, family: Family, interface: str, address: str, timeout: float = 0.4
) -> tuple[int, int] | None:
    """ICMP (type, code) that comes back to one echo request: its reply, or an error that quotes it; None = silence."""
    protocol = socket.IPPROTO_ICMP if family is Family.IPV4 else socket.IPPROTO_ICMPV6
    request, reply = (8, 0) if family is Family.IPV4 else (128, 129)
    identity = os.urandom(4)
    body = struct.pack("!BBH", request, 0, 0) + identity
    if family is Family.IPV4:
        body = struct.pack("!BBH", request, 0, checksum(body)) + identity
    scope = socket.if_nametoindex(interface) if address.startswith("fe80") else 0
    with bound_socket(van, family, socket.SOCK_RAW, interface, protocol) as raw:
        raw.sendto(body, (address, 0) if family is Family.IPV4 else (address, 0, 0, scope))
        deadline = time.monotonic() + timeout
        while select.select([raw], [], [], max(0.0, deadline - time.monotonic()))[0]:
            packet = raw.recv(2048)
            packet = packet[20:] if family is Family.IPV4 else packet
            if identity in packet and (packet[0] == reply or packet[0] in (1, 3)):
                return packet[0], packet[1]
    return None


def gateway_answers(van: Namespace, family: Family, interface: str, gateway: str) -> bool:
    """Whether the router answers a ping at its own address."""
    with van.entered():
        address = gateway if family is Family.IPV4 else "fe80::1"
        found = answer_to_ping(van, family, interface, address)
    return found is not None and found[0] in (0, 129)


def http_get(van: Namespace, family: Family, interface: str, timeout: float = 0.6) -> tuple[int, str] | None:
    """Status and location of GET /generate_204 at the connectivity check; None when nothing comes."""
    with bound_socket(van, family, socket.SOCK_STREAM, interface) as tcp:
        tcp.settimeout(timeout)
        try:
            tcp.connect((WEB[family], 80))
            tcp.sendall(b"GET /generate_204 HTTP/1.1\r\nHost: connectivitycheck.gstatic.com\r\n\r\n")
            head = tcp.recv(4096).decode()
        except OSError:
            return None
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    return (int(head.split()[1]), fields.get("Location", "")) if head else None


def ask_dns(van: Namespace, family: Family, interface: str, server: str, name: str) -> dns.rcode.Rcode | None:
    """The rcode of an A question by UDP; None when nothing comes."""
    query = dns.message.make_query(name, "A")
    with bound_socket(van, family, socket.SOCK_DGRAM, interface) as udp:
        udp.settimeout(0.4)
        try:
            udp.connect((server, 53))
            udp.send(query.to_wire())
            return dns.message.from_wire(udp.recv(4096)).rcode()
        except OSError:
            return None


def tcp_echo(van: Namespace, family: Family, interface: str, data: bytes, timeout: float = 5.0) -> bytes:
    """Send the data to the app server over one connection, read as much back."""
    received = b""
    with bound_socket(van, family, socket.SOCK_STREAM, interface) as tcp:
        tcp.settimeout(timeout)
        tcp.connect((APP[family], ECHO_PORT))
        tcp.setblocking(False)
        deadline, rest = time.monotonic() + timeout, data
        while len(received) < len(data) and time.monotonic() < deadline:
            readable, writable, _ = select.select([tcp], [tcp] if rest else [], [], 1.0)
            if writable:
                rest = rest[tcp.send(rest) :]
            if readable:
                received += tcp.recv(65536)
    return received


def echoes(
    van: Namespace, family: Family, interface: str, count: int, size: int = 32, patience: float = 0.1
) -> list[tuple[int, float]]:
    """Send that many datagrams at once; (number, seconds after the first send) of each echo, in order of arrival.

    Ends when nothing came for `patience` seconds. Keep the count below 150: an ordinary user's link holds no more.
    """
    came: list[tuple[int, float]] = []
    with bound_socket(van, family, socket.SOCK_DGRAM, interface) as udp:
        udp.connect((APP[family], ECHO_PORT))
        started = time.monotonic()
        for number in range(count):
            udp.send(number.to_bytes(4, "big") + bytes(size - 4))
        while len(came) < count and select.select([udp], [], [], patience)[0]:
            came.append((int.from_bytes(udp.recv(2048)[:4], "big"), time.monotonic() - started))
    return came
