"""MPTCP connections over two ways that really fail: what of them is told, and what withdrawing an endpoint does."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from failover.facts import Endpoint, EndpointFlag, Stage, Subflow, SubflowLimits, Subflows, Verb
from failover.kernel import mptcp, subflows
from failover.kernel.endpoints import Done, Endpoints
from failover.kernel.wire import attribute
from failover.lab.namespaces import gain_privileges
from failover.model import FAMILIES, Family, KernelError
from tests.allowed import or_skip

from .box import GATEWAYS, V4, V6, WAN0, WAN1
from .paths import ADDRESSES, BACKUP, FIRST, IPPROTO_MPTCP, PATIENCE, SECOND, Paths, Stream, arrives, mptcp_socket
from .road import need_nft

HANGS = 0.05
"""Seconds in which a cut way shows. What waits for a retransmission waits for 0.2 (TCP_RTO_MIN)."""
AT_ONCE = 0.1
A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"
DIRECTIONS = pytest.mark.parametrize("up", [True, False], ids=["up", "down"])


@pytest.fixture(scope="module")
def built() -> Iterator[Paths]:
    need_nft()
    with or_skip():
        gain_privileges()
    made = Paths()
    yield made
    made.close()


@pytest.fixture
def paths(built: Paths) -> Iterator[Paths]:
    """As at the beginning; this thread is in the van for the whole test."""
    with built.box.van.entered():
        built.reset()
        yield built


def both(found: tuple[Subflow, ...]) -> bool:
    """Whether there are two, and both established."""
    return [one.stage for one in found] == [Stage.ESTABLISHED] * 2


def sources(found: tuple[Subflow, ...]) -> dict[str, Stage]:
    return {one.source: one.stage for one in found}


# --- what is told ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "mapped"), [(V4, False), (V6, False), (V4, True)], ids=["ipv4", "ipv6", "mapped"])
def test_a_running_connection_takes_the_second_way_too(paths: Paths, family: Family, mapped: bool) -> None:
    with paths.stream(family, mapped=mapped) as stream:
        (first,) = paths.found()
        assert (first.source, first.stage, first.backup) == (FIRST[family], Stage.ESTABLISHED, False)
        paths.manager.add(Endpoint(SECOND[family], BACKUP))
        found = paths.until(both)
        assert {one.connection for one in found} == {first.connection}
        assert {(one.source, one.backup) for one in found} == {(FIRST[family], False), (SECOND[family], True)}
        stream.goes_on()


def test_one_that_nobody_has_used_is_not_established(paths: Paths) -> None:
    """The server's key is confirmed by data (RFC 8684, section 3.1)."""
    with paths.listening(V4, IPPROTO_MPTCP) as listener, mptcp_socket(paths.box.van) as here:
        here.connect(listener.getsockname())
        assert sources(paths.found()) == {FIRST[V4]: Stage.OPEN}
        here.sendall(b"?")
        paths.until(lambda now: sources(now) == {FIRST[V4]: Stage.ESTABLISHED})


def test_connections_are_told_apart(paths: Paths) -> None:
    paths.endpoints()
    with paths.stream(), paths.stream():
        found = paths.until(lambda now: [one.stage for one in now] == [Stage.ESTABLISHED] * 4)
        connections = [one.connection for one in found if one.source == FIRST[V4]]
        assert len(set(connections)) == 2
        assert sorted(connections) == sorted(one.connection for one in found if one.source == SECOND[V4])


def test_how_many_there_are_is_known_without_looking_at_sockets(paths: Paths) -> None:
    before = subflows.connections()
    assert before is not None
    with paths.stream(), paths.stream():
        assert subflows.connections() == before + 2


@pytest.mark.parametrize("text", ["", "MPTcpExt: MPCapableSYNRX\nMPTcpExt: 0\n", "MPTcpExt: MPCurrEstab\n"])
def test_where_the_kernel_does_not_count_them_nothing_is_said(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "netstat"
    path.write_text(text)
    monkeypatch.setattr(subflows, "COUNTERS", path)
    assert subflows.connections() is None
    path.unlink()
    assert subflows.connections() is None


def test_only_the_addresses_asked_for_are_told(paths: Paths) -> None:
    paths.endpoints()
    with paths.stream():
        paths.until(both)
        assert sources(subflows.read([SECOND[V4]]).found) == {SECOND[V4]: Stage.ESTABLISHED}
        assert subflows.read([FIRST[V6]]) == subflows.read([]) == Subflows()


def test_what_others_began_is_told(paths: Paths) -> None:
    """This box is the server."""
    with mptcp_socket(paths.box.van) as listener, mptcp_socket(paths.box.far) as there:
        listener.bind((FIRST[V4], 4000))
        listener.listen()
        there.connect((FIRST[V4], 4000))
        with listener.accept()[0]:
            there.sendall(b"?")
            assert sources(paths.until(bool)) == {FIRST[V4]: Stage.ESTABLISHED}


def test_plain_connections_come_in_slices_and_are_not_told(paths: Paths) -> None:
    with ExitStack() as held:
        listener = held.enter_context(paths.listening(V4, socket.IPPROTO_TCP))
        for _ in range(400):
            held.enter_context(socket.create_connection(listener.getsockname()))
            held.enter_context(listener.accept()[0])
        *before, found = subflows.slices(ADDRESSES)
        assert before == [None] * len(before)
        assert len(before) > 2
        assert found == Subflows()
        assert found.can_spare(FIRST[V4], SECOND.values())
        beyond = subflows.read(ADDRESSES, limit=10)
        assert not beyond.whole
        assert not beyond.can_spare(FIRST[V4], SECOND.values())


def test_an_answer_cut_short_is_an_error() -> None:
    with pytest.raises(KernelError, match="garbled socket"):
        subflows.subflow(bytes(71), {})


# --- what withdrawing an endpoint does -------------------------------------------------------------------------------


@DIRECTIONS
@pytest.mark.parametrize("family", FAMILIES)
def test_a_stream_goes_on_by_the_other_way_at_once(paths: Paths, family: Family, up: bool) -> None:
    first, _ = paths.endpoints(family)
    with paths.stream(family) as stream:
        paths.until(both)
        sender, receiver = (stream.here, stream.there) if up else (stream.there, stream.here)
        paths.cut(WAN0)
        sender.sendall(b"!")
        assert not arrives(receiver, HANGS)
        assert subflows.read(ADDRESSES).can_spare(first.address, SECOND.values())
        assert paths.manager.delete(first)
        assert arrives(receiver, AT_ONCE)
        assert receiver.recv(64) == b"!"
        stream.goes_on()
        assert sources(paths.found()) == {SECOND[family]: Stage.ESTABLISHED}
        paths.heal(WAN0)
        paths.manager.add(Endpoint(first.address))
        assert sources(paths.until(both)).keys() == {first.address, SECOND[family]}


@DIRECTIONS
def test_to_change_who_is_the_backup_does_not_help(paths: Paths, up: bool) -> None:
    first, second = paths.endpoints()
    with paths.stream() as stream:
        paths.until(both)
        sender, receiver = (stream.here, stream.there) if up else (stream.there, stream.here)
        paths.cut(WAN0)
        sender.sendall(b"!")
        assert not arrives(receiver, HANGS)
        paths.manager.mark(first, backup=True)
        paths.manager.mark(second, backup=False)
        assert not arrives(receiver, AT_ONCE)
        paths.manager.delete(first)
        assert receiver.recv(64) == b"!"


@pytest.mark.parametrize(("packets", "stage"), [("lone", Stage.BEGUN), ("deaf", Stage.OPEN)], ids=["SYN", "ACK"])
def test_a_way_that_drops_joins_saves_no_stream(paths: Paths, packets: str, stage: Stage) -> None:
    """So the first one is not spared: withdrawn, a stream that was well would hang."""
    paths.drop_joins(WAN1, packets)
    first, _ = paths.endpoints()
    with paths.stream() as stream:
        found = paths.until(lambda now: sources(now) == {FIRST[V4]: Stage.ESTABLISHED, SECOND[V4]: stage})
        assert Subflows(found).stranded(first.address, SECOND.values()) == {found[0].connection}
        assert not Subflows(found).can_spare(first.address, SECOND.values())
        stream.goes_on()
        paths.manager.delete(first)
        stream.here.sendall(b"!")
        assert not arrives(stream.there, 4 * AT_ONCE)
        paths.manager.add(Endpoint(first.address))
        assert arrives(stream.there, AT_ONCE)


def test_a_server_that_takes_no_second_way_saves_no_stream(paths: Paths) -> None:
    paths.limit_far(0)
    first, _ = paths.endpoints()
    with paths.stream() as stream:
        found = paths.until(lambda now: sources(now).keys() == {FIRST[V4]})
        assert not Subflows(found).can_spare(first.address, SECOND.values())
        stream.goes_on()
        assert not subflows.read(ADDRESSES).can_spare(first.address, SECOND.values())


def test_a_server_that_listens_no_more_is_not_joined(paths: Paths) -> None:
    with mptcp_socket(paths.box.van) as here:
        with paths.listening(V4, IPPROTO_MPTCP) as listener:
            here.connect(listener.getsockname())
            there = listener.accept()[0]
        with there:
            Stream(here, there).goes_on()
            paths.manager.add(Endpoint(SECOND[V4]))
            found = paths.until(lambda now: sources(now).keys() == {FIRST[V4]})
            assert not Subflows(found).can_spare(FIRST[V4], SECOND.values())


def test_what_nobody_has_answered_yet_is_not_harmed(paths: Paths) -> None:
    paths.cut(WAN0)
    first, _ = paths.endpoints()
    with paths.listening(V4, IPPROTO_MPTCP) as listener, mptcp_socket(paths.box.van) as here:
        here.setblocking(False)
        here.connect_ex(listener.getsockname())
        assert sources(paths.found()) == {first.address: Stage.BEGUN}
        assert subflows.read(ADDRESSES).can_spare(first.address, SECOND.values())
        paths.manager.delete(first)
        paths.heal(WAN0)
        assert select.select([], [here], [], PATIENCE)[1]
        assert here.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_a_server_without_mptcp_is_left_alone(paths: Paths) -> None:
    """Its connections are plain TCP, whatever the program asked for."""
    first, _ = paths.endpoints()
    with paths.stream(server=socket.IPPROTO_TCP) as stream:
        assert paths.found() == ()
        paths.manager.delete(first)
        stream.goes_on()


def test_a_deletion_without_an_id_would_break_it(paths: Paths) -> None:
    """To the kernel that is the first subflow of whatever began at the address: so none is ever sent."""
    paths.endpoints()
    with paths.stream(server=socket.IPPROTO_TCP) as stream:
        paths.manager._ask(mptcp.DEL_ADDR, mptcp.encoded(Endpoint(FIRST[V4])), "it")
        assert stream.there.recv(64) == b""


def test_an_endpoint_that_comes_after_its_connection_can_be_a_second_subflow(paths: Paths) -> None:
    """By the same way, if it has taken another one by then: so there must be room for more subflows than ways."""
    with paths.stream():
        paths.manager.add(Endpoint(SECOND[V4]))
        paths.until(both)
        paths.manager.add(Endpoint(FIRST[V4]))
        found = paths.until(lambda now: [one.stage for one in now] == [Stage.ESTABLISHED] * 3)
        assert sorted(one.source for one in found) == [FIRST[V4], FIRST[V4], SECOND[V4]]
        paths.manager.delete(paths.known(FIRST[V4]))
        assert sources(paths.found()).keys() == {SECOND[V4]}


def test_what_the_kernel_made_by_itself_is_nobodys(paths: Paths, tmp_path: Path) -> None:
    """It gives way to an endpoint of ours, and withdrawn it just goes."""
    ours = Endpoints(paths.manager, tmp_path / "mptcp.json")
    with paths.announced(GATEWAYS[WAN1][V4]), paths.stream():
        paths.until(lambda _: bool(paths.manager.endpoints()))
        implicit = paths.known(SECOND[V4])
        assert implicit.flags == EndpointFlag.IMPLICIT
        assert ours.keep({SECOND[V4]: False}, SubflowLimits()) == [Done(Verb.ADD, Endpoint(SECOND[V4]))]
        assert paths.manager.endpoints() == (Endpoint(SECOND[V4], id=implicit.id),)
    paths.reset()
    with paths.announced(GATEWAYS[WAN1][V4]), paths.stream():
        paths.until(lambda _: bool(paths.manager.endpoints()))
        assert ours.withdraw([SECOND[V4]]) == [Done(Verb.REPLACE, implicit)]
        assert paths.manager.endpoints() == ()


@DIRECTIONS
def test_a_foreign_endpoint_is_renewed_instead(paths: Paths, up: bool) -> None:
    """As it was before, and joined anew when its way is there again."""
    before = paths.endpoints()
    with paths.stream() as stream:
        paths.until(both)
        sender, receiver = (stream.here, stream.there) if up else (stream.there, stream.here)
        paths.cut(WAN0)
        sender.sendall(b"!")
        assert not arrives(receiver, HANGS)
        assert paths.manager.renew(before[0])
        assert arrives(receiver, AT_ONCE)
        assert paths.manager.endpoints() == before
        assert sources(paths.found()) == {FIRST[V4]: Stage.BEGUN, SECOND[V4]: Stage.ESTABLISHED}
        paths.heal(WAN0)
        paths.until(both)


def test_who_loses_the_last_subflow_hears_of_it_if_that_was_severed(paths: Paths) -> None:
    """And does not where an endpoint was withdrawn; but such a connection lives on when it finds another way."""
    paths.manager.add(Endpoint(FIRST[V4]))
    with ExitStack() as held:
        paths.box.van.sysctl("mptcp/close_timeout", 1)
        held.callback(paths.box.van.sysctl, "mptcp/close_timeout", 60)
        severed = held.enter_context(paths.stream())
        first = paths.found()
        withdrawn = held.enter_context(paths.stream())
        paths.cut(WAN0)
        subflows.sever(first * 2)
        (left,) = paths.found()
        paths.manager.delete(paths.known(FIRST[V4]))
        subflows.sever([left])
        heard = select.poll()
        heard.register(severed.here, 0)
        heard.register(withdrawn.here, 0)
        assert heard.poll(PATIENCE * 1000) == [(severed.here.fileno(), select.POLLHUP)]
        withdrawn.here.sendall(b"!")
        assert not arrives(withdrawn.there, HANGS)
        paths.manager.add(Endpoint(SECOND[V4]))
        assert arrives(withdrawn.there, AT_ONCE)


# --- whether it may be withdrawn -------------------------------------------------------------------------------------


def subflow(connection: int, source: str, stage: Stage = Stage.ESTABLISHED) -> Subflow:
    return Subflow(connection, source, stage)


@pytest.mark.parametrize(
    ("found", "stranded"),
    [
        ([], set()),
        ([subflow(1, A)], {1}),
        ([subflow(1, B)], set()),
        ([subflow(1, A), subflow(1, B)], set()),
        ([subflow(1, A), subflow(2, B)], {1}),
        ([subflow(1, A), subflow(1, C)], {1}),
        ([subflow(1, A), subflow(1, A)], {1}),
        ([subflow(1, A), subflow(1, B, Stage.BEGUN)], {1}),
        ([subflow(1, A), subflow(1, B, Stage.OPEN)], {1}),
        ([subflow(1, A, Stage.BEGUN)], set()),
        ([subflow(1, A, Stage.OPEN)], {1}),
        ([subflow(1, A), subflow(1, B), subflow(2, A), subflow(2, C), subflow(3, A)], {2, 3}),
    ],
)
def test_who_would_be_stranded(found: list[Subflow], stranded: set[int]) -> None:
    """A is suspect, B is proven, C is neither."""
    seen = Subflows(tuple(found))
    assert seen.stranded(A, [B]) == stranded
    assert seen.can_spare(A, [B]) == (not stranded)
    assert seen.stranded(A, [A, B]) == stranded
    assert not Subflows(tuple(found), whole=False).can_spare(A, [B])


def test_what_is_no_mptcp_has_no_subflow() -> None:
    head = bytes([socket.AF_INET, 1]) + bytes(6) + socket.inet_aton(A) + bytes(60)
    names = {socket.inet_aton(A): A}
    other = attribute(subflows.INET_DIAG_ULP_INFO, attribute(1, b"tls\0"))
    assert subflows.subflow(head, names) is subflows.subflow(head + other, names) is None
