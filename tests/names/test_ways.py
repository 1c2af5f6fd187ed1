"""What is chosen, opened; and whatever was done, by whatever way, undone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from failover.model import FAMILIES
from failover.names.backend import NamesError
from failover.names.choose import Choice
from failover.names.file import MARKER, File
from failover.names.record import RECORD
from failover.names.resolvconf import Resolvconf
from failover.names.resolved import Resolved
from failover.names.ways import OWN, opened, put_back
from failover.resolvers import Resolvers, Way

WANTED = (Resolvers("up1", ("192.0.2.1",), FAMILIES),)
HANDED_OVER = f"{MARKER}\nnameserver 192.0.2.9\n"


@pytest.mark.parametrize(
    ("choice", "kind"),
    [
        (Choice(Way.RESOLVED), Resolved),
        (Choice(Way.RESOLVCONF, program="/sbin/resolvconf"), Resolvconf),
        (Choice(Way.FILE, path=Path("/nowhere")), File),
        (Choice(Way.NONE), type(None)),
    ],
    ids=lambda value: value.way if isinstance(value, Choice) else "",
)
def test_each_way_is_what_it_says(choice: Choice, kind: type, tmp_path: Path) -> None:
    async def play() -> object:
        return opened(choice, tmp_path)

    assert type(asyncio.run(play())) is kind


def undone(folders: list[Path], root: Path) -> list[str | NamesError]:
    """In a box without openresolv."""
    return put_back(folders, root, lambda: None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path


def test_both_files_are_put_back_and_no_other_is_touched(root: Path) -> None:
    handed_over, own, foreign = root / "etc/resolv.conf", root / OWN, root / "other" / OWN
    foreign.parent.mkdir()
    handed_over.write_text(HANDED_OVER)
    foreign.write_text("nameserver 192.0.2.9\n")
    for path in (handed_over, own):
        asyncio.run(File(path).follow(WANTED))
    assert len(undone([root, foreign.parent, root], root)) == 2
    assert handed_over.read_text() == HANDED_OVER
    assert not own.exists()
    assert foreign.read_text() == "nameserver 192.0.2.9\n"
    assert undone([root, foreign.parent], root) == []


def test_a_file_that_resolv_conf_leads_to_stays(root: Path) -> None:
    (root / "etc/resolv.conf").symlink_to(root / OWN)
    asyncio.run(File(root / OWN).follow(WANTED))
    (error,) = undone([root], root)
    assert isinstance(error, NamesError)
    assert "nameserver 192.0.2.1" in (root / "etc/resolv.conf").read_text()


def test_what_cannot_be_put_back_keeps_nothing_else_from_it(root: Path) -> None:
    (root / RECORD).write_text("{")
    asyncio.run(File(root / OWN).follow(WANTED))
    error, done = undone([root], root)
    assert isinstance(error, NamesError)
    assert "is corrupt" in str(error)
    assert done == f"{root / OWN} is removed"


def test_a_resolvconf_of_others_is_asked_for_its_name_and_nothing_else(root: Path) -> None:
    other, asked = root / "resolvconf", root / "asked"
    other.write_text(f'#!/bin/sh\necho "$@" >>{asked}\necho systemd 252\n')
    other.chmod(0o755)
    assert put_back([root], root, lambda: str(other)) == []
    assert asked.read_text() == "--version\n"
