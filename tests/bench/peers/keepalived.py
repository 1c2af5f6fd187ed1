"""Debian's keepalived as people use it for two uplinks: a script that pings, and a route that goes with its verdict.

One VRRP instance per uplink, on the van's own LAN, carries a default route over it, ahead of those that the modem
managers set; it is in fault while the script fails, and the route is gone. The script's interval is whole seconds and
at least one, which is the default.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from failover.lab.namespaces import Namespace
from failover.lab.places import TARGETS, Carrier
from failover.lab.wire import End, cable
from failover.lab.world import World
from failover.model import Family
from tests.bench.peers.box import Box, program
from tests.bench.peers.van import UPLINKS, until

NEEDS: Final = ("keepalived", "ping")
LAN: Final = "lan0"
"""Where the adverts go: a cable between two interfaces of the van, off every uplink."""
AHEAD: Final = 10
"""Less than the metric of any uplink's own default route, which the script's ping leaves by."""
UPLINK: Final = """
vrrp_script {name} {{
    script "{ping} -c 1 -W {wait:g} -I {interface} {target}"
    interval 1
}}
vrrp_instance {name} {{
    interface {lan}
    state MASTER
    virtual_router_id {number}
    virtual_routes {{
        0.0.0.0/0 via {gateway} dev {interface} metric {metric}
    }}
    track_script {{
        {name}
    }}
}}
"""


def _uplink(carrier: Carrier, wait: float) -> str:
    return UPLINK.format(
        name=carrier.name,
        ping=program("ping"),
        wait=wait,
        interface=carrier.interface,
        target=TARGETS[Family.IPV4][0],
        lan=LAN,
        number=carrier.number,
        gateway=carrier.gateway,
        metric=AHEAD + carrier.number,
    )


def _lan(van: Namespace) -> None:
    ends = End(van, LAN, 31), End(van, "lan1", 32)
    cable(*ends)
    for end in ends:
        end.up()
    van.rtnl.add_address(ends[0].index, "192.168.7.1/24")


def _ahead(van: Namespace) -> int:
    """How many default routes in main are keepalived's."""
    with van.entered():
        rows = [row.split() for row in Path("/proc/thread-self/net/route").read_text().splitlines()[1:]]
    return sum(row[1] == "00000000" and AHEAD < int(row[6]) <= AHEAD + len(UPLINKS) for row in rows)


@contextmanager
def keepalived(world: World, home: Path, wait: float) -> Iterator[None]:
    """It runs and both routes are there. `wait`: seconds that the script's ping waits for the answer."""
    _lan(world.van)
    with Box(world.van, home) as box:
        config = home / "keepalived.conf"
        config.write_text("global_defs {\n    script_user root\n}\n" + "".join(_uplink(one, wait) for one in UPLINKS))
        box.start("keepalived", "--dont-fork", "--log-console", "--vrrp", "--use-file", str(config))
        until(lambda: _ahead(world.van) == len(UPLINKS), 15.0, "keepalived's routes")
        yield
