"""What the box forwards keeps its uplink until it is forgotten; real packets of LAN clients, both families."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import replace

import pytest

from failover.facts import Gateway
from failover.kernel import conntrack, nft
from failover.model import FAMILIES, Family
from failover.seam import CountFlows

from .box import AF, INTERNET, OWN, V4, V6, WAN0, WAN1
from .forwarding import (
    GATEWAY,
    MARKED,
    MARKS,
    SEEN,
    TCP,
    UDP,
    WANTED,
    Forwarding,
    forwarding,
    is_reset,
    listed,
    strangers,
)
from .road import LAN, MARK, MASK, PATIENCE, TAPS, Counted, Road, chain, foreign, foreign_counts, in_van

both = pytest.mark.parametrize("family", FAMILIES)
SHORT = 0.1
"""Seconds for an answer that is not expected."""
MIDWAY = chain("forward", "filter", "ct state new tcp flags & syn == 0 counter name midway")
"""What comes through that began before anybody knew."""


@pytest.fixture
def van(road: Road) -> Iterator[Forwarding]:
    with forwarding(road) as built:
        yield built


@both
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside others"])
def test_open_flows_stay_until_they_are_forgotten(road: Road, family: Family, beside: bool) -> None:
    """New ones take the new way; forgotten ones take it with their next packet, or are reset with it."""
    if beside:
        strangers(road)
    with forwarding(road) as van:
        old = van.open(family), van.open(family, TCP)
        van.switch(family)
        new = van.open(family), van.open(family, TCP)
        for _ in range(2):
            assert [talk.ask() for talk in old] == [OWN[WAN0][family]] * 2
            assert [talk.ask() for talk in new] == [OWN[WAN1][family]] * 2
        assert [talk.mark & MASK for talk in (*old, *new)] == [MARKS[WAN0]] * 2 + [MARKS[WAN1]] * 2
        if beside:
            assert [talk.mark & ~MASK for talk in (*old, *new)] == [0xC0000001] * 4
            counts = foreign_counts(road, "theirs")
            assert counts["torn"] == 0
            assert counts["whole"] > 30
        assert conntrack.forget(MARKS[WAN0], MASK) >= 2
        assert old[0].ask() == OWN[WAN1][family]
        assert is_reset(old[1].flow)
        assert [talk.ask() for talk in new] == [OWN[WAN1][family]] * 2
        assert van.open(family, TCP).ask() == OWN[WAN1][family]


@both
def test_what_is_adrift_never_leaves(van: Forwarding, family: Family) -> None:
    """Its server is not asked. An end (FIN) of what nobody knows is `invalid`, not `new`, and is reset as well."""
    left = chain("postrouting", "300", 'oifname "wan*" meta l4proto tcp counter name left')
    data, end = van.open(family, TCP), van.open(family, TCP)
    foreign(van.road, "inet theirs", "counter left { }", left)
    assert conntrack.forget(MARKS[WAN0], MASK) == 2
    assert is_reset(data.flow)
    with suppress(OSError):  # an acknowledgement of what came before may have been reset
        end.flow.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionResetError):
        end.flow.recv(10)
    assert foreign_counts(van.road, "theirs") == {"left": 0}


@both
@pytest.mark.parametrize("tracked", [False, True], ids=["untracked", "translated by others"])
def test_flows_that_are_older_than_the_table_go_on(road: Road, family: Family, tracked: bool) -> None:
    """With or without a tracked past, as far as we do not translate what nobody did before."""
    if tracked:
        foreign(road, "inet theirs", chain("postrouting", "srcnat", 'oifname "wan*" masquerade', kind="nat"))
    with ExitStack() as stack:
        van = Forwarding(road, stack)
        talks = [van.open(family, kind) for kind in (UDP, TCP)]
        source = OWN[WAN0][family] if tracked else LAN[family]
        nft.load(replace(WANTED, gateway=replace(GATEWAY, masquerade=tracked)))
        assert [talk.ask() for talk in talks] == [source] * 2
        van.switch(family)
        assert [talk.ask() for talk in talks] == [source] * 2
        assert [talk.mark for talk in talks] == [MARKS[WAN0]] * 2


@both
def test_a_flow_that_began_untranslated_is_translated_once_it_is_forgotten(road: Road, family: Family) -> None:
    """As while the table was away, where somebody else has connections tracked."""
    foreign(road, "inet theirs", chain("forward", "filter", "ct state invalid drop"))
    with ExitStack() as stack:
        van = Forwarding(road, stack)
        flow = stack.enter_context(road.flow(family, port=SEEN, space=road.lan))
        assert van.asked(flow) == LAN[family]
        nft.load(WANTED)
        assert van.asked(flow) == LAN[family]
        other = stack.enter_context(road.flow(family, port=SEEN, space=road.lan))
        assert van.asked(other) == OWN[WAN0][family]
        assert conntrack.forget(MARKS[WAN0], MASK, unanswered=True, untranslated=True) == 1
        assert van.asked(flow) == OWN[WAN0][family]


def test_a_strict_reverse_path_filter_must_heed_the_mark(van: Forwarding) -> None:
    talk = van.open(V4)
    van.switch(V4)
    assert talk.ask() == OWN[WAN0][V4]
    van.road.van.sysctl("ipv4/conf/all/src_valid_mark", 0)
    talk.flow.settimeout(SHORT)
    with pytest.raises(TimeoutError):
        talk.ask()


@both
def test_where_others_translate_nothing_is_reset_by_us(road: Road, family: Family) -> None:
    masquerade = chain("postrouting", "srcnat", 'oifname "wan*" masquerade', kind="nat")
    foreign(road, "inet theirs", "counter midway { }", masquerade, MIDWAY)
    with forwarding(road, replace(WANTED, gateway=replace(GATEWAY, masquerade=False))) as van:
        talk = van.open(family, TCP)
        van.switch(family)
        assert talk.ask() == OWN[WAN0][family]
        assert conntrack.forget(MARKS[WAN0], MASK) == 1
        assert is_reset(talk.flow)
        assert foreign_counts(road, "theirs") == {"midway": 1}


def test_addresses_that_an_uplink_delegated_leave_by_it_as_they_are(road: Road) -> None:
    """And by another one as its own. Nobody knows the flow, and yet it goes on: it is translated no other way."""
    taps = (replace(MARKED[0], delegated=("fd31::/64", "fd30::/64")), *MARKED[1:])
    with forwarding(road, replace(WANTED, taps=taps)) as van:
        talk = van.open(V6, TCP)
        assert talk.ask() == LAN[V6]
        assert conntrack.forget(MARKS[WAN0], MASK) == 1
        assert talk.ask() == LAN[V6]
        assert talk.mark == MARKS[WAN0]
        assert van.open(V4).ask() == OWN[WAN0][V4]
        van.switch(V6)
        assert van.open(V6).ask() == OWN[WAN1][V6]
        assert conntrack.forget(MARKS[WAN0], MASK, V6) == 1
        assert is_reset(talk.flow)


@both
def test_a_port_forward_of_the_standby_is_answered_by_it(van: Forwarding, family: Family) -> None:
    """Each packet of it, as long as it is open; and after it was forgotten, too."""
    road, protocol = van.road, "ip" if family is V4 else "ip6"
    to = f"dnat {protocol} to {LAN[family]}"
    foreign(road, "inet theirs", chain("prerouting", "dstnat", f'iifname "wan1" tcp dport 80 {to}', kind="nat"))
    with road.lan.socket(AF[family], TCP) as server, road.far.socket(AF[family], TCP) as client:
        server.bind((LAN[family], 80))
        server.listen()
        client.bind((INTERNET[family], 0))
        client.settimeout(PATIENCE)
        client.connect((OWN[WAN1][family], 80))
        with server.accept()[0] as accepted:
            client.send(b"?")
            assert accepted.recv(10) == b"?"
            accepted.send(b"!")
            assert client.recv(10) == b"!"
    assert {entry.mark for entry in listed() if entry.flow.destination_port == 80} == {MARKS[WAN1]}


@both
def test_segments_fit_the_uplink(road: Road, family: Family) -> None:
    """Both ends are told, each by the other's SYN; where there is no gateway, neither is."""
    heads = 32 + (20 if family is V4 else 40)
    with forwarding(road) as van:
        road.box.ip("link set wan0 mtu 1400")
        for wanted, mtu in ((WANTED, 1400), (replace(WANTED, gateway=None), 1500)):
            nft.load(wanted)
            talk = van.open(family, TCP)
            sizes = [end.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) for end in (talk.flow, talk.server)]
            assert sizes == [mtu - heads] * 2


def test_loaded_again_and_again_it_loses_nothing(van: Forwarding) -> None:
    """Of open flows and of new ones."""
    talks = [van.open(family, kind) for family in FAMILIES for kind in (UDP, TCP)]
    for family in FAMILIES:
        van.switch(family)
    done, stop = 0, threading.Event()

    def load() -> None:
        nonlocal done
        while not stop.is_set():
            nft.load(replace(WANTED, taps=MARKED[:: 1 - 2 * (done % 2)]))
            done += 1

    with van.road.van.entered():
        worker = threading.Thread(target=load)
    worker.start()
    try:
        while done < 10 and worker.is_alive():
            for talk in talks:
                assert talk.ask() in {OWN[WAN0][family] for family in FAMILIES}
            for family in FAMILIES:
                with closing(van.open(family, TCP).flow):
                    assert van.open(family).ask() == OWN[WAN1][family]
    finally:
        stop.set()
        worker.join()
    assert done >= 10


@both
def test_probes_are_not_led_by_their_connection(van: Forwarding, family: Family) -> None:
    """Neither forgotten nor counted, and what is forwarded is counted as ever."""
    seen = chain(
        "input",
        "0",
        f"iifname wan0 meta mark and {MASK:#x} != 0 counter name marked",
        "iifname wan0 counter name every",
    )
    foreign(van.road, "inet theirs", "counter marked { }", "counter every { }", seen)
    counted = Counted(van.road, WANTED)
    with closing(counted.counters):
        van.road.ping(family, 3, mark=MARK)
        assert foreign_counts(van.road, "theirs") == {"marked": 0, "every": 3}
        assert counted.came() == {nft.MARKER: 3}
        talk = van.open(family)
        talk.ask()
        assert counted.came() == {f"fresh {family} wan0": 1, f"sent {family} wan0": 1, f"received {family} wan0": 2}


@both
def test_what_is_not_of_the_lan_is_left_alone(van: Forwarding, family: Family) -> None:
    """The box's own flows have no mark; a second LAN that nobody named is forwarded as it was."""
    own = van.open(family, UDP, van.road.van)
    assert own.mark == 0
    nft.load(replace(WANTED, gateway=Gateway(("lan9",))))
    talk = van.open(family)
    assert (talk.ask(), talk.mark) == (LAN[family], 0)


def test_without_a_gateway_the_table_is_as_it_was() -> None:
    plain = nft.transaction(CountFlows(TAPS, MASK))
    assert nft.transaction(CountFlows(MARKED, MASK)) == plain
    assert nft.transaction(CountFlows(TAPS, MASK, GATEWAY)) == plain
    for lan in ((), ("br*", '"')):
        assert nft.transaction(CountFlows(MARKED, MASK, Gateway(lan))) == plain
    whole = nft.transaction(WANTED)["nftables"]
    assert whole[: len(plain["nftables"])] == plain["nftables"]
    assert len(whole) > len(plain["nftables"])


def test_saved_and_loaded_by_others_it_is_the_same(road: Road) -> None:
    taps = (replace(MARKED[0], delegated=("fd30::/64",)), *MARKED[1:])
    in_van_loaded(road, replace(WANTED, taps=taps, gateway=Gateway(("lan0", "br@x"))))
    saved = in_van(road, "nft", "list", "ruleset")
    assert "reject with tcp reset" in saved
    in_van(road, "nft", "-f", "-", text=f"flush ruleset\n{saved}")
    assert in_van(road, "nft", "list", "ruleset") == saved


def in_van_loaded(road: Road, wanted: CountFlows) -> None:
    with road.van.entered():
        nft.load(wanted)
