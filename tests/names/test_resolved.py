"""With the real systemd-resolved, polkitd and D-Bus daemon, as user `failover`, by the rule that is shipped."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from failover.lab.namespaces import Namespace
from tests.names.box import Box
from tests.names.carriers import ON_LINK, SHARED, Carriers
from tests.names.conftest import NOTED, REFUSED, RESOLVE, Administrator, Asker, started, until

INET = 2
EVERY_NAME = [(".", True)]
CLOSED = "names in general are asked over up1 no more"
NOTHING = {"DNS": [], "Domains": [], "DefaultRoute": False}


def packed(address: str) -> list[object]:
    return [INET, bytes(int(byte) for byte in address.split("."))]


def servers(root: Administrator, index: int) -> list[str]:
    return [".".join(str(byte) for byte in address) for _, address in root.link(index)["DNS"]]


@pytest.fixture
def told(root: Administrator, carriers: Carriers) -> Carriers:
    """NetworkManager, say, has told of each carrier's resolver."""
    for carrier in carriers.all:
        root.manager("SetLinkDNS", "ia(iay)", carrier.here.index, [packed(carrier.own)])
    return carriers


def test_names_follow_the_uplink(asker: Asker, carriers: Carriers) -> None:
    one, two = carriers[1], carriers[2]
    assert asker.follow(("up1", [one.own], True), ("up2", [two.own], False)) == [
        f"name servers of up1: {one.own}",
        "names in general are asked over up1",
        f"name servers of up2: {two.own}",
    ]
    assert carriers.look_up("before.example") == "192.0.2.1"
    assert (one.asked, two.asked) == (["before.example"], [])
    one.silent = True
    began = time.monotonic()
    asker.follow(("up1", [one.own], False), ("up2", [two.own], True))
    assert carriers.look_up("after.example") == "192.0.2.2"
    assert time.monotonic() - began < 1.0
    assert (one.asked, two.asked) == (["before.example"], ["after.example"])


def test_a_question_under_way_is_answered_over_the_new_uplink(asker: Asker, carriers: Carriers, box: Box) -> None:
    """Left alone, it would wait for the silent one: ten seconds with the C library, and then fail."""
    one, two = carriers[1], carriers[2]
    (box.root / "etc/resolv.conf").write_text("nameserver 127.0.0.53\n")
    asker.follow(("up1", [one.own], True), ("up2", [two.own], False))
    one.silent = True
    with box.program() as program:
        program.ask("under-way.example")
        until(lambda: one.asked)
        began = time.monotonic()
        asker.follow(("up1", [one.own], False, True), ("up2", [two.own], True))
        assert program.answer() == "192.0.2.2"
        assert time.monotonic() - began < 1.0


def test_a_question_under_way_on_a_link_in_good_health_is_left(asker: Asker, carriers: Carriers, box: Box) -> None:
    one, two = carriers[1], carriers[2]
    (box.root / "etc/resolv.conf").write_text("nameserver 127.0.0.53\n")
    asker.follow(("up1", [one.own], True), ("up2", [two.own], False))
    one.slow = True
    with box.program() as program:
        program.ask("left-alone.example")
        until(lambda: one.asked)
        asker.follow(("up1", [one.own], False), ("up2", [two.own], True))
        one.hurry()
        assert program.answer() == "192.0.2.1"
    assert two.asked == []


@pytest.mark.parametrize("server", ["2001:db8:2::53", ON_LINK])
def test_in_ipv6_too(asker: Asker, carriers: Carriers, root: Administrator, server: str) -> None:
    asker.follow(("up1", [carriers[1].own6, ON_LINK], False), ("up2", [server], True))
    assert carriers.look_up("six.example") == "192.0.2.2"
    assert carriers[1].asked == []
    assert asker.follow(("up1", [carriers[1].own6, ON_LINK], False), ("up2", [server], True)) == []
    asker.ask(do="restore")
    assert [root.link(carrier.here.index) for carrier in carriers.all] == [NOTHING, NOTHING]


def test_a_query_leaves_by_its_carrier_wherever_the_route_leads(asker: Asker, carriers: Carriers) -> None:
    asker.follow(("up1", [SHARED], False), ("up2", [SHARED], True))
    assert carriers.look_up("plain.example", SHARED) == "192.0.2.1"  # a program that asks it past systemd-resolved
    carriers.forget()
    assert carriers.look_up("b.example") == "192.0.2.2"
    assert (carriers[1].asked, carriers[2].asked) == ([], ["b.example"])


def test_what_the_network_told_is_known_and_left_as_it_is(asker: Asker, told: Carriers, root: Administrator) -> None:
    own = {"up1": [told[1].own], "up2": [told[2].own]}
    assert asker.ask(do="told", interfaces=["up1", "up2", "up3"])["done"] == own
    assert asker.follow(("up1", [], False), ("up2", own["up2"], True)) == [CLOSED]
    assert [servers(root, carrier.here.index) for carrier in told.all] == [own["up1"], own["up2"]]
    assert told.look_up("c.example") == "192.0.2.2"
    assert told[1].asked == []


def test_a_link_without_servers_does_not_begin_to_be_asked(
    asker: Asker, carriers: Carriers, root: Administrator
) -> None:
    asker.follow(("up1", [], False), ("up2", [SHARED], True))
    root.manager("SetLinkDNS", "ia(iay)", carriers[1].here.index, [packed(carriers[1].own)])  # the lease comes later
    assert carriers.look_up("d.example") == "192.0.2.2"
    assert carriers[1].asked == []
    assert asker.follow(("up1", [], False), ("up2", [SHARED], True)) == []


def test_a_link_that_has_every_name_loses_it_while_it_is_not_the_default(
    asker: Asker, told: Carriers, root: Administrator
) -> None:
    domains = [("example.net", False), *EVERY_NAME]
    root.manager("SetLinkDomains", "ia(sb)", told[1].here.index, domains)
    asker.follow(("up1", [], False), ("up2", [], True))
    assert root.link(told[1].here.index)["Domains"] == domains[:1]
    assert told.look_up("e.example") == "192.0.2.2"
    assert told.look_up("e.example.net") == "192.0.2.1"  # its own domain is asked there still
    assert "e.example" not in told[1].asked
    asker.follow(("up1", [], True), ("up2", [], False))
    assert root.link(told[1].here.index)["Domains"] == domains
    assert told.look_up("f.example") == "192.0.2.1"


def test_another_resolver_in_the_place_of_a_dead_one_and_back(
    asker: Asker, told: Carriers, root: Administrator
) -> None:
    told[1].silent = True
    asker.follow(("up1", [SHARED], True), ("up2", [], False))
    assert servers(root, told[1].here.index) == [SHARED]
    assert asker.ask(do="told", interfaces=["up1"])["done"] == {"up1": [told[1].own]}
    asker.follow(("up1", [], True), ("up2", [], False))
    assert servers(root, told[1].here.index) == [told[1].own]


def test_what_is_so_is_not_set_again_and_what_others_set_meanwhile_is(
    asker: Asker, told: Carriers, root: Administrator
) -> None:
    wanted: tuple[tuple[str, list[str], bool], ...] = (("up1", [], False), ("up2", [], True))
    assert asker.follow(*wanted) != []
    assert asker.follow(*wanted) == []
    root.manager("SetLinkDefaultRoute", "ib", told[1].here.index, True)  # as NetworkManager does with each lease
    assert asker.follow(*wanted) == [CLOSED]


def test_another_process_puts_it_all_back(asker: Asker, told: Carriers, root: Administrator, box: Box) -> None:
    root.manager("RevertLink", "i", told[2].here.index)
    root.manager("SetLinkDomains", "ia(sb)", told[1].here.index, EVERY_NAME)
    before = [root.link(carrier.here.index) for carrier in told.all]
    asker.follow(("up1", [SHARED], False), ("up2", [SHARED], True))
    assert [root.link(carrier.here.index) for carrier in told.all] != before
    with Asker(box) as another:
        assert another.ask(do="restore")["done"]
        assert [root.link(carrier.here.index) for carrier in told.all] == before
        assert not (box.root / NOTED).exists()
        assert another.ask(do="restore")["done"] == []


def test_what_others_changed_since_stays(asker: Asker, told: Carriers, root: Administrator) -> None:
    index = told[1].here.index
    asker.follow(("up1", ["192.0.2.99"], False), ("up2", [], True))
    root.manager("SetLinkDNS", "ia(iay)", index, [packed(SHARED)])
    assert asker.ask(do="told", interfaces=["up1"])["done"] == {"up1": [SHARED]}
    asker.ask(do="restore")
    assert servers(root, index) == [SHARED]
    assert root.link(index)["DefaultRoute"] is True


def test_an_uplink_that_is_wanted_no_more_is_given_back(asker: Asker, told: Carriers, root: Administrator) -> None:
    asker.follow(("up1", [SHARED], False), ("up2", [], True))
    asker.follow(("up2", [], True))
    assert root.link(told[1].here.index)["DefaultRoute"] is True
    assert servers(root, told[1].here.index) == [told[1].own]


def test_a_link_that_is_gone_keeps_no_other_from_being_set(asker: Asker, told: Carriers) -> None:
    assert asker.follow(("gone0", [SHARED], True), ("up1", [], False)) == [CLOSED]


def test_nothing_is_set_that_could_not_be_noted(asker: Asker, told: Carriers, root: Administrator, box: Box) -> None:
    before = root.link(told[1].here.index)
    (box.root / NOTED).mkdir()
    try:
        answer = asker.ask(do="follow", wanted=[("up1", [SHARED], False)])
    finally:
        (box.root / NOTED).rmdir()
    assert "names.json cannot be used" in answer["error"]
    assert root.link(told[1].here.index) == before


def test_it_is_all_there_again_after_a_restart_of_systemd_resolved(asker: Asker, carriers: Carriers, box: Box) -> None:
    wanted = (("up1", [carriers[1].own], False), ("up2", [carriers[2].own], True))
    asker.follow(*wanted)
    assert box.resolved is not None
    box.end(box.resolved)
    answer = asker.ask(do="follow", wanted=wanted)
    assert answer["error"] == "systemd-resolved is not running"
    assert "systemctl enable" in answer["hint"]
    box.resolved = box.serve("/usr/lib/systemd/systemd-resolved")
    Administrator(box).await_name(RESOLVE[0])
    asker.follow(*wanted)
    assert carriers.look_up("g.example") == "192.0.2.2"
    assert carriers[1].asked == []


# --- who may do what -------------------------------------------------------------------------------------------------

OTHERS = (
    ("SetLinkLLMNR", "is", "yes"),
    ("SetLinkMulticastDNS", "is", "yes"),
    ("SetLinkDNSOverTLS", "is", "no"),
    ("SetLinkDNSSEC", "is", "no"),
    ("SetLinkDNSSECNegativeTrustAnchors", "ias", ["example"]),
)


@pytest.mark.parametrize(("member", "signature", "value"), OTHERS, ids=[member for member, _, _ in OTHERS])
def test_the_rule_allows_nothing_else(
    asker: Asker, carriers: Carriers, member: str, signature: str, value: object
) -> None:
    order = (*RESOLVE, f"{RESOLVE[0]}.Manager.{member}", signature, [carriers[1].here.index, value])
    assert asker.ask(do="call", call=order)["name"] in REFUSED


def test_the_rule_allows_nobody_else(carriers: Carriers, box: Box) -> None:
    with Asker(box, "messagebus") as another:
        order = (*RESOLVE, f"{RESOLVE[0]}.Manager.SetLinkDefaultRoute", "ib", [carriers[1].here.index, True])
        assert another.ask(do="call", call=order)["name"] in REFUSED


@pytest.fixture(params=["without the rule", "without polkit"])
def unruled(van: Namespace, all_carriers: Carriers, request: pytest.FixtureRequest) -> Iterator[Box]:
    """Another box in the same network."""
    polkit = request.param == "without the rule"
    with started(van, "" if polkit else None, polkit) as made:
        yield made


def test_what_is_not_allowed_is_said_with_the_mend(unruled: Box, carriers: Carriers) -> None:
    with Asker(unruled) as asker:
        answer = asker.ask(do="follow", wanted=[("up1", [SHARED], True)])
    assert answer["error"] == "systemd-resolved does not let the agent set name servers"
    assert "systemd/failover.rules" in answer["hint"]
    assert Administrator(unruled).link(carriers[1].here.index) == NOTHING
