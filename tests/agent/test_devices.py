"""Devices that vanish and come back."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from failover.lab.namespaces import Namespace
from failover.lab.places import CARRIERS, GATEWAY6
from failover.lab.rtnl import RTPROT_DHCP, RTPROT_STATIC, Route
from failover.lab.wire import End, cable
from failover.lab.world import World
from failover.model import Family
from tests.agent.running import facts, ours, running

AU = CARRIERS[0]
NEEDS_IP = pytest.mark.skipif(shutil.which("ip") is None, reason="needs the Debian package iproute2")


def ip(namespace: Namespace, *arguments: str) -> None:
    assert namespace.popen(["ip", *arguments], stdout=subprocess.DEVNULL).wait(10) == 0


def plug_in_again(world: World, index: int) -> None:
    """A new device of the same name, its address and its defaults, as a modem that was reset brings them."""
    van, access = End(world.van, AU.interface, index), world.ground.access(AU.name)
    cable(van, access)
    van.up()
    van.sysctl("ipv4", "rp_filter", 1)
    world.ground.plug(AU.name)
    for address in (f"{AU.gateway}/24", AU.networks[1].replace("::/", "::1/")):
        access.namespace.rtnl.add_address(access.index, address)
    kernel = world.van.rtnl
    kernel.add_address(index, f"{AU.address[Family.IPV4]}/24")
    kernel.add_address(index, f"{AU.address[Family.IPV6]}/64")
    kernel.add_route(Route("default", index, AU.gateway, metric=AU.metric, protocol=RTPROT_DHCP))
    kernel.add_route(Route("default", index, GATEWAY6, metric=AU.metric, protocol=RTPROT_STATIC))


@NEEDS_IP
def test_a_modem_that_is_reset_comes_back_under_another_index(world: World, van: Namespace, tmp_path: Path) -> None:
    config = tmp_path / "failover.yaml"
    config.write_text("uplinks: [{name: au, interface: wwan0}, {name: docomo, interface: wwan1}]\n")
    before = {link.name: link.index for link in facts(van).links}["wwan0"]
    with running(van, tmp_path, "--config", str(config)) as agent:
        agent.ready().all_up()
        start = len(agent.lines)
        ip(van, "link", "del", "wwan0")
        try:
            agent.said("switch: ipv4 au -> docomo: ", start)
            agent.said("switch: ipv6 au -> docomo: ", start)
            agent.said("au ipv4 is absent", start)
        finally:
            plug_in_again(world, 77)
        agent.all_up()
        assert {link.name: link.index for link in facts(van).links}["wwan0"] == 77 != before
        assert not [line for line in agent.lines[start:] if "cannot" in line or "error" in line]
        agent.stop()
    assert ours(van)[0]
    ip(van, "link", "del", "wwan0")
    plug_in_again(world, before)
