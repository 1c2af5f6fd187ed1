"""Endpoints and limits of MPTCP against a real kernel, with `ip mptcp` as the second opinion."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from failover.facts import Endpoint, EndpointFlag, Mptcp, SubflowLimits, Unmanaged
from failover.kernel import mptcp
from failover.kernel.mptcp import PathManager
from failover.kernel.wire import attribute
from failover.lab.namespaces import Namespace, gain_privileges
from failover.model import KernelError
from tests.allowed import or_skip

from .paths import BACKUP, SUBFLOW, ip_mptcp

LOOPBACK = 1


@pytest.fixture
def space() -> Iterator[Namespace]:
    with or_skip():
        gain_privileges()
        made = Namespace("van")
    with made:
        yield made


@pytest.fixture
def manager(space: Namespace) -> Iterator[PathManager]:
    """In the namespace, as is this thread for the whole test."""
    with space.entered(), closing(PathManager()) as opened:
        yield opened


def test_what_we_add_is_as_others_read_it(space: Namespace, manager: PathManager) -> None:
    assert manager.add(Endpoint("192.0.2.1", interface=LOOPBACK))
    assert manager.add(Endpoint("2001:db8::1", BACKUP))
    assert ip_mptcp(space, "endpoint") == [
        "192.0.2.1 id 1 subflow dev lo",
        "2001:db8::1 id 2 subflow backup",
    ]


def test_what_others_added_is_read(space: Namespace, manager: PathManager) -> None:
    ip_mptcp(space, "endpoint add 127.0.0.1 port 4000 id 77 signal")
    ip_mptcp(space, "endpoint add 192.0.2.2 dev lo subflow fullmesh")
    ip_mptcp(space, "limits set subflow 3 add_addr_accepted 4")
    fullmesh = EndpointFlag.SUBFLOW | EndpointFlag.FULLMESH
    first = Endpoint("192.0.2.2", fullmesh, LOOPBACK, id=78)
    second = Endpoint("127.0.0.1", EndpointFlag.SIGNAL, port=4000, id=77)
    assert manager.read() == Mptcp((second, first), SubflowLimits(3, 4))


def test_to_add_what_is_there_changes_nothing(space: Namespace, manager: PathManager) -> None:
    ip_mptcp(space, "endpoint add 192.0.2.1 signal")
    assert not manager.add(Endpoint("192.0.2.1"))
    assert ip_mptcp(space, "endpoint") == ["192.0.2.1 id 1 signal"]


def test_an_address_is_one_endpoint_whatever_its_interface(manager: PathManager) -> None:
    assert manager.add(Endpoint("192.0.2.1", interface=LOOPBACK))
    assert not manager.add(Endpoint("192.0.2.1"))
    assert not manager.add(Endpoint("192.0.2.1", interface=LOOPBACK + 1))
    assert len(manager.endpoints()) == 1


def test_only_what_has_both_id_and_address_is_deleted(space: Namespace, manager: PathManager) -> None:
    manager.add(Endpoint("192.0.2.1"))
    manager.add(Endpoint("192.0.2.2"))
    (first, second) = manager.endpoints()
    assert manager.delete(first)
    assert not manager.delete(first)
    ip_mptcp(space, f"endpoint add 192.0.2.9 id {first.id} subflow")
    assert not manager.delete(first)
    assert ip_mptcp(space, "endpoint") == ["192.0.2.9 id 1 subflow", "192.0.2.2 id 2 subflow"]
    assert manager.delete(second)


def test_without_an_id_nothing_is_deleted(manager: PathManager) -> None:
    """To the kernel 0 is a thing of its own: see test_subflows.py."""
    manager.add(Endpoint("192.0.2.1"))
    with pytest.raises(KernelError, match=r"192\.0\.2\.1 has no id: it is not deleted"):
        manager.delete(Endpoint("192.0.2.1"))
    assert len(manager.endpoints()) == 1


def test_a_renewed_endpoint_is_as_it_was(space: Namespace, manager: PathManager) -> None:
    ip_mptcp(space, "endpoint add 192.0.2.7 id 7 dev lo subflow fullmesh backup")
    ip_mptcp(space, "endpoint add 192.0.2.8 id 8 subflow")
    before = manager.endpoints()
    assert manager.renew(before[0])
    assert manager.endpoints() == before
    assert manager.delete(before[0])
    assert not manager.renew(before[0])
    assert manager.endpoints() == before[1:]


@pytest.mark.parametrize(("flags", "word"), [(SUBFLOW, "subflow"), (SUBFLOW | EndpointFlag.FULLMESH, "fullmesh")])
def test_backup_is_set_and_taken_back(space: Namespace, manager: PathManager, flags: EndpointFlag, word: str) -> None:
    manager.add(Endpoint("2001:db8::1", flags, LOOPBACK))
    before = ip_mptcp(space, "endpoint")
    (known,) = manager.endpoints()
    manager.mark(known, backup=True)
    (marked,) = manager.endpoints()
    assert marked.flags == flags | EndpointFlag.BACKUP
    assert word in ip_mptcp(space, "endpoint")[0]
    manager.mark(marked, backup=False)
    assert ip_mptcp(space, "endpoint") == before
    manager.delete(known)
    with pytest.raises(KernelError, match=r"2001:db8::1 cannot be changed: .*address not found"):
        manager.mark(known, backup=True)


def test_limits_are_set(space: Namespace, manager: PathManager) -> None:
    manager.set_limits(SubflowLimits(8, 1))
    assert ip_mptcp(space, "limits") == ["add_addr_accepted 1 subflows 8"]
    with pytest.raises(KernelError, match=r"the limits of MPTCP cannot be set: .*maximum"):
        manager.set_limits(SubflowLimits(mptcp.LIMIT_MAX + 1))
    assert manager.limits() == SubflowLimits(8, 1)


def test_there_is_room_for_so_many(manager: PathManager) -> None:
    for number in range(1, mptcp.LIMIT_MAX + 1):
        assert manager.add(Endpoint(f"192.0.2.{number}"))
    with pytest.raises(KernelError, match=r"192\.0\.2\.200 cannot be added") as refused:
        manager.add(Endpoint("192.0.2.200"))
    assert refused.value.hint == "there is room for 8 endpoints: `ip mptcp endpoint` lists them"
    assert not manager.add(Endpoint("192.0.2.8"))


def test_no_address_no_endpoint(manager: PathManager) -> None:
    with pytest.raises(KernelError, match="not an ipv4 address: nonsense"):
        manager.add(Endpoint("nonsense"))


def test_a_kernel_without_it_is_no_error(manager: PathManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for a family that no kernel has, this one answers as an older one does."""
    monkeypatch.setattr(mptcp, "NAME", "mptcp_not")
    with closing(PathManager()) as absent:
        assert absent.read() is Unmanaged.ABSENT
        assert absent.endpoints() == ()
        with pytest.raises(KernelError, match=r"192\.0\.2\.1 cannot be added: the kernel has no MPTCP"):
            absent.add(Endpoint("192.0.2.1"))


@pytest.mark.parametrize(
    ("name", "value", "told"), [("enabled", 0, Unmanaged.DISABLED), ("pm_type", 1, Unmanaged.ELSEWHERE)]
)
def test_what_is_switched_off_is_no_error(
    space: Namespace, manager: PathManager, name: str, value: int, told: Unmanaged
) -> None:
    space.sysctl(f"mptcp/{name}", value)
    assert manager.read() is told
    space.sysctl(f"mptcp/{name}", 1 - value)
    assert manager.read() == Mptcp((), SubflowLimits(2))


@pytest.mark.parametrize(
    "inner",
    [b"", attribute(mptcp.ADDR_FAMILY, b"\x02\0"), attribute(mptcp.ADDR_FAMILY, b"\x63\0")],
    ids=["empty", "no address", "no family of ours"],
)
def test_what_cannot_be_read_is_an_error(inner: bytes) -> None:
    with pytest.raises(KernelError, match="garbled endpoint"):
        mptcp.endpoint(bytes(4) + attribute(mptcp.ATTR_ADDR, inner))
