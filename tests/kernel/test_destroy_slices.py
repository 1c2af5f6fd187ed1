"""Open flows of a van that are broken: thousands, in slices; what was never answered; and what goes wrong."""

from __future__ import annotations

import ctypes
import errno
import resource
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from failover.kernel import destroy as module
from failover.kernel import nft
from failover.kernel.destroy import destroy, judge
from failover.model import FAMILIES, Family, KernelError
from failover.seam import SocketsDestroyed

from .box import GATEWAYS, INTERNET, OWN, V4, V6, WAN1
from .flows import (
    DNS,
    KINDS,
    MANY,
    NOWHERE,
    PORT,
    SOURCE,
    TCP,
    UDP,
    Place,
    begun,
    broken,
    came,
    connected,
    counts,
    mapped,
    order,
)
from .road import MASK, WANTED, need_nft
from .test_privileges import CAPABILITY_VERSION, NOBODY, Capabilities, _exists, become_ordinary, in_child


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard >= MANY + 1000
    resource.setrlimit(resource.RLIMIT_NOFILE, (MANY + 1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def broken_now(watched: select.epoll) -> set[int]:
    """File descriptors of sockets that were broken since this was asked last."""
    return {number for number, events in watched.poll(0, MANY) if events & select.EPOLLERR}


# --- thousands -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("many_files")
def test_half_of_thousands_in_slices(held: ExitStack) -> None:
    """No slice breaks more than its share, and none of the other half hears anything."""
    watched, ours, others = held.enter_context(select.epoll()), set[int](), set[int]()
    for _ in range(MANY // 2):
        for source, target, numbers in ((SOURCE, INTERNET, ours), (OWN[WAN1], GATEWAYS[WAN1], others)):
            opened = connected(held, TCP, source[V4], target[V4])
            watched.register(opened, select.EPOLLET)
            numbers.add(opened.fileno())
    assert broken_now(watched) == set()
    assert len([*destroy(order(V4), limit=0)]) == 2, "what is beyond the limit is not even listed"
    came = [(found, broken_now(watched)) for found in destroy(order(V4))]
    assert max(len(gone) for _, gone in came) <= module.SLICE
    assert set().union(*(gone for _, gone in came)) == ours
    assert came[-1][0] == SocketsDestroyed(order(V4), len(ours))


def test_given_up_half_way_the_others_stay(held: ExitStack) -> None:
    opened = [connected(held, TCP, SOURCE[V4]) for _ in range(2 * module.SLICE)]
    work = destroy(order(V4))
    while not any(gone := [broken(each) for each in opened]):
        assert next(work) is None
    del work
    assert sum(gone) == module.SLICE
    assert counts(order(V4)) == (module.SLICE, 0)


@pytest.mark.parametrize(("limit", "tcp", "udp"), [(5, 5, 0), (12, 10, 2), (20, 10, 10), (19, 10, 9), (0, 0, 0)])
def test_no_more_than_the_limit(held: ExitStack, limit: int, tcp: int, udp: int) -> None:
    opened = [connected(held, kind, SOURCE[V6]) for kind in KINDS for _ in range(10)]
    found = came(order(V6), limit)
    assert (found.tcp, found.udp) == (tcp, udp) == tuple(sum(map(broken, opened[at : at + 10])) for at in (0, 10))
    assert found.error.startswith("more sockets than" if limit < 20 else "")
    assert bool(found.error) == (limit < 20)


def test_a_socket_that_is_closed_meanwhile_is_no_error(held: ExitStack) -> None:
    """And a new one with its ports and addresses is another socket."""
    opened = [connected(held, kind, SOURCE[V4]) for kind in KINDS for _ in range(3)]
    work = destroy(order(V4))
    assert next(work) is None
    ends = opened[1].getsockname()
    opened[1].close()
    again = begun(held, TCP, *ends)
    again.connect((INTERNET[V4], PORT))
    *_, found = work
    assert found == SocketsDestroyed(order(V4), 2, 3)
    assert not broken(again)
    assert all(broken(each) for each in opened if each is not opened[1])


# --- never answered --------------------------------------------------------------------------------------------------


@pytest.fixture
def tracked(place: Place) -> Iterator[None]:
    """Connections of the van are tracked, as they are where the agent counts."""
    need_nft()
    with place.box.van.entered():
        nft.load(WANTED)
        yield
        nft.remove()


def connecting(held: ExitStack, source: str, target: str) -> socket.socket:
    opened = begun(held, TCP, source)
    opened.setblocking(False)
    assert opened.connect_ex((target, PORT)) == errno.EINPROGRESS
    return opened


def asked(held: ExitStack, source: str, target: str = "", port: int = DNS) -> socket.socket:
    """A question that is on its way."""
    opened = connected(held, UDP, source, target, port)
    assert opened.send(b"?") == 1
    return opened


def answered(place: Place, opened: socket.socket, port: int = DNS) -> socket.socket:
    """The same, once it has its answer."""
    server = place.servers[INTERNET[V4 if opened.getsockname()[0].count(".") else V6], port, UDP]
    server.sendto(b"!", server.recvfrom(10)[1])
    assert opened.recv(10) == b"!"
    return opened


@pytest.mark.usefixtures("tracked")
@pytest.mark.parametrize("family", FAMILIES)
def test_only_what_was_never_answered(held: ExitStack, place: Place, family: Family) -> None:
    source = SOURCE[family]
    kept = [
        connected(held, TCP, source),
        answered(place, asked(held, source)),
        answered(place, asked(held, source, port=PORT), PORT),
        asked(held, source, NOWHERE[family], PORT),
        asked(held, OWN[WAN1][family], GATEWAYS[WAN1][family]),
    ]
    gone = [
        connecting(held, source, NOWHERE[family]),
        asked(held, source, NOWHERE[family]),
        connected(held, UDP, source, port=DNS),
    ]
    assert counts(order(family, unanswered=True, mask=MASK)) == (1, 2)
    assert [broken(each) for each in kept] == [False] * len(kept)
    assert all(broken(each) for each in gone)


@pytest.mark.usefixtures("tracked")
def test_never_answered_in_both_families_at_once(held: ExitStack, place: Place) -> None:
    source = mapped(SOURCE[V4])
    kept = [connected(held, TCP, source, mapped(INTERNET[V4])), asked(held, source, mapped(INTERNET[V4]))]
    answered(place, kept[1])
    gone = [connecting(held, source, mapped(NOWHERE[V4])), asked(held, source, mapped(NOWHERE[V4]))]
    assert counts(order(V4, unanswered=True)) == (1, 1)
    assert [broken(each) for each in (*kept, *gone)] == [False, False, True, True]


def test_where_nothing_is_tracked_no_question_counts_as_answered(held: ExitStack, place: Place) -> None:
    opened = answered(place, asked(held, SOURCE[V4]))
    assert counts(order(V4, unanswered=True)) == (0, 1)
    assert broken(opened)


def test_what_connects_is_broken_with_the_open_ones(held: ExitStack) -> None:
    opened = connecting(held, SOURCE[V6], NOWHERE[V6])
    assert counts(order(V6)) == (1, 0)
    assert broken(opened)


# --- what goes wrong -------------------------------------------------------------------------------------------------


def become_powerless() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    words = Capabilities((CAPABILITY_VERSION, 0), (0, 0, 0, 0, 0, 0))
    halves = ctypes.addressof(words) + Capabilities.halves.offset
    assert libc.capset(ctypes.c_void_p(ctypes.addressof(words)), ctypes.c_void_p(halves)) == 0


@pytest.mark.parametrize("mask", [0, MASK])
def test_without_the_capability_it_is_said(held: ExitStack, mask: int) -> None:
    opened = connected(held, TCP, SOURCE[V4])

    def work() -> None:
        become_powerless()
        found = came(order(V4, mask=mask))
        assert (found.tcp, found.udp) == (0, 0)
        assert found.error.endswith("Operation not permitted; CAP_NET_ADMIN is needed"), found.error

    assert in_child(work) == 0
    assert not broken(opened)


def test_one_capability_is_enough(held: ExitStack) -> None:
    if not _exists(NOBODY):
        pytest.skip("needs root, to become somebody else")
    opened = connected(held, TCP, SOURCE[V4])

    def work() -> None:
        become_ordinary()
        assert counts(order(V4, mask=MASK)) == (1, 0)

    assert in_child(work) == 0
    assert broken(opened)


def test_what_the_filter_has_no_room_for_is_not_risked(held: ExitStack) -> None:
    """Of the order's family; the other's do not count."""
    opened = connected(held, TCP, SOURCE[V4])
    networks = tuple(f"172.16.{number}.0/24" for number in range(256))
    found = came(order(V4, local=networks))
    assert found == replace(found, tcp=0, udp=0)
    assert found.error.startswith("more than 256 addresses, or networks")
    assert not broken(opened)
    others = tuple(f"2001:db8:{number:x}::/48" for number in range(300))
    assert counts(order(V4, local=(*networks[:250], *others))) == (1, 0)


def test_an_order_of_nothing(held: ExitStack) -> None:
    opened = connected(held, TCP, SOURCE[V4])
    assert came(replace(order(V4), addresses=())).error == ""
    assert came(order(V4, SOURCE[V6])).error == f"not an ipv4 address: {SOURCE[V6]}"
    assert came(order(V4, SOURCE[V4], "nonsense")).error == "not an ipv4 address: nonsense"
    assert not broken(opened)


@pytest.mark.parametrize(
    ("code", "words", "mend"),
    [
        (errno.EOPNOTSUPP, "Operation not supported", "CONFIG_INET_DIAG_DESTROY"),
        (errno.EPERM, "Operation not permitted", "CAP_NET_ADMIN"),
        (errno.EINVAL, "Invalid argument", ""),
    ],
)
def test_a_kernel_that_breaks_nothing_is_an_error(code: int, words: str, mend: str) -> None:
    judge([errno.ENOENT, errno.ENOENT])
    with pytest.raises(KernelError, match=words) as raised:
        judge([errno.ENOENT, code])
    assert mend in raised.value.hint


def test_an_answer_cut_short_is_an_error() -> None:
    choice = module._Choice(socket.IPPROTO_TCP, order(V4), None)
    with pytest.raises(KernelError, match="garbled socket"):
        choice.request(bytes(71))
    assert choice.request(bytes(72)) is None, "nobody's"
