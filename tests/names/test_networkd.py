"""Links that the real systemd-networkd configures: it is asked in systemd-resolved's place, by the same rule."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from failover.lab.namespaces import Namespace
from failover.names import networkd
from tests.allowed import or_skip
from tests.names.box import Box
from tests.names.carriers import SHARED, Carriers
from tests.names.conftest import NOTED, REFUSED, Administrator, Asker, started, until

LINKS = "run/systemd/netif/links"


@pytest.fixture(scope="module")
def home() -> Iterator[Namespace]:
    with or_skip(), Namespace("home") as made:
        yield made


@pytest.fixture(scope="module")
def carriers(home: Namespace) -> Iterator[Carriers]:
    made = Carriers(home, (1, 2), addressed=False)
    yield made
    made.close()


@pytest.fixture(scope="module")
def box(home: Namespace, carriers: Carriers) -> Iterator[Box]:
    with started(home) as made:
        for carrier in carriers.all:
            address = f"Address=10.{carrier.number}.0.2/24\nGateway={carrier.own}\nDNS={carrier.own}\nDomains=~.\n"
            text = f"[Match]\nName={carrier.name}\n[Network]\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n{address}"
            (made.root / f"etc/systemd/network/{carrier.name}.network").write_text(text)
        made.serve("/usr/lib/systemd/systemd-networkd")
        Administrator(made).await_name("org.freedesktop.network1")
        for carrier in carriers.all:
            Administrator(made).await_servers(carrier.here.index)
        yield made


def tells(box: Box, index: int, server: str) -> bool:
    return networkd.told(index, box.root / LINKS) == (server,)


def test_it_is_asked_and_puts_back_what_it_knows_itself(box: Box, carriers: Carriers) -> None:
    root, one, two = Administrator(box), carriers[1], carriers[2]
    before = [root.link(carrier.here.index) for carrier in carriers.all]
    with Asker(box) as asker:
        told = {"up1": [one.own], "up2": [two.own]}
        assert asker.ask(do="told", interfaces=["up1", "up2"])["done"] == told
        asker.follow(("up1", [], False), ("up2", [SHARED], True))
        assert (root.link(one.here.index)["DefaultRoute"], root.link(one.here.index)["Domains"]) == (False, [])
        assert "DNS=" + SHARED in (box.root / LINKS / str(two.here.index)).read_text()
        assert carriers.look_up("a.example") == "192.0.2.2"
        assert one.asked == []
        assert asker.ask(do="told", interfaces=["up1", "up2"])["done"] == told
        asker.follow(("up1", [], False), ("up2", [], True))  # SHARED is not to stay where a lease may be renewed
        assert "DNS=" + SHARED not in (box.root / LINKS / str(two.here.index)).read_text()
        for _ in range(10):
            asker.follow(("up2", [SHARED], True))
            asker.follow(("up2", [], True))
        assert asker.ask(do="told", interfaces=["up2"])["done"] == {"up2": [two.own]}
        asker.ask(do="restore")
    assert [root.link(carrier.here.index) for carrier in carriers.all] == before
    assert not (box.root / NOTED).exists()
    file = box.root / "etc/systemd/network/up2.network"
    text = file.read_text()
    for server in (SHARED, two.own):  # as by a new lease
        file.write_text(text.replace(f"DNS={two.own}", f"DNS={server}"))
        assert box.run("networkctl", "reload").returncode == 0
        until(partial(tells, box, two.here.index, server))


def test_a_question_under_way_is_answered_over_the_new_uplink(box: Box, carriers: Carriers) -> None:
    one = carriers[1]
    (box.root / "etc/resolv.conf").write_text("nameserver 127.0.0.53\n")
    with Asker(box) as asker, box.program() as program:
        asker.follow(("up1", [], True), ("up2", [], False))
        one.silent = True
        program.ask("under-way.example")
        until(lambda: "under-way.example" in one.asked)
        began = time.monotonic()
        asker.follow(("up1", [], False, True), ("up2", [], True))
        assert program.answer() == "192.0.2.2"
        assert time.monotonic() - began < 1.0
        assert asker.ask(do="told", interfaces=["up1"])["done"] == {"up1": [one.own]}
        asker.ask(do="restore")
    carriers.forget()


@pytest.mark.parametrize("member", ["RenewLink", "ForceRenewLink", "ReconfigureLink", "RevertLinkNTP"])
def test_the_rule_allows_nothing_else(box: Box, carriers: Carriers, member: str) -> None:
    order = ("org.freedesktop.network1", "/org/freedesktop/network1", f"org.freedesktop.network1.Manager.{member}")
    with Asker(box) as asker:
        assert asker.ask(do="call", call=(*order, "i", [carriers[1].here.index]))["name"] in REFUSED


def test_its_files_tell_the_same_without_systemd_resolved(box: Box, carriers: Carriers) -> None:
    folder = box.root / LINKS
    assert [networkd.told(carrier.here.index, folder) for carrier in carriers.all] == [("10.1.0.53",), ("10.2.0.53",)]
    assert networkd.is_managed(carriers[1].here.index, folder)
    assert not networkd.is_managed(1, folder)  # the loopback


@pytest.mark.parametrize(
    ("text", "managed", "told"),
    [
        (
            "ADMIN_STATE=configured\nDNS=192.0.2.1 2001:db8::1\n",
            True,
            ("192.0.2.1", "2001:db8::1"),
        ),
        ("ADMIN_STATE=unmanaged\n", False, ()),
        ("DNS=fe80::1%3 192.0.2.1#dot.example 192.0.2.1 192.0.2.2:5353 127.0.0.1\n", False, ("fe80::1", "192.0.2.1")),
        ("\xff\x00=\nDNS=no address\n", False, ()),
        ("", False, ()),
    ],
)
def test_a_file_of_it(tmp_path: Path, text: str, managed: bool, told: tuple[str, ...]) -> None:
    (tmp_path / "7").write_text(text, encoding="latin-1")
    assert networkd.is_managed(7, tmp_path) == managed
    assert networkd.told(7, tmp_path) == told
    assert networkd.told(8, tmp_path) == ()
