"""Flows that somebody beyond began, or that look like it: older ones than the table, whose far end speaks first."""

from __future__ import annotations

import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, NamedTuple

import pytest

from failover.kernel.nft import EPHEMERAL, MARKER
from failover.lab.frames import checksum
from failover.lab.namespaces import Namespace
from failover.model import FAMILIES, Family

from .box import AF, INTERNET, OWN, V4, WAN0
from .road import CLOSED, LAN, MARK, PATIENCE, PORT, Counted, Road, chain, foreign

UDP, TCP = socket.SOCK_DGRAM, socket.SOCK_STREAM
VPN: Final = 51820
"""WireGuard's own port, at both ends."""
DNS: Final = 53
PACE: Final = 0.05
"""Seconds between two questions of a flow that is to become assured, which UDP takes two seconds for."""
SYN, ACK = 0x02, 0x10
both = pytest.mark.parametrize("family", FAMILIES)
anywhere = pytest.mark.parametrize("forwarded", [False, True], ids=["local", "forwarded"])


class Pair(NamedTuple):
    """Two connected sockets."""

    near: socket.socket
    far: socket.socket

    def speak(self, times: int = 1) -> None:
        """The far end does, first, and is answered."""
        for _ in range(times):
            self.far.send(b"!")
            assert self.near.recv(100) == b"!"
            self.near.send(b"?")
            assert self.far.recv(100) == b"?"


@pytest.fixture
def load(road: Road) -> Iterator[Callable[[], Counted]]:
    """With the table, connection tracking begins."""
    with ExitStack() as stack:

        def loaded() -> Counted:
            made = Counted(road)
            stack.callback(made.counters.close)
            return made

        yield loaded


def where(road: Road, family: Family, forwarded: bool) -> tuple[Namespace, str]:
    """Who has the near end, and its address."""
    return (road.lan, LAN[family]) if forwarded else (road.van, OWN[WAN0][family])


@contextmanager
def connected(asker: tuple[Namespace, str], asked: tuple[Namespace, str], mark: int = 0) -> Iterator[Pair]:
    """TCP: who opened it, who was asked; the mark is the former's."""
    family = Family.of(asked[1])
    with asked[0].socket(AF[family], TCP) as server, asker[0].socket(AF[family], TCP) as client:
        server.bind((asked[1], CLOSED))
        server.listen()
        client.settimeout(PATIENCE)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        client.bind((asker[1], 0))
        client.connect((asked[1], CLOSED))
        with server.accept()[0] as accepted:
            accepted.settimeout(PATIENCE)
            yield Pair(client, accepted)


@contextmanager
def datagrams(
    near: tuple[Namespace, str],
    far: tuple[Namespace, str],
    port: int,
    mark: int = 0,
    asked: tuple[str, int] | None = None,
) -> Iterator[Pair]:
    """UDP, both ends at that port, and the near one known to the far one as there unless it is `asked` elsewhere."""
    family = Family.of(near[1])
    with near[0].socket(AF[family], UDP) as one, far[0].socket(AF[family], UDP) as other:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        for end, address in ((one, near[1]), (other, far[1])):
            end.settimeout(PATIENCE)
            end.bind((address, port))
        one.connect((far[1], port))
        other.connect(asked or (near[1], port))
        yield Pair(one, other)


def cut(road: Road) -> None:
    """The far end hears nothing any more, and nothing of it is heard."""
    with road.far.entered():
        rules = "\n".join(chain(hook, "filter", "meta l4proto { tcp, udp, icmp } drop") for hook in ("input", "output"))
        subprocess.run(["nft", "-f", "-"], input=f"table inet cut {{\n{rules}\n}}\n", text=True, check=True)


def until_sent(counted: Counted, family: Family, wanted: int) -> dict[str, int]:
    """What has come when so much has been sent."""
    deadline, found = time.monotonic() + PATIENCE, dict[str, int]()
    while found.get(f"sent {family} wan0", 0) < wanted:
        assert time.monotonic() < deadline, found
        for name, more in counted.came().items():
            found[name] = found.get(name, 0) + more
    return found


def quiet(end: socket.socket) -> None:
    """A while in which nothing comes."""
    assert select.select([end], [], [], PACE)[0] == []


def assure(counted: Counted, pair: Pair, *others: Pair) -> dict[str, int]:
    """Speak until it is counted, two seconds for UDP; the others have been spoken with before it, each time."""
    deadline, came = time.monotonic() + PATIENCE, dict[str, int]()
    while not came.keys() - {MARKER}:
        assert time.monotonic() < deadline
        for one in (*others, pair):
            one.speak()
        quiet(pair.near)
        came = counted.came()
    return came


def both_ways(counted: Counted, family: Family, pair: Pair) -> None:
    """An assured flow counts as any other that is answered."""
    counted.came()
    pair.speak(5)
    found = until_sent(counted, family, 5)
    assert set(found) == {f"sent {family} wan0", f"received {family} wan0"}
    assert found[f"received {family} wan0"] >= 5


def falls_silent(road: Road, counted: Counted, family: Family, near: socket.socket) -> None:
    """After a blackout only what leaves is counted."""
    cut(road)
    counted.came()
    near.send(b"?")
    near.send(b"?")
    assert set(until_sent(counted, family, 2)) == {f"sent {family} wan0"}
    quiet(near)
    assert set(counted.came()) <= {f"sent {family} wan0"}


@both
@anywhere
def test_tcp_that_is_older_than_the_table(
    road: Road, load: Callable[[], Counted], family: Family, forwarded: bool
) -> None:
    with connected(where(road, family, forwarded), (road.far, INTERNET[family])) as pair:
        counted = load()
        pair.speak(2)
        both_ways(counted, family, pair)
        falls_silent(road, counted, family, pair.near)


@both
@anywhere
def test_tcp_that_somebody_beyond_opened(
    road: Road, load: Callable[[], Counted], family: Family, forwarded: bool
) -> None:
    counted = load()
    with connected((road.far, INTERNET[family]), where(road, family, forwarded)) as (far, near):
        counted.until({f"received {family} wan0": 1})  # the end of the handshake: we have been heard
        both_ways(counted, family, Pair(near, far))
        falls_silent(road, counted, family, near)


@both
@anywhere
def test_udp_that_is_older_than_the_table(
    road: Road, load: Callable[[], Counted], family: Family, forwarded: bool
) -> None:
    near, far = where(road, family, forwarded), (road.far, INTERNET[family])
    with datagrams(near, far, VPN) as pair:
        pair.speak()
        counted = load()
        assert set(assure(counted, pair)) <= {f"sent {family} wan0", f"received {family} wan0"}
        both_ways(counted, family, pair)
        pair.far.close()
        pair.near.send(b"?")
        with pytest.raises(ConnectionRefusedError):  # an ICMP error is no answer here either
            pair.near.recv(10)
        assert counted.came() == {f"sent {family} wan0": 1}
        falls_silent(road, counted, family, pair.near)


@both
def test_who_asks_a_udp_server_again_and_again_acquits_nobody(
    road: Road, load: Callable[[], Counted], family: Family
) -> None:
    near, far = where(road, family, False), (road.far, INTERNET[family])
    counted = load()
    with (
        datagrams(near, far, DNS) as dns,
        datagrams(near, far, EPHEMERAL - 1) as last,
        datagrams(near, far, VPN) as ignored,
        datagrams(near, far, EPHEMERAL) as first,
    ):
        ignored.far.send(b"!")
        found = assure(counted, first, dns, last)
        assert set(found) <= {f"sent {family} wan0", f"received {family} wan0"}
        for one in (dns, last):  # older than the first, and so assured as well
            one.speak(3)
        for _ in range(3):
            ignored.far.send(b"!")
            assert ignored.near.recv(10) == b"!"
        assert counted.came() == {}


@both
def test_a_server_behind_a_nat_is_known_by_the_port_that_is_asked(
    road: Road, load: Callable[[], Counted], family: Family
) -> None:
    own, far = OWN[WAN0][family], (road.far, INTERNET[family])
    protocol, brackets = ("ip", "{}") if family is V4 else ("ip6", "[{}]")
    to = f"dnat {protocol} to {brackets.format(LAN[family])}"
    forwards = (f"iifname wan0 udp dport {asked} {to}:{port}" for asked, port in ((DNS, VPN), (VPN, DNS)))
    foreign(road, "inet theirs", chain("prerouting", "dstnat", *forwards, kind="nat"))
    counted, lan = load(), where(road, family, True)
    with (
        datagrams(lan, far, VPN, asked=(own, DNS)) as dns,
        datagrams(lan, far, DNS, asked=(own, VPN)) as vpn,
    ):
        assure(counted, vpn, dns)
        both_ways(counted, family, vpn)
        dns.speak(3)
        assert counted.came() == {}


def segment(family: Family, to: str, port: int, flags: int) -> bytes:
    """A bare one, from PORT of the far end."""
    bare = struct.pack("!HHIIBBHHH", PORT + 10, port, 1000, 1000, 5 << 4, flags, 1024, 0, 0)
    ends = b"".join(socket.inet_pton(AF[family], address) for address in (INTERNET[family], to))
    pseudo = struct.pack("!HH" if family is V4 else "!II", *((6, 20) if family is V4 else (20, 6)))
    return bare[:16] + struct.pack("!H", checksum(ends + pseudo + bare)) + bare[18:]


@both
@anywhere
@pytest.mark.parametrize("filtered", [False, True], ids=["answered", "dropped"])
def test_a_scan_is_not_counted(
    road: Road, load: Callable[[], Counted], family: Family, forwarded: bool, filtered: bool
) -> None:
    space, address = where(road, family, forwarded)
    counted = load()
    if filtered:
        hook = "forward" if forwarded else "input"
        foreign(road, "inet wall", chain(hook, "filter", "iifname wan0 meta l4proto { tcp, udp } ct state new drop"))
    with (
        space.socket(AF[family], TCP) as server,
        road.far.socket(AF[family], socket.SOCK_RAW, socket.IPPROTO_TCP) as raw,
        road.far.socket(AF[family], UDP) as asker,
    ):
        server.bind((address, CLOSED))
        server.listen()
        raw.bind((INTERNET[family], 0))
        asker.bind((INTERNET[family], 0))
        for _ in range(3):
            for port in (CLOSED, CLOSED + 1):  # one of them is open: its SYN and ACK gets an RST of the far kernel
                for flags in (SYN, ACK):
                    raw.sendto(segment(family, address, port, flags), (address, 0))
                asker.sendto(b"?", (address, port))
        with road.flow(family) as flow:
            road.ask(flow)  # which comes after them by the same wire
        assert counted.came() == {f"fresh {family} wan0": 1, f"received {family} wan0": 1}
        assert bool(select.select([raw], [], [], 0)[0]) is not filtered


@both
def test_a_probe_that_is_older_than_the_table_is_not_counted(
    road: Road, load: Callable[[], Counted], family: Family
) -> None:
    van, far = where(road, family, False), (road.far, INTERNET[family])
    with (
        connected(van, far, MARK) as stream,
        datagrams(van, far, VPN + 1, MARK) as probe,
        datagrams(van, far, VPN) as vpn,
    ):
        counted = load()
        found = assure(counted, vpn, stream, probe)
        assert found.pop(MARKER) > 0
        assert set(found) <= {f"sent {family} wan0", f"received {family} wan0"}
        counted.came()
        for one in (stream, probe):
            one.speak(3)
        assert set(counted.came()) == {MARKER}
