"""The whole agent in a box with the real systemd-resolved and polkit, as user `failover`: names follow the uplink."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from failover.export.client import call
from failover.lab.namespaces import Namespace
from tests.agent.running import FAILOVER, Agent
from tests.names.box import Box
from tests.names.carriers import SHARED, Carriers
from tests.names.conftest import ADDRESS, Administrator, started, until
from tests.names.whole import HOME, OWN_FILE, STUB, agent, blackout, config

pytestmark = pytest.mark.timeout(90)
WITHIN = 1.0
"""Seconds after a switch in which names are to resolve."""
RETRY = 0.3
"""Seconds until a client of the LAN asks again."""


def name_servers(status: dict[str, Any]) -> list[list[str]]:
    return [uplink["name_servers"] for uplink in status["uplinks"]]


def reload(box: Box, text: str) -> None:
    (box.root / "etc/failover.yaml").write_text(text)
    assert box.run(*FAILOVER, "reload", "--socket", f"/{HOME}/control.sock").returncode == 0


def all_up(ours: Agent) -> None:
    """In IPv4."""
    ours.until(lambda status: {u["families"]["ipv4"]["verdict"] for u in status["uplinks"]} == {"up"})


@pytest.fixture(scope="module")
def box(van: Namespace, all_carriers: Carriers) -> Iterator[Box]:
    """Its programs ask systemd-resolved."""
    with started(van) as made:
        (made.root / "etc/resolv.conf").write_text(STUB)
        yield made


@pytest.fixture
def root(box: Box, all_carriers: Carriers) -> Administrator:
    """Both links have a server each, as NetworkManager would say."""
    found = Administrator(box)
    for carrier in all_carriers.all:
        tell(found, carrier.here.index, carrier.own)
    found.manager("FlushCaches", "")
    return found


def tell(root: Administrator, index: int, server: str) -> None:
    root.manager("RevertLink", "i", index)
    root.manager("SetLinkDNS", "ia(iay)", index, [[2, bytes(map(int, server.split(".")))]])


@pytest.fixture
def carriers(all_carriers: Carriers) -> Iterator[Carriers]:
    all_carriers.forget()
    yield all_carriers
    for carrier in all_carriers.all:
        blackout(all_carriers, carrier.number, over=True)
        carrier.own_silent = False


def links(root: Administrator, carriers: Carriers) -> list[tuple[object, bool]]:
    """Servers, and whether names in general are asked there."""
    found = [root.link(carrier.here.index) for carrier in carriers.all]
    return [(link["DNS"], link["DefaultRoute"]) for link in found]


def test_names_follow_there_and_back_and_cleanup_puts_all_back(
    box: Box, carriers: Carriers, root: Administrator
) -> None:
    before = links(root, carriers)
    with agent(box, config()) as ours, box.program() as program:
        ours.said("names follow the uplink: systemd-resolved is told")
        ours.until(lambda status: name_servers(status) == [[carriers[1].own], [carriers[2].own]])
        until(lambda: [asked for _, asked in links(root, carriers)] == [True, False])
        assert program.look_up("before.example") == "192.0.2.1"
        all_up(ours)
        blackout(carriers, 1)
        ours.said("one -> two")
        began = time.monotonic()
        until(lambda: [asked for _, asked in links(root, carriers)] == [False, True])
        assert program.look_up("after.example") == "192.0.2.2"
        assert time.monotonic() - began < WITHIN
        blackout(carriers, 1, over=True)
        ours.said("two -> one")
        until(lambda: [asked for _, asked in links(root, carriers)] == [True, False])
        assert program.look_up("again.example") == "192.0.2.1"
        assert (ours.status()["names"]["way"], ours.status()["warnings"]) == ("resolved", [])
    assert links(root, carriers) == before


def test_the_same_resolver_of_two_carriers_is_asked_over_the_one_in_use(
    box: Box, carriers: Carriers, root: Administrator
) -> None:
    """Each carrier has one of that address: by whose answer it comes, a packet shows its way."""
    for carrier in carriers.all:
        tell(root, carrier.here.index, SHARED)
    with agent(box, config()) as ours, box.program() as program:
        ours.until(lambda status: name_servers(status) == [[SHARED], [SHARED]])
        until(lambda: [asked for _, asked in links(root, carriers)] == [True, False])
        assert program.look_up("first.example") == "192.0.2.1"
        all_up(ours)
        blackout(carriers, 1)
        ours.said("one -> two")
        until(lambda: [asked for _, asked in links(root, carriers)] == [False, True])
        assert program.look_up("second.example") == "192.0.2.2"


def test_a_resolver_that_died_is_replaced_by_a_public_one_over_the_same_uplink(
    box: Box, carriers: Carriers, root: Administrator
) -> None:
    with agent(box, config(dns=f"{{servers: [{SHARED}]}}")) as ours, box.program() as program:
        all_up(ours)
        ours.until(lambda status: name_servers(status)[0] == [carriers[1].own])
        carriers[1].own_silent = True
        call(ours.socket, "probe", {"name": "one"})
        said = ours.said("of its own do not answer")
        assert said.endswith(f"one: name servers {carriers[1].own} of its own do not answer: {SHARED} asked instead")
        assert program.look_up("public.example") == "192.0.2.1"
        assert ours.status()["active"]["ipv4"] == "one"
        carriers[1].own_silent = False
        call(ours.socket, "probe", {"name": "one"})
        ours.said("one: its own name servers answer again")
        ours.until(lambda status: name_servers(status)[0] == [carriers[1].own])


def test_a_question_under_way_is_asked_anew_over_the_new_uplink(
    box: Box, carriers: Carriers, root: Administrator
) -> None:
    with agent(box, config()) as ours, box.program() as program:
        until(lambda: [asked for _, asked in links(root, carriers)] == [True, False])
        all_up(ours)
        blackout(carriers, 1)
        program.ask("waiting.example")
        ours.said("one -> two")
        began = time.monotonic()
        assert program.answer() == "192.0.2.2"
        assert time.monotonic() - began < WITHIN


def test_a_reload_to_another_way_puts_back_what_the_first_one_did(
    box: Box, carriers: Carriers, root: Administrator
) -> None:
    before = links(root, carriers)
    with agent(box, config()) as ours:
        until(lambda: [asked for _, asked in links(root, carriers)] == [True, False])
        reload(box, config(dns="none"))
        until(lambda: links(root, carriers) == before)
        ours.until(lambda status: name_servers(status) == [[], []])


def test_an_agent_that_is_to_leave_names_alone_puts_back_what_the_last_one_did(
    box: Box, carriers: Carriers, root: Administrator
) -> None:
    before = links(root, carriers)
    with agent(box, config()) as ours:
        until(lambda: [asked for _, asked in links(root, carriers)] == [True, False])
        box.end(ours.process)
        assert [asked for _, asked in links(root, carriers)] == [True, False], "what is set stays"
        with agent(box, config(dns="none")):
            until(lambda: links(root, carriers) == before)


def test_a_file_of_ours_follows_for_a_program_that_runs(box: Box, carriers: Carriers) -> None:
    place = box.root / "etc/resolv.conf"
    place.unlink()
    place.symlink_to(OWN_FILE)
    text = config(one=carriers[1].own, two=carriers[2].own)
    try:
        with agent(box, text) as ours, box.program() as program:
            ours.said(f"names follow the uplink: {OWN_FILE} is written")
            until((box.root / OWN_FILE[1:]).exists)
            all_up(ours)
            assert program.look_up("before.example") == "192.0.2.1"
            blackout(carriers, 1)
            ours.said("one -> two")
            began = time.monotonic()
            ours.said(f"name servers in {OWN_FILE}: {carriers[2].own}")
            assert program.look_up("after.example") == "192.0.2.2"
            assert time.monotonic() - began < WITHIN
            reload(box, config(dns="none"))
            ours.said(f"{OWN_FILE} stays, and its name servers with it")
            assert program.look_up("later.example") == "192.0.2.2"
            assert "which nobody writes any more" in ours.status()["names"]["text"]
            place.unlink()
            place.write_text(STUB)
        assert not (box.root / OWN_FILE[1:]).exists()
    finally:
        place.unlink()
        place.write_text(STUB)


def test_who_takes_the_file_is_noticed_and_a_reload_chooses_anew(box: Box, carriers: Carriers) -> None:
    place = box.root / "etc/resolv.conf"
    place.write_text("nameserver 192.0.2.9\n")
    text = config(one=carriers[1].own, two=carriers[2].own)
    try:
        with agent(box, text) as ours:
            ours.said("/etc/resolv.conf is somebody else's")
            place.unlink()
            place.symlink_to(OWN_FILE)
            assert ours.status()["names"]["mend"] == "`failover reload` chooses the way anew"
            reload(box, text)
            ours.said(f"name servers in {OWN_FILE}: {carriers[1].own}")
            assert ours.status()["warnings"] == []
            place.unlink()
            place.write_text("nameserver 192.0.2.9\n")
            (warning,) = ours.status()["warnings"]
            assert "/etc/resolv.conf is somebody else's" in warning
            assert "somebody else's" in call(ours.socket, "explain", {})["explain"]["names"]["text"]
            reload(box, config(dns="file", one=carriers[1].own, two=carriers[2].own))
            ours.said(f"/etc/resolv.conf does not lead to {OWN_FILE}")
            assert place.read_text() == "nameserver 192.0.2.9\n"
    finally:
        place.unlink()
        place.write_text(STUB)


def test_clients_of_the_lan_that_ask_the_box_follow(van: Namespace, carriers: Carriers, lan: Namespace) -> None:
    with started(van, settings=f"DNSStubListenerExtra={ADDRESS}\n") as made:
        (made.root / "etc/resolv.conf").write_text(STUB)
        root = Administrator(made)
        for carrier in carriers.all:
            tell(root, carrier.here.index, carrier.own)
        with agent(made, config()) as ours:
            until(lambda: [asked for _, asked in links(root, carriers)] == [True, False])
            until(lambda: carriers.look_up("before.example", ADDRESS, lan, RETRY) == "192.0.2.1")
            all_up(ours)
            blackout(carriers, 1)
            ours.said("one -> two")
            began = time.monotonic()
            until(lambda: carriers.look_up("after.example", ADDRESS, lan, RETRY) == "192.0.2.2")
            assert time.monotonic() - began < WITHIN


def test_without_the_polkit_rule_it_says_so_and_names_stay_as_they_are(van: Namespace, all_carriers: Carriers) -> None:
    all_carriers.forget()
    with started(van, rule="") as bare:
        (bare.root / "etc/resolv.conf").write_text(STUB)
        root = Administrator(bare)
        for carrier in all_carriers.all:
            tell(root, carrier.here.index, carrier.own)
        before = links(root, all_carriers)
        with agent(bare, config()) as ours:
            said = ours.said("does not let the agent set name servers")
            assert said.endswith("install polkit, and systemd/failover.rules as systemd/README.md says")
            (warning,) = ours.status()["warnings"]
            assert "does not let the agent set name servers" in warning
            assert ours.status()["names"]["trouble"] == [warning]
            doctor = bare.run(*FAILOVER, "doctor", "--socket", f"/{HOME}/control.sock", "--state", f"/{HOME}").stdout
            assert "warning  names: " in doctor
        assert links(root, all_carriers) == before
