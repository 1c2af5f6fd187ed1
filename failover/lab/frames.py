"""Frames as bytes: what the lab says in the name of routers and carriers. Pure.

Broadcasts of a Wi-Fi router, and the ICMP error of a carrier that forbids a packet.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv6Network, ip_address

from failover.lab.places import GATEWAY6

ALL_NODES = "ff02::1"
ETHERNET = 14
QUOTED = 512
"""Bytes of the packet that are sent back; more than enough to recognise it, and below every MTU."""
ICMP_ECHO = {4: 8, 6: 128}


def checksum(data: bytes) -> int:
    """The internet checksum, RFC 1071."""
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def arp_request(mac: bytes, gateway: str) -> bytes:
    """The router asks for a neighbour that is not there."""
    us, nobody = socket.inet_aton(gateway), socket.inet_aton(gateway.rsplit(".", 1)[0] + ".77")
    body = struct.pack("!HHBBH6s4s6x4s", 1, 0x0800, 6, 4, 1, mac, us, nobody)
    return b"\xff" * 6 + mac + b"\x08\x06" + body


def router_advertisement(mac: bytes, prefix: str) -> bytes:
    """RFC 4861 4.2: a default router for 1800 s, its MAC, and a prefix to make addresses from."""
    network = IPv6Network(prefix)
    options = struct.pack("!BB6s", 1, 1, mac) + struct.pack(
        "!BBBBIII16s", 3, 4, network.prefixlen, 0xC0, 86400, 14400, 0, network.network_address.packed
    )
    source, destination = (socket.inet_pton(socket.AF_INET6, address) for address in (GATEWAY6, ALL_NODES))

    def body(check: int) -> bytes:
        return struct.pack("!BBHBBHII", 134, 0, check, 64, 0, 1800, 0, 0) + options

    pseudo = source + destination + struct.pack("!II", len(body(0)), socket.IPPROTO_ICMPV6)
    packet = struct.pack("!IHBB", 6 << 28, len(body(0)), socket.IPPROTO_ICMPV6, 255) + source + destination
    return b"\x33\x33\0\0\0\x01" + mac + b"\x86\xdd" + packet + body(checksum(pseudo + body(0)))


def mdns_query(mac: bytes, gateway: str) -> bytes:
    """A question for _ipp._tcp.local to 224.0.0.251, as printers ask (UDP without checksum, as IPv4 allows)."""
    question = struct.pack("!6H", 0, 0, 1, 0, 0, 0) + b"\x04_ipp\x04_tcp\x05local\0" + struct.pack("!HH", 12, 1)
    datagram = struct.pack("!HHHH", 5353, 5353, 8 + len(question), 0) + question
    source, group = socket.inet_aton(gateway), socket.inet_aton("224.0.0.251")

    def header(check: int) -> bytes:
        return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 0, 0, 255, 17, check, source, group)

    return b"\x01\0\x5e\0\0\xfb" + mac + b"\x08\0" + header(checksum(header(0))) + datagram


def refusal(frame: bytes, source: str) -> bytes | None:
    """The frame that tells the sender of this IP frame "administratively prohibited", from that address.

    RFC 1812 (type 3, code 13) and RFC 4443 (type 1, code 1). None for an ICMP message other than an echo request, since
    errors are never answered with errors.
    """
    packet, refuser = frame[ETHERNET:], ip_address(source)
    if refuser.version == 4:
        start, protocol, icmp, sender = (packet[0] & 15) * 4, packet[9], 1, packet[12:16]
    else:
        start, protocol, icmp, sender = 40, packet[6], 58, packet[8:24]
    if protocol == icmp and packet[start] != ICMP_ECHO[refuser.version]:
        return None
    build = _ipv4 if refuser.version == 4 else _ipv6
    return frame[6:12] + frame[0:6] + frame[12:14] + build(refuser.packed, sender, packet[:QUOTED])


def _ipv4(source: bytes, destination: bytes, quoted: bytes) -> bytes:
    def header(check: int) -> bytes:
        return struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(quoted), 0, 0, 64, 1, check) + source + destination

    def body(check: int) -> bytes:
        return struct.pack("!BBHI", 3, 13, check, 0) + quoted

    return header(checksum(header(0))) + body(checksum(body(0)))


def _ipv6(source: bytes, destination: bytes, quoted: bytes) -> bytes:
    def body(check: int) -> bytes:
        return struct.pack("!BBHI", 1, 1, check, 0) + quoted

    length = 8 + len(quoted)
    pseudo = source + destination + struct.pack("!II", length, 58)
    return struct.pack("!IHBB", 6 << 28, length, 58, 64) + source + destination + body(checksum(pseudo + body(0)))
