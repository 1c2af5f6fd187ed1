"""With the real openresolv."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from failover.lab.namespaces import Namespace
from failover.model import FAMILIES
from failover.names import children
from failover.names.backend import NamesError
from failover.names.file import File
from failover.resolvers import Resolvers, Way
from tests.enclosure import CHECKOUT
from tests.names.box import Box, require
from tests.names.conftest import Asker, until

LEASES = {
    "up1.dhcp": "domain one.example\nnameserver 10.1.0.53\n",
    "up2.ra": "nameserver fe80::53%up2\nnameserver 2001:db8:2::53\n",
    "up2.dhcp": "search two.example\nnameserver 10.2.0.53\n",
    "up22.dhcp": "nameserver 10.22.0.53\n",
}
RESOLV_CONF = "etc/resolv.conf"


@pytest.fixture
def box(van: Namespace) -> Iterator[Box]:
    """dhcpcd has been there."""
    package = require("openresolv")
    with tempfile.TemporaryDirectory() as folder, Box(van, Path(folder), package) as made:
        for name, text in LEASES.items():
            assert made.run("resolvconf", "-a", name, given=text).returncode == 0
        yield made


@pytest.fixture
def asker(box: Box) -> Iterator[Asker]:
    with Asker(box, "root", Way.RESOLVCONF) as made:
        yield made


def resolv_conf(box: Box) -> list[str]:
    return (box.root / RESOLV_CONF).read_text().split("\n")


def test_the_box_asks_the_active_uplinks_servers_and_nobody_else(asker: Asker, box: Box) -> None:
    before = resolv_conf(box)
    assert {"nameserver 10.1.0.53", "nameserver 10.2.0.53"} < set(before)
    assert asker.ask(do="told", interfaces=["up1", "up2", "up3"])["done"] == {
        "up1": ["10.1.0.53"],
        "up2": ["10.2.0.53", "fe80::53", "2001:db8:2::53"],
        "up3": [],
    }
    wanted = (("up1", ["10.1.0.53"], False), ("up2", ["fe80::53", "10.2.0.53"], True))
    assert asker.follow(*wanted) == ["name servers of the box: fe80::53%up2, 10.2.0.53"]
    assert [line for line in resolv_conf(box) if line and line[0] != "#"] == [
        "search two.example",
        "nameserver fe80::53%up2",
        "nameserver 10.2.0.53",
    ]
    assert asker.ask(do="told", interfaces=["up1"])["done"] == {"up1": ["10.1.0.53"]}
    asker.ask(do="restore")
    assert resolv_conf(box) == before
    assert asker.ask(do="restore")["done"] == []


def test_one_run_moves_it_and_none_leaves_it(asker: Asker, box: Box) -> None:
    asker.follow(("up2", ["10.2.0.53"], True))
    assert asker.follow(("up1", ["10.1.0.53"], True), ("up2", ["10.2.0.53"], False)) != []
    assert [line for line in resolv_conf(box) if line.startswith("nameserver")] == ["nameserver 10.1.0.53"]
    written = (box.root / RESOLV_CONF).stat().st_mtime_ns
    box.run("touch", "-d", "@0", "/etc/resolv.conf")
    assert asker.follow(("up1", ["10.1.0.53"], True), ("up2", ["10.2.0.53"], False)) == []
    assert written > (box.root / RESOLV_CONF).stat().st_mtime_ns == 0


def test_without_any_servers_it_stays_as_it_is(asker: Asker, box: Box) -> None:
    before = resolv_conf(box)
    answer = asker.ask(do="follow", wanted=[("up1", [], True), ("up2", ["10.2.0.53"], False)])
    assert answer["error"] == "no name servers are known for the active uplink"
    assert resolv_conf(box) == before


def test_who_is_not_root_hears_the_mend(box: Box) -> None:
    with Asker(box, "failover", Way.RESOLVCONF) as asker:
        answer = asker.ask(do="follow", wanted=[("up1", ["10.1.0.53"], True)])
    assert answer["error"].startswith("resolvconf: Cannot write to ")
    assert "root" in answer["hint"]


def test_it_is_chosen_where_it_writes_resolv_conf(asker: Asker, box: Box) -> None:
    assert asker.ask(do="choose", way="auto")["done"] == "resolvconf"
    assert asker.ask(do="choose", way="resolvconf")["done"] == "resolvconf"
    (box.root / RESOLV_CONF).write_text("nameserver 192.0.2.1\n")
    assert asker.ask(do="choose", way="auto")["done"] == "none"


# --- the child -------------------------------------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path: Path) -> Path:
    made = tmp_path / "program"
    made.touch(mode=0o755)
    return made


def running(word: str) -> list[str]:
    """Processes with that in their command line."""
    found = (" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
    return [line for line in found if word in line]


def test_one_that_hangs_ends_with_what_it_started(program: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "held"
    os.mkfifo(pipe)
    program.write_text(f"#!/bin/sh\necho begun >&2\ncat {pipe} & exec cat {pipe}\n")
    with pytest.raises(NamesError, match=r"program was not done after 0\.3 s"):
        asyncio.run(children.run((str(program),), seconds=0.3))
    until(lambda: not running(str(pipe)))


def test_one_that_leaves_somebody_behind_is_not_waited_for(program: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "held"
    os.mkfifo(pipe)
    program.write_text(f"#!/bin/sh\ncat\necho 'the end\x1b[1m' >&2\ncat {pipe} &\nexit 3\n")
    try:
        done = asyncio.run(children.run((str(program),), given="heard\n"))
    finally:
        with pipe.open("w"):  # and it ends
            pass
    assert done == children.Done(3, "heard\n", "the end?[1m")


def test_one_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NamesError, match="No such file"):
        asyncio.run(children.run((str(tmp_path / "nothing"),)))


# --- the unit that hands it on as root -------------------------------------------------------------------------------

UNITS = CHECKOUT / "systemd"
SERVICE, PATH = UNITS / "failover-resolvconf.service", UNITS / "failover-resolvconf.path"


def test_what_the_agent_writes_without_root_is_handed_on_and_taken_back(box: Box) -> None:
    (command,) = re.findall(r"^ExecStart=/bin/sh -c '(.*)'$", SERVICE.read_text(), re.MULTILINE)
    (watched,) = re.findall(r"^PathChanged=(.*)$", PATH.read_text(), re.MULTILINE)
    before = resolv_conf(box)
    file = File(box.root / watched[1:])
    for server in ("10.2.0.53", "10.1.0.53"):
        asyncio.run(file.follow((Resolvers("up1", (server,), FAMILIES),)))
        assert box.run("sh", "-c", command).returncode == 0
        assert [line for line in resolv_conf(box) if line and line[0] != "#"] == [f"nameserver {server}"]
    asyncio.run(file.restore())
    assert box.run("sh", "-c", command).returncode == 0
    assert resolv_conf(box) == before


def test_systemd_finds_nothing_to_say_of_the_units(tmp_path: Path) -> None:
    for unit in (SERVICE, PATH):
        shutil.copy(unit, tmp_path)
    argv = ["systemd-analyze", "verify", *(str(tmp_path / unit.name) for unit in (SERVICE, PATH))]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
