"""What networks told of their name servers, by the real NetworkManager."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from failover.lab.namespaces import Namespace
from tests.allowed import or_skip
from tests.names.box import Box
from tests.names.carriers import Carriers
from tests.names.conftest import Administrator, Asker, started, until

SETTINGS = """[main]
plugins=keyfile
dns=none
systemd-resolved={handed_on}
rc-manager=unmanaged
auth-polkit=false
[device]
match-device=*
managed=1
[connectivity]
enabled=false
"""
CONNECTION = """[connection]
id={name}
type=ethernet
interface-name={name}
[ipv4]
method=manual
address1=10.{number}.0.2/24,{server}
dns={server};
[ipv6]
method=manual
address1=2001:db8:{number}::2/64
dns=2001:db8:{number}::53;
"""


@pytest.fixture(scope="module")
def carriers() -> Iterator[Carriers]:
    with or_skip(), Namespace("managed") as home:
        made = Carriers(home, (1, 2), addressed=False)
        yield made
        made.close()


@contextmanager
def managed(carriers: Carriers, handed_on: bool) -> Iterator[Box]:
    """A box where NetworkManager has set up both uplinks."""
    if shutil.which("NetworkManager") is None:
        pytest.skip("needs the Debian package network-manager")
    with started(carriers.box) as made:
        settings = made.root / "etc/NetworkManager"
        (settings / "system-connections").mkdir(parents=True)
        (settings / "NetworkManager.conf").write_text(SETTINGS.format(handed_on=str(handed_on).lower()))
        for carrier in carriers.all:
            file = settings / f"system-connections/{carrier.name}.nmconnection"
            file.write_text(CONNECTION.format(name=carrier.name, number=carrier.number, server=carrier.own))
            file.chmod(0o600)
        made.popen("NetworkManager", "--no-daemon", stdout=subprocess.DEVNULL)
        Administrator(made).await_name("org.freedesktop.NetworkManager")
        until(lambda: made.run("nmcli", "-t", "-f", "STATE", "general").stdout == "connected\n")
        yield made


def test_where_nobody_hands_it_on_it_is_asked_itself(carriers: Carriers) -> None:
    """As user `failover`."""
    told = {"up1": ["10.1.0.53", "2001:db8:1::53"], "up2": ["10.2.0.53", "2001:db8:2::53"], "up3": []}
    with managed(carriers, handed_on=False) as box, Asker(box) as asker:
        until(lambda: asker.ask(do="sources", interfaces=["up1", "up2", "up3"])["done"] == told)
        assert asker.ask(do="told", interfaces=["up1"])["done"] == {"up1": []}


def test_what_it_hands_on_to_systemd_resolved_is_left_and_what_it_opens_is_closed_again(carriers: Carriers) -> None:
    wanted: tuple[tuple[str, list[str], bool], ...] = (("up1", [], False), ("up2", [], True))
    with managed(carriers, handed_on=True) as box, Asker(box) as asker:
        root = Administrator(box)
        for carrier in carriers.all:
            root.await_servers(carrier.here.index)
        assert asker.ask(do="told", interfaces=["up1"])["done"]["up1"][0] == "10.1.0.53"
        assert asker.follow(*wanted) == ["names in general are asked over up1 no more"]
        assert carriers.look_up("a.example") == "192.0.2.2"
        assert box.run("nmcli", "connection", "up", "up1").returncode == 0
        until(lambda: root.link(carriers[1].here.index)["DefaultRoute"])
        asker.follow(*wanted)
        carriers.forget()
        assert carriers.look_up("b.example") == "192.0.2.2"
        assert carriers[1].asked == []
        asker.ask(do="restore")
        assert [root.link(carrier.here.index)["DefaultRoute"] for carrier in carriers.all] == [True, True]


def test_without_anybody_nothing_is_told(van: Namespace, box: Box) -> None:
    with Asker(box) as asker:
        assert asker.ask(do="sources", interfaces=["up1", "up2"])["done"] == {"up1": [], "up2": []}
