"""The state file: whole or not at all, for one boot, and honest about what it cannot read."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failover.facts import FORWARDING_IPV6, Sysctl
from failover.kernel.ledger import Change, Ledger
from failover.lab.namespaces import Namespace
from failover.lab.wire import End, cable
from failover.model import KernelError
from tests.allowed import or_skip

FIRST = Change("net/ipv4/conf/wan0/rp_filter", "1", "2")
SECOND = Change("net/ipv4/conf/wan1/rp_filter", "0", "2")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "state.json")


def put(kind: int, place: Path, victim: Path) -> None:
    """Such a file at the place; a link leads to the victim."""
    if kind == stat.S_IFLNK:
        place.symlink_to(victim)
    elif kind == stat.S_IFDIR:
        place.mkdir()
    else:
        os.mknod(place, kind | 0o600)


def test_no_file_is_no_change(ledger: Ledger) -> None:
    assert ledger.changes() == ()


def test_notes_outlive_the_object_and_the_last_of_a_path_counts(ledger: Ledger) -> None:
    again = Change(FIRST.path, "0", "2")
    for change in (FIRST, SECOND, again):
        ledger.note([change])
    assert Ledger(ledger.path).changes() == (again, SECOND)
    assert ledger.path.stat().st_mode & 0o777 == 0o600


def test_notes_of_one_write_join_those_that_were_there(ledger: Ledger) -> None:
    ledger.note([FIRST])
    ledger.note([SECOND, Change(FIRST.path, "0", "2")])
    ledger.note([])
    assert ledger.changes() == (Change(FIRST.path, "0", "2"), SECOND)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_what_root_keeps_is_its_folders_owners(ledger: Ledger) -> None:
    """As after a cleanup that could not put a value back: the agent that comes must be able to read it."""
    folder = ledger.path.parent
    os.chown(folder, 54321, 54322)
    ledger.note([FIRST, SECOND])
    ledger.keep([SECOND])
    kept = ledger.path.stat()
    assert (kept.st_uid, kept.st_gid, kept.st_mode & 0o777) == (54321, 54322, 0o600)


def test_with_nothing_to_keep_there_is_no_file(ledger: Ledger) -> None:
    ledger.note([FIRST])
    ledger.keep(())
    ledger.keep(())
    assert list(ledger.path.parent.iterdir()) == []


def test_the_notes_of_another_boot_count_no_more(ledger: Ledger) -> None:
    ledger.note([FIRST])
    tree = json.loads(ledger.path.read_text())
    ledger.path.write_text(json.dumps(tree | {"boot": "another"}))
    assert ledger.changes() == ()
    ledger.note([SECOND])
    assert ledger.changes() == (SECOND,)


def test_a_write_that_failed_leaves_the_old_content(ledger: Ledger, tmp_path: Path) -> None:
    ledger.note([FIRST])
    (tmp_path / "state.json.new").mkdir()
    with pytest.raises(KernelError, match="cannot be used: Is a directory"):
        ledger.note([SECOND])
    assert ledger.changes() == (FIRST,)


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFLNK, stat.S_IFREG], ids=stat.filemode)
def test_what_is_in_the_place_of_the_new_file_gives_way(ledger: Ledger, tmp_path: Path, kind: int) -> None:
    """A link is not followed, and a pipe is not waited for."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    put(kind, tmp_path / "state.json.new", victim)
    ledger.note([FIRST])
    assert ledger.changes() == (FIRST,)
    assert ledger.path.stat().st_mode == stat.S_IFREG | 0o600
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFLNK, stat.S_IFDIR], ids=stat.filemode)
def test_a_state_file_that_is_no_file_is_said_and_left(ledger: Ledger, tmp_path: Path, kind: int) -> None:
    victim = Ledger(tmp_path / "victim")
    victim.note([FIRST])
    put(kind, ledger.path, victim.path)
    before = ledger.path.lstat().st_ino
    for use in (ledger.changes, lambda: ledger.note([SECOND]), lambda: list(ledger.restore())):
        with pytest.raises(KernelError, match="json cannot be used: "):
            use()
    assert ledger.path.lstat().st_ino == before
    assert victim.changes() == (FIRST,)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a device")
def test_a_state_file_that_is_a_device_is_said(ledger: Ledger) -> None:
    try:
        os.mknod(ledger.path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("needs CAP_MKNOD")
    with pytest.raises(KernelError, match="cannot be used: "):
        ledger.changes()


def test_json_that_nests_without_end_is_called_corrupt(ledger: Ledger) -> None:
    ledger.path.write_text("[" * 200_000)
    for use in (ledger.changes, lambda: ledger.note([SECOND]), lambda: list(ledger.restore())):
        with pytest.raises(KernelError, match="is corrupt"):
            use()


@pytest.mark.parametrize("index", ["3", 3.5, [], True, 0, -1, 1 << 31, 1 << 70])
def test_an_index_that_no_interface_can_have_is_called_corrupt(ledger: Ledger, index: object) -> None:
    ledger.note([FIRST])
    tree = json.loads(ledger.path.read_text())
    tree["sysctls"][FIRST.path]["index"] = index
    ledger.path.write_text(json.dumps(tree))
    with pytest.raises(KernelError, match="is corrupt"):
        ledger.changes()


# --- interfaces that are renamed -------------------------------------------------------------------------------------


@pytest.fixture
def garage() -> Iterator[Namespace]:
    """A namespace with the veths wan0 and wan1, in which the thread is; nobody else renames there."""
    with or_skip():
        namespace = Namespace("garage")
    with namespace, namespace.entered():
        cable(End(namespace, "wan0", 10), End(namespace, "wan1", 20))
        for name in ("wan0", "wan1", "default"):
            namespace.sysctl(f"ipv4/conf/{name}/rp_filter", 0)
        yield namespace


def rename(name: str, fresh: str) -> None:
    """By SIOCSIFNAME of netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8923, struct.pack("16s16s8x", name.encode(), fresh.encode()))


def rp_filter(name: str) -> str:
    return Path(f"/proc/sys/net/ipv4/conf/{name}/rp_filter").read_text().strip()


def wanted(*names: str) -> list[Sysctl]:
    return [Sysctl(f"net/ipv4/conf/{name}/rp_filter", "2") for name in names]


def put_back(ledger: Ledger) -> list[str]:
    results = list(ledger.restore())
    assert [result.error for result in results] == [None] * len(results)
    assert not ledger.path.exists()
    return [result.operation.item.path.split("/")[3] for result in results if isinstance(result.operation.item, Sysctl)]


def test_a_sysctl_is_put_back_under_the_new_name_of_its_device(garage: Namespace, ledger: Ledger) -> None:
    assert ledger.set_all(wanted("wan0")) == [None]
    rename("wan0", "wan9")
    assert rp_filter("wan9") == "2"
    assert put_back(ledger) == ["wan9"]
    assert rp_filter("wan9") == "0"


def test_names_that_were_exchanged_mislead_nobody(garage: Namespace, ledger: Ledger) -> None:
    """What the owner gave the one that now has the name stays; also when we set that one too."""
    assert ledger.set_all(wanted("wan0")) == [None]
    rename("wan0", "wan9")
    rename("wan1", "wan0")
    garage.sysctl("ipv4/conf/wan0/rp_filter", 1)
    assert ledger.set_all(wanted("wan0")) == [None]
    assert put_back(ledger) == ["wan0", "wan9"]
    assert (rp_filter("wan9"), rp_filter("wan0")) == ("0", "1")


def test_what_somebody_turned_on_for_all_devices_stays(garage: Namespace, ledger: Ledger) -> None:
    """As Docker does with forwarding; what it did not turn on is put back."""
    path = "net/ipv4/conf/wan0/forwarding"
    for everybodys, kept in (("1", "1"), ("0", "0")):
        garage.sysctl("ipv4/ip_forward", 0)
        assert ledger.set_all([Sysctl(path, "1")]) == [None]
        if everybodys == "1":
            garage.sysctl("ipv4/ip_forward", 1)
        assert put_back(ledger) == ([] if kept == "1" else ["wan0"])
        assert Path("/proc/sys", path).read_text().strip() == kept


def test_ipv6_is_forwarded_no_more_before_an_uplink_is_a_hosts_again(garage: Namespace, ledger: Ledger) -> None:
    accept = "net/ipv6/conf/wan0/accept_ra"
    assert ledger.set_all([Sysctl(accept, "2"), Sysctl(FORWARDING_IPV6, "1")]) == [None, None]
    assert Path("/proc/sys/net/ipv6/conf/wan0/forwarding").read_text().strip() == "1"
    assert put_back(ledger) == ["all", "wan0"]
    assert Path("/proc/sys/net/ipv6/conf/wan0/forwarding").read_text().strip() == "0"
    assert Path("/proc/sys", accept).read_text().strip() == "1"


def test_a_device_that_came_anew_under_the_name_is_another(garage: Namespace, ledger: Ledger) -> None:
    assert ledger.set_all(wanted("wan0")) == [None]
    garage.rtnl.remove_link(10)
    cable(End(garage, "wan0", 30), End(garage, "wan1", 40))
    garage.sysctl("ipv4/conf/wan0/rp_filter", 2)
    assert put_back(ledger) == []
    assert rp_filter("wan0") == "2"


def test_notes_without_an_index_go_by_the_name(garage: Namespace, ledger: Ledger) -> None:
    garage.sysctl("ipv4/conf/wan0/rp_filter", 2)
    ledger.note([Change("net/ipv4/conf/wan0/rp_filter", "1", "2"), Change("net/ipv4/conf/wan7/rp_filter", "1", "2")])
    assert "index" not in ledger.path.read_text()
    assert put_back(ledger) == ["wan0"]
    assert rp_filter("wan0") == "1"


@settings(deadline=None)
@given(
    content=st.binary(max_size=200)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: st.dictionaries(
            st.sampled_from(["version", "boot", "sysctls", "old", "new", "index"]), inner, max_size=4
        ),
    ).map(lambda tree: json.dumps(tree).encode())
)
def test_any_other_content_is_called_corrupt(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("ledger") / "state.json"
    path.write_bytes(content)
    try:
        assert Ledger(path).changes() == ()
    except KernelError as error:
        said = str(error)
    else:
        said = "corrupt"
    assert "corrupt" in said
