"""Open flows of a van that are broken: what their programs hear, and what is left alone."""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from failover.model import FAMILIES, Family, Keep

from .box import GATEWAYS, INTERNET, OWN, V4, V6, WAN0, WAN1
from .flows import (
    KINDS,
    OTHER_PORT,
    PATIENCE,
    PORT,
    SOURCE,
    TCP,
    UDP,
    Place,
    begun,
    broken,
    connected,
    counts,
    mapped,
    order,
)
from .road import MARK, MASK
from .test_privileges import _exists


@pytest.mark.parametrize("source", [*SOURCE.values(), mapped(SOURCE[V4])])
def test_a_program_that_waits_on_tcp_hears_of_it(held: ExitStack, source: str) -> None:
    """Within the order; of a socket of both families by the order for IPv4."""
    address = source.rpartition("::ffff:")[2]
    opened = connected(held, TCP, source, mapped(INTERNET[V4]) if address != source else "")
    poll = select.poll()
    poll.register(opened, select.POLLIN)
    assert poll.poll(0) == []
    assert counts(order(Family.of(address), address)) == (1, 0)
    assert poll.poll(0)
    with pytest.raises(ConnectionAbortedError):
        opened.recv(1)
    with pytest.raises(BrokenPipeError):
        opened.send(b"more")


@pytest.mark.parametrize("source", [*SOURCE.values(), mapped(SOURCE[V4])])
def test_a_connected_udp_socket_has_no_far_end_any_more(held: ExitStack, source: str) -> None:
    address = source.rpartition("::ffff:")[2]
    opened = connected(held, UDP, source, mapped(INTERNET[V4]) if address != source else "")
    assert opened.send(b"before") == 6
    assert counts(order(Family.of(address), address)) == (0, 1)
    with pytest.raises(OSError, match="Destination address required"):
        opened.send(b"after")
    with pytest.raises(ConnectionAbortedError):
        opened.recv(1)


def test_each_family_is_broken_by_itself(held: ExitStack) -> None:
    four, six = ([connected(held, kind, SOURCE[family]) for kind in KINDS] for family in FAMILIES)
    both = [connected(held, kind, mapped(SOURCE[V4]), mapped(INTERNET[V4])) for kind in KINDS]
    assert counts(order(V6)) == (1, 1)
    assert [broken(each) for each in (*four, *both, *six)] == [False] * 4 + [True] * 2
    assert counts(order(V4)) == (2, 2)
    assert all(broken(each) for each in (*four, *both))


def test_every_address_of_the_order(held: ExitStack, place: Place) -> None:
    place.box.ip("addr add 10.10.0.77/24 dev wan0")
    held.callback(place.box.ip, "addr del 10.10.0.77/24 dev wan0")
    opened = [connected(held, kind, source) for kind in KINDS for source in (SOURCE[V4], "10.10.0.77")]
    assert counts(order(V4, SOURCE[V4], "10.10.0.77", "10.10.0.78")) == (2, 2)
    assert all(broken(each) for each in opened)


def test_what_somebody_began_beyond_is_broken_and_what_listens_is_not(held: ExitStack, place: Place) -> None:
    listener = begun(held, TCP, SOURCE[V4])
    listener.listen()
    caller, second = (place.box.far.socket(socket.AF_INET, TCP) for _ in range(2))
    with caller, second:
        caller.connect(listener.getsockname())
        accepted = held.enter_context(listener.accept()[0])
        assert counts(order(V4)) == (1, 0)
        assert broken(accepted)
        second.connect(listener.getsockname())
        assert counts(order(V4)) == (0, 0), "nobody has accepted it"
        held.enter_context(listener.accept()[0]).sendall(b"served")


@pytest.mark.parametrize("state", ["FIN_WAIT2", "CLOSE_WAIT"])
def test_what_is_half_closed_is_broken(held: ExitStack, place: Place, state: str) -> None:
    with place.box.far.socket(socket.AF_INET, TCP) as server:
        server.bind((INTERNET[V4], 0))
        server.listen()
        opened = connected(held, TCP, SOURCE[V4], port=server.getsockname()[1])
        peer = held.enter_context(server.accept()[0])
        first, then = (opened, peer) if state == "FIN_WAIT2" else (peer, opened)
        first.shutdown(socket.SHUT_WR)
        then.settimeout(PATIENCE)
        assert then.recv(1) == b""
        then.sendall(b"!")
        assert first.recv(1) == b"!", "and with it the answer to its end"
        assert counts(order(V4)) == (1, 0)
        assert broken(opened)


def test_what_its_program_has_closed_is_left_to_the_kernel(held: ExitStack) -> None:
    """It lingers with its end unanswered, and ss still knows it after the order."""
    opened = connected(held, TCP, SOURCE[V4], port=OTHER_PORT)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
    argv = ["ss", "--tcp", "--all", "--numeric", "--no-header", "sport", str(opened.getsockname()[1])]
    opened.close()
    assert "FIN-WAIT" in subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert counts(order(V4)) == (0, 0)
    assert "FIN-WAIT" in subprocess.run(argv, capture_output=True, text=True, check=True).stdout


# --- left alone ------------------------------------------------------------------------------------------------------

GROUP = {V4: "239.1.2.3", V6: "ff15::1:2"}
LOOPBACK = {V4: "127.0.0.1", V6: "::1"}
SOMEBODY = 4711
WIRES = ("10.10.0.0/16", "fd10::/56")
KEEPING: dict[str, dict[str, Any]] = {
    "wire": {"local": WIRES},
    "probe": {"mask": MASK},
    "far port": {"keep": Keep(ports=frozenset((OTHER_PORT,)))},
    "near port": {"keep": Keep(ports=frozenset((OTHER_PORT,)))},
    "owner": {"keep": Keep(uids=frozenset((SOMEBODY,)))},
}
"""What the order must say for such a socket to be left alone."""
ALWAYS = ("itself", "loopback", "other source", "device")


def opened_as(word: str, held: ExitStack, kind: int, family: Family) -> socket.socket:
    """A connected socket that is not to be broken."""
    source, wire = SOURCE[family], GATEWAYS[WAN0][family]
    match word:
        case "wire":
            return connected(held, kind, source, wire)
        case "mapped wire":
            return connected(held, kind, mapped(SOURCE[V4]), mapped(GATEWAYS[WAN0][V4]))
        case "probe":
            return connected(held, kind, source, SO_MARK=MARK)
        case "far port":
            return connected(held, kind, source, port=OTHER_PORT)
        case "near port":
            opened = begun(held, kind, source, OTHER_PORT)
        case "owner":
            opened = begun(held, kind, source)
            os.fchown(opened.fileno(), SOMEBODY, -1)
        case "device":
            opened = begun(held, kind, source)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"wan0")
        case "other source":
            return connected(held, kind, OWN[WAN1][family], GATEWAYS[WAN1][family])
        case _:
            listener = begun(held, kind, source if word == "itself" else LOOPBACK[family])
            if kind == TCP:
                listener.listen()
            return connected(held, kind, source, *listener.getsockname()[:2])
    opened.connect((INTERNET[family], PORT))
    return opened


@pytest.mark.parametrize(("word", "family"), [*product(KEEPING, FAMILIES), ("mapped wire", V4)])
def test_what_the_order_keeps_is_left_alone(held: ExitStack, word: str, family: Family) -> None:
    """And broken by an order that does not."""
    if word == "owner" and not _exists(SOMEBODY):
        pytest.skip("needs root, to give a socket to somebody else")
    kept = [opened_as(word, held, kind, family) for kind in KINDS]
    others = [connected(held, kind, SOURCE[family]) for kind in KINDS]
    assert counts(order(family, **KEEPING[word.removeprefix("mapped ")])) == (1, 1)
    assert [broken(each) for each in (*kept, *others)] == [False, False, True, True]
    assert counts(order(family)) == (1, 1)
    assert all(broken(each) for each in kept)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("word", ALWAYS)
def test_what_is_left_alone_in_any_case(held: ExitStack, word: str, family: Family) -> None:
    kept = [opened_as(word, held, kind, family) for kind in KINDS]
    others = [connected(held, kind, SOURCE[family]) for kind in KINDS]
    assert counts(order(family)) == (1, 1)
    assert [broken(each) for each in (*kept, *others)] == [False, False, True, True]


@pytest.mark.parametrize("family", FAMILIES)
def test_udp_that_no_uplink_carries_is_left_alone(held: ExitStack, family: Family) -> None:
    """What is sent to a group, and what has no far end."""
    group = connected(held, UDP, SOURCE[family], GROUP[family])
    loose = begun(held, UDP, SOURCE[family])
    assert counts(order(family)) == (0, 0)
    assert loose.sendto(b"?", (INTERNET[family], PORT)) == 1
    assert group.send(b"?") == 1


# --- multipath TCP ---------------------------------------------------------------------------------------------------


def multipath(held: ExitStack, place: Place, *, plain: bool = False) -> tuple[socket.socket, socket.socket]:
    """Both ends of a connection that has said something each way; `plain`: the far end knows TCP only."""
    if not Path("/proc/sys/net/mptcp").exists():
        pytest.skip("needs a kernel with CONFIG_MPTCP")
    server = held.enter_context(place.box.far.socket(socket.AF_INET, TCP, 0 if plain else socket.IPPROTO_MPTCP))
    server.bind((INTERNET[V4], 0))
    server.listen()
    near = held.enter_context(socket.socket(socket.AF_INET, TCP, socket.IPPROTO_MPTCP))
    near.settimeout(PATIENCE)
    near.bind((SOURCE[V4], 0))
    near.connect(server.getsockname())
    far = held.enter_context(server.accept()[0])
    far.settimeout(PATIENCE)
    said(near, far)
    said(far, near)
    return near, far


def said(mouth: socket.socket, ear: socket.socket) -> None:
    mouth.sendall(b"?")
    assert ear.recv(1) == b"?"


def test_a_multipath_connection_goes_on_by_another_way(held: ExitStack, place: Place) -> None:
    """Also by one that comes after its last one went."""
    near, far = multipath(held, place)
    source = OWN[WAN1][V4]
    place.box.ip(f"route add default via {GATEWAYS[WAN1][V4]} dev wan1 table 200")
    place.box.ip(f"rule add from {source} lookup 200")
    held.callback(place.box.ip, f"rule del from {source} lookup 200")
    held.callback(place.box.ip, "route flush table 200")
    assert counts(order(V4)) == (1, 0)
    place.box.ip(f"mptcp endpoint add {source} subflow")
    held.callback(place.box.ip, "mptcp endpoint flush")
    said(near, far)
    said(far, near)
    assert counts(order(V4)) == (0, 0)


def test_a_multipath_connection_without_another_way_ends_late(held: ExitStack, place: Place) -> None:
    """After net.mptcp.close_timeout, 60 s as a rule."""
    near, _ = multipath(held, place)
    place.box.van.sysctl("mptcp/close_timeout", 1)
    held.callback(place.box.van.sysctl, "mptcp/close_timeout", 60)
    assert counts(order(V4)) == (1, 0)
    with pytest.raises(OSError, match="not connected"):
        near.recv(1)


def test_where_the_far_end_knows_tcp_only_it_is_broken_at_once(held: ExitStack, place: Place) -> None:
    near, _ = multipath(held, place, plain=True)
    assert counts(order(V4)) == (1, 0)
    with pytest.raises(ConnectionAbortedError):
        near.recv(1)
