"""Five broadcasts a second from a Wi-Fi router, as its own process: ARP, router advertisement, mDNS, in turn.

They make interface counters grow while nothing gets through. Run by world.py inside the router's namespace as
`python -m failover.lab.chatter INTERFACE MAC GATEWAY PREFIX`.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import struct
import sys
from ipaddress import IPv6Network

from failover.lab.control import Channel
from failover.lab.places import GATEWAY6

INTERVAL = 0.2
ALL_NODES = "ff02::1"


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


def main(arguments: list[str]) -> None:
    """INTERFACE MAC GATEWAY PREFIX"""
    interface, mac, gateway, prefix = arguments[0], bytes.fromhex(arguments[1]), arguments[2], arguments[3]
    frames = (router_advertisement(mac, prefix), arp_request(mac, gateway), mdns_query(mac, gateway))
    channel = Channel()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind((interface, 0))
        for count, frame in enumerate(itertools.cycle(frames)):
            with contextlib.suppress(OSError):  # the link is down: nobody hears it
                sender.send(frame)
            if count == 0:
                channel.send({"ready": True})
            if select.select([channel.fileno()], [], [], INTERVAL)[0] and not channel.serve(lambda _: {}):
                return


if __name__ == "__main__":
    main(sys.argv[1:])
