"""Each kind of packet lands in its counter and in no other; real packets, a real ruleset, both families."""

from __future__ import annotations

import socket

import pytest

from failover.facts import Tap
from failover.lab.frames import arp_request, mdns_query, router_advertisement
from failover.model import FAMILIES, Family
from failover.seam import CountFlows

from .box import AF, GATEWAYS, INTERNET, OWN, V4, WAN0, WAN1
from .road import CLOSED, LAN, MARK, MASK, PORT, REFUSED, Counted, Road, chain, foreign

UDP, TCP = socket.SOCK_DGRAM, socket.SOCK_STREAM
both = pytest.mark.parametrize("family", FAMILIES)


@both
def test_udp_is_fresh_until_it_is_answered(road: Road, counted: Counted, family: Family) -> None:
    with road.flow(family) as flow:
        road.ask(flow)
        assert counted.came() == {f"fresh {family} wan0": 1, f"received {family} wan0": 1}
        road.ask(flow, 3)
        assert counted.came() == {f"sent {family} wan0": 3, f"received {family} wan0": 3}


@both
@pytest.mark.parametrize(
    ("whom", "port", "words"),
    [(REFUSED, PORT, r"No route to host|Network is unreachable"), (INTERNET, CLOSED, "Connection refused")],
    ids=["from the gateway", "from afar"],
)
def test_an_icmp_error_is_no_answer(
    road: Road, counted: Counted, family: Family, whom: dict[Family, str], port: int, words: str
) -> None:
    with road.flow(family, to=whom[family], port=port) as flow:
        for _ in range(2):
            flow.send(b"?")
            with pytest.raises(OSError, match=words):
                flow.recv(10)
    assert counted.came() == {f"fresh {family} wan0": 2}


@both
def test_tcp(road: Road, counted: Counted, family: Family) -> None:
    with road.flow(family, TCP) as flow:
        counted.until({f"fresh {family} wan0": 1, f"received {family} wan0": 1, f"sent {family} wan0": 1})
        road.ask(flow)  # our data and its acknowledgement; their data, ours of that
        counted.until({f"received {family} wan0": 2, f"sent {family} wan0": 2})
    counted.until({f"received {family} wan0": 1, f"sent {family} wan0": 2})  # FIN, FIN and ACK, ACK


@both
def test_a_refused_tcp_connection_has_been_answered(road: Road, counted: Counted, family: Family) -> None:
    with pytest.raises(ConnectionRefusedError), road.flow(family, TCP, port=CLOSED):
        pass
    assert counted.came() == {f"fresh {family} wan0": 1, f"received {family} wan0": 1}


@both
def test_a_ping_of_the_users(road: Road, counted: Counted, family: Family) -> None:
    road.ping(family, 3)
    assert counted.came() == {f"fresh {family} wan0": 1, f"sent {family} wan0": 2, f"received {family} wan0": 3}


@both
def test_what_bears_our_mark_is_not_counted_but_as_a_probe(road: Road, counted: Counted, family: Family) -> None:
    road.ping(family, 2, mark=MARK)
    with road.flow(family, mark=MARK) as flow:
        road.ask(flow, 2)
    assert counted.came() == {"probes": 4}
    with road.flow(family, TCP, mark=MARK) as flow:
        road.ask(flow)
    assert set(counted.came()) == {"probes"}


@both
def test_each_interface_for_itself(road: Road, counted: Counted, family: Family) -> None:
    road.box.ip(f"-{family[-1]} route add {INTERNET[family]} via {GATEWAYS[WAN1][family]} dev wan1")
    with road.flow(family) as flow:
        road.ask(flow, 2)
    assert counted.came() == {f"fresh {family} wan1": 1, f"sent {family} wan1": 1, f"received {family} wan1": 2}


@both
@pytest.mark.parametrize("nat", [False, True])
def test_forwarded_packets_count_whatever_their_connection_is_marked_with(
    road: Road, counted: Counted, family: Family, nat: bool
) -> None:
    mark = chain("prerouting", "mangle", f"iifname lan0 ct mark set {MARK:#x}")
    masquerade = chain("postrouting", "srcnat", "oifname wan0 masquerade", kind="nat")
    foreign(road, "inet theirs", mark, masquerade if nat else "")
    with road.flow(family, space=road.lan) as flow:
        road.ask(flow, 3)
    assert counted.came() == {f"fresh {family} wan0": 1, f"sent {family} wan0": 2, f"received {family} wan0": 3}


@both
def test_what_others_begin_is_neither_sent_nor_received(road: Road, counted: Counted, family: Family) -> None:
    for space, address in ((road.van, OWN[WAN0][family]), (road.lan, LAN[family])):
        with space.socket(AF[family], UDP) as server, road.far.socket(AF[family], UDP) as asker:
            server.bind((address, PORT))
            asker.bind((INTERNET[family], 0))
            asker.connect((address, PORT))
            for one in (server, asker):
                one.settimeout(20)
            for _ in range(2):
                asker.send(b"?")
                data, whom = server.recvfrom(10)
                server.sendto(data, whom)
                assert asker.recv(10) == b"?"
    assert counted.came() == {}


@both
def test_neighbours_are_not_counted(road: Road, counted: Counted, family: Family) -> None:
    gateway = GATEWAYS[WAN0][family]
    with road.flow(family, to=gateway) as flow:  # its own DNS, say
        road.ask(flow, 3)
    road.ping(family, 2, to=gateway)
    assert counted.came() == {}
    elsewhere = Counted(road, CountFlows((Tap("wan0"),), MASK))
    with road.flow(family, to=gateway) as flow:
        road.ask(flow, 3)
    assert elsewhere.came() == {f"fresh {family} wan0": 1, f"sent {family} wan0": 2, f"received {family} wan0": 3}
    elsewhere.counters.close()


def test_chatter_is_not_counted(road: Road, counted: Counted) -> None:
    mac, gateway = bytes.fromhex("020000000001"), GATEWAYS[WAN0][V4]
    with road.far.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire, road.flow(V4) as flow:
        wire.bind(("wan0", 0))
        for frame in (arp_request(mac, gateway), mdns_query(mac, gateway), router_advertisement(mac, "2001:db8:9::")):
            for _ in range(10):
                wire.send(frame)
        road.ask(flow)  # which comes after them by the same wire
    assert counted.came() == {"fresh ipv4 wan0": 1, "received ipv4 wan0": 1}


@pytest.mark.parametrize(
    ("family", "group"),
    [(V4, "224.0.0.251"), (V4, "255.255.255.255"), (V4, "169.254.7.7"), (Family.IPV6, "ff02::fb")],
)
def test_our_own_chatter_is_not_counted(road: Road, counted: Counted, family: Family, group: str) -> None:
    with road.van.socket(AF[family], UDP) as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"wan0")
        own.sendto(b"mDNS", (group, 5353))
    assert counted.came() == {}


@both
def test_what_a_firewall_drops_has_not_left_and_what_is_routed_anew_leaves_there(
    road: Road, counted: Counted, family: Family
) -> None:
    protocol = "ip" if family is V4 else "ip6"
    drops = [chain(hook, "filter", f"udp dport {CLOSED + n} drop") for n, hook in enumerate(("output", "postrouting"))]
    foreign(road, "inet theirs", *drops)
    for port in (CLOSED, CLOSED + 1):
        with road.flow(family, port=port) as dropped, pytest.raises(PermissionError):
            dropped.send(b"?")
    assert counted.came() == {}
    road.box.ip(f"-{family[-1]} route add default via {GATEWAYS[WAN1][family]} dev wan1 table 77")
    road.box.ip(f"-{family[-1]} rule add fwmark 7 lookup 77")
    mark = chain("output", "mangle", f"udp dport {PORT} meta mark set 7", kind="route")
    masquerade = chain("postrouting", "srcnat", "oifname wan1 masquerade", kind="nat")
    foreign(road, f"{protocol} way", mark, masquerade)
    with road.flow(family) as flow:
        road.ask(flow, 2)
    assert counted.came() == {f"fresh {family} wan1": 1, f"sent {family} wan1": 1, f"received {family} wan1": 2}
