"""Debian's NetworkManager: two profiles with route metrics, and its connectivity check, which is all it has.

A device whose check fails keeps its route, at a metric 20000 higher. The check asks for a page over each device every
so many seconds; it is given the server's address, since with a name the standby's check would wait for a DNS that
is asked over the dead uplink.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from failover.lab.places import NAMES, Carrier
from failover.lab.world import World
from failover.model import Family
from tests.bench.peers.box import Box
from tests.bench.peers.van import UPLINKS, until, without_addresses

NEEDS: Final = ("NetworkManager", "nmcli", "dbus-daemon")
ETC, STATE, BUS = "/etc/NetworkManager", "/var/lib/NetworkManager", "/run/dbus"
PAGE: Final = NAMES["connectivitycheck.gstatic.com"][Family.IPV4]
DAEMON: Final = """\
[main]
plugins=keyfile
dns=none
rc-manager=unmanaged
auth-polkit=false
no-auto-default=*
[keyfile]
unmanaged-devices=except:interface-name:{interfaces}
[connectivity]
uri=http://{page}/generate_204
response=
interval={interval}
"""
PROFILE: Final = """\
[connection]
id={name}
type=ethernet
interface-name={interface}
[ipv4]
method=manual
address1={address}/24,{gateway}
route-metric={metric}
[ipv6]
method=disabled
"""


def _profile(carrier: Carrier) -> str:
    return PROFILE.format(
        name=carrier.name,
        interface=carrier.interface,
        address=carrier.address[Family.IPV4],
        gateway=carrier.gateway,
        metric=carrier.metric,
    )


def _configure(box: Box, interval: int) -> None:
    etc = box.inside(ETC)
    interfaces = ";except:interface-name:".join(carrier.interface for carrier in UPLINKS)
    (etc / "NetworkManager.conf").write_text(DAEMON.format(interfaces=interfaces, page=PAGE, interval=interval))
    (etc / "system-connections").mkdir()
    for carrier in UPLINKS:
        profile = etc / "system-connections" / f"{carrier.name}.nmconnection"
        profile.touch(0o600)
        profile.write_text(_profile(carrier))


def _checked(box: Box) -> bool:
    """Both devices have passed their check."""
    said = box.ask("nmcli", "-t", "-f", "DEVICE,IP4-CONNECTIVITY", "device").splitlines()
    return {f"{carrier.interface}:full" for carrier in UPLINKS} <= set(said)


@contextmanager
def manager(world: World, home: Path, interval: int) -> Iterator[None]:
    """It runs, and both devices have passed their check. `interval`: seconds between checks."""
    without_addresses(world)
    with Box(world.van, home, (ETC, STATE), read_only_sys=True) as box:
        _configure(box, interval)
        box.inside(BUS).mkdir()
        box.start("dbus-daemon", "--system", "--nofork", "--nopidfile")
        until((box.inside(BUS) / "system_bus_socket").exists, 10.0, "the message bus")
        box.start("NetworkManager", "--debug", "--log-level=INFO")
        until(lambda: _checked(box), 30.0, "NetworkManager's checks")
        yield
