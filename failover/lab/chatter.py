"""Broadcasts of a router, as its own process: ARP, router advertisement, mDNS, in turn.

They make interface counters grow while nothing gets through. Run by world.py inside the router's namespace as
`python -m failover.lab.chatter INTERFACE MAC GATEWAY PREFIX PER_SECOND`.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import sys

from failover.lab.control import Channel
from failover.lab.frames import arp_request, mdns_query, router_advertisement


def main(arguments: list[str]) -> None:
    """INTERFACE MAC GATEWAY PREFIX PER_SECOND"""
    interface, mac, gateway, prefix = arguments[0], bytes.fromhex(arguments[1]), arguments[2], arguments[3]
    interval = 1 / float(arguments[4])
    frames = (router_advertisement(mac, prefix), arp_request(mac, gateway), mdns_query(mac, gateway))
    channel = Channel()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind((interface, 0))
        for count, frame in enumerate(itertools.cycle(frames)):
            with contextlib.suppress(OSError):  # the link is down: nobody hears it
                sender.send(frame)
            if count == 0:
                channel.send({"ready": True})
            if select.select([channel.fileno()], [], [], interval)[0] and not channel.serve(lambda _: {}):
                return


if __name__ == "__main__":
    main(sys.argv[1:])
