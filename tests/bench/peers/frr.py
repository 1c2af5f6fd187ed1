"""Debian's FRR with BFD where both ends cooperate: the carrier's far end runs it too, which no carrier does for a SIM.

The van and the internet speak BGP over each uplink, two hops, and BFD watches the session: FRR's own way from a silent
path to another default route (staticd of FRR 8.4 does not know BFD yet). The van prefers au.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from failover.lab.places import Carrier
from failover.lab.rtnl import Route
from failover.lab.world import World
from failover.model import Family
from tests.bench.peers.box import Box
from tests.bench.peers.van import UPLINKS, end_of, until, without_defaults

NEEDS: Final = ("zebra", "bgpd", "bfdd", "vtysh")
STATE: Final = "/run/frr"
VAN, INTERNET = 65001, 65002
PROFILE: Final = """
bfd
 profile paced
  receive-interval {milliseconds}
  transmit-interval {milliseconds}
  detect-multiplier 3
 exit
exit
"""
ROUTER: Final = """
router bgp {number}
 bgp router-id {identity}
 no bgp ebgp-requires-policy
 no bgp network import-check
"""
NEIGHBOR: Final = """
 neighbor {theirs} remote-as {number}
 neighbor {theirs} ebgp-multihop 2
 neighbor {theirs} update-source {ours}
 neighbor {theirs} bfd
 neighbor {theirs} bfd profile paced
 neighbor {theirs} timers connect 1
"""


def _far(carrier: Carrier) -> str:
    """The address of the far end of that carrier's path."""
    return carrier.core[0][1]


def _van_config() -> str:
    text = ROUTER.format(number=VAN, identity="10.0.0.1")
    for rank, carrier in enumerate(UPLINKS):
        far = _far(carrier)
        text += NEIGHBOR.format(theirs=far, ours=carrier.address[Family.IPV4], number=INTERNET)
        text += f" address-family ipv4\n  neighbor {far} weight {100 - rank}\n exit-address-family\n"
    return f"{text}exit\n"


def _internet_config() -> str:
    text = ROUTER.format(number=INTERNET, identity="10.0.0.2")
    for carrier in UPLINKS:
        van = carrier.address[Family.IPV4]
        text += NEIGHBOR.format(theirs=van, ours=_far(carrier), number=VAN)
        text += f" address-family ipv4\n  neighbor {van} default-originate\n exit-address-family\n"
    return f"{text}exit\n"


def _start(box: Box, configs: Mapping[str, str]) -> None:
    """The daemons become the user frr, who must be able to read and write there."""
    state = box.inside(STATE)
    state.mkdir()
    shutil.chown(state, "frr", "frr")
    for daemon, config in configs.items():
        (state / f"{daemon}.conf").write_text(config)
        box.start(daemon, "-f", f"{STATE}/{daemon}.conf", "-P", "0", "--log", "stdout")
        until((state / f"{daemon}.vty").exists, 10.0, f"{daemon} of FRR")


def _watched(box: Box) -> bool:
    """Every BFD session is up."""
    said = box.ask("vtysh", "-c", "show bfd peers json")
    states = [one["status"] for one in json.loads(said)] if said else []
    return states == ["up"] * len(UPLINKS)


@contextmanager
def frr(world: World, home: Path, interval: float) -> Iterator[None]:
    """It runs on both ends and both sessions are up. `interval`: seconds between BFD packets; three missing are a
    failure."""
    without_defaults(world)
    for carrier in UPLINKS:
        route = Route(f"{_far(carrier)}/32", end_of(world.ground, carrier).index, carrier.gateway)
        world.van.rtnl.add_route(route)
    profile = PROFILE.format(milliseconds=round(interval * 1000))
    with ExitStack() as stack:
        boxes = []
        for namespace, config in ((world.ground.internet, _internet_config()), (world.van, _van_config())):
            box = stack.enter_context(Box(namespace, home / namespace.name))
            _start(box, {"zebra": "", "bfdd": profile, "bgpd": config})
            boxes.append(box)
        until(lambda: _watched(boxes[1]), 30.0, "FRR's BFD sessions")
        yield
