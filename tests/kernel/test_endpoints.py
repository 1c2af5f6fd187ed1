"""Which MPTCP endpoints are ours, and what is put back; `ip mptcp` is everybody else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from failover import notes
from failover.facts import Endpoint, SubflowLimits, Verb
from failover.kernel.endpoints import Done, Endpoints, Noted
from failover.kernel.mptcp import PathManager
from failover.lab.namespaces import Namespace, gain_privileges
from failover.model import KernelError
from tests.allowed import or_skip

from .paths import BACKUP, SUBFLOW, ip_mptcp

A, B, C = "192.0.2.1", "192.0.2.2", "2001:db8::3"
ROOM = SubflowLimits(2)
"""What a kernel has as it starts."""


@pytest.fixture
def space() -> Iterator[Namespace]:
    with or_skip():
        gain_privileges()
        made = Namespace("van")
    with made, made.entered():
        yield made


@pytest.fixture
def manager(space: Namespace) -> Iterator[PathManager]:
    with closing(PathManager()) as opened:
        yield opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mptcp.json"


@pytest.fixture
def ours(manager: PathManager, path: Path) -> Endpoints:
    return Endpoints(manager, path)


def test_just_what_is_wanted_is_there(space: Namespace, ours: Endpoints) -> None:
    added = [Done(Verb.ADD, Endpoint(A)), Done(Verb.ADD, Endpoint(B, BACKUP))]
    assert ours.keep({A: False, B: True}, ROOM) == added
    assert ip_mptcp(space, "endpoint") == [f"{A} id 1 subflow", f"{B} id 2 subflow backup"]
    assert ours.keep({C: True, B: False}, ROOM) == [
        Done(Verb.ADD, Endpoint(C, BACKUP)),
        Done(Verb.REPLACE, Endpoint(B, SUBFLOW)),
        Done(Verb.DELETE, Endpoint(A, SUBFLOW, id=1)),
    ]
    assert ip_mptcp(space, "endpoint") == [f"{B} id 2 subflow", f"{C} id 3 subflow backup"]


def test_what_is_as_wanted_is_not_touched(ours: Endpoints, path: Path) -> None:
    ours.keep({A: False, B: True}, SubflowLimits(4))
    written = path.stat()
    assert ours.keep({A: False, B: True}, SubflowLimits(3)) == []
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)


def test_ours_are_known_after_a_crash(ours: Endpoints, manager: PathManager, path: Path) -> None:
    ours.keep({A: False}, ROOM)
    assert Endpoints(manager, path).keep({}, ROOM) == [Done(Verb.DELETE, Endpoint(A, id=1))]
    assert not path.exists()


def test_it_is_noted_before_it_is_done(manager: PathManager, tmp_path: Path) -> None:
    nowhere = Endpoints(manager, tmp_path / "none" / "mptcp.json")
    with pytest.raises(KernelError, match=r"none/mptcp\.json cannot be used: No such file or directory"):
        nowhere.keep({A: False}, SubflowLimits(8))
    assert manager.endpoints() == ()
    assert manager.limits() == ROOM


@pytest.mark.parametrize("kind", ["subflow", "signal", "subflow dev lo", "subflow backup fullmesh"])
def test_what_others_made_counts_and_stays(space: Namespace, ours: Endpoints, kind: str) -> None:
    ip_mptcp(space, f"endpoint add {A} id 9 {kind}")
    before = ip_mptcp(space, "endpoint")
    assert ours.keep({A: True}, ROOM) == []
    assert ours.keep({}, ROOM) == []
    assert list(ours.restore()) == []
    assert ip_mptcp(space, "endpoint") == before


@pytest.mark.parametrize("kind", ["signal", "subflow dev lo", "subflow fullmesh"])
def test_what_others_made_of_ours_is_theirs(space: Namespace, ours: Endpoints, kind: str) -> None:
    ours.keep({A: False}, ROOM)
    ip_mptcp(space, "endpoint delete id 1")
    ip_mptcp(space, f"endpoint add {A} {kind}")
    before = ip_mptcp(space, "endpoint")
    assert ours.keep({}, ROOM) == []
    assert ip_mptcp(space, "endpoint") == before
    assert ours.noted() == Noted()


def test_what_we_deleted_can_be_made_by_others(space: Namespace, ours: Endpoints) -> None:
    ours.keep({A: False}, ROOM)
    ours.keep({}, ROOM)
    ip_mptcp(space, f"endpoint add {A} subflow")
    assert ours.keep({}, ROOM) == []
    assert len(ip_mptcp(space, "endpoint")) == 1


def test_a_port_of_others_is_no_obstacle(space: Namespace, ours: Endpoints) -> None:
    ip_mptcp(space, "endpoint add 127.0.0.1 port 4000 signal")
    assert ours.keep({"127.0.0.1": False}, ROOM) == [Done(Verb.ADD, Endpoint("127.0.0.1"))]
    assert [one.port for one in ours._manager.endpoints()] == [4000, 0]


def test_withdrawn_ours_go_and_others_are_renewed(space: Namespace, ours: Endpoints, manager: PathManager) -> None:
    ip_mptcp(space, f"endpoint add {B} id 9 dev lo subflow backup")
    ip_mptcp(space, f"endpoint add {C} id 11 signal")
    ours.keep({A: False}, ROOM)
    known = {one.address: one for one in manager.endpoints()}
    assert ours.withdraw([A, B, C]) == [Done(Verb.DELETE, known[A]), Done(Verb.REPLACE, known[B])]
    assert manager.endpoints() == (known[B], known[C])
    assert ours.noted() == Noted()
    assert ours.withdraw([A]) == []


def test_limits_are_raised_only_and_given_back(space: Namespace, ours: Endpoints, path: Path) -> None:
    assert ours.keep({}, SubflowLimits(1, 1)) == [Done(Verb.SET, SubflowLimits(2, 1))]
    assert ours.keep({}, SubflowLimits(6)) == [Done(Verb.SET, SubflowLimits(6, 1))]
    assert ours.keep({}, SubflowLimits(3)) == []
    assert ip_mptcp(space, "limits") == ["add_addr_accepted 1 subflows 6"]
    assert list(ours.restore()) == [Done(Verb.SET, SubflowLimits(2, 0))]
    assert ip_mptcp(space, "limits") == ["add_addr_accepted 0 subflows 2"]
    assert not path.exists()


def test_a_limit_that_others_set_since_stays(space: Namespace, ours: Endpoints) -> None:
    ours.keep({}, SubflowLimits(6, 3))
    ip_mptcp(space, "limits set subflow 5 add_addr_accepted 3")
    assert list(ours.restore()) == [Done(Verb.SET, SubflowLimits(5, 0))]
    assert list(ours.restore()) == []


def test_what_others_set_is_what_is_given_back(space: Namespace, ours: Endpoints) -> None:
    ours.keep({}, SubflowLimits(6))
    ip_mptcp(space, "limits set subflow 3")
    ours.keep({}, SubflowLimits(6))
    assert list(ours.restore()) == [Done(Verb.SET, SubflowLimits(3, 0))]


def test_cleaned_up_all_is_as_before(space: Namespace, ours: Endpoints, path: Path) -> None:
    ip_mptcp(space, f"endpoint add {B} signal")
    before = ip_mptcp(space, "endpoint"), ip_mptcp(space, "limits")
    ours.keep({A: False, B: False, C: True}, SubflowLimits(8))
    assert [one.verb for one in ours.restore()] == [Verb.DELETE, Verb.DELETE, Verb.SET]
    assert (ip_mptcp(space, "endpoint"), ip_mptcp(space, "limits")) == before
    assert not path.exists()
    assert list(ours.restore()) == []


def test_what_the_kernel_refuses_is_told_and_not_ours(space: Namespace, ours: Endpoints) -> None:
    for number in range(100, 107):
        ip_mptcp(space, f"endpoint add 192.0.2.{number} subflow")
    first, second, limits = ours.keep({A: False, B: False}, SubflowLimits(9))[::-1]
    assert first.error is not None
    assert first.error.startswith(f"the MPTCP endpoint {B} cannot be added: ")
    assert first.error.endswith("; there is room for 8 endpoints: `ip mptcp endpoint` lists them")
    assert second == Done(Verb.ADD, Endpoint(A))
    assert limits.error is not None
    assert ours.noted().addresses == {A}
    assert list(ours.restore()) == [Done(Verb.DELETE, Endpoint(A, id=8))]
    assert ours.noted() == Noted()


def test_another_start_of_the_machine_knows_nothing(
    ours: Endpoints, manager: PathManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours.keep({A: False}, SubflowLimits(8))
    other = tmp_path / "boot_id"
    other.write_text("another\n")
    monkeypatch.setattr(notes, "BOOT_ID", other)
    assert ours.noted() == Noted()
    assert list(ours.restore()) == []
    assert len(manager.endpoints()) == 1


GOOD = {"version": 1, "boot": "x", "endpoints": [], "limits": None}


@pytest.mark.parametrize(
    "tree",
    [
        [],
        {},
        {**GOOD, "version": 2},
        {**GOOD, "endpoints": [7]},
        {**GOOD, "endpoints": None},
        {**GOOD, "limits": [[1, 2]]},
        {**GOOD, "limits": [[1, 2], [1, "2"]]},
        {**GOOD, "limits": [[1, 2], [1, 256]]},
    ],
)
def test_a_corrupt_file_is_an_error(ours: Endpoints, manager: PathManager, path: Path, tree: object) -> None:
    path.write_text(json.dumps(tree))
    steps: tuple[Callable[[], object], ...] = (
        lambda: ours.keep({A: False}, ROOM),
        lambda: ours.withdraw([A]),
        lambda: list(ours.restore()),
    )
    for step in steps:
        with pytest.raises(KernelError, match=r"the state file .*mptcp\.json is corrupt"):
            step()
    assert manager.endpoints() == ()
    path.write_text(json.dumps(GOOD))
    assert ours.noted() == Noted()
