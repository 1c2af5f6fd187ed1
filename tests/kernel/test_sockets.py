"""The TCP sockets of a van: real connections over real links that lose, and `ss` as the second opinion."""

from __future__ import annotations

import re
import select
import shutil
import socket
import struct
import subprocess
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack

import pytest

from failover.facts import Segments
from failover.kernel import inet_diag
from failover.kernel import sockets as module
from failover.kernel.sockets import Sockets
from failover.kernel.wire import attribute
from failover.lab import faults
from failover.lab.places import APP, CARRIERS, ECHO_PORT
from failover.lab.world import World
from failover.model import FAMILIES, Family, KernelError
from tests.allowed import or_skip

V4, V6 = FAMILIES
AF = {V4: socket.AF_INET, V6: socket.AF_INET6}
AU, DOCOMO = (carrier.address for carrier in CARRIERS[:2])
MASK, MARK = 0x3F000000, 0x02000000
ETH_P_ALL = 3
RESENT, SENT = 100, 156
"""Where the kernel has these in struct tcp_info."""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with or_skip(), World(seed=3, rp_filter=0) as built:
        yield built


@pytest.fixture
def stack(world: World) -> Iterator[ExitStack]:
    """What it holds is closed; this thread is in the van for the whole test."""
    with world.van.entered(), ExitStack() as held:
        yield held


def connected(stack: ExitStack, source: str, target: str = "", mark: int = 0, port: int = ECHO_PORT) -> socket.socket:
    """A connection to the app server from that address; of both families at once where that is mapped."""
    family = Family.of(source)
    opened = begun(stack, source)
    if mark:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    opened.settimeout(20.0)
    opened.connect((target or APP[family], port))
    return opened


def begun(stack: ExitStack, source: str) -> socket.socket:
    """A socket that leaves nothing behind when it is closed."""
    opened = stack.enter_context(socket.socket(AF[Family.of(source)], socket.SOCK_STREAM))
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    opened.setblocking(False)
    opened.bind((source, 0))
    return opened


def several(stack: ExitStack, source: str, count: int) -> list[socket.socket]:
    """Connections that have all sent one segment, and heard its echo."""
    opened = [begun(stack, source) for _ in range(count)]
    for each in opened:
        each.connect_ex((APP[Family.of(source)], ECHO_PORT))
    for each in opened:
        finished(each).sendall(b"once")
    for each in opened:
        assert each.recv(64) == b"once"
    return opened


def finished(opened: socket.socket) -> socket.socket:
    """The same, once it is connected."""
    assert select.select([], [opened], [], 10.0)[1]
    assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    opened.settimeout(20.0)
    return opened


def exchange(opened: socket.socket, count: int = 1, size: int = 100) -> Segments:
    """Send, and read the echo of it all, so that nothing is under way any more; what the socket says of that."""
    before = told(opened)
    for _ in range(count):
        opened.sendall(bytes(size))
        rest = size
        while rest:
            rest -= len(opened.recv(rest))
    after = told(opened)
    return Segments(after.sent - before.sent, after.resent - before.resent)


def told(opened: socket.socket) -> Segments:
    """What the socket itself says."""
    info = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    (sent,), (resent,) = struct.unpack_from("=I", info, SENT), struct.unpack_from("=I", info, RESENT)
    return Segments(sent, resent)


def in_all(opened: Collection[socket.socket]) -> Segments:
    found = [told(each) for each in opened]
    return Segments(sum(each.sent for each in found), sum(each.resent for each in found))


def second_opinion(address: str) -> Segments:
    """The sums that ss gives for a source address."""
    if shutil.which("ss") is None:
        pytest.skip("needs the Debian package iproute2")
    argv = ["ss", "--tcp", "--info", "--numeric", "--no-header", "src", address]
    words = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    numbers = [map(int, re.findall(pattern, words)) for pattern in (r"data_segs_out:(\d+)", r"retrans:\d+/(\d+)")]
    return Segments(*(sum(found) for found in numbers))


def read(
    sockets: Sockets, addresses: Collection[str], local: Collection[str] = (), mask: int = 0
) -> Mapping[str, Segments]:
    return sockets.read(addresses, local, mask).segments


def started(*addresses: str) -> Sockets:
    """One that knows these addresses: what is new there counts from 0."""
    sockets = Sockets()
    sockets.read(addresses)
    return sockets


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_connection_sent_is_told_once(stack: ExitStack, family: Family) -> None:
    sockets = started(AU[family])
    opened = connected(stack, AU[family])
    first = exchange(opened, 7)
    assert first.sent >= 7
    assert read(sockets, [AU[family]]) == {AU[family]: first}
    assert read(sockets, [AU[family]]) == {}
    assert exchange(opened, 2) == read(sockets, [AU[family]])[AU[family]]


def test_a_socket_of_both_families_counts_for_its_ipv4_address(stack: ExitStack) -> None:
    sockets = started(AU[V4])
    sent = exchange(connected(stack, f"::ffff:{AU[V4]}", f"::ffff:{APP[V4]}"), 5)
    assert read(sockets, [AU[V4]]) == {AU[V4]: sent}


def test_losses_are_told_as_the_sockets_and_ss_tell_them(world: World, stack: ExitStack) -> None:
    sockets = started(AU[V4], AU[V6])
    opened = [
        connected(stack, AU[V4]),
        connected(stack, AU[V6]),
        connected(stack, f"::ffff:{AU[V4]}", f"::ffff:{APP[V4]}"),
    ]
    with faults.loss(world, "au", 0.2, direction="up"):
        for each in opened:
            while not told(each).resent:
                exchange(each, size=20_000)
    found = read(sockets, AU.values())
    four, six, mapped = map(told, opened)
    assert found[AU[V6]] == six == second_opinion(f"[{AU[V6]}]")
    assert found[AU[V4]] == Segments(four.sent + mapped.sent, four.resent + mapped.resent) == second_opinion(AU[V4])
    assert 0 < found[AU[V4]].resent < found[AU[V4]].sent


def test_uplinks_are_told_apart_and_others_not_at_all(stack: ExitStack) -> None:
    sockets = started(AU[V4], DOCOMO[V4])
    sent = {address: exchange(connected(stack, address), 3) for address in (AU[V4], DOCOMO[V4], AU[V6])}
    assert sent.pop(AU[V6]).sent >= 3
    assert read(sockets, [AU[V4], DOCOMO[V4]]) == sent


def test_every_connection_of_an_address_counts(stack: ExitStack) -> None:
    sockets = started(AU[V6])
    opened = several(stack, AU[V6], 20)
    exchange(opened[7], 2)
    assert read(sockets, [AU[V6]]) == {AU[V6]: in_all(opened)}


@pytest.mark.parametrize("family", FAMILIES)
def test_what_stays_in_the_box_or_on_the_wire_does_not_count(stack: ExitStack, family: Family) -> None:
    """The router's own pages, and this box talking to itself by an address of its own."""
    sockets, own = started(AU[family]), AU[family]
    with socket.create_server((own, 0), family=AF[family]) as listener:
        connected(stack, own, own, port=listener.getsockname()[1]).sendall(b"to itself")
    assert read(sockets, [own]) == {}
    opened = connected(stack, own)
    exchange(opened)
    assert read(sockets, [own], [f"{APP[family]}/{family.bits - 8}"]) == {}
    assert read(sockets, [own], ["192.0.2.0/24", "2001:db8:77::/64"]) == {own: told(opened)}


def test_probes_do_not_count_and_the_marks_of_others_do(stack: ExitStack) -> None:
    sockets = started(*AU.values())
    for mark in (MARK, MARK | 0x1):
        exchange(connected(stack, AU[V4], mark=mark))
    exchange(connected(stack, f"::ffff:{AU[V4]}", f"::ffff:{APP[V4]}", MARK))
    exchange(connected(stack, AU[V6], mark=MARK))
    sent = exchange(connected(stack, AU[V4], mark=0x00FF0001), 5)
    assert read(sockets, AU.values(), mask=MASK) == {AU[V4]: sent}


def test_what_is_there_at_first_counts_from_then_on(stack: ExitStack) -> None:
    opened, sockets = connected(stack, AU[V4]), Sockets()
    exchange(opened, 9)
    assert read(sockets, [AU[V4]]) == {}
    assert exchange(opened, 2) == read(sockets, [AU[V4]])[AU[V4]]


def test_an_address_that_comes_later_begins_then(stack: ExitStack) -> None:
    opened, sockets = connected(stack, DOCOMO[V4]), started(AU[V4])
    exchange(opened, 9)
    assert read(sockets, [AU[V4], DOCOMO[V4]]) == {}
    assert exchange(opened, 2) == read(sockets, [AU[V4], DOCOMO[V4]])[DOCOMO[V4]]


def test_a_socket_that_one_read_missed_goes_on_where_it_was(stack: ExitStack) -> None:
    sockets = started(AU[V4])
    opened = connected(stack, AU[V4])
    assert exchange(opened, 3) == read(sockets, [AU[V4]])[AU[V4]]
    later = exchange(opened, 4)
    assert read(sockets, [DOCOMO[V4]]) == {}
    assert read(sockets, [AU[V4]]) == {AU[V4]: later}


def test_sockets_that_are_gone_are_forgotten(stack: ExitStack) -> None:
    """In two reads; and what a new one sent is its own."""
    sockets = started(AU[V4])
    for _ in range(3):
        with ExitStack() as passing:
            sent = exchange(connected(passing, AU[V4]), 4)
            assert read(sockets, [AU[V4]]) == {AU[V4]: sent}
    assert sockets.remembered == 2
    for _ in range(2):
        sockets.read([AU[V4]])
    assert sockets.remembered == 0


def unanswered(stack: ExitStack, address: str) -> socket.socket:
    """A connection that is not yet, once its SYN has gone out twice."""
    wire = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    wire.settimeout(20.0)
    wire.bind(("wwan0", ETH_P_ALL))
    opened = begun(stack, address)
    opened.connect_ex((APP[V4], ECHO_PORT))
    port = opened.getsockname()[1].to_bytes(2, "big")
    seen = 0
    while seen < 2:
        seen += wire.recv(2048)[34:36] == port
    return opened


def test_a_connection_that_nobody_answers_does_not_count(world: World, stack: ExitStack) -> None:
    """Its SYNs are no data, and a dead server is no dead uplink."""
    sockets = started(AU[V4])
    with faults.blackout(world, "au"):
        assert told(unanswered(stack, AU[V4])).resent
        assert read(sockets, [AU[V4]]) == {}


def test_a_resent_syn_is_no_resent_data(world: World, stack: ExitStack) -> None:
    sockets = started(AU[V4])
    with faults.blackout(world, "au"):
        opened = unanswered(stack, AU[V4])
    assert told(finished(opened)).resent
    other = exchange(connected(stack, AU[V4]))
    assert read(sockets, [AU[V4]]) == {AU[V4]: other}


def test_only_so_many_are_looked_at(stack: ExitStack) -> None:
    """Beyond the limit it cannot be known what is new, so nothing counts from 0."""
    sockets = Sockets(limit=1)
    sockets.read(AU.values())
    opened = several(stack, AU[V4], 200)
    assert 1 <= read(sockets, AU.values())[AU[V4]].sent < 150
    assert sockets.remembered < 150
    for each in opened[::2]:
        each.close()
    assert read(sockets, AU.values()) == {}
    assert sockets.remembered < 150


def test_a_read_comes_in_slices(stack: ExitStack) -> None:
    sockets = started(AU[V4])
    opened = several(stack, AU[V4], 300)
    *before, found = sockets.slices([AU[V4]])
    assert before == [None] * len(before)
    assert len(before) > 3
    assert found is not None
    assert found.segments == {AU[V4]: in_all(opened)}


def test_a_read_given_up_half_way_never_was(stack: ExitStack) -> None:
    sockets = started(AU[V4])
    sent = exchange(connected(stack, AU[V4]), 5)
    given_up = sockets.slices([AU[V4]])
    assert next(given_up) is None
    assert next(given_up) is None
    assert read(sockets, [AU[V4]]) == {AU[V4]: sent}


def test_the_filter_has_room_for_every_address(stack: ExitStack) -> None:
    """And one more than that is left out."""
    others = [f"2001:db8:77::{number:x}" for number in range(1, inet_diag.ADDRESSES)]
    local = [f"2001:db8:{number:x}::/48" for number in range(0x100, 0x100 + inet_diag.ADDRESSES)]
    sockets = started(*others, AU[V6])
    sent = exchange(connected(stack, AU[V6]))
    assert read(sockets, [*others, AU[V6]], local, MASK) == {AU[V6]: sent}
    assert read(started(*others), [*others, DOCOMO[V6], AU[V6]], local, MASK) == {}


def test_no_address_no_question() -> None:
    assert Sockets().read([]).segments == {}
    with pytest.raises(KernelError, match="not an ipv4 address: nonsense"):
        Sockets().read(["nonsense"])


@pytest.mark.parametrize("cut", [10, 71])
def test_an_answer_cut_short_is_an_error(cut: int) -> None:
    with pytest.raises(KernelError, match="garbled socket"):
        module.totals(bytes(cut))


def test_a_kernel_that_counts_no_data_is_an_error() -> None:
    head = bytes([socket.AF_INET]) + bytes(71)
    info = struct.pack("=100xI52xI", 3, 40)
    assert module.totals(head + attribute(module.INET_DIAG_INFO, info)) == (bytes(4), 0, (40, 3))
    assert module.totals(head) is None
    with pytest.raises(KernelError, match="garbled tcp_info"):
        module.totals(head + attribute(module.INET_DIAG_INFO, info[:-4]))


def test_counters_may_wrap() -> None:
    past = module._Past({7: (0xFFFFFFFE, 0)})
    tally = module._Tally({bytes(4): "0.0.0.0"}, past)
    head = bytes([socket.AF_INET]) + bytes(43) + (7).to_bytes(8, "little") + bytes(20)
    tally.add(head + attribute(module.INET_DIAG_INFO, struct.pack("=100xI52xI", 1, 3)))
    assert tally.sums == {"0.0.0.0": [5, 1]}
