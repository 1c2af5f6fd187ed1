"""A resolv.conf(5) that is ours, and those that are not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from failover.model import FAMILIES, Family
from failover.names.backend import NamesError
from failover.names.file import MADE, MARKER, REPLACED, File
from failover.resolvers import Resolvers

FOUR, SIX = (Family.IPV4,), (Family.IPV6,)
ONE = (Resolvers("up1", ("10.1.0.53", "fe80::1", "10.1.0.53"), FAMILIES), Resolvers("up2", ("10.2.0.53",)))
TWO = (Resolvers("up1", ("10.1.0.53",)), Resolvers("up2", ("10.2.0.53",), FAMILIES))
HANDED_OVER = f"""{MARKER}
# written by hand
search example.org
nameserver 192.0.2.1

options edns0
nameserver 192.0.2.2
"""


def follow(path: Path, wanted: tuple[Resolvers, ...]) -> tuple[str, ...]:
    return asyncio.run(File(path).follow(wanted))


def restore(path: Path) -> tuple[str, ...]:
    return asyncio.run(File(path).restore())


def servers(path: Path) -> list[str]:
    """As the C library reads them."""
    lines = path.read_text().splitlines()
    return [line.split()[1] for line in lines if line.startswith("nameserver ")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "resolv.conf"


def test_a_new_file_goes_as_it_came(path: Path) -> None:
    assert follow(path, ONE) == (f"name servers in {path}: 10.1.0.53, fe80::1%up1",)
    assert servers(path) == ["10.1.0.53", "fe80::1%up1"]
    assert path.read_text().startswith(f"{MARKER}\n{MADE}\n")
    assert follow(path, TWO) == (f"name servers in {path}: 10.2.0.53",)
    assert servers(path) == ["10.2.0.53"]
    assert restore(path) == (f"{path} is removed",)
    assert not path.exists()
    assert restore(path) == ()


def test_a_file_that_is_read_is_not_taken_from_its_readers(path: Path, tmp_path: Path) -> None:
    read = tmp_path / "etc-resolv.conf"
    read.symlink_to(path)
    follow(path, ONE)
    with pytest.raises(NamesError, match="stays, and its name servers with it") as raised:
        asyncio.run(File(path, read).restore())
    assert "failover cleanup" in raised.value.hint
    assert servers(read) == ["10.1.0.53", "fe80::1%up1"]
    read.unlink()
    read.write_text("nameserver 192.0.2.1\n")
    assert asyncio.run(File(path, read).restore()) == (f"{path} is removed",)


def test_a_file_that_was_handed_over_keeps_all_else_and_gets_its_servers_back(path: Path) -> None:
    path.write_text(HANDED_OVER)
    follow(path, ONE)
    follow(path, TWO)
    assert servers(path) == ["10.2.0.53"]
    for line in ("search example.org", "options edns0", "# written by hand", f"{REPLACED}nameserver 192.0.2.2"):
        assert line in path.read_text().splitlines()
    restore(path)
    assert path.read_text() == HANDED_OVER
    assert restore(path) == ()


@pytest.mark.parametrize(
    ("wanted", "written"),
    [
        ((("up1", FOUR),), ["10.1.0.53"]),
        ((("up1", SIX),), ["2001:db8:1::53", "fe80::1%up1"]),
        ((("up1", FOUR), ("up2", SIX)), ["10.1.0.53", "2001:db8:2::53", "fe80::1%up2"]),
        ((("up1", FAMILIES), ("up2", ())), ["10.1.0.53", "2001:db8:1::53", "fe80::1%up1"]),
        ((("up1", FAMILIES), ("up2", FAMILIES)), ["10.1.0.53", "2001:db8:1::53", "fe80::1%up1"]),  # three are asked
    ],
)
def test_a_server_is_asked_by_its_own_carrier(
    path: Path, wanted: tuple[tuple[str, tuple[Family, ...]], ...], written: list[str]
) -> None:
    told = {name: (f"10.{name[2]}.0.53", f"2001:db8:{name[2]}::53", "fe80::1") for name, _ in wanted}
    follow(path, tuple(Resolvers(name, told[name], families) for name, families in wanted))
    assert servers(path) == written


def test_where_nobody_has_a_server_in_its_family_any_is_better_than_none(path: Path) -> None:
    follow(path, (Resolvers("up1", ("2001:db8:1::53",), FOUR), Resolvers("up2", ("10.2.0.53",))))
    assert servers(path) == ["2001:db8:1::53"]


def test_what_is_so_is_not_written_again(path: Path) -> None:
    follow(path, ONE)
    before = path.stat()
    assert follow(path, ONE) == ()
    assert path.stat().st_ino == before.st_ino


def test_everybody_may_read_it_whatever_the_umask(path: Path) -> None:
    old = os.umask(0o077)
    try:
        follow(path, ONE)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_reader_sees_the_old_or_the_new_file(path: Path) -> None:
    follow(path, ONE)
    with path.open() as held:
        follow(path, TWO)
        assert "10.1.0.53" in held.read()
    assert list(path.parent.iterdir()) == [path]


def of_others(path: Path) -> None:
    path.write_text("nameserver 192.0.2.1\n")


def empty(path: Path) -> None:
    path.touch()


def marked_later(path: Path) -> None:
    path.write_text(f"nameserver 192.0.2.1\n{MARKER}\n")


def link(path: Path) -> None:
    target = path.with_name("elsewhere")
    target.write_text(HANDED_OVER)
    path.symlink_to(target)


def dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def pipe(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def all_of(place: Path) -> dict[str, tuple[os.stat_result, bytes]]:
    return {one.name: (one.lstat(), one.read_bytes() if one.is_file() else b"") for one in place.iterdir()}


@pytest.mark.parametrize("make", [of_others, empty, marked_later, link, dangling, pipe, folder])
def test_what_is_not_ours_is_never_touched(path: Path, make: Callable[[Path], None]) -> None:
    make(path)
    before = all_of(path.parent)
    with pytest.raises(NamesError, match="is not failover's") as raised:
        follow(path, ONE)
    assert MARKER in raised.value.hint
    assert restore(path) == ()
    assert all_of(path.parent) == before


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NamesError, match="cannot be written: No such file"):
        follow(tmp_path / "nowhere" / "resolv.conf", ONE)


def test_without_any_servers_it_stays_as_it_is(path: Path) -> None:
    follow(path, ONE)
    with pytest.raises(NamesError, match="no name servers are known"):
        follow(path, (Resolvers("up1", ("127.0.0.1", "0.0.0.0", "no address", "ff02::1"), FAMILIES),))
    assert servers(path) == ["10.1.0.53", "fe80::1%up1"]


def test_a_taken_over_file_that_was_given_to_others_stays_theirs(path: Path) -> None:
    follow(path, ONE)
    path.write_text(path.read_text().replace(MARKER, "# Generated by NetworkManager"))
    before = path.read_text()
    assert restore(path) == ()
    assert path.read_text() == before
