"""Beside the real NetworkManager and the real systemd-networkd, which have the same links to manage.

Whatever happens, in whatever order, the kernel is soon as the agent wants it, nobody loses anything by it, and then it
is quiet: neither of the two goes on to put right what the other one did.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest

from failover.lab.namespaces import Namespace
from tests.agent.managed import CONVERGED, Play, Wires, playing
from tests.allowed import or_skip
from tests.enclosure import PATIENCE
from tests.names.box import Box, require
from tests.names.conftest import Administrator

UNDISTURBED = 1.5
"""Seconds of a quiet window."""
PROFILE = """\
[connection]
id={interface}
type=ethernet
interface-name={interface}
[ipv4]
method=manual
address1=10.{number}.0.2/24,10.{number}.0.1
route-metric={number}00
[ipv6]
method=manual
addr-gen-mode=eui64
address1=2001:db8:{number}::2/64,2001:db8:{number}::1
route-metric={number}00
"""
DAEMON = """\
[main]
plugins=keyfile
dns=none
rc-manager=unmanaged
auth-polkit=false
no-auto-default=*
[keyfile]
unmanaged-devices=except:interface-name:up1;except:interface-name:up2
[connectivity]
enabled=false
"""
NETWORK = """\
[Match]
Name={interface}
[Network]
DHCP=ipv4
IPv6AcceptRA=no
LinkLocalAddressing=ipv6
Address=2001:db8:{number}::2/64
[Route]
Gateway=2001:db8:{number}::1
Metric={number}00
[DHCPv4]
RouteMetric={number}00
UseDNS=no
UseNTP=no
UseHostname=no
"""


class NetworkManager:
    """Two profiles with addresses of their own."""

    def __init__(self, box: Box, wires: Wires) -> None:
        self._box, self._wires = box, wires
        folder = box.root / "etc/NetworkManager/system-connections"
        folder.mkdir(parents=True)
        (folder.parent / "NetworkManager.conf").write_text(DAEMON)
        for number, interface in enumerate(wires.routers, 1):
            profile = folder / f"{interface}.nmconnection"
            profile.touch(0o600)
            profile.write_text(PROFILE.format(interface=interface, number=number))
        self._begin()

    def _begin(self) -> None:
        self._service = self._box.popen("NetworkManager", "--debug", "--log-level=WARN", stdout=subprocess.DEVNULL)
        Administrator(self._box).await_name("org.freedesktop.NetworkManager")
        self._until(lambda: self._say("-t", "-f", "STATE", "device").splitlines().count("connected") >= 2)

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self._box.log()

    def _say(self, *words: str) -> str:
        done = self._box.run("nmcli", *words)
        return done.stdout

    def restart(self) -> None:
        self._box.end(self._service)
        self._begin()

    def change_address(self, host: int) -> None:
        """As a lease that is renewed with another address."""
        self._say("connection", "modify", "up1", "ipv4.addresses", f"10.1.0.{host}/24")
        self._say("device", "reapply", "up1")

    def events(self) -> list[Callable[[], object]]:
        return [
            partial(self._say, "connection", "down", "up1"),
            partial(self._say, "connection", "up", "up1"),
            partial(self._say, "connection", "up", "up2"),
            partial(self._say, "device", "reapply", "up1"),
            partial(self._say, "device", "reapply", "up2"),
            partial(self._wires.flap, "up1"),
            partial(self.change_address, 77),
            self.restart,
        ]

    def as_at_first(self) -> list[Callable[[], object]]:
        return [partial(self.change_address, 2), partial(self._say, "connection", "up", "up1")]

    def close(self) -> None:
        """It ends with its box."""


class Networkd:
    """Leases for IPv4, an address of its own for IPv6."""

    def __init__(self, box: Box, wires: Wires) -> None:
        self._box, self._wires = box, wires
        self._leases: dict[str, subprocess.Popen[bytes]] = {}
        for number, interface in enumerate(wires.routers, 1):
            self._lease(interface, 50)
            text = NETWORK.format(interface=interface, number=number)
            (box.root / f"etc/systemd/network/{interface}.network").write_text(text)
        self._begin()

    def _lease(self, interface: str, host: int) -> None:
        """The carrier has this address to give, and no other."""
        if interface in self._leases:
            self._leases[interface].kill()
            self._leases[interface].wait(PATIENCE)
        number = interface[-1]
        address = f"10.{number}.0.{host}"
        argv = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--no-ping"]
        argv += [f"--interface=gw{number}", f"--dhcp-range={address},{address},2m", "--dhcp-authoritative"]
        argv += [f"--dhcp-leasefile={self._box.root}/{interface}.{host}", "--pid-file="]
        router = self._wires.routers[interface]
        self._leases[interface] = router.popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def close(self) -> None:
        for server in self._leases.values():
            server.kill()
            server.wait(PATIENCE)

    def _begin(self) -> None:
        self._service = self._box.serve("/usr/lib/systemd/systemd-networkd")

    def restart(self) -> None:
        self._box.end(self._service)
        self._begin()

    def _say(self, *words: str) -> None:
        self._box.run("networkctl", *words)

    def change_address(self, host: int) -> None:
        """The next renewal of the lease brings another address."""
        self._lease("up1", host)
        self._say("renew", "up1")

    def events(self) -> list[Callable[[], object]]:
        return [
            partial(self._say, "down", "up1"),
            partial(self._say, "up", "up1"),
            partial(self._say, "reconfigure", "up2"),
            partial(self._say, "reconfigure", "up1"),
            partial(self._say, "reload"),
            partial(self._wires.flap, "up1"),
            partial(self.change_address, 77),
            self.restart,
        ]

    def as_at_first(self) -> list[Callable[[], object]]:
        """With nobody else around, too: a link that loses its carrier while it is configured has failed, and an address
        that was there before its own restart has lost its metric."""
        self._lease("up1", 50)
        return [partial(self._say, do, "up1", "up2") for do in ("reconfigure", "down", "up")]


@pytest.fixture(params=[NetworkManager, Networkd])
def managed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Namespace, NetworkManager | Networkd]]:
    if request.param is NetworkManager and shutil.which("NetworkManager") is None:
        pytest.skip("needs the Debian package network-manager")
    if request.param is Networkd and shutil.which("dnsmasq") is None:
        pytest.skip("needs the Debian package dnsmasq-base")
    package = require("systemd-resolved")
    home = tmp_path / "box"
    home.mkdir()
    with ExitStack() as stack:
        with or_skip():
            van = stack.enter_context(Namespace("managed"))
        wires = stack.enter_context(closing(Wires(van)))
        box = stack.enter_context(Box(van, home, package))
        yield van, stack.enter_context(closing(request.param(box, wires)))


def test_they_get_on_in_any_order(managed: tuple[Namespace, NetworkManager | Networkd], tmp_path: Path) -> None:
    van, manager = managed
    dice = random.Random(5)
    with playing(van, tmp_path) as play:
        before = play.held()
        events = [*manager.events(), play.restart]
        dice.shuffle(events)
        for event in events:
            event()
            took = play.settle()
            assert took <= CONVERGED, (event, took, play.agent.lines)
        dice.shuffle(events)
        for event in events[:4]:
            event()
        for event in (lambda: None, *manager.as_at_first()):
            event()
            assert play.settle() <= CONVERGED
        play.until(play.home_again)
        play.settle()
        after = play.held()
        assert after.foreign_changes(before) == ([], [])
        assert after.ours == before.ours
        is_quiet(play)


def is_quiet(play: Play) -> None:
    """Nobody changes anything for a while."""
    end = time.monotonic() + UNDISTURBED
    play.heard.clear()
    play.until(lambda: time.monotonic() >= end)
    assert play.heard == []
