"""Connection tracking: what a deletion by mark takes and what it leaves; entries that were made, and real flows."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import pairwise

import pytest

from failover.kernel import conntrack
from failover.kernel.conntrack import Entry, Flow, answered, entries, forget
from failover.kernel.counters import NETLINK_NETFILTER
from failover.kernel.netlink import Netlink, RequestError
from failover.kernel.wire import attribute
from failover.lab.namespaces import Namespace, gain_privileges
from failover.model import FAMILIES, Family, KernelError
from tests.allowed import or_skip

from .box import AF, GATEWAYS, INTERNET, NAMES, OWN, V4, WAN0, WAN1
from .forwarding import is_reset
from .road import MASK, PATIENCE, PORT, Road, chain, foreign, foreign_counts
from .test_privileges import NOBODY, in_child
from .tracked import flows, track

UDP, TCP = socket.SOCK_DGRAM, socket.SOCK_STREAM
PROTOCOLS = {UDP: socket.IPPROTO_UDP, TCP: socket.IPPROTO_TCP}
OURS, NEXT = 1 << 24, 2 << 24
"""What the flows of wan0 and wan1 are marked with."""
WAYS = ((WAN0, OURS), (WAN1, NEXT))
REST = ~MASK & 0xFFFFFFFF
TAILSCALE = 0x80000
THEIRS = (0, TAILSCALE, NEXT, OURS | NEXT, NEXT | TAILSCALE, OURS >> 8, 1 << 31)
"""None of these is a mark of wan0's."""
SEEING = 4002
"""A port whose server tells whom it sees."""
SILENT = "203.0.113.77"
MIDWAY = "ct state new tcp flags & syn == 0"
both = pytest.mark.parametrize("family", FAMILIES)


def singly(mark: int, mask: int, family: Family | None = None) -> None:
    with closing(Netlink(NETLINK_NETFILTER)) as netlink:
        conntrack.forget_singly(netlink, mark, mask, family)


def at_once(mark: int, mask: int, family: Family | None = None) -> None:
    forget(mark, mask, family, unanswered=True)


def all_of_it(mark: int, mask: int, family: Family | None = None) -> None:
    forget(mark, mask, family)


ways = pytest.mark.parametrize("way", [at_once, singly])


@pytest.fixture
def space() -> Iterator[Namespace]:
    """This thread is in it for the whole test."""
    with or_skip():
        gain_privileges()
    with closing(Namespace("tracked")) as made, made.entered():
        yield made


def listed(mark: int = 0, mask: int = 0) -> set[Entry]:
    return {entry for some in entries(mark, mask) for entry in some}


def marks() -> list[int]:
    return sorted(entry.mark for entry in listed())


# --- by mark ---------------------------------------------------------------------------------------------------------


def test_only_what_has_the_mark_goes_whatever_others_write_beside_it(space: Namespace) -> None:
    for family in FAMILIES:
        for mark in (*THEIRS, OURS, OURS | TAILSCALE, OURS | 0xC0FFFFFF):
            track(flows(family, 2), mark)
        track(flows(family, 1, socket.IPPROTO_TCP), OURS)
    before = listed()
    assert forget(OURS, MASK) == 2 * 7
    assert marks() == sorted(THEIRS * 4)
    assert listed() < before
    assert forget(OURS, MASK) == 0


@ways
def test_only_the_unanswered_go(space: Namespace, way: Callable[[int, int], None]) -> None:
    kept: set[Flow] = set()
    for family in FAMILIES:
        for mark in (*THEIRS, OURS, OURS | TAILSCALE):
            for seen in (True, False):
                some = flows(family, 2)
                track(some, mark, answered=seen)
                kept.update(some if seen or mark in THEIRS else ())
    way(OURS, MASK)
    assert {entry.flow for entry in listed()} == kept


@both
@pytest.mark.parametrize("way", [all_of_it, at_once, singly])
def test_one_family_goes_without_the_other(
    space: Namespace, family: Family, way: Callable[[int, int, Family], None]
) -> None:
    for each in FAMILIES:
        track(flows(each, 2), OURS, answered=False)
    assert conntrack.count(OURS, MASK, family) == 2
    way(OURS, MASK, family)
    assert {Family.of(entry.flow.source) for entry in listed()} == set(FAMILIES) - {family}
    assert conntrack.count(OURS, MASK) == 2


@ways
def test_in_every_zone(space: Namespace, way: Callable[[int, int], None]) -> None:
    some = flows(V4, 3)
    for zone in (0, 7):
        track(some[:2], OURS, answered=False, zone=zone)
        track(some[2:], NEXT, answered=False, zone=zone)
    way(OURS, MASK)
    assert marks() == [NEXT, NEXT]


@pytest.mark.parametrize(("mark", "mask"), [(0, 0), (0, MASK), (TAILSCALE, MASK), (OURS | 1, MASK)])
def test_what_would_be_others_is_refused(space: Namespace, mark: int, mask: int) -> None:
    track(flows(V4, 1), TAILSCALE)
    with pytest.raises(ValueError, match="others"):
        forget(mark, mask)
    assert marks() == [TAILSCALE]


def test_this_kernel_heeds_the_filter_and_one_that_does_not_is_found_out(space: Namespace) -> None:
    """What finds it out deletes nothing."""
    track(flows(V4, 1), 1, answered=False)
    with closing(Netlink(NETLINK_NETFILTER)) as netlink:
        assert conntrack._knows_status(netlink)
        netlink.request(conntrack.IPCTNL_MSG_CT_DELETE, 0, conntrack._BOTH + conntrack._NOTHING)
    assert marks() == [1]


def test_a_list_comes_in_slices_and_may_be_left(space: Namespace) -> None:
    some = flows(V4, 700)
    track(some, OURS | TAILSCALE)
    track(flows(V4, 30), NEXT)
    with closing(entries(OURS, MASK)) as slices:
        assert 0 < len(next(slices)) < 700
    assert {entry.flow for entry in listed(OURS, MASK)} == set(some)
    assert conntrack.count(OURS, MASK) == 700
    assert conntrack.count(0, 0) == 730


def test_where_nothing_is_tracked(space: Namespace) -> None:
    assert (forget(OURS, MASK), forget(OURS, MASK, unanswered=True), conntrack.count(0, 0)) == (0, 0, 0)
    assert answered(flows(V4, 2)) == [None, None]


async def lateness() -> float:
    """Which part of the time that a deletion in a thread takes the loop is held up at most."""
    started, times = time.monotonic(), [time.monotonic()]
    going = asyncio.ensure_future(asyncio.to_thread(forget, OURS, MASK))
    while not going.done():
        await asyncio.sleep(0)
        times.append(time.monotonic())
    assert await going == 20_000
    return max(after - before for before, after in pairwise(times)) / (times[-1] - started)


def test_the_loop_runs_on_meanwhile(space: Namespace) -> None:
    found = []
    for _ in range(3):
        track(flows(V4, 20_000), OURS)
        found.append(asyncio.run(lateness()))
    assert min(found) < 0.4


# --- real flows ------------------------------------------------------------------------------------------------------


class Gateway:
    """A van that masquerades: each flow keeps its way by its mark, new ones go by the default."""

    def __init__(self, road: Road, stack: ExitStack) -> None:
        self.road, self._stack = road, stack
        self._server: dict[Family, socket.socket] = {}
        restore = [f"ct mark and {MASK:#x} == {mark:#x} meta mark set {mark:#x}" for mark in (OURS, NEXT)]
        given = [f"oifname {NAMES[index]} ct mark set ct mark and {REST:#x} or {mark:#x}" for index, mark in WAYS]
        foreign(
            road,
            "inet theirs",
            "counter midway { }",
            "counter invalid { }",
            chain("forward", "filter", "ct state invalid counter name invalid", f"{MIDWAY} counter name midway"),
            chain("prerouting", "mangle", "ct mark set ct mark or 0x80000", *restore),
            chain("output", "mangle", *restore, kind="route"),
            chain("postrouting", "mangle", *given),
            chain("postrouting", "srcnat", 'oifname "wan*" masquerade', kind="nat"),
        )
        for family in FAMILIES:
            road.box.ip(f"-{family[-1]} rule add pref 100 lookup main suppress_prefixlength 0")
            for index, mark in WAYS:
                way = f"via {GATEWAYS[index][family]} dev {NAMES[index]} table {index}"
                road.box.ip(f"-{family[-1]} route add default {way}")
                road.box.ip(f"-{family[-1]} rule add pref 200 fwmark {mark:#x}/{MASK:#x} lookup {index}")
            server = stack.enter_context(road.far.socket(AF[family], UDP))
            server.bind((INTERNET[family], SEEING))
            server.settimeout(PATIENCE)
            self._server[family] = server
        stack.enter_context(road.van.entered())

    def open(
        self, family: Family, *, kind: int = UDP, port: int = SEEING, space: Namespace | None = None
    ) -> socket.socket:
        """A flow of the LAN's, unless told otherwise."""
        return self._stack.enter_context(self.road.flow(family, kind, port=port, space=space or self.road.lan))

    def switch(self, family: Family) -> None:
        """New flows go by wan1."""
        self.road.box.ip(f"-{family[-1]} route del default via {GATEWAYS[WAN0][family]} dev wan0")

    def seen(self, family: Family, flow: socket.socket, *, reply: bool = True) -> tuple[str, int]:
        """From where a packet of it comes in beyond, where it is answered."""
        flow.send(b"?")
        data, whom = self._server[family].recvfrom(10)
        if reply:
            self._server[family].sendto(data, whom)
            assert flow.recv(10) == data
        return str(whom[0]), int(whom[1])


@pytest.fixture
def gateway(road: Road) -> Iterator[Gateway]:
    with ExitStack() as stack:
        yield Gateway(road, stack)


def ends(flow: socket.socket) -> Flow:
    (source, source_port), (destination, destination_port) = flow.getsockname()[:2], flow.getpeername()[:2]
    return Flow(source, source_port, destination, destination_port, PROTOCOLS[flow.type])


@both
def test_a_flow_of_the_lan_takes_the_new_way_with_its_next_packet(gateway: Gateway, family: Family) -> None:
    flow = gateway.open(family)
    assert gateway.seen(family, flow)[0] == OWN[WAN0][family]
    gateway.switch(family)
    other = gateway.open(family)
    before = gateway.seen(family, other)
    assert before[0] == OWN[WAN1][family]
    assert gateway.seen(family, flow)[0] == OWN[WAN0][family]
    assert {entry.mark for entry in listed() if entry.flow == ends(flow)} == {OURS | TAILSCALE}
    assert forget(OURS, MASK) >= 1
    assert gateway.seen(family, flow)[0] == OWN[WAN1][family]
    assert gateway.seen(family, other) == before


@both
def test_a_tcp_flow_of_the_lan_is_picked_up_midway_and_reset_by_its_server(gateway: Gateway, family: Family) -> None:
    """Its next packet is `new` to connection tracking and not `invalid`, unless net.netfilter.nf_conntrack_tcp_loose
    is 0: a server that is silent to it leaves it hanging."""
    flow = gateway.open(family, kind=TCP, port=PORT)
    gateway.road.ask(flow)
    gateway.switch(family)
    gateway.road.ask(flow)
    assert foreign_counts(gateway.road, "theirs") == {"midway": 0, "invalid": 0}
    assert forget(OURS, MASK) >= 1
    assert is_reset(flow)
    assert foreign_counts(gateway.road, "theirs") == {"midway": 1, "invalid": 0}


@both
def test_what_others_have_going_is_not_touched_by_any_number_of_deletions(gateway: Gateway, family: Family) -> None:
    gateway.switch(family)
    flow = gateway.open(family)
    source = gateway.seen(family, flow)
    track(flows(family, 300), TAILSCALE, answered=False)
    before, done, stop = listed(), 0, threading.Event()

    def work() -> None:
        nonlocal done
        while not stop.is_set():
            track_ours(family)
            forget(OURS, MASK, unanswered=bool(done % 2))
            forget(OURS, MASK)
            done += 1

    worker = threading.Thread(target=work)
    worker.start()
    try:
        while done < 10 and worker.is_alive():
            assert gateway.seen(family, flow) == source
    finally:
        stop.set()
        worker.join()
    assert done >= 10
    assert listed() == before


def track_ours(family: Family) -> None:
    track(flows(family, 100), OURS)
    track(flows(family, 100), OURS, answered=False)


@both
def test_whether_it_was_answered(gateway: Gateway, family: Family) -> None:
    """Masqueraded or not: a flow is asked for as its socket has it."""
    for space in (gateway.road.van, gateway.road.lan):
        flow, never = gateway.open(family, space=space), gateway.open(family, space=space)
        assert answered([ends(flow), ends(never)]) == [None, None]
        gateway.seen(family, flow, reply=False)
        assert answered([ends(flow), ends(never)]) == [False, None]
        gateway.seen(family, flow)
        assert answered([ends(never), ends(flow)]) == [None, True]


@ways
def test_a_syn_that_nobody_took_is_unanswered(gateway: Gateway, way: Callable[[int, int], None]) -> None:
    with gateway.road.far.entered():
        subprocess.run(["ip", "route", "add", "blackhole", f"{SILENT}/32"], check=True)
    taken = gateway.open(V4, kind=TCP, port=PORT)
    gateway.road.ask(taken)
    with gateway.road.lan.socket(AF[V4], TCP) as trying:
        trying.setblocking(False)
        assert trying.connect_ex((SILENT, PORT)) == errno.EINPROGRESS
        begun, open_ = ends(taken)._replace(source_port=trying.getsockname()[1], destination=SILENT), ends(taken)
        assert answered([begun, open_]) == [False, True]
        way(OURS, MASK)
        assert answered([begun, open_]) == [None, True]
    gateway.road.ask(taken)


# --- errors ----------------------------------------------------------------------------------------------------------


def test_without_the_right_it_says_so(space: Namespace) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")

    def work() -> None:
        os.setgroups([])
        os.setresuid(NOBODY, NOBODY, NOBODY)
        for question in (lambda: forget(OURS, MASK), lambda: answered(flows(V4, 1)), lambda: conntrack.count(0, 0)):
            with pytest.raises(KernelError, match="may not") as caught:
                question()
            assert "CAP_NET_ADMIN" in caught.value.hint

    assert in_child(work) == 0


def test_what_nobody_takes_is_a_missing_module(space: Namespace) -> None:
    absent = 15 << 8
    with closing(Netlink(NETLINK_NETFILTER)) as netlink, pytest.raises(RequestError) as caught:
        netlink.request(absent, 0, conntrack.HEAD.pack(0, 0, 0))
    told = conntrack.refusal(caught.value)
    assert "modprobe nf_conntrack_netlink" in told.hint
    assert str(told) != str(conntrack.refusal(RequestError(errno.EPERM, "")))
    assert "CONFIG_NF_CONNTRACK_MARK" in conntrack.refusal(RequestError(errno.EOPNOTSUPP, "")).hint
    assert "out of room" in str(conntrack.refusal(RequestError(errno.ENOSPC, "out of room")))


def test_an_answer_that_cannot_be_read() -> None:
    flow = Flow("192.0.2.1", 1, "192.0.2.2", 2)
    head, tuple_ = b"\2\0\0\0", conntrack.of_flow(flow)
    assert conntrack.entry(head + attribute(conntrack.CTA_TUPLE_ORIG, tuple_)) == (flow, 0, False, 0)
    cut = [head + attribute(conntrack.CTA_TUPLE_ORIG, tuple_[:length]) for length in range(len(tuple_))]
    of_nobodys_family = b"\7" + cut[-1][1:]
    for body in (b"", head[:3], head, of_nobodys_family, *cut):
        with pytest.raises(KernelError, match="garbled"):
            conntrack.entry(body)
